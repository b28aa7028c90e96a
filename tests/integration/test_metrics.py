"""Metrics of real servers: the table against what is exported, figures against GetStatus, the process from outside."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from prometheus_client.parser import text_string_to_metric_families

from scheduler_api.v1 import admin_service_pb2 as admin_api
from scheduler_api.v1 import admin_service_pb2_grpc, task_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.app import App, StartError
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from scheduler_server.shadow.settings import ShadowSettings
from scheduler_server.telemetry.instrument import HISTOGRAM_SAMPLES, Kind
from scheduler_server.telemetry.instruments import INSTRUMENTS
from scheduler_server.telemetry.settings import MetricsSettings, TraceSettings
from tests.contract.server import DEADLINE_S, Clock, Running, running, task
from tests.integration.processes import House, Server, eventually, flags, free_port, nap, serve_command, until
from tests.otlp_collector import Collector, collecting
from tests.redis_server import redis_server

Samples = dict[str, float]
METRICS = "scheduler-server: metrics on "
ANY_PORT = MetricsSettings(listen="127.0.0.1:0")


def fetch(url: str) -> str:
    """GET, with a deadline. To be called in a thread: the server may be in this process."""
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as response:  # noqa: S310 -- the server of this test
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text: str = response.read().decode()
        return text


async def scrape(url: str) -> str:
    return await asyncio.to_thread(fetch, url)


def samples(text: str) -> Samples:
    """Values by name and labels, as they stand in the text."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def url_of(server: Server) -> str:
    [line] = [line for line in server.lines if line.startswith(METRICS)]
    return line.removeprefix(METRICS)


@pytest.fixture
async def measured(tmp_path: Path) -> AsyncIterator[Running]:
    """A server that keeps what it knows, takes tasks from Redis as well, and says what it measures."""
    with redis_server(tmp_path / "redis") as redis:
        async with measuring(tmp_path, redis.url) as server:
            yield server


@asynccontextmanager
async def measuring(tmp_path: Path, redis_url: str, collector: str = "") -> AsyncIterator[Running]:
    """Such a server; with a collector it sends metrics and spans there too."""
    configured = Settings(
        server=ServerSettings(listen="127.0.0.1:0"),
        storage=StorageSettings(state_folder=str(tmp_path / "state")),
        metrics=MetricsSettings(listen="127.0.0.1:0", otlp_endpoint=collector, otlp_interval_s=1.0),
        traces=TraceSettings(otlp_endpoint=collector),
        predictor=PredictorSettings(strategy="adaptive"),
        dispatch=DispatchSettings(url=redis_url),
        shadow=ShadowSettings(policies=("round_robin",)),
    )
    async with running(configured) as server:
        tasks = server.app.stores.tasks
        assert tasks is not None
        await until(lambda: tasks.link.works, "Redis was asked")
        yield server


async def lived(server: Running) -> None:
    """Something of everything that instruments may wait for: a worker, outcomes, a drift, waiting tasks, a snapshot."""
    stream = await server.worker("w", registration=None)
    for number in range(60):
        decided = await server.assign(f"t{number}", task_type="resize")
        await server.report(decided.decision.lease_id, duration={"seconds": 3 if number < 40 else 60})
        server.forward(1.0)
        await stream.beat()
    leases = [(await server.assign(f"full{number}")).decision.lease_id for number in range(5)]
    for number in range(2):
        request = api.AssignRequest(task=task(f"waits{number}"), enqueue=api.Enqueue())
        assert (await server.stub.Assign(request, timeout=DEADLINE_S)).HasField("waiting")
    await server.report(leases[0], duration={"seconds": 1})
    admin = admin_service_pb2_grpc.AdminServiceStub(server.channel)
    await admin.TakeSnapshot(admin_api.TakeSnapshotRequest(), timeout=DEADLINE_S)


# ---------------------------------------------------------------------- the table


