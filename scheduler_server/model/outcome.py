"""Outcomes: how a task really ended."""

from enum import IntEnum
from typing import NamedTuple


class OutcomeStatus(IntEnum):
    """How it ended. Only SUCCEEDED teaches durations; LOST is said by the server alone."""

    SUCCEEDED = 1
    FAILED = 2
    CANCELLED = 3
    TIMED_OUT = 4
    LOST = 5


class Outcome(NamedTuple):
    """How one attempt ended. `duration_ms` is None where nobody measured it: then nothing is learned from it."""

    status: OutcomeStatus
    duration_ms: float | None = None
    error_message: str = ""
    error_kind: str = ""
    result: bytes = b""


class OutcomeResult(IntEnum):
    """What became of a report of an outcome."""

    ACCEPTED = 1
    DUPLICATE = 2
    LATE = 3
    REFUSED = 4
