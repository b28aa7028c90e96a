"""What can be wrong? One tree; the table says which leaf stands for which code and reason.

A reason that this SDK does not know is a plain `SchedulerError` (or the leaf that its code stands for on its
own): newer servers stay readable. Compare `reason`, never the message.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from grpc import StatusCode

from scheduler_api.v1 import decision_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """A field of the request that is out of range, by its path such as "task.priority"."""

    field: str
    description: str


class SchedulerError(Exception):
    """A call, or one item of a batch, that was not done.

    `reason` is stable ("" when the server did not say), `metadata` has the ids and limits concerned,
    `retry_after` says when asking again makes sense, `refusal` why nobody could take the task.
    """

    def __init__(
        self,
        code: StatusCode,
        reason: str = "",
        message: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: tuple[FieldViolation, ...] = (),
        retry_after: timedelta | None = None,
        refusal: decision_pb2.PlacementRefusal | None = None,
    ) -> None:
        # All of it in `args`, so that errors survive pickling between processes.
        super().__init__(code, reason, message, metadata, field_violations, retry_after, refusal)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.field_violations = field_violations
        self.retry_after = retry_after
        self.refusal = refusal

    def __str__(self) -> str:
        name = f"{self.code.name} {self.reason}".rstrip()
        faults = "; ".join(f"{fault.field}: {fault.description}" for fault in self.field_violations)
        return f"{name}: {self.message}" + (f" [{faults}]" if faults else "")


class InvalidTask(SchedulerError):
    """A field is out of range; `field_violations` names each. Mend the request."""


class NoFreeSlot(SchedulerError):
    """Nobody has a free slot now, the wait is over, the task is not due, or the queue is full.

    Ask again after `retry_after`, as `patience` does. `refusal.waiting` tells where it stood when its wait was over.
    """


class OverLimit(SchedulerError):
    """Something else is exhausted, such as a message's size. Asking again as it is does not help."""


class RateLimited(OverLimit):
    """More calls or tasks than the server takes of this identity. Ask again after `retry_after`; `patience` does."""


class NoCapableWorker(SchedulerError):
    """No known worker could ever take it; `refusal` names what is missing. Change the task or the fleet."""


class AttemptLost(SchedulerError):
    """This attempt was lost with its worker. Send `next_attempt`."""

    @property
    def next_attempt(self) -> int | None:
        """The attempt number to send next; None when nothing tells which attempt this was."""
        for key, step in (("next_attempt", 0), ("attempt", 1)):
            try:
                return int(self.metadata[key]) + step
            except (KeyError, ValueError):
                continue
        return None


class TaskConflict(SchedulerError):
    """The same identity with a different body. Use another id or attempt."""


class TaskUnknown(SchedulerError):
    """Never seen, or ended longer ago than ended tasks are kept."""


class TaskFinished(SchedulerError):
    """It has already finished: nothing to cancel."""


class TaskCancelled(SchedulerError):
    """This attempt was cancelled."""


class LeaseUnknown(SchedulerError):
    """No such lease, or it ended longer ago than leases are kept."""


class LeaseMismatch(SchedulerError):
    """That is not the task's current lease; nothing was changed. Ask `get_task`."""


class StartByPassed(SchedulerError):
    """The task's `start_by` has passed."""


class DeadlineExceeded(SchedulerError):
    """The call's own deadline passed. Send the same request again: all typed methods are idempotent."""


class ServerUnavailable(SchedulerError):
    """Nobody answers there, or the server starts or drains, and the published retries are used up."""


class NotSupported(SchedulerError):
    """This server does not have that yet; the message says what."""


class AccessDenied(SchedulerError):
    """Who you are is not known, or not allowed to do that."""


class ServerFault(SchedulerError):
    """A fault of the server, logged there in full; or an answer that breaks the contract."""


_ANY: Final = "*"
_UNSAID: Final = ""

_TABLE: Final[Mapping[tuple[StatusCode, str], type[SchedulerError]]] = {
    (StatusCode.INVALID_ARGUMENT, _ANY): InvalidTask,
    (StatusCode.RESOURCE_EXHAUSTED, "NO_FREE_SLOT"): NoFreeSlot,
    (StatusCode.RESOURCE_EXHAUSTED, "NO_ELIGIBLE_WORKER_NOW"): NoFreeSlot,
    (StatusCode.RESOURCE_EXHAUSTED, "NO_WORKERS"): NoFreeSlot,
    (StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"): NoFreeSlot,
    (StatusCode.RESOURCE_EXHAUSTED, "WAIT_OVER"): NoFreeSlot,
    (StatusCode.RESOURCE_EXHAUSTED, "NOT_YET_DUE"): NoFreeSlot,
    (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"): RateLimited,
    # Without a reason it comes from gRPC itself or from something between: not about slots.
    (StatusCode.RESOURCE_EXHAUSTED, _ANY): OverLimit,
    (StatusCode.FAILED_PRECONDITION, "NO_CAPABLE_WORKER"): NoCapableWorker,
    (StatusCode.FAILED_PRECONDITION, "NO_WORKERS"): NoCapableWorker,
    (StatusCode.FAILED_PRECONDITION, "TASK_CANCELLED"): TaskCancelled,
    (StatusCode.FAILED_PRECONDITION, "TASK_FINISHED"): TaskFinished,
    (StatusCode.ABORTED, "ATTEMPT_LOST"): AttemptLost,
    (StatusCode.ABORTED, "LEASE_MISMATCH"): LeaseMismatch,
    (StatusCode.ALREADY_EXISTS, "TASK_CONFLICT"): TaskConflict,
    (StatusCode.ALREADY_EXISTS, _UNSAID): TaskConflict,
    (StatusCode.NOT_FOUND, "TASK_UNKNOWN"): TaskUnknown,
    (StatusCode.NOT_FOUND, _UNSAID): TaskUnknown,
    (StatusCode.NOT_FOUND, "LEASE_UNKNOWN"): LeaseUnknown,
    (StatusCode.DEADLINE_EXCEEDED, "START_BY_PASSED"): StartByPassed,
    (StatusCode.DEADLINE_EXCEEDED, _ANY): DeadlineExceeded,
    (StatusCode.UNAVAILABLE, _ANY): ServerUnavailable,
    # A call that meets a closing connection; gRPC says so instead of UNAVAILABLE. One's own cancelling looks otherwise.
    (StatusCode.CANCELLED, _ANY): ServerUnavailable,
    (StatusCode.UNIMPLEMENTED, _ANY): NotSupported,
    (StatusCode.UNAUTHENTICATED, _ANY): AccessDenied,
    (StatusCode.PERMISSION_DENIED, _ANY): AccessDenied,
    (StatusCode.INTERNAL, _ANY): ServerFault,
    (StatusCode.UNKNOWN, _ANY): ServerFault,
    (StatusCode.DATA_LOSS, _ANY): ServerFault,
}


def error_class(code: StatusCode, reason: str) -> type[SchedulerError]:
    """The leaf for a code and a reason ("" where none was said)."""
    return _TABLE.get((code, reason)) or _TABLE.get((code, _ANY)) or SchedulerError
