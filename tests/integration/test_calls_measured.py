"""Rate, errors and duration of calls, waits and expected starts: against what the callers themselves have seen."""

import asyncio
import subprocess
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from scheduler_api.v1 import admin_service_pb2 as admin_api
from scheduler_api.v1 import admin_service_pb2_grpc, task_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from scheduler_server.telemetry.settings import MetricsSettings, TraceSettings
from tests.contract.server import DEADLINE_S, Running, heartbeat, running, task, until
from tests.integration.test_metrics import samples, scrape
from tests.otlp_collector import Collector, attributes, collecting

_SCHEDULE, _ADMIN = "scheduler_api.v1.ScheduleService", "scheduler_api.v1.AdminService"


@asynccontextmanager
async def measuring(**metrics: Any) -> AsyncIterator[Running]:
    configured = Settings(
        server=ServerSettings(listen="127.0.0.1:0"),
        storage=StorageSettings(state_folder=""),
        metrics=MetricsSettings(listen="127.0.0.1:0", **metrics),
    )
    async with running(configured) as server:
        yield server


def counts(got: dict[str, float]) -> Counter[tuple[str, str]]:
    """Calls ended by method and status."""
    found: Counter[tuple[str, str]] = Counter()
    for key, value in got.items():
        name, _, labels = key.partition("{")
        if name == "grpc_server_call_duration_seconds_count":
            method, status = (part.split('"')[1] for part in labels.split(","))
            found[method, status] = int(value)
    return found


def started(got: dict[str, float], method: str) -> float:
    return got[f'grpc_server_call_started_total{{grpc_method="{method}"}}']


async def test_calls_errors_and_durations_are_those_that_the_client_counted() -> None:
    async with measuring() as server:
        await server.worker("w")
        seen: Counter[tuple[str, str]] = Counter()
        slowest: dict[str, float] = {}
        loop = asyncio.get_running_loop()

        async def call(name: str, work: Any) -> None:
            begun, status = loop.time(), "OK"
            try:
                await work
            except grpc.aio.AioRpcError as error:
                status = error.code().name
            seen[name, status] += 1
            slowest[name] = max(slowest.get(name, 0.0), loop.time() - begun)

        stub, within = server.stub, DEADLINE_S
        assign = f"{_SCHEDULE}/Assign"
        for number in range(8):  # of five slots
            await call(assign, stub.Assign(api.AssignRequest(task=task(f"t{number}")), timeout=within))
        await call(assign, stub.Assign(api.AssignRequest(), timeout=within))
        many = api.AssignBatchRequest(requests=[api.AssignRequest(task=task("t1"))])
        await call(f"{_SCHEDULE}/AssignBatch", stub.AssignBatch(many, timeout=within))
        await call(f"{_SCHEDULE}/AssignBatch", stub.AssignBatch(api.AssignBatchRequest(), timeout=within))
        unknown = api.GetTaskRequest(task=task_pb2.TaskKey(task_id="nobody"))
        await call(f"{_SCHEDULE}/GetTask", stub.GetTask(unknown, timeout=within))
        admin = admin_service_pb2_grpc.AdminServiceStub(server.channel)
        await call(f"{_ADMIN}/GetStatus", admin.GetStatus(admin_api.GetStatusRequest(), timeout=within))
        unreadable: Any = server.channel.unary_unary(f"/{assign}")
        await call(assign, unreadable(b"\xff\xff\xff", timeout=within))
        # Whoever gives up is told nothing; the server sees a call that was cancelled.
        waits = api.AssignRequest(task=task("waits"))
        waits.wait.seconds = 60
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Assign(waits, timeout=0.2)
        seen[assign, "CANCELLED"] += 1
        got: dict[str, float] = {}

        async def told() -> bool:
            got.update(samples(await scrape(server.app.metrics_url)))
            return counts(got) == seen

        for _ in range(200):
            if await told():
                break
            await asyncio.sleep(0.05)
        assert counts(got) == seen
        for name in {name for name, _ in seen}:
            assert started(got, name) == sum(count for (method, _), count in seen.items() if method == name)
        key = f'{{grpc_method="{assign}",grpc_status="OK"}}'
        assert 0.0 < got[f"grpc_server_call_duration_seconds_sum{key}"] <= 5 * slowest[assign]
        # The worker's stream has begun and not ended: it is open.
        assert started(got, f"{_SCHEDULE}/Schedule") == 1


async def test_streams_count_their_messages_and_end_with_their_status() -> None:
    async with measuring() as server:
        stream = await server.worker("w")
        for _ in range(3):
            await stream.beat()
        broken = server.stub.Schedule()
        await broken.write(heartbeat(""))  # no id and no registration
        with pytest.raises(grpc.aio.AioRpcError):
            await broken.read()
        await stream.lose()
        await server.gone("w")

        async def ended() -> dict[str, float]:
            return samples(await scrape(server.app.metrics_url))

        got = await ended()
        for _ in range(200):
            if sum(count for (method, _), count in counts(got).items() if method.endswith("/Schedule")) == 2:
                break
            await asyncio.sleep(0.05)
            got = await ended()
        assert counts(got)[f"{_SCHEDULE}/Schedule", "INVALID_ARGUMENT"] == 1
        assert got['scheduler_streams_messages_total{direction="received",kind="worker"}'] == 5
        assert got['scheduler_streams_messages_total{direction="sent",kind="worker"}'] >= 4, "a welcome, and acks"