async def test_what_is_exported_is_the_table_and_nothing_else(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as redis, collecting() as collector:
        async with measuring(tmp_path, redis.url, collector.url) as server:
            await lived(server)
            text = await scrape(server.app.metrics_url)
            same = await scrape_pushed(server, collector)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    del families["target_info"]
    always = {row.name for row in INSTRUMENTS if not row.absent}  # others may have come between scrape and push
    assert always <= set(same) <= {row.name for row in INSTRUMENTS}
    for row in INSTRUMENTS:
        if row.name in same:
            assert (same[row.name].unit, same[row.name].description) == (row.unit, row.meaning)
            assert same[row.name].WhichOneof("data") == _DATA[row.kind], row.name
    for row in INSTRUMENTS:
        family = families.pop(row.prometheus.removesuffix("_total"), None)
        if family is None and "Redis cannot tell" in row.absent:
            continue  # the bundled one is 6.2
        if family is None and row.name in _BY_SAMPLES:
            continue
        assert family is not None, f"{row.name} is in the table and not exported"
        assert family.type == _TYPES.get(row.kind, "gauge"), row.name
        assert family.documentation == row.meaning
        for label in row.labels:
            seen = {sample.labels[label.prometheus] for sample in family.samples}
            assert seen == set(label.values) or (row.name in _AS_IT_COMES and seen < set(label.values)), row.name
        histogram = row.kind is Kind.HISTOGRAM
        for sample in family.samples:
            assert sample.name.removeprefix(row.prometheus) in (HISTOGRAM_SAMPLES if histogram else ("",))
            assert set(sample.labels) - {"le"} == {label.prometheus for label in row.labels}, row.name
        series = {tuple(sorted(sample.labels.items())) for sample in family.samples if "le" not in sample.labels}
        assert len(series) <= row.most_series * (len(HISTOGRAM_SAMPLES) - 1 if histogram else 1)
    assert not families, "exported and not in the table"


_TYPES = {Kind.COUNTER: "counter", Kind.HISTOGRAM: "histogram"}
_DATA = {Kind.COUNTER: "sum", Kind.UP_DOWN_COUNTER: "sum", Kind.GAUGE: "gauge", Kind.HISTOGRAM: "histogram"}
_BY_SAMPLES = {"scheduler.workers.utilization", "scheduler.workers.spread", "scheduler.workers.max_over_mean"}
"""These come with samples of the fleet, seconds apart; tests of their own wait for them."""

_AS_IT_COMES = {"grpc.server.call.duration", "scheduler.shadow.decisions"}
"""Here a series is there once something of it has happened, or for the policies that are tried."""


async def scrape_pushed(server: Running, collector: Collector) -> dict[str, Metric]:
    """What is pushed from now on, by name."""
    pushed = collector.pushes + 1  # what is on its way may have been read before
    await until(lambda: collector.pushes > pushed, "it is pushed")
    assert collector.resource["service.instance.id"] == server.core.incarnation
    return collector.metrics()


async def test_no_label_carries_what_a_caller_has_named(measured: Running) -> None:
    await measured.worker("worker-zebra")
    await measured.assign("task-zebra", task_type="type-zebra", tenant="tenant-zebra", category="category-zebra")
    assert "zebra" not in await scrape(measured.app.metrics_url)


async def test_promtool_has_nothing_to_say_against_it(measured: Running) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        why = "promtool is not installed; Debian's prometheus has it"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{why}, and this is CI")
        pytest.skip(why)
    await lived(measured)
    text = await scrape(measured.app.metrics_url)
    command = [promtool, "check", "metrics"]
    check = await asyncio.to_thread(
        subprocess.run, command, input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (check.returncode, check.stdout + check.stderr) == (0, "")


# ---------------------------------------------------------------------- against GetStatus


async def test_the_figures_are_those_of_the_status(measured: Running) -> None:
    clock = measured.clock
    for number in range(4):
        await measured.worker(f"w{number}", cpu_usage=0.95 if number == 1 else 0.1, memory_usage=0.95)
    leaving = await measured.sdk_worker("w4", slots=3)
    for number in range(5):
        decided = await measured.assign(f"t{number}")
        if number % 2:
            await measured.report(decided.decision.lease_id, duration={"seconds": number})
    await measured.refuse("t9", required_capabilities=["nobody has it"])
    await leaving.lose()
    await measured.gone("w4")
    admin = admin_service_pb2_grpc.AdminServiceStub(measured.channel)
    status = await admin.GetStatus(admin_api.GetStatusRequest(), timeout=DEADLINE_S)
    got = samples(await scrape(measured.app.metrics_url))
    for health in ("healthy", "degraded", "unhealthy"):
        assert got[f'scheduler_workers{{health="{health}"}}'] == getattr(status.workers, health)
    assert got["scheduler_leases"] == status.leases == 3
    for each in status.decisions:
        source = task_source(each.source)
        cause = cause_of(each.cause)
        assert got[f'scheduler_decisions_total{{cause="{cause}",source="{source}"}}'] == each.count
    assert got['scheduler_streams{kind="worker"}'] == status.streams.workers == 4
    assert got['scheduler_refusals_total{reason="no_capable_worker"}'] == 1
    assert got["scheduler_uptime_seconds"] == clock.monotonic - measured.core.started.monotonic
    for store in status.stores:
        state = admin_api.StoreState.Name(store.state).removeprefix("STORE_STATE_").lower()
        assert got[f'scheduler_store_state{{state="{state}",store="{store.name}"}}'] == 1
    assert f'service_instance_id="{status.server_incarnation}"' in await scrape(measured.app.metrics_url)


def task_source(number: int) -> str:
    from scheduler_api.v1 import decision_pb2

    return decision_pb2.DecisionSource.Name(number).removeprefix("DECISION_SOURCE_").lower()  # type: ignore[arg-type]


def cause_of(number: int) -> str:
    from scheduler_api.v1 import decision_pb2

    return decision_pb2.DecisionCause.Name(number).removeprefix("DECISION_CAUSE_").lower()  # type: ignore[arg-type]


async def test_a_server_without_a_folder_says_that_nothing_survives() -> None:
    async with running(
        Settings(
            server=ServerSettings(listen="127.0.0.1:0"), storage=StorageSettings(state_folder=""), metrics=ANY_PORT
        )
    ) as server:
        got = samples(await scrape(server.app.metrics_url))
    assert got['scheduler_store_state{state="disabled",store="snapshot"}'] == 1
    assert "scheduler_snapshot_age_seconds" not in got


# ---------------------------------------------------------------------- beside the work


async def test_scrapes_beside_assigns_neither_fail_nor_fall_behind(measured: Running) -> None:
    done = 0

    async def work(lane: int) -> None:
        nonlocal done
        for number in range(150):
            task = task_pb2.Task(task_id=f"{lane}-{number}", task_type=f"type{number % 7}")
            decided = await measured.stub.Assign(api.AssignRequest(task=task), timeout=DEADLINE_S)
            await measured.report(decided.decision.lease_id, duration={"seconds": 1 + number % 3})
            done += 1

    async def come_and_go(lane: int) -> None:
        number = 0
        while done < 450:
            number += 1
            stream = await measured.worker(f"passing-{lane}-{number}", queue_depth=number % 3)
            await stream.lose()

    for number in range(4):
        await measured.worker(f"w{number}")
    lanes = [asyncio.create_task(work(lane)) for lane in range(3)]
    passing = [asyncio.create_task(come_and_go(lane)) for lane in range(2)]
    last: Samples = {}
    while not all(lane.done() for lane in lanes):
        got = samples(await scrape(measured.app.metrics_url))
        decided = sum(value for name, value in got.items() if name.startswith("scheduler_decisions_total"))
        for name, value in last.items():
            if name.partition("{")[0].endswith("_total"):
                assert got[name] >= value, f"{name} went back"
        assert decided <= 450
        last = got
    await asyncio.gather(*lanes, *passing)

    async def all_told() -> bool:
        got = samples(await scrape(measured.app.metrics_url))
        decided = sum(value for name, value in got.items() if name.startswith("scheduler_decisions_total"))
        return (decided, got['scheduler_outcomes_total{status="succeeded"}']) == (450, 450)

    await eventually(all_told, "every decision and outcome is counted")


async def test_a_server_that_goes_down_says_so_until_it_is_gone() -> None:
    app = App(
        Settings(
            server=ServerSettings(listen="127.0.0.1:0"), storage=StorageSettings(state_folder=""), metrics=ANY_PORT
        ),
        now=Clock(),
    )
    await app.start()
    assert samples(await scrape(app.metrics_url))["scheduler_draining"] == 0
    app.calls.draining = True

    async def told() -> bool:
        return samples(await scrape(app.metrics_url))["scheduler_draining"] == 1

    await eventually(told, "it drains")
    await app.stop(0.0)
    with pytest.raises(urllib.error.URLError):
        await scrape(app.metrics_url)


async def test_a_start_that_fails_leaves_no_port_open(tmp_path: Path) -> None:
    port = free_port()
    async with running() as other:
        taken = other.app.address
        app = App(
            Settings(
                server=ServerSettings(listen=taken),
                storage=StorageSettings(state_folder=str(tmp_path / "state")),
                metrics=MetricsSettings(listen=f"127.0.0.1:{port}"),
            )
        )
        with pytest.raises(StartError, match=r"server\.listen"):
            await app.start()
    with pytest.raises(urllib.error.URLError):
        await scrape(f"http://127.0.0.1:{port}/metrics")


# ---------------------------------------------------------------------- the process


async def test_a_server_process_tells_its_address_and_serves_a_worker_and_a_scraper(house: House) -> None:
    server = await house.server(metrics_listen="127.0.0.1:0")
    await until(lambda: any(line.startswith(METRICS) for line in server.lines), "it tells where")
    url = url_of(server)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", url)
    assert any(f"metrics on {url}" in line for line in server.errors)
    await house.workers(server, "a")
    task = nap("one", 0.01)
    await server.hand_over(task)
    await server.finished(task)

    async def told() -> bool:
        got = samples(await scrape(url))
        return got['scheduler_outcomes_total{status="succeeded"}'] == got["scheduler_prediction_judged_total"] == 1

    await eventually(told, "the outcome is counted")
    assert await server.terminate() == 0
    assert not [line for line in server.errors if " ERROR " in line or "Traceback" in line]


async def test_without_the_setting_there_is_no_endpoint(house: House) -> None:
    server = await house.server()
    assert not [line for line in server.lines + server.errors if "metrics" in line]
    assert await server.terminate() == 0
    assert not [line for line in server.lines if line.startswith(METRICS)]


@pytest.mark.parametrize("listen", ["taken", "203.0.113.1:9464"], ids=["port taken", "address not ours"])
async def test_an_address_that_cannot_be_is_one_line_and_exit_code_2(house: House, listen: str) -> None:
    first = await house.server(metrics_listen="127.0.0.1:0")
    await until(lambda: any(line.startswith(METRICS) for line in first.lines), "it tells where")
    if listen == "taken":
        listen = url_of(first).removeprefix("http://").removesuffix("/metrics")
    words = {"server_listen": "127.0.0.1:0", "storage_state_folder": house.folder / "other", "metrics_listen": listen}
    second = house.child(serve_command(*flags(words)))
    assert await second.ended() == 2
    assert second.errors[-1:] == [
        f"scheduler-server: metrics.listen: cannot listen on {listen}: the port is taken, or the address is not ours"
    ]
    assert not [line for line in second.errors if "Traceback" in line]
    assert samples(await scrape(url_of(first)))["scheduler_draining"] == 0, "the first one is unharmed"
    first.signal(signal.SIGTERM)
    assert await first.ended() == 0


async def test_an_address_that_is_none_is_told_before_anything_is_started(house: House) -> None:
    child = house.child(serve_command(*flags({"metrics_listen": "9464"})))
    assert await child.ended() == 2
    assert child.errors == [line for line in child.errors if "metrics.listen" in line]
    assert len(child.errors) == 1
