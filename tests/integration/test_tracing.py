"""One trace from the queue service to the worker, through real processes and a collector that speaks OTLP."""

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from scheduler_server.client import Task
from scheduler_server.telemetry.push_instruments import SPAN_ENDS as _ENDS
from tests.integration.processes import Child, House, Server, eventually, until
from tests.integration.test_metrics import METRICS, samples, scrape, url_of
from tests.otlp_collector import Collector, attributes, collecting

_PROGRAM = str(Path(__file__).parent / "traced_program.py")
_ASSIGN = "scheduler_api.v1.ScheduleService/Assign"
_REPORT = "scheduler_api.v1.ScheduleService/ReportOutcome"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


def program(house: House, **told: object) -> Child:
    return house.child([sys.executable, _PROGRAM, json.dumps(told)])


async def asked(house: House, server: Server, collector: Collector, *tasks: str, **told: object) -> None:
    """Tasks placed by a queue service that is traced."""
    about = {"be": "client", "collector": collector.url, "address": server.address, "tasks": tasks}
    child = program(house, **(about | {"delivery": "stream", "task_type": "nap"} | told))
    assert await child.ended() == 0, child.errors


def by_name(collector: Collector, trace_id: bytes) -> dict[tuple[str, str], Span]:
    """The spans of one trace by service and name."""
    return {(service, span.name): span for service, span in collector.spans() if span.trace_id == trace_id}


async def trace_of(collector: Collector, name: str, *wanted: tuple[str, str]) -> dict[tuple[str, str], Span]:
    """The trace whose first span has this name, once all these are in it."""
    found: dict[tuple[str, str], Span] = {}

    def there() -> bool:
        first = [span for _, span in collector.spans() if span.name == name]
        if first:
            found.update(by_name(collector, first[0].trace_id))
        return found.keys() >= set(wanted)

    await until(there, f"{wanted} of {name}; there is {[(service, span.name) for service, span in collector.spans()]}")
    return found


def chain(spans: dict[tuple[str, str], Span], *names: tuple[str, str]) -> None:
    """Each of these is the parent of the next."""
    for above, below in pairwise(names):
        assert spans[below].parent_span_id == spans[above].span_id, f"{below} is not below {above}"


async def test_a_task_is_one_trace_from_the_caller_to_the_worker(house: House, collector: Collector) -> None:
    server = await house.server(traces_otlp_endpoint=collector.url)
    program(house, be="worker", collector=collector.url, address=server.address, worker_id="w")
    await server.connected("w")
    await asked(house, server, collector, "one", "two")  # of one slot: the second waits
    served = "scheduler-server"
    parts = [(served, name) for name in (_ASSIGN, "dispatch", "outcome")]
    ours = [("client", "two"), ("client", _ASSIGN), *parts, (served, "wait"), ("worker", "run"), ("worker", "inside")]
    two = await trace_of(collector, "two", *ours)
    chain(two, ("client", "two"), ("client", _ASSIGN), (served, _ASSIGN), (served, "wait"))
    chain(two, (served, _ASSIGN), (served, "dispatch"), ("worker", "run"), ("worker", "inside"))
    chain(two, (served, _ASSIGN), (served, "outcome"))
    assert two["client", _ASSIGN].kind == Span.SPAN_KIND_CLIENT
    assert two[served, _ASSIGN].kind == Span.SPAN_KIND_SERVER
    assert two[served, "dispatch"].kind == Span.SPAN_KIND_PRODUCER
    assert two["worker", "run"].kind == Span.SPAN_KIND_CONSUMER
    about = attributes(two[served, "dispatch"])
    assert (about["scheduler.task_id"], about["scheduler.worker_id"]) == ("two", "w")
    assert attributes(two[served, "outcome"])["scheduler.outcome"] == "succeeded"
    assert attributes(two[served, _ASSIGN])["rpc.response.status_code"] == "OK"
    wait, dispatch = two[served, "wait"], two[served, "dispatch"]
    assert wait.start_time_unix_nano < wait.end_time_unix_nano <= dispatch.start_time_unix_nano + 1_000
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in two.values())
    one = await trace_of(collector, "one", *parts)
    assert one["client", "one"].trace_id != two["client", "two"].trace_id
    assert (served, "wait") not in one
    assert len({span.span_id for _, span in collector.spans()}) == len(collector.spans()), "each span once"
    assert await server.terminate() == 0
    assert not [line for line in server.errors if " ERROR " in line or " WARNING " in line]


