"""A task that is traced is run inside a span of its own, below the one that the server names.

Through OpenTelemetry's API alone: what becomes of the span is up to the program, which configures an SDK, or does not;
then whatever the handler calls is told of the server's span. Without the API installed nothing of this happens. A task
that the server does not trace gets no span either: it would be the first of a trace that nobody asked for.
"""

from collections.abc import Iterator
from contextlib import contextmanager

try:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:  # it comes with this package, but whoever copies this folder may do without
    _HERE = False
else:
    _HERE = True

from scheduler_server.worker.errors import TaskDeclined
from scheduler_server.worker.task_context import TaskContext


def current() -> str:
    """`traceparent` of the span at hand; empty without one."""
    carrier: dict[str, str] = {}
    if _HERE:
        TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


@contextmanager
def running(task: TaskContext) -> Iterator[None]:
    """Run the handler inside. What it raises goes through, and marks the span; a task given back is no error."""
    if not _HERE or task.trace is None:
        yield
        return
    carrier = {"traceparent": task.trace, "tracestate": task.trace_state}
    parent = TraceContextTextMapPropagator().extract(carrier)
    about: dict[str, str | int] = {
        "scheduler.task_id": task.task_id,
        "scheduler.attempt": task.attempt,
        "scheduler.task_type": task.task_type,
        "scheduler.lease_id": task.lease_id,
    }
    tracer = trace.get_tracer("scheduler_server.worker")
    declined: TaskDeclined | None = None
    with tracer.start_as_current_span("run", parent, kind=trace.SpanKind.CONSUMER, attributes=about):
        try:
            yield
        except TaskDeclined as error:
            trace.get_current_span().set_attribute("scheduler.declined", True)
            declined = error
    if declined is not None:
        raise declined
