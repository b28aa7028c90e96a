"""Each rule of deploy/rules over scrapes of a real server that is well, or has exactly that trouble.

The server is the real one, with its real metrics endpoint; its clock is the test's, so that a minute of trouble takes
no minute. What fires is worked out by promtool.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.alerts.settings import AlertSettings
from scheduler_server.app import make_core
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.registry.settings import WorkerSettings
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from scheduler_server.telemetry import exposition
from scheduler_server.telemetry.settings import MetricsSettings
from tests.contract.server import DEADLINE_S, Running, Stream, refused, running, task
from tests.integration.processes import until
from tests.integration.promtool import fires
from tests.integration.test_metrics import scrape
from tests.redis_server import redis_server

WELL_MINUTES = 3
SLOTS = 4

Work = Callable[["Place"], Awaitable[None]]


class Place:
    """A server, two workers, and what Prometheus has read of it."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.admin = admin_service_pb2_grpc.AdminServiceStub(server.channel)
        self.streams: list[Stream] = []
        self.scrapes: list[str] = []
        self.cpu = 0.2
        self.tasks = 0

    async def worker(self, worker_id: str) -> None:
        registration = {"max_concurrent_tasks": SLOTS // 2, "reports_outcomes": True}
        self.streams.append(await self.server.worker(worker_id, registration=registration))

    async def run(self, seconds: float = 5.0, task_type: str = "resize") -> None:
        """One task, from its place to its end."""
        self.tasks += 1
        made = await self.server.assign(f"t{self.tasks}", task_type=task_type)
        whole = int(seconds)
        duration = {"seconds": whole, "nanos": int((seconds - whole) * 1e9)}
        await self.server.report(made.decision.lease_id, duration=duration)

    async def snapshot(self) -> None:
        await self.admin.TakeSnapshot(admin.TakeSnapshotRequest(), timeout=DEADLINE_S)

    async def minutes(self, count: int, work: Work | None = None, *, snapshots: bool = True) -> None:
        """So many minutes of heartbeats and work, each with a look at the alerts and a scrape at its end."""
        for _ in range(count):
            for _ in range(3):
                self.server.forward(20.0)
                for stream in self.streams:
                    await stream.beat(cpu_usage=self.cpu, memory_usage=self.cpu)
            if work is not None:
                await work(self)
            if snapshots:
                await self.snapshot()
            assert self.server.app.lookout is not None
            await self.server.app.lookout.look()
            self.scrapes.append(await scrape(self.server.app.metrics_url))


async def usual(place: Place) -> None:
    for _ in range(3):
        await place.run()


@pytest.fixture(autouse=True)
def each_scrape_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "FRESH_S", 0.0)


@asynccontextmanager
async def working(folder: Path, *, predictor: Any = None, strategy: str = "ema", **parts: Any) -> AsyncIterator[Place]:
    """A place that has been well for some minutes."""
    configured = Settings(
        server=ServerSettings(listen="127.0.0.1:0"),
        storage=StorageSettings(state_folder=str(folder / "state"), snapshot_interval_s=86_400),
        metrics=MetricsSettings(listen="127.0.0.1:0"),
        predictor=PredictorSettings(strategy=strategy),
        alerts=AlertSettings(interval_s=0),
        worker=WorkerSettings(lost_track_after_s=86_400),  # these workers list nothing
        **parts,
    )
    options: dict[str, Any] = {}
    if predictor is not None:
        core = make_core(configured, Now(1_000.0, 1_800_000_000.0), "inc")
        predictor.own = core.predictor
        core.predictor = core.placement._predictor = predictor
        options["core"] = core
    async with running(configured, **options) as server:
        place = Place(server)
        for number in range(2):
            await place.worker(f"w{number}")
        await place.minutes(WELL_MINUTES, usual)
        yield place


# ---------------------------------------------------------------------- well


async def test_a_server_that_is_well_raises_nothing(tmp_path: Path) -> None:
    async with working(tmp_path) as place:
        await place.minutes(20, usual)
        fires(tmp_path, place.scrapes, [])


async def test_an_idle_server_with_workers_raises_nothing(tmp_path: Path) -> None:
    async with working(tmp_path) as place:
        await place.minutes(20)
        fires(tmp_path, place.scrapes, [])