async def test_reports_failures_and_callers_that_do_not_sample_are_told_for_what_they_are(
    house: House, collector: Collector
) -> None:
    server = await house.server(traces_otlp_endpoint=collector.url)
    program(house, be="worker", collector=collector.url, address=server.address, worker_id="w")
    await server.connected("w")
    served = "scheduler-server"
    # A caller that does not sample: nobody behind it does.
    await asked(house, server, collector, "unseen", sampled=False)
    # One that delivers the task by its own means: its report is a span, and the outcome links to it.
    await asked(house, server, collector, "mine", delivery="caller")
    mine = await trace_of(collector, "mine", (served, _ASSIGN), (served, _REPORT), (served, "outcome"))
    chain(mine, ("client", "mine"), ("client", _REPORT), (served, _REPORT))
    chain(mine, (served, _ASSIGN), (served, "outcome"))
    assert (served, "dispatch") not in mine, "the server handed nothing over"
    [link] = mine[served, "outcome"].links
    assert link.span_id == mine[served, _REPORT].span_id
    # A handler that fails: an error in every span that knows of it.
    await asked(house, server, collector, "bad", task_type="broken")
    bad = await trace_of(collector, "bad", (served, "outcome"), ("worker", "run"))
    for name in ((served, "outcome"), ("worker", "run")):
        assert bad[name].status.code == Status.STATUS_CODE_ERROR, name
        assert "no good" in bad[name].status.message
    assert bad[served, _ASSIGN].status.code == Status.STATUS_CODE_UNSET, "placing it went well"
    assert not [span for _, span in collector.spans() if attributes(span).get("scheduler.task_id") == "unseen"]


async def test_a_server_without_the_setting_makes_no_span_and_passes_the_callers_on(
    house: House, collector: Collector
) -> None:
    server = await house.server()
    program(house, be="worker", collector=collector.url, address=server.address, worker_id="w")
    await server.connected("w")
    await asked(house, server, collector, "plain")
    spans = await trace_of(collector, "plain", ("client", _ASSIGN))
    assert not [name for service, name in spans if service == "scheduler-server"]
    assert not [line for line in server.errors if "spans go" in line]


@pytest.mark.parametrize("how", ["dead", "refusing"])
async def test_a_collector_that_takes_nothing_costs_counted_spans_and_one_warning(house: House, how: str) -> None:
    with collecting() as collector:
        collector.refuse = grpc.StatusCode.UNAUTHENTICATED
        url = collector.url if how == "refusing" else "http://127.0.0.1:1"
        server = await house.server(
            traces_otlp_endpoint=url, traces_otlp_timeout_s=1, traces_max_queued=64, metrics_listen="127.0.0.1:0"
        )
        await house.workers(server, "w", slots=4)
        tasks = [Task(task_id=f"t{number}", task_type="digest") for number in range(60)]
        for task in tasks:
            await server.hand_over(task)
        await server.finished(*tasks)
        await until(lambda: any(line.startswith(METRICS) for line in server.lines), "it tells where")
        metrics = url_of(server)
        told: dict[str, float] = {}

        async def accounted() -> bool:
            got = samples(await scrape(metrics))
            told.update((end, got[f'scheduler_traces_spans_total{{result="{end}"}}']) for end in _ENDS)
            return told["failed"] + told["dropped"] >= 3 * len(tasks)  # assign, dispatch, outcome; and wait for some

        await eventually(accounted, f"each span is failed or dropped: {told}")
        assert told["exported"] == 0
        assert await server.terminate() == 0
        warned = [line for line in server.errors if "does not take spans" in line]
        assert len(warned) == 1, server.errors
        assert not [line for line in server.errors if " ERROR " in line or "Traceback" in line]
        assert not [line for line in server.errors if "opentelemetry" in line], "its own log is not ours"
