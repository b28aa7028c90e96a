"""What is handed over on the event loop: values of the model by reference, so that it costs a microsecond.

Nothing of a task's payload or result is kept: what waits to be written must be small. Made from all fields in order
with `make(Decided, (...))` where every microsecond counts.
"""

from typing import NamedTuple, TypeAlias

from scheduler_server.model.decision import Decision
from scheduler_server.model.fleet_event import FleetEvent
from scheduler_server.model.making import make
from scheduler_server.model.task import Prospects, Task


class Decided(NamedTuple):
    """A decision was made. Instants are wall seconds.

    `enqueued_at` is None where the task did not wait, and `expected` what it was told then. `overrides` are pairs of id
    and effect.
    """

    decision: Decision
    category: str
    priority: float
    caller_choice: str
    enqueued_at: float | None = None
    expected: Prospects | None = None
    trace_id: str = ""
    overrides: tuple[tuple[str, str], ...] = ()


class Finished(NamedTuple):
    """A lease ended, or something about its end was told late. Instants are wall seconds.

    `speed` is the worker's, at its end: duration times speed is what is learned from. `status` is of OutcomeStatus, or
    None where nobody said how it ended. `task` comes from `without_payload`.
    """

    decision: Decision
    task: Task
    status: int | None
    duration_ms: float | None
    error_kind: str
    error_message: str
    started_at: float | None
    ended_at: float
    speed: float


class Sampled(NamedTuple):
    """How a worker is, or with worker_id "" the fleet: now (wall seconds), for the `covers_s` since its last sample."""

    at: float
    worker_id: str
    health: str
    accounting: str
    cpu: float
    memory: float
    load: float
    queue_depth: int
    slots: int
    running: int
    covers_s: float


class Happened(NamedTuple):
    """An event, with what the core does not say of it."""

    event: FleetEvent
    severity: str = ""
    task_type: str = ""
    tenant: str = ""
    task_id: str = ""
    lease_id: str = ""
    author: str = ""


class Shadowed(NamedTuple):
    """What another policy would have decided. `error` says why it could not; then the rest means nothing."""

    policy: str
    live: Decision
    worker_id: str
    wait_ms: float
    duration_ms: float
    score: float
    source: str
    cause: str
    error: str = ""


class Audited(NamedTuple):
    """A change that somebody made or tried, at a wall second; `code` is gRPC's."""

    at: float
    entry_id: str
    author: str
    role: str
    peer: str
    method: str
    subject_id: str
    reason: str
    before: str
    after: str
    code: int
    request: str


Entry: TypeAlias = Decided | Finished | Sampled | Happened | Shadowed | Audited

_PAYLOAD = Task._fields.index("payload")


def without_payload(task: Task) -> Task:
    """The task without its payload, which may be large; the task itself where it has none."""
    if not task[_PAYLOAD]:
        return task
    stripped: Task = make(Task, (*task[:_PAYLOAD], b"", *task[_PAYLOAD + 1 :]))
    return stripped