# ---------------------------------------------------------------------- the target


def test_a_target_that_cannot_be_read_is_down_after_a_minute(tmp_path: Path) -> None:
    fires(tmp_path, [], ["SchedulerDown"], up=[1, 1, 0, 0, 0])
    fires(tmp_path, [], [], up=[1, 1, 0, 1, 1])


def test_a_target_that_nobody_has_told_prometheus_of_is_gone(tmp_path: Path) -> None:
    nothing = ["# TYPE other gauge\nother 1\n"] * 7
    fires(tmp_path, nothing, ["SchedulerGone"], up=[])
    fires(tmp_path, nothing[:5], [], up=[])


# ---------------------------------------------------------------------- calls


async def test_faults_of_the_server_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(tmp_path) as place:

        def broken() -> Any:
            raise RuntimeError("no figures")

        async def ask(place: Place) -> None:
            await usual(place)
            for _ in range(3):
                await refused(place.admin.ListWorkers(admin.ListWorkersRequest(), timeout=DEADLINE_S))

        monkeypatch.setattr(place.server.core, "available_in_s", broken)
        await place.minutes(8, ask)
        fires(tmp_path, place.scrapes, ["SchedulerCallsFail"])


class Slow:
    """A predictor that takes its time."""

    takes_s = 0.0
    own: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def predict(self, wanted: Task) -> Prediction:
        until = time.perf_counter() + self.takes_s
        while time.perf_counter() < until:
            pass
        made: Prediction = self.own.predict(wanted)
        return made


async def test_slow_decisions_are_told_and_so_is_assign(tmp_path: Path) -> None:
    slow = Slow()
    async with working(tmp_path, predictor=slow) as place:
        slow.takes_s = 0.025
        await place.minutes(8, usual)
        fires(tmp_path, place.scrapes, ["SchedulerAssignSlow", "SchedulerDecisionsSlow"])


# ---------------------------------------------------------------------- the fleet


async def test_a_fleet_that_goes_silent_is_told_and_what_it_had_is_lost(tmp_path: Path) -> None:
    async with working(tmp_path) as place:
        await place.server.assign("held")
        for stream in place.streams:
            await stream.lose()
            await place.server.gone(stream.worker_id)
        place.streams.clear()
        await place.minutes(8)
        fires(tmp_path, place.scrapes, ["SchedulerNoWorkers", "SchedulerWorkersLost"])


async def test_some_silent_workers_of_many_are_told_as_a_share(tmp_path: Path) -> None:
    async with working(tmp_path) as place:
        for number in range(2, 5):
            await place.worker(f"w{number}")
        deaf = place.streams.pop()  # it stays, and says nothing any more

        async def whisper(_: Place) -> None:
            place.server.record(deaf.worker_id).last_seen = place.server.clock.monotonic - 60.0

        await place.minutes(8, whisper)
        fires(tmp_path, place.scrapes, ["SchedulerWorkersUnhealthy"])


async def test_full_slots_and_an_old_queue_are_told(tmp_path: Path) -> None:
    async with working(tmp_path) as place:
        for number in range(SLOTS):
            await place.server.assign(f"long{number}")
        await place.minutes(12)
        fires(tmp_path, place.scrapes, ["SchedulerHighLoad"])
        request = api.AssignRequest(task=task("waits"), enqueue=api.Enqueue())
        await place.server.stub.Assign(request, timeout=DEADLINE_S)
        await place.minutes(13)
        fires(tmp_path, place.scrapes, ["SchedulerHighLoad", "SchedulerTasksWaitLong"])


async def test_an_overloaded_worker_comes_through_as_the_servers_own_alert(tmp_path: Path) -> None:
    async with working(tmp_path) as place:
        place.cpu = 0.95
        await place.minutes(12, usual)
        fires(tmp_path, place.scrapes, ["SchedulerAlert"])


# ---------------------------------------------------------------------- predictions


class Broken(Slow):
    """A predictor that fails when told to."""

    fails = False

    def predict(self, wanted: Task) -> Prediction:
        if self.fails:
            raise RuntimeError("no")
        made: Prediction = self.own.predict(wanted)
        return made