async def test_waits_are_told_against_what_was_expected() -> None:
    async with measuring() as server:
        await server.sdk_worker("w", slots=1)
        first = await server.assign("first")
        for number in range(2):
            request = api.AssignRequest(task=task(f"waits{number}"), enqueue=api.Enqueue())
            await server.stub.Assign(request, timeout=DEADLINE_S)
        server.forward(0.25)
        await server.report(first.decision.lease_id, duration={"seconds": 1})
        got = samples(await scrape(server.app.metrics_url))
        assert got["scheduler_tasks_wait_seconds_count"] == 1, "one got the slot, one waits on"
        assert got['scheduler_tasks_wait_seconds_bucket{le="0.1"}'] == 0
        assert got['scheduler_tasks_wait_seconds_bucket{le="0.5"}'] == 1
        sides = [
            got[f'scheduler_expected_start_error_seconds_count{{direction="{side}"}}'] for side in ("later", "earlier")
        ]
        assert sides == [0, 1], "five seconds were expected of a task of which nothing is known"
        assert got["scheduler_decision_duration_seconds_count"] == 2


# ---------------------------------------------------------------------- pushed


def points(collector: Collector, name: str) -> dict[tuple[str, ...], Any]:
    metric = collector.metrics()[name]
    data = getattr(metric, metric.WhichOneof("data") or "gauge")
    return {tuple(attributes(point).values()): point for point in data.data_points}


async def test_what_is_pushed_is_what_can_be_scraped_with_headers_that_nobody_is_shown() -> None:
    with collecting() as collector:
        async with measuring(
            otlp_endpoint=collector.url, otlp_interval_s=1.0, otlp_headers="authorization=Bearer%20s3cret"
        ) as server:
            await server.worker("w")
            await server.assign("one")
            await server.refuse("two", required_capabilities=["nobody has it"])
            pushed = collector.pushes + 1
            await until(lambda: collector.pushes > pushed, "pushed")
            assert {each["authorization"] for each in collector.metadata} == {"Bearer s3cret"}
            [slots] = points(collector, "scheduler.slots").values()
            assert slots.as_int == 5
            calls = points(collector, "grpc.server.call.duration")
            assert calls[f"{_SCHEDULE}/Assign", "OK"].count == 1
            assert calls[f"{_SCHEDULE}/Assign", "FAILED_PRECONDITION"].count == 1
            point = calls[f"{_SCHEDULE}/Assign", "OK"]
            assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
            assert sum(point.bucket_counts) == 1
            assert point.sum > 0
            assert not point.HasField("min")
            got = samples(await scrape(server.app.metrics_url))
            assert got['scheduler_metrics_pushes_total{result="done"}'] >= 2
        before = collector.pushes
    assert before >= 3, "the last figures are pushed when the server goes down"


async def test_a_collector_that_is_away_is_told_once_and_found_again(caplog: pytest.LogCaptureFixture) -> None:
    with collecting() as gone:
        port = int(gone.url.rpartition(":")[2])
    async with measuring(otlp_endpoint=f"http://127.0.0.1:{port}", otlp_interval_s=1.0, otlp_timeout_s=0.3) as server:
        await server.worker("w")
        got: dict[str, float] = {}

        async def pushes(result: str) -> float:
            got.update(samples(await scrape(server.app.metrics_url)))
            return got[f'scheduler_metrics_pushes_total{{result="{result}"}}']

        for _ in range(400):
            if await pushes("failed") >= 2:
                break
            await asyncio.sleep(0.05)
        assert got['scheduler_metrics_pushes_total{result="failed"}'] >= 2
        await server.assign("the service goes on")
        warned = [record for record in caplog.records if "does not take metrics" in record.getMessage()]
        assert len(warned) == 1
        assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]
        with collecting(port=port) as back:
            await until(lambda: back.pushes, "it is found again")


async def test_over_tls_a_collector_is_trusted_by_the_authorities_of_the_file(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]  # fmt: skip
    made = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    with collecting(credentials) as collector:
        assert collector.url.startswith("https://")
        async with measuring(otlp_endpoint=collector.url, otlp_interval_s=1.0, otlp_ca_file=str(certificate)):
            await until(lambda: collector.pushes, "it is trusted")


# ---------------------------------------------------------------------- off


async def test_where_nothing_is_set_there_is_no_thread_and_no_traced_call() -> None:
    before = {thread.ident for thread in threading.enumerate()}
    listen, nothing_kept = ServerSettings(listen="127.0.0.1:0"), StorageSettings(state_folder="")
    async with running(Settings(server=listen, storage=nothing_kept)) as server:
        await server.worker("w")
        await server.assign("one")
        new = [thread.name for thread in threading.enumerate() if thread.ident not in before]
        assert not [name for name in new if "Otel" in name or "push" in name]
        assert server.app.outlets.tracing is None
        assert type(server.app.calls).__name__ == "ScheduleCalls"
    with collecting() as collector:
        async with running(
            Settings(server=listen, storage=nothing_kept, traces=TraceSettings(otlp_endpoint=collector.url))
        ) as server:
            assert [thread for thread in threading.enumerate() if "Otel" in thread.name], "what the test looks for"
