"""The caller's trace goes along with each call, and each call is a span of it.

Through OpenTelemetry's API alone: what becomes of the spans is up to the program, which configures an SDK, or does not;
then a call costs three microseconds more, and the span of whoever called it, if there is one, is passed on as it is.
Without the API installed nothing of this happens.
"""

from types import TracebackType
from typing import Self

import grpc

from scheduler_server.client.channel import SERVICE, Metadata
from scheduler_server.client.errors import SchedulerError

try:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:  # it comes with this package, but whoever copies this folder may do without
    _HERE = False
else:
    _HERE = True

_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


def carried() -> dict[str, str]:
    """`traceparent` and `tracestate` of the span at hand, for what carries a task elsewhere; empty without one."""
    carrier: dict[str, str] = {}
    if _HERE:
        TraceContextTextMapPropagator().inject(carrier)
    return carrier


class CallSpan:
    """The span of one call, over all its retries by gRPC. `metadata` is to be sent with it."""

    __slots__ = ("_scope", "_span", "metadata")

    def __init__(self, method: str) -> None:
        self.metadata: Metadata = ()
        self._span = None
        if not _HERE:
            return
        name = f"{SERVICE}/{method}"
        about = {"rpc.system.name": "grpc", "rpc.method": name}
        span = trace.get_tracer("scheduler_server.client").start_span(
            name, kind=trace.SpanKind.CLIENT, attributes=about
        )
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span))
        self.metadata = tuple(carrier.items())
        self._span = span

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        span = self._span
        if span is None:
            return
        if span.is_recording():
            code = "OK" if error is None else _code(error)
            span.set_attribute("rpc.response.status_code", code)
            if error is not None:  # for a client every status but OK is an error
                span.set_status(trace.StatusCode.ERROR, str(error)[:256])
        span.end()


def _code(error: BaseException) -> str:
    if isinstance(error, SchedulerError):
        return error.code.name
    return grpc.StatusCode.CANCELLED.name if not isinstance(error, Exception) else grpc.StatusCode.UNKNOWN.name
