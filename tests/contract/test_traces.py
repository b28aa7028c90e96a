"""Where a call's trace is named, and what becomes of it: over the wire, with a collector of our own."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.model.trace import Trace
from scheduler_server.rpc.entry import Entries
from scheduler_server.telemetry import span_export
from scheduler_server.telemetry.line_format import JsonLines
from scheduler_server.telemetry.logs import _Enqueue
from scheduler_server.telemetry.settings import TraceSettings
from scheduler_server.telemetry.trace_context import CURRENT
from tests.contract.server import DEADLINE_S, WALL_MS, Running, heartbeat, running, settings, span, task, until
from tests.otlp_collector import Collector, attributes, collecting

_SUCCEEDED = task_pb2.OUTCOME_STATUS_SUCCEEDED
TRACE, OTHER = "0af7651916cd43dd8448eb211c80319c", "1bf7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-1] + "0"
STATE = "vendor=one"


@pytest.fixture(autouse=True)
def sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_export, "_GATHER_S", 0.05)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@asynccontextmanager
async def tracing(collector: Collector, **more: Any) -> AsyncIterator[Running]:
    traces = TraceSettings(otlp_endpoint=collector.url, **more)
    async with running(settings(traces=traces)) as server:
        yield server


async def spans(collector: Collector, count: int) -> dict[str, Span]:
    """So many spans, by name; they are the only ones."""
    await until(lambda: len(collector.spans()) >= count, f"{count} spans; there are {collector.spans()}")
    found = {each.name.rpartition("/")[2]: each for _, each in collector.spans()}
    assert len(collector.spans()) == count
    return found


async def handed(server: Running, stream: Any, **context: Any) -> Any:
    """Assign a task that goes over the stream; what its worker was sent."""
    metadata = context.pop("metadata", ())
    request = api.AssignRequest(task=task("one"), delivery=task_pb2.DELIVERY_STREAM, **context)
    await server.stub.Assign(request, metadata=metadata, timeout=DEADLINE_S)
    while True:
        directive = await stream.next()
        if directive.HasField("run_task"):
            return directive.run_task


async def acknowledged(stream: Any, run: Any) -> None:
    beat = heartbeat("w", sequence=9, queue_depth=1)
    report = beat.reports.add(lease_id=run.lease_id)
    report.acknowledged.SetInParent()
    await stream.send(sequence=9, reports=list(beat.reports), queue_depth=1)


async def test_the_callers_span_may_be_named_by_metadata_or_by_the_message(collector: Collector) -> None:
    async with tracing(collector) as server:
        stream = await server.sdk_worker("w")
        run = await handed(server, stream, metadata=(("traceparent", PARENT), ("tracestate", STATE)))
        await acknowledged(stream, run)
        found = await spans(collector, 2)
    assert {each.trace_id.hex() for each in found.values()} == {TRACE}
    assert found["Assign"].parent_span_id.hex() == PARENT[36:52]
    assert found["Assign"].trace_state == STATE
    assert found["dispatch"].parent_span_id == found["Assign"].span_id
    assert run.trace.traceparent == f"00-{TRACE}-{found['dispatch'].span_id.hex()}-01", "the worker hangs below it"
    assert run.trace.tracestate == STATE
    with collecting() as second:
        async with tracing(second) as server:
            await server.worker("w")
            request = api.AssignRequest(task=task("one"), trace=task_pb2.TraceContext(traceparent=PARENT))
            await server.stub.Assign(request, timeout=DEADLINE_S)
            [assigned] = (await spans(second, 1)).values()
    assert (assigned.trace_id.hex(), assigned.parent_span_id.hex()) == (TRACE, PARENT[36:52])


async def test_metadata_goes_before_the_message(collector: Collector) -> None:
    async with tracing(collector) as server:
        await server.worker("w")
        other = task_pb2.TraceContext(traceparent=PARENT.replace(TRACE, OTHER))
        await server.stub.Assign(
            api.AssignRequest(task=task("one"), trace=other), metadata=(("traceparent", PARENT),), timeout=DEADLINE_S
        )
        [assigned] = (await spans(collector, 1)).values()
    assert assigned.trace_id.hex() == TRACE


@pytest.mark.parametrize("parent", ["", "nonsense", PARENT.upper(), "00-" + "0" * 32 + PARENT[35:]])
async def test_a_malformed_context_is_ignored_and_the_task_begins_a_trace(collector: Collector, parent: str) -> None:
    async with tracing(collector) as server:
        await server.worker("w")
        metadata = (("traceparent", parent),) if parent else ()
        await server.stub.Assign(api.AssignRequest(task=task("one")), metadata=metadata, timeout=DEADLINE_S)
        [assigned] = (await spans(collector, 1)).values()
    assert not assigned.parent_span_id
    assert assigned.trace_id.hex() not in (TRACE, "0" * 32)


async def test_each_task_of_a_batch_has_its_own_parts_below_the_call_or_below_its_own_trace(
    collector: Collector,
) -> None:
    async with tracing(collector) as server:
        await server.worker("w")
        requests = [api.AssignRequest(task=task("one")), api.AssignRequest(task=task("two"))]
        requests[1].trace.traceparent = PARENT.replace(TRACE, OTHER)
        answer = await server.stub.AssignBatch(
            api.AssignBatchRequest(requests=requests), metadata=(("traceparent", PARENT),), timeout=DEADLINE_S
        )
        for result in answer.results:
            await server.report(result.response.decision.lease_id, duration=span(1))
        await until(lambda: len(collector.spans()) >= 3, "the call and two outcomes")
        outcomes = {
            attributes(each)["scheduler.task_id"]: each for _, each in collector.spans() if each.name == "outcome"
        }
        [call] = [each for _, each in collector.spans() if each.name.endswith("/AssignBatch")]
    assert call.parent_span_id.hex() == PARENT[36:52]
    assert outcomes["one"].parent_span_id == call.span_id
    assert (outcomes["two"].trace_id.hex(), outcomes["two"].parent_span_id.hex()) == (OTHER, PARENT[36:52])


async def test_a_refusal_is_a_span_and_no_error_of_the_server(collector: Collector) -> None:
    async with tracing(collector) as server:
        with pytest.raises(grpc.aio.AioRpcError):
            await server.stub.Assign(api.AssignRequest(task=task("one")), timeout=DEADLINE_S)
        [assigned] = (await spans(collector, 1)).values()
    assert attributes(assigned)["rpc.response.status_code"] == "RESOURCE_EXHAUSTED"
    assert assigned.status.code == 0


async def test_the_same_task_in_another_trace_is_the_same_task(collector: Collector) -> None:
    async with tracing(collector) as server:
        await server.worker("w")
        answers = [
            await server.stub.Assign(
                api.AssignRequest(task=task("one")), metadata=(("traceparent", parent),), timeout=DEADLINE_S
            )
            for parent in (PARENT, PARENT.replace(TRACE, OTHER))
        ]
    assert [answer.replayed for answer in answers] == [False, True]
    assert answers[0].decision.lease_id == answers[1].decision.lease_id


async def test_an_outcome_links_to_the_span_that_its_report_names(collector: Collector) -> None:
    async with tracing(collector) as server:
        stream = await server.sdk_worker("w")
        leases = [(await server.assign(name)).decision.lease_id for name in ("one", "two")]
        beat = heartbeat("w", sequence=2, queue_depth=2)
        said = beat.reports.add(lease_id=leases[0])
        said.finished.status = task_pb2.OUTCOME_STATUS_SUCCEEDED
        said.trace.traceparent = PARENT
        await stream.send(sequence=2, queue_depth=2, reports=list(beat.reports))
        reports = [api.OutcomeReport(lease_id=leases[1], outcome=task_pb2.Outcome(status=_SUCCEEDED))]
        reports[0].trace.traceparent = PARENT.replace(TRACE, OTHER)
        await server.stub.ReportOutcome(api.ReportOutcomeRequest(reports=reports), timeout=DEADLINE_S)
        await until(lambda: len(collector.spans()) >= 4, "two calls and two outcomes")
        outcomes = {
            attributes(each)["scheduler.task_id"]: each for _, each in collector.spans() if each.name == "outcome"
        }
    links = {name: [link.trace_id.hex() for link in each.links] for name, each in outcomes.items()}
    assert links == {"one": [TRACE], "two": [OTHER]}


async def test_where_nothing_is_traced_a_task_still_carries_what_its_message_names() -> None:
    async with running() as server:
        stream = await server.sdk_worker("w")
        context = task_pb2.TraceContext(traceparent=UNSAMPLED, tracestate=STATE)
        run = await handed(server, stream, trace=context)
    assert (run.trace.traceparent, run.trace.tracestate) == (UNSAMPLED, STATE)


@pytest.mark.parametrize(("ratio", "expected"), [(0.0, 0), (1.0, 20)])
async def test_of_tasks_that_nobody_traces_the_share_that_is_set_begins_a_trace(
    collector: Collector, ratio: float, expected: int
) -> None:
    async with tracing(collector, sample_ratio=ratio) as server:
        await server.worker("w")
        for _ in range(20):
            await server.stub.Assign(api.AssignRequest(task=task("again")), timeout=DEADLINE_S)
        # A caller that samples is traced whatever the share.
        await server.stub.Assign(
            api.AssignRequest(task=task("again")), metadata=(("traceparent", PARENT),), timeout=DEADLINE_S
        )
        await until(lambda: len(collector.spans()) >= expected + 1, "spans")
    assert len(collector.spans()) == expected + 1


async def test_a_queue_of_spans_that_is_full_drops_what_comes_and_counts_it(collector: Collector) -> None:
    async with tracing(collector, max_queued=64) as server:
        await server.worker("w")
        tracing_ = server.app.outlets.tracing
        assert tracing_ is not None
        export = tracing_._export
        assert export is not None
        tracing_._offered = export.taken + 63  # as if so many waited
        for _ in range(3):
            await server.stub.Assign(api.AssignRequest(task=task("again")), timeout=DEADLINE_S)
        await until(lambda: tracing_.ends["exported"] == 1, "the one for which there was room")
        assert tracing_.ends == {"exported": 1, "dropped": 2, "failed": 0}


# ---------------------------------------------------------------------- entries and logs


@pytest.mark.parametrize("whole", [False, True])
def test_an_entry_carries_a_trace_as_fields_beside_its_task(whole: bool) -> None:
    message = task_pb2.Task(task_id="one", task_type="resize")
    fields = {b"task": message.SerializeToString()} if whole else {b"task_id": b"one", b"task_type": b"resize"}
    entries = Entries()
    for _ in range(2):  # the second time from what the first has prepared
        traced = entries.read(fields | {b"traceparent": PARENT.encode(), b"tracestate": STATE.encode()}).task
        assert traced.trace == (PARENT, STATE)
        plain = entries.read(fields).task
        assert plain == traced._replace(trace=None)
        assert entries.read(fields | {b"traceparent": b"\xff\x00"}).task == plain, "malformed: ignored"


async def test_a_task_from_a_stream_has_a_span_since_its_entry_was_added(collector: Collector) -> None:
    async with tracing(collector) as server:
        entries = server.app.outlets.entries()
        fields = {b"task_id": b"one", b"task_type": b"resize", b"traceparent": PARENT.encode()}
        taken = entries.received(entries.read(fields).task, f"{WALL_MS - 2_500}-7")
        [received] = (await spans(collector, 1)).values()
        untraced = entries.received(taken._replace(trace=Trace(UNSAMPLED)), "nonsense")
    assert (received.name, received.kind) == ("receive", Span.SPAN_KIND_CONSUMER)
    assert (received.trace_id.hex(), received.parent_span_id.hex()) == (TRACE, PARENT[36:52])
    assert received.end_time_unix_nano - received.start_time_unix_nano == pytest.approx(2.5e9, abs=1e6)
    assert taken.trace is not None
    assert taken.trace.parent == f"00-{TRACE}-{received.span_id.hex()}-01", "what becomes of it hangs below"
    assert untraced.trace == Trace(UNSAMPLED)


def test_log_records_of_a_traced_call_carry_its_ids() -> None:
    from scheduler_server.model.trace import Trace

    records: list[logging.LogRecord] = []

    class Kept:
        def offer(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = _Enqueue(Kept())  # type: ignore[arg-type]  # of it only `offer` is used
    token = CURRENT.set(Trace(PARENT))
    try:
        handler.handle(logging.makeLogRecord({"msg": "inside"}))
    finally:
        CURRENT.reset(token)
    handler.handle(logging.makeLogRecord({"msg": "outside"}))
    inside, outside = (JsonLines().format(record) for record in records)
    assert f'"trace_id": "{TRACE}", "span_id": "{PARENT[36:52]}"' in inside
    assert "trace_id" not in outside
