"""The caller's trace goes along, without an SDK and with one."""

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scheduler_server.client import TaskStream, TaskUnknown
from scheduler_server.client import tracing as client_tracing
from scheduler_server.client.task import Task
from scheduler_server.client.tracing import CallSpan, carried
from scheduler_server.worker import TaskDeclined
from scheduler_server.worker import tracing as worker_tracing
from scheduler_server.worker.running import Lease
from scheduler_server.worker.task_context import TaskContext, context_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Spans of a program that has configured an SDK, for one test."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


def one(kept: InMemorySpanExporter) -> ReadableSpan:
    [span] = kept.get_finished_spans()
    return span


def handed_over(parent: str) -> TaskContext:
    from scheduler_api.v1 import worker_pb2

    run = worker_pb2.RunTask(lease_id="l")
    run.task.task_id, run.task.task_type = "one", "nap"
    run.trace.traceparent = parent
    return context_of(Lease(lease_id="l", run=run))


def test_without_an_sdk_and_a_span_nothing_is_sent_along() -> None:
    with CallSpan("Assign") as span:
        assert span.metadata == ()
    assert carried() == {}


def test_a_call_is_a_span_and_its_context_is_sent_along(kept: InMemorySpanExporter) -> None:
    with CallSpan("Assign") as span:
        [(name, value)] = span.metadata
    made = one(kept)
    assert made.context is not None
    flags = int(made.context.trace_flags)
    assert flags & 1
    assert (name, value) == (
        "traceparent",
        f"00-{made.context.trace_id:032x}-{made.context.span_id:016x}-{flags:02x}",
    )
    assert made.name == "scheduler_api.v1.ScheduleService/Assign"
    assert made.attributes is not None
    assert made.attributes["rpc.response.status_code"] == "OK"


def test_a_call_that_fails_is_an_error_with_its_status(kept: InMemorySpanExporter) -> None:
    import grpc

    with pytest.raises(TaskUnknown), CallSpan("GetTask"):
        raise TaskUnknown(grpc.StatusCode.NOT_FOUND, message="task 'x' is not known")
    made = one(kept)
    assert made.attributes is not None
    assert made.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert made.status.status_code is trace.StatusCode.ERROR


def test_entries_of_a_stream_carry_the_context_of_who_adds_them(kept: InMemorySpanExporter) -> None:
    added: list[dict[str, object]] = []

    class Redis:
        def xadd(self, name: str, fields: dict[str, object]) -> bytes:
            added.append(fields)
            return b"1-0"

        def pipeline(self, transaction: bool = True) -> None:
            raise NotImplementedError

    stream = TaskStream(Redis())
    stream.add(Task(task_id="one", task_type="nap"))
    with trace.get_tracer("queue").start_as_current_span("order"):
        stream.add(Task(task_id="two", task_type="nap"))
    assert [set(fields) for fields in added] == [{"task"}, {"task", "traceparent"}]


def test_a_handler_runs_below_the_span_that_the_server_names(kept: InMemorySpanExporter) -> None:
    with worker_tracing.running(handed_over(PARENT)):
        inside = trace.get_current_span().get_span_context()
    made = one(kept)
    assert (made.name, made.context) == ("run", inside)
    assert made.parent is not None
    assert f"00-{made.parent.trace_id:032x}-{made.parent.span_id:016x}-01" == PARENT


@pytest.mark.parametrize("parent", ["", PARENT[:-1] + "0"])
def test_a_task_that_nobody_traces_gets_no_span(kept: InMemorySpanExporter, parent: str) -> None:
    with worker_tracing.running(handed_over(parent)):
        pass
    assert kept.get_finished_spans() == ()


def test_a_handler_that_fails_marks_its_span_and_one_that_gives_back_does_not(kept: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="no good"), worker_tracing.running(handed_over(PARENT)):
        raise ValueError("no good")
    with pytest.raises(TaskDeclined), worker_tracing.running(handed_over(PARENT)):
        raise TaskDeclined("not here")
    failed, declined = kept.get_finished_spans()
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert declined.status.status_code is trace.StatusCode.UNSET
    assert declined.attributes is not None
    assert declined.attributes["scheduler.declined"] is True


def test_without_the_api_everything_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (client_tracing, worker_tracing):
        monkeypatch.setattr(module, "_HERE", False)
    with CallSpan("Assign") as span, worker_tracing.running(handed_over(PARENT)):
        assert (span.metadata, carried(), worker_tracing.current()) == ((), {}, "")
