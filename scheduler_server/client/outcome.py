"""How did a task really end?"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from scheduler_api.v1 import schedule_service_pb2, task_pb2
from scheduler_server.client.enums import OutcomeStatus
from scheduler_server.client.spans import duration_message, read_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a task really ended, as reported and as read back.

    `duration` is the time from start to end on the worker; None lets the server take its own measure, from
    which it learns nothing.
    """

    status: OutcomeStatus
    duration: timedelta | None = None
    error_message: str = ""
    error_kind: str = ""
    result: bytes = b""

    @classmethod
    def from_proto(cls, message: task_pb2.Outcome) -> Self:
        """The message as read from the wire."""
        return cls(
            status=OutcomeStatus(message.status),
            duration=read_duration(message.duration) if message.HasField("duration") else None,
            error_message=message.error_message,
            error_kind=message.error_kind,
            result=message.result,
        )

    def to_proto(self) -> task_pb2.Outcome:
        """The outcome as its message."""
        return task_pb2.Outcome(
            status=task_pb2.OutcomeStatus.ValueType(self.status),
            duration=None if self.duration is None else duration_message(self.duration),
            error_message=self.error_message,
            error_kind=self.error_kind,
            result=self.result,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeReport:
    """One of many reports: which lease, and how it ended."""

    lease_id: str
    outcome: Outcome

    def to_proto(self) -> schedule_service_pb2.OutcomeReport:
        """The report as its message."""
        return schedule_service_pb2.OutcomeReport(lease_id=self.lease_id, outcome=self.outcome.to_proto())
