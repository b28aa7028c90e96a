"""ScheduleService with spans: what is registered in the place of the plain one when traces are on.

So while they are off, nothing on the way of a call asks whether they are.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import grpc
from opentelemetry.trace import SpanKind

from scheduler_api.v1 import schedule_service_pb2, worker_pb2
from scheduler_server.assignment.events import Heartbeat, ReportOutcome, Submit
from scheduler_server.model.clock import Now
from scheduler_server.model.task import Task
from scheduler_server.model.trace import Trace, trace_of
from scheduler_server.rpc import decode, decode_beat
from scheduler_server.rpc.checks import Faults
from scheduler_server.rpc.errors import NotSupported, Refused, on_bytes, status_of
from scheduler_server.rpc.schedule import ScheduleCalls
from scheduler_server.rpc.shell import Shell
from scheduler_server.telemetry.task_spans import of_task
from scheduler_server.telemetry.trace_context import CURRENT, NO_REPORTS, REPORTER, REPORTS
from scheduler_server.telemetry.tracing import Sketch, Tracing, caller_of

_T = TypeVar("_T")

_SERVICE = "scheduler_api.v1.ScheduleService"

_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Statuses that are the server's fault, and make its span one of an error; the others are the caller's to judge
(OpenTelemetry's semantic conventions for gRPC)."""


class TracedCalls(ScheduleCalls):
    """The same calls, each below the span that its caller's metadata or its message names."""

    def __init__(self, shell: Shell, tracing: Tracing) -> None:
        super().__init__(shell)
        self._tracing = tracing
        self._decode_report = report

    @on_bytes
    async def Assign(self, request: bytes, context: Any) -> bytes:
        """Choose a worker and lease a slot."""
        caller = caller_of(context.invocation_metadata())
        self.refuse_if_draining()
        event = self._read(request)
        task = event.task
        if task.trace is not None:
            caller = caller or task.trace
        own = self._tracing.below(caller)
        if own is None:
            # A caller that does not want to be traced is passed on: then nobody behind us traces it either.
            if caller is not task.trace:
                event = event._replace(task=task._replace(trace=caller))
            return await self._answer(event, context)
        task = task._replace(trace=own)
        answer = self._answer(event._replace(task=task), context)
        return await self._spanned("Assign", own, caller, context, answer, task)

    @on_bytes
    async def AssignBatch(self, request: bytes, context: Any) -> bytes:
        """Many tasks, in order: one span for the call, and one below it for each task."""
        caller = caller_of(context.invocation_metadata())
        own = self._tracing.below(caller)

        def read(data: bytes, number: int | None = None) -> Submit:
            event = self._read(data, number)
            of_item = event.task.trace
            # An item that names a trace of its own belongs to that; its part is told by wait, dispatch and outcome.
            return event._replace(task=event.task._replace(trace=of_item or own or caller))

        return await self._spanned("AssignBatch", own, caller, context, self._assign_batch(request, read))

    async def ReportOutcome(
        self, request: schedule_service_pb2.ReportOutcomeRequest, context: Any
    ) -> schedule_service_pb2.ReportOutcomeResponse:
        """How tasks ended; traced where the reporter is.

        The span of an outcome links to the one that its report names, or else to that of this call.
        """
        caller = caller_of(context.invocation_metadata())
        own = self._tracing.below(caller) if caller is not None else None
        return await self._spanned("ReportOutcome", own, caller, context, super().ReportOutcome(request, context))

    async def _spanned(
        self,
        method: str,
        own: Trace | None,
        caller: Trace | None,
        context: Any,
        work: Awaitable[_T],
        task: Task | None = None,
    ) -> _T:
        if own is None:
            return await work
        CURRENT.set(own)  # for as long as the call lasts: each has a context of its own
        if method == "ReportOutcome":
            REPORTER.set(own)
        begun, status = self._now().wall, "CANCELLED"
        try:
            answered = await work
            status = "OK"
            return answered
        except BaseException as error:
            status = _status(error, context)
            raise
        finally:
            name = f"{_SERVICE}/{method}"
            error_told = status if status in _FAULTS else ""
            end = self._now().wall
            about = (name, status, task)
            self._tracing.add(Sketch(name, SpanKind.SERVER, own, caller, begun, end, _of_call, about, error_told))


def _of_call(method: str, status: str, task: Task | None) -> dict[str, str | int]:
    about: dict[str, str | int] = {} if task is None else of_task(task)
    return about | {"rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": status}


def report(message: schedule_service_pb2.OutcomeReport, prefix: str) -> ReportOutcome:
    """As `decode.report`; the span that it names is noted for the outcome that comes of it."""
    REPORTS.set(_named([message]) if message.HasField("trace") else NO_REPORTS)
    return decode.report(message, prefix)


def heartbeat(message: worker_pb2.WorkerHeartbeat, session: int, worker_id: str, wall: float) -> Heartbeat:
    """As `decode_beat.heartbeat`; the spans that its reports name are noted likewise."""
    REPORTS.set(_named(message.reports) if message.reports else NO_REPORTS)
    return decode_beat.heartbeat(message, session, worker_id, wall)


def _named(reports: Iterable[Any]) -> Mapping[str, Trace]:
    named = ((each.lease_id, trace_of(each.trace.traceparent)) for each in reports if each.HasField("trace"))
    return {lease_id: trace for lease_id, trace in named if trace is not None}


class Entered:
    """Tasks that come by stream: a span from the entry's own instant to when it was taken in."""

    def __init__(self, tracing: Tracing, now: Callable[[], Now]) -> None:
        self._tracing = tracing
        self._now = now

    def __call__(self, task: Task, entry_id: str) -> Task:
        """The task, below that span; see `entry.Entered`."""
        caller = task.trace
        own = self._tracing.below(caller)
        if own is None:
            return task
        now = self._now().wall
        added_ms = entry_id.partition("-")[0]
        begun = min(now, int(added_ms) / 1e3) if added_ms.isdigit() else now
        self._tracing.add(Sketch("receive", SpanKind.CONSUMER, own, caller, begun, now, of_task, (task,)))
        return task._replace(trace=own)


def _status(error: BaseException, context: Any) -> str:
    """The status that an error of a method ends its call with."""
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code.name
    if isinstance(error, (Faults, NotSupported, Refused)):
        return _NAMES.get(status_of(error).code, "UNKNOWN")
    return "INTERNAL" if isinstance(error, Exception) else "CANCELLED"


_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}
