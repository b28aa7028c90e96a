"""Spans and instants between Python and the wire, safe against whatever a server may send."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

Span = timedelta | float
"""A span as callers may state it: a timedelta, or a plain number that counts seconds."""


def as_timedelta(span: Span) -> timedelta:
    """The span as a timedelta. NaN raises ValueError, infinity OverflowError: neither fits the wire."""
    return span if isinstance(span, timedelta) else timedelta(seconds=span)


def duration_message(span: Span) -> Duration:
    """The span as its message."""
    message = Duration()
    message.FromTimedelta(as_timedelta(span))
    return message


def timestamp_message(instant: datetime) -> Timestamp:
    """The instant as its message. Raises ValueError when it has no zone: which instant is it?"""
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no time zone")
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def read_duration(message: Duration) -> timedelta | None:
    """The message as a timedelta; None when it is beyond what one can hold."""
    try:
        return message.ToTimedelta()
    except (ValueError, OverflowError):
        return None


def read_timestamp(message: Timestamp) -> datetime | None:
    """The message as an instant in UTC; None when it is beyond the years 1 to 9999."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def read_ms(milliseconds: float) -> timedelta:
    """Milliseconds as a timedelta; the longest there is when they are not finite or beyond it."""
    try:
        return timedelta(milliseconds=milliseconds)
    except (ValueError, OverflowError):
        return timedelta.max