async def test_a_predictor_that_fails_is_told_as_fallback_and_breakers(tmp_path: Path) -> None:
    predictor = Broken()
    async with working(tmp_path, predictor=predictor) as place:
        predictor.fails = True
        await place.minutes(8, usual)
        fires(
            tmp_path,
            place.scrapes,
            ["SchedulerBreakerOpen", "SchedulerFallback", "SchedulerTypeBreakersOpen"],
        )


async def test_predictions_that_are_no_good_are_told(tmp_path: Path) -> None:
    async with working(tmp_path) as place:

        async def wild(place: Place) -> None:
            for number in range(6):
                await place.run(0.05 if number % 2 else 60.0, f"wild{place.tasks % 49}")

        await place.minutes(25, wild)
        fires(tmp_path, place.scrapes, ["SchedulerPredictionsPoor", "SchedulerPredictionsShort"])


async def test_durations_that_change_are_told(tmp_path: Path) -> None:
    async with working(tmp_path, strategy="adaptive") as place:
        kinds = [f"kind{number}" for number in range(12)]

        async def all_kinds(seconds: float) -> None:
            for kind in kinds:
                await place.run(seconds, kind)

        for _ in range(40):
            await all_kinds(3.0)
        await place.minutes(2, usual)
        for _ in range(40):
            await all_kinds(60.0)
        await place.minutes(2, usual)
        assert sum(place.server.core.drifts.values()) >= 11
        fires(tmp_path, place.scrapes, ["SchedulerDrift"])


async def test_expected_starts_that_do_not_hold_are_told(tmp_path: Path) -> None:
    async with working(tmp_path) as place:
        expected = place.server.core.queue.expected
        for number in range(100):
            told, size = expected.expect(0, 10.0, 0.0, 1.0)
            expected.judge(expected.promise(0.0, 0, size, told), 0.0 if number % 2 else 1e9)
        await place.minutes(17, usual)
        fires(tmp_path, place.scrapes, ["SchedulerExpectedStartsOff"])


# ---------------------------------------------------------------------- stores


async def test_a_redis_that_is_killed_and_what_was_set_aside_are_told(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as redis:
        async with working(tmp_path, dispatch=DispatchSettings(url=redis.url)) as place:
            tasks = place.server.app.stores.tasks
            assert tasks is not None
            await until(lambda: tasks.link.works, "Redis was asked")
            await place.minutes(2, usual)
            fires(tmp_path, place.scrapes, [])
            redis.client().xadd(tasks.settings.streams[0], {"what": "no task"})
            await until(lambda: sum(tasks.intake.dead.values()), "it is set aside")
            await place.minutes(2, usual)
            fires(tmp_path, place.scrapes, ["SchedulerTasksSetAside"])
            redis.stop()
            await until(lambda: not tasks.link.works, "Redis is missed")
            await place.minutes(3, usual)
            fires(tmp_path, place.scrapes, ["SchedulerStoreUnreachable", "SchedulerTasksSetAside"])


class Unwritable(Slow):
    """A predictor with something that no snapshot can hold."""

    odd = False

    def state(self) -> Any:
        yield from self.own.state()
        if self.odd:
            yield {"what": object()}


async def test_what_a_store_loses_and_a_snapshot_that_grows_old_are_told(tmp_path: Path) -> None:
    predictor = Unwritable()
    async with working(tmp_path, predictor=predictor) as place:
        predictor.odd = True
        await place.minutes(2, usual)
        fires(tmp_path, place.scrapes, ["SchedulerStoreDrops"])
        predictor.odd = False
        await place.minutes(14, usual, snapshots=False)
        fires(tmp_path, place.scrapes, ["SchedulerSnapshotOld", "SchedulerStoreDrops"])


# ---------------------------------------------------------------------- the checker


async def test_the_checker_would_notice_an_alert_that_is_missing_or_too_much(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="SchedulerDown"):
        fires(tmp_path, [], ["SchedulerDown"], up=[1, 1, 1])
    with pytest.raises(AssertionError, match="SchedulerDown"):
        fires(tmp_path, [], [], up=[1, 0, 0, 0])
