"""Where is a task now, and what did cancelling it do?"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from scheduler_api.v1 import schedule_service_pb2
from scheduler_server.client.enums import TaskState
from scheduler_server.client.outcome import Outcome
from scheduler_server.client.placement import Waiting
from scheduler_server.client.spans import read_timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """Where one attempt of a task stands, and how it got there.

    `worker_id` and `lease_id` are "" before it is placed. Instants are in UTC; None is what has not happened.
    `message` is the whole answer, with the decision.
    """

    task_id: str
    tenant: str
    attempt: int
    task_type: str
    state: TaskState
    worker_id: str
    lease_id: str
    waiting: Waiting | None
    outcome: Outcome | None
    submitted_at: datetime | None
    placed_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    message: schedule_service_pb2.TaskStatus = field(repr=False)

    @classmethod
    def from_proto(cls, message: schedule_service_pb2.TaskStatus) -> Self:
        """The message as read from the wire."""

        def instant(name: str) -> datetime | None:
            return read_timestamp(getattr(message, name)) if name in present else None

        present = {descriptor.name for descriptor, _ in message.ListFields()}
        return cls(
            task_id=message.task.task_id,
            tenant=message.task.tenant,
            attempt=message.task.attempt,
            task_type=message.task_type,
            state=TaskState(message.state),
            worker_id=message.decision.worker_id,
            lease_id=message.decision.lease_id,
            waiting=Waiting.from_proto(message.waiting) if "waiting" in present else None,
            outcome=Outcome.from_proto(message.outcome) if "outcome" in present else None,
            submitted_at=instant("submitted_at"),
            placed_at=instant("placed_at"),
            started_at=instant("started_at"),
            ended_at=instant("ended_at"),
            message=message,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """Where a task stands after CancelTask. `worker_told`: its worker was told, and may need a moment."""

    state: TaskState
    worker_told: bool
