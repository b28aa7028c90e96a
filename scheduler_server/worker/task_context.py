"""What a handler is given."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from scheduler_server.worker.running import Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """One attempt of one task, as it was handed over."""

    lease_id: str
    task_id: str
    attempt: int
    tenant: str
    task_type: str
    category: str
    payload: bytes
    features: Mapping[str, float]
    attributes: Mapping[str, str]
    predicted_duration_s: float | None  # None: nothing known
    trace: str | None  # the server's span as a W3C traceparent; None: not traced
    trace_state: str = ""  # what goes with it, as a W3C tracestate
    cancelled: threading.Event  # set when the task is to stop; a coroutine is cancelled as well


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTask:
    """A task that its queue service delivered; the body of `with` runs it."""

    lease_id: str
    cancelled: threading.Event  # set when the task is to stop


def context_of(lease: Lease) -> TaskContext:
    """The handler's view of a lease that was handed over on the stream."""
    run = lease.run
    if run is None:
        raise ValueError(f"lease {lease.lease_id} was not handed over on the stream")
    task = run.task
    predicted = run.predicted_duration.ToNanoseconds() / 1e9 if run.HasField("predicted_duration") else None
    return TaskContext(
        lease_id=lease.lease_id,
        task_id=task.task_id,
        attempt=task.attempt or 1,
        tenant=task.tenant,
        task_type=task.task_type,
        category=task.category,
        payload=task.payload,
        features=dict(task.features),
        attributes=dict(task.attributes),
        predicted_duration_s=predicted,
        trace=run.trace.traceparent or None,
        trace_state=run.trace.tracestate,
        cancelled=lease.cancelled,
    )
