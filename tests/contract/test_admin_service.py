"""AdminService on the wire: a real server in process, asked over a real connection."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import decision_pb2, schedule_service_pb2, task_pb2, worker_pb2
from scheduler_api.v1.admin_service_pb2_grpc import AdminServiceStub
from scheduler_api.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from scheduler_server.app import App
from scheduler_server.assignment.events import Connect, Disconnect, Heartbeat
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.task import Task
from scheduler_server.model.worker import Intent, Registration, RunningLease, Sample
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.rpc import following, paging, status
from scheduler_server.rpc.admin import AdminCalls
from scheduler_server.rpc.alerts import AlertCalls
from scheduler_server.rpc.breaker_calls import BreakerCalls
from scheduler_server.rpc.calendar_calls import CalendarCalls
from scheduler_server.rpc.config_calls import ConfigCalls
from scheduler_server.rpc.dead_letters import DeadLetterCalls
from scheduler_server.rpc.decision_calls import DecisionCalls
from scheduler_server.rpc.demand_calls import DemandCalls
from scheduler_server.rpc.drain_calls import DrainCalls
from scheduler_server.rpc.explain_calls import ExplainCalls
from scheduler_server.rpc.fleet_calls import FleetCalls
from scheduler_server.rpc.history_calls import HistoryCalls
from scheduler_server.rpc.log_levels import LogLevelCalls
from scheduler_server.rpc.override_calls import OverrideCalls
from scheduler_server.rpc.prediction_calls import PredictionCalls
from scheduler_server.rpc.queue_calls import QueueCalls
from scheduler_server.rpc.rebalance_calls import RebalanceCalls
from scheduler_server.rpc.reinstating import ReinstateCalls
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.rpc.shadow_calls import ShadowCalls
from scheduler_server.rpc.waiting_calls import WaitingCalls
from scheduler_server.scorer.strategies import SCORERS
from scheduler_server.settings import Settings, StorageSettings
from scheduler_server.storage.memory_journal import UnavailableJournal

Code = grpc.StatusCode
METHODS = api.DESCRIPTOR.services_by_name["AdminService"].methods


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.monotonic, self.wall = 5_000.0, 1_800_000_000.0

    def __call__(self) -> Now:
        return Now(self.monotonic, self.wall)

    def pass_s(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


class Server:
    """A real server, its clock and its clients."""

    def __init__(self, app: App, clock: Clock, channel: "grpc.aio.Channel") -> None:
        self.app, self.clock, self.channel = app, clock, channel
        self.admin: Any = AdminServiceStub(channel)
        self.schedule: Any = ScheduleServiceStub(channel)
        self._sessions = 1_000_000
        self.session: dict[str, int] = {}

    def join(
        self,
        worker_id: str,
        *,
        cpu: float = 0.1,
        depth: int = 0,
        running: tuple[RunningLease, ...] | None = None,
        **registered: Any,
    ) -> WorkerRecord:
        """A worker connects, without a stream of its own: what the core knows of it is the same."""
        self._sessions += 1
        self.session[worker_id] = self._sessions
        sample = Sample(cpu, 0.0, depth, 0, running=running)
        self.app.shell.handle(Connect(self._sessions, worker_id, None, Registration(**registered), sample))
        return self.app.core.fleet.records[worker_id]

    def beat(self, worker_id: str, *, cpu: float = 0.1, intent: Intent = Intent.WORK) -> None:
        self.app.shell.handle(Heartbeat(self.session[worker_id], Sample(cpu, 0.0, 0, 0, intent=intent)))

    def leave(self, worker_id: str) -> None:
        self.app.shell.handle(Disconnect(self.session[worker_id]))

    async def assign(self, task_id: str) -> decision_pb2.Decision:
        request = schedule_service_pb2.AssignRequest(task=task_pb2.Task(task_id=task_id, task_type="resize"))
        decision: decision_pb2.Decision = (await self.schedule.Assign(request)).decision
        return decision


@asynccontextmanager
async def running_server(state_folder: str = "") -> AsyncIterator[Server]:
    clock = Clock()
    settings = Settings(server=ServerSettings(listen="127.0.0.1:0"), storage=StorageSettings(state_folder=state_folder))
    app = App(settings, now=clock)
    await app.start()
    try:
        async with grpc.aio.insecure_channel(app.address) as channel:
            yield Server(app, clock, channel)
    finally:
        if not app.admin.draining:
            await app.stop(0)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running_server() as running:
        yield running


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncIterator[Server]:
    """A server with a state folder."""
    async with running_server(str(tmp_path)) as running:
        yield running


class Told:
    """What a refused call was told."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.message = error.details() or ""
        self.reason, self.fields, self.metadata = "", list[str](), dict[str, str]()
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self._read(status_pb2.Status.FromString(value))

    def _read(self, told: Any) -> None:
        for packed in told.details:
            info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if packed.Unpack(info):
                assert info.domain == "scheduler-server"
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif packed.Unpack(request):
                self.fields = [violation.field for violation in request.field_violations]


async def refused(call: Awaitable[Any]) -> Told:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return Told(caught.value)


def as_json(message: Any) -> str:
    """What grpcurl shows."""
    return json_format.MessageToJson(message)


def well_formed(message: Any) -> Any:
    text = as_json(message)
    assert "UNSPECIFIED" not in text
    assert '"NaN"' not in text  # a number; a token may have those letters
    assert "Infinity" not in text
    return json.loads(text)


# ------------------------------------------------------------------------------------------------ GetStatus


async def test_status_tells_version_run_policy_and_features(server: Server) -> None:
    server.clock.pass_s(90)
    told = await server.admin.GetStatus(api.GetStatusRequest())
    assert told.version
    assert told.server_incarnation == server.app.core.incarnation
    assert told.uptime.seconds == 90
    assert told.now.seconds - told.started_at.seconds == 90
    assert told.serving == api.SERVING_STATE_SERVING
    assert (told.policy.profile, told.policy.predictor, told.policy.scorer, told.policy.fallback) == (
        "default",
        "adaptive",
        "weighted",
        "round_robin",
    )
    assert dict(told.policy.weights) == {"wait": 0.4, "load": 0.4, "priority": 0.2}
    assert told.policy.max_wait.seconds == 60
    assert (told.policy.order, told.policy.objective) == ("shortest", "balanced")
    assert told.breaker.state == api.BREAKER_STATE_CLOSED
    assert told.breaker.threshold == 3
    assert not told.degraded
    assert told.protocol_version == 1
    well_formed(told)


async def test_the_features_are_the_methods_that_do_not_answer_unimplemented(server: Server) -> None:
    features = set((await server.admin.GetStatus(api.GetStatusRequest())).features)
    assert {"assign", "assign_batch", "get_status", "list_workers", "watch_events", "delivery_stream"} <= features
    assert {"watch_tasks", "wait", "enqueue"} <= features
    assert {"explain_assign", "rank_workers", "list_waiting", "explain_waiting"} <= features
    assert {"drain", "drain_workers", "watch_drain"} <= features
    assert "get_shadow_report" in features
    assert not {"list_waiting_tasks"} & features


async def test_status_counts_workers_leases_streams_and_decisions(server: Server) -> None:
    server.join("a", reports_outcomes=True)
    server.join("b", cpu=1.0, depth=5)
    server.beat("b", cpu=1.0)
    server.join("c")
    server.leave("c")
    server.beat("a", intent=Intent.DRAIN)
    server.beat("a", intent=Intent.WORK)
    await server.assign("t1")
    await server.assign("t2")
    server.clock.pass_s(1)
    server.beat("a", intent=Intent.DRAIN)
    told = await server.admin.GetStatus(api.GetStatusRequest())
    counts = told.workers
    assert (counts.total, counts.connected, counts.tracked, counts.sampled, counts.draining) == (3, 2, 1, 2, 1)
    assert counts.healthy + counts.degraded + counts.unhealthy == 3
    assert counts.unhealthy == 1
    assert told.leases == 2
    assert sum(each.count for each in told.decisions) == 2
    assert {each.source for each in told.decisions} == {decision_pb2.DECISION_SOURCE_PREDICTED}


async def test_an_open_stream_of_a_worker_and_of_a_watcher_are_counted(server: Server) -> None:
    stream = server.schedule.Schedule()
    await stream.write(worker_pb2.WorkerHeartbeat(worker_id="w"))
    await stream.read()
    events = server.admin.WatchEvents(api.WatchEventsRequest())
    await events.read()
    streams = (await server.admin.GetStatus(api.GetStatusRequest())).streams
    assert (streams.workers, streams.event_watches) == (1, 1)
    events.cancel()
    stream.cancel()


async def test_a_lease_that_was_lost_track_of_is_counted(server: Server) -> None:
    server.join("w", running=())
    await server.assign("t1")
    for seconds, lost in ((0.0, 0), (30.0, 0), (0.1, 1)):  # the grace of a missing lease is 30 s
        server.clock.pass_s(seconds)
        nothing = Sample(0.1, 0.0, 0, 0, running=())
        server.app.shell.handle(Heartbeat(server.session["w"], nothing))
        told = await server.admin.GetStatus(api.GetStatusRequest())
        assert (told.lost_track, told.leases) == (lost, 1 - lost)


async def test_after_a_restart_the_status_counts_restored_leases_and_tells_the_grace(tmp_path: Path) -> None:
    async with running_server(str(tmp_path)) as before:
        before.join("w", reports_outcomes=True)
        await before.assign("t1")
        await before.app.stop(0)
    async with running_server(str(tmp_path)) as after:
        after.clock.pass_s(100)
        told = await after.admin.GetStatus(api.GetStatusRequest())
        assert (told.workers.total, told.leases, told.loss_grace_left.seconds) == (0, 1, 200)
        after.join("w", reports_outcomes=True)
        told = await after.admin.GetStatus(api.GetStatusRequest())
        assert (told.workers.total, told.leases) == (1, 1)
        assert not told.HasField("loss_grace_left")


async def test_an_open_breaker_shows_as_degraded_with_its_consequence(server: Server) -> None:
    server.clock.pass_s(10)
    breaker = server.app.core.breaker
    for _ in range(2):
        breaker.failed("resize", server.clock.monotonic)
    told = await server.admin.GetStatus(api.GetStatusRequest())
    assert (told.breaker.state, told.breaker.consecutive_failures) == (api.BREAKER_STATE_CLOSED, 2)
    assert not told.degraded
    breaker.failed("resize", server.clock.monotonic)
    server.clock.pass_s(4)
    told = await server.admin.GetStatus(api.GetStatusRequest())
    assert told.breaker.state == api.BREAKER_STATE_OPEN
    assert told.breaker.consecutive_failures == 3
    assert told.now.seconds - told.breaker.opened_at.seconds == 4
    assert told.breaker.next_trial_at.seconds - told.now.seconds == 6
    assert [each.task_type for each in told.type_breakers] == ["resize"]
    assert told.open_type_breakers == 1
    assert [part.name for part in told.degraded] == ["breaker", "breaker.resize"]
    assert all(part.consequence and part.detail and part.HasField("since") for part in told.degraded)
    well_formed(told)


async def test_at_most_100_type_breakers_are_listed_and_all_are_counted(server: Server) -> None:
    for number in range(101):
        for _ in range(3):
            server.app.core.breaker.failed(f"type-{number}", server.clock.monotonic)
    told = await server.admin.GetStatus(api.GetStatusRequest())
    assert (len(told.type_breakers), told.open_type_breakers) == (100, 101)


async def test_without_a_state_folder_the_stores_say_that_nothing_survives(server: Server) -> None:
    stores = {store.name: store for store in (await server.admin.GetStatus(api.GetStatusRequest())).stores}
    assert (stores["journal"].backend, stores["journal"].state) == ("memory", api.STORE_STATE_OK)
    assert stores["snapshot"].state == api.STORE_STATE_DISABLED
    assert all("nothing survives" in stores[name].warnings[0] for name in ("journal", "snapshot"))
    assert (stores["tasks"].state, list(stores["tasks"].warnings)) == (api.STORE_STATE_DISABLED, [])


async def test_with_a_state_folder_the_stores_tell_backend_place_and_age(keeper: Server) -> None:
    await keeper.admin.TakeSnapshot(api.TakeSnapshotRequest())
    keeper.app.stores.warn("journal entry 'x' was left out")
    stores = {store.name: store for store in (await keeper.admin.GetStatus(api.GetStatusRequest())).stores}
    assert (stores["journal"].backend, stores["journal"].state) == ("sqlite", api.STORE_STATE_OK)
    assert stores["journal"].location.endswith("journal.sqlite")
    assert list(stores["journal"].warnings) == ["journal entry 'x' was left out"]
    assert (stores["snapshot"].backend, stores["snapshot"].state) == ("file", api.STORE_STATE_OK)
    assert stores["snapshot"].HasField("age")
    assert stores["snapshot"].HasField("last_success_at")
    assert not stores["snapshot"].warnings


async def test_a_journal_that_does_not_work_is_a_degraded_part(server: Server) -> None:
    server.app.stores.journal = UnavailableJournal("the disk is gone")
    told = await server.admin.GetStatus(api.GetStatusRequest())
    assert told.stores[0].state == api.STORE_STATE_UNAVAILABLE
    assert told.stores[0].last_error == "the disk is gone"
    assert [(part.name, part.detail) for part in told.degraded] == [("store.journal", "the disk is gone")]
    assert told.degraded[0].consequence


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_the_weights_told_are_those_of_the_scorers_terms(name: str) -> None:
    scorer = SCORERS[name](CoreSettings().scorer)
    score = scorer.score(WorkerRecord("w", Registration(), 1), Task("", "t", 1, "x"), 0.0, 1.0)
    assert status.weights(name, CoreSettings().scorer) == {term: weight for term, _, weight in score.terms}


def test_of_a_foreign_scorer_no_weights_are_told() -> None:
    assert status.weights("somebody_elses", CoreSettings().scorer) == {}


# ------------------------------------------------------------------------------------------------ GetLoad


async def test_load_of_an_empty_fleet_leaves_absent_what_cannot_be_told(server: Server) -> None:
    told = await server.admin.GetLoad(api.GetLoadRequest())
    assert told.total_workers == told.active_workers == told.total_capacity == 0
    for field in ("utilization", "spread", "max_over_mean", "mean_load"):
        assert not told.HasField(field)
    well_formed(told)


async def test_load_adds_up_the_active_workers(server: Server) -> None:
    server.join("a", slots=4, capabilities=("gpu",), labels=(("zone", "x"),), reports_outcomes=True, cpu=0.5)
    server.join("b", slots=4, reports_outcomes=True, cpu=0.0)
    server.join("gone", slots=100)
    server.leave("gone")
    for name in ("a", "a", "b"):  # held by the ledger of whoever has most room
        await server.assign(f"t-{name}-{server.app.core.fleet.grants}")
    told = await server.admin.GetLoad(api.GetLoadRequest())
    assert (told.total_workers, told.active_workers) == (3, 2)
    assert (told.total_capacity, told.used_capacity, told.free_capacity) == (8, 3, 5)
    assert told.utilization == pytest.approx(3 / 8)
    assert told.mean_load == pytest.approx(0.15)
    shares = sorted(len(server.app.core.fleet.records[name].leases) / 4 for name in "ab")
    mean = sum(shares) / 2
    assert told.spread == pytest.approx((shares[1] - shares[0]) / 2 / mean)
    assert told.max_over_mean == pytest.approx(shares[1] / mean)
    assert told.queued_tasks == 0
    some = await server.admin.GetLoad(api.GetLoadRequest(capabilities=["gpu"], match_labels={"zone": "x"}))
    assert (some.total_workers, some.total_capacity) == (1, 4)
    none = await server.admin.GetLoad(api.GetLoadRequest(match_labels={"zone": "y"}))
    assert none.total_workers == 0


@pytest.mark.parametrize(
    "seconds",
    [59, 3_601],
)
async def test_a_window_out_of_bounds_is_refused(server: Server, seconds: int) -> None:
    told = await refused(server.admin.GetLoad(api.GetLoadRequest(window=Duration(seconds=seconds))))
    assert (told.code, told.fields) == (Code.INVALID_ARGUMENT, ["window"])


async def test_load_refuses_a_malformed_filter_by_field(server: Server) -> None:
    told = await refused(server.admin.GetLoad(api.GetLoadRequest(capabilities=["ok", "a\x00b"])))
    assert (told.code, told.reason, told.fields) == (Code.INVALID_ARGUMENT, "INVALID_ARGUMENT", ["capabilities[1]"])


# ------------------------------------------------------------------------------------------------ ListWorkers

FLEET = 250


@pytest.fixture
async def fleet(server: Server) -> Server:
    """Workers of every kind; every sort key has ties and, where it can be, missing values."""
    for number in range(FLEET):
        server.clock.pass_s(0.001 if number % 3 else 0.0)
        record = server.join(
            f"w-{(number * 77) % FLEET:03}",
            cpu=(number * 37 % 100) / 100,
            depth=number % 9,
            slots=1 + number % 7,
            capabilities=("cpu", "gpu") if number % 5 == 0 else ("cpu",),
            labels=(("zone", "ab"[number % 2]),),
            worker_type="build" if number % 4 == 0 else "spec",
            reports_outcomes=number % 3 == 0,
        )
        if number % 6:
            record.completed, record.failed = number % 11, number % 4
        if number % 7:
            record.average, record.speed_samples, record.speed = 100.0 * (number % 13), 3, 2.0 ** (number % 5)
    for number in range(0, FLEET, 10):
        server.leave(f"w-{number:03}")
    for number in range(1, FLEET, 50):
        server.beat(f"w-{number:03}", intent=Intent.DRAIN)
    return server


async def pages(server: Server, request: api.ListWorkersRequest) -> list[api.Worker]:
    """All pages put together; each but the last is full, and the total is the same on each."""
    found: list[api.Worker] = []
    while True:
        page = await server.admin.ListWorkers(request)
        found.extend(page.workers)
        well_formed(page)
        assert page.total_size >= len(found)
        if not page.next_page_token:
            assert page.total_size == len(found)
            return found
        assert len(page.workers) == (request.page_size or 100)
        request.page_token = page.next_page_token


def seconds(value: Any) -> float:
    return float(value.seconds + value.nanos / 1e9)


VALUES: dict[str, Callable[[api.Worker], float | None]] = {
    "load": lambda worker: worker.load,
    "effective_load": lambda worker: worker.effective_load,
    "free_slots": lambda worker: worker.free_slots,
    "running_leases": lambda worker: worker.running_leases,
    "queue_depth": lambda worker: worker.queue_depth,
    "completed": lambda worker: worker.completed,
    "failed": lambda worker: worker.failed,
    "success_rate": lambda worker: worker.success_rate if worker.HasField("success_rate") else None,
    "average_duration": lambda worker: (
        seconds(worker.average_duration) if worker.HasField("average_duration") else None
    ),
    "speed": lambda worker: worker.speed if worker.HasField("speed") else None,
    "heartbeat_age": lambda worker: round(seconds(worker.heartbeat_age), 6),
    "registered_at": lambda worker: round(seconds(worker.registered_at), 6),
    "estimated_available_at": lambda worker: (
        round(seconds(worker.estimated_available_at), 6) if worker.HasField("estimated_available_at") else None
    ),
}


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("order", VALUES)
async def test_every_order_sorts_with_missing_values_last_and_ties_by_id(
    fleet: Server, order: str, falling: bool
) -> None:
    value = VALUES[order]
    request = api.ListWorkersRequest(order_by=f"{order} desc" if falling else order, page_size=33)
    found = await pages(fleet, request)
    sign = -1 if falling else 1

    def place(worker: api.Worker) -> tuple[bool, float, str]:
        told = value(worker)
        return told is None, 0.0 if told is None else sign * told, worker.worker_id

    assert [worker.worker_id for worker in found] == [worker.worker_id for worker in sorted(found, key=place)]
    assert len({worker.worker_id for worker in found}) == FLEET
    if order in ("success_rate", "average_duration", "speed", "estimated_available_at"):
        assert value(found[-1]) is None
        assert value(found[0]) is not None


@pytest.mark.parametrize("size", [1, 99, 100, 249, 250, 251, 1_000])
async def test_pages_of_any_size_list_each_worker_once_by_id(fleet: Server, size: int) -> None:
    names = [worker.worker_id for worker in await pages(fleet, api.ListWorkersRequest(page_size=size))]
    assert names == [f"w-{number:03}" for number in range(FLEET)]


async def test_falling_order_by_id_is_the_reverse_and_a_page_has_100_by_default(fleet: Server) -> None:
    request = api.ListWorkersRequest(order_by="worker_id desc")
    assert len((await fleet.admin.ListWorkers(request)).workers) == 100
    names = [worker.worker_id for worker in await pages(fleet, request)]
    assert names == [f"w-{number:03}" for number in reversed(range(FLEET))]


Test = Callable[[api.Worker], bool]
FILTERS: list[tuple[dict[str, Any], Test]] = [
    ({"capabilities": ["gpu"]}, lambda worker: "gpu" in worker.capabilities),
    ({"health": [api.WORKER_HEALTH_UNHEALTHY]}, lambda worker: worker.health == api.WORKER_HEALTH_UNHEALTHY),
    ({"health": [1, 2]}, lambda worker: worker.health in (1, 2)),
    ({"min_free_slots": 3}, lambda worker: worker.free_slots >= 3),
    ({"min_free_slots": 0}, lambda worker: worker.free_slots >= 0),
    ({"match_labels": {"zone": "a"}}, lambda worker: worker.labels["zone"] == "a"),
    ({"cordoned": False}, lambda worker: not worker.cordoned),
    ({"draining": True}, lambda worker: worker.draining),
    ({"draining": False}, lambda worker: not worker.draining),
    ({"connected": True}, lambda worker: worker.connected),
    ({"connected": False}, lambda worker: not worker.connected),
    ({"accounting": 1}, lambda worker: worker.accounting == api.WORKER_ACCOUNTING_TRACKED),
    ({"accounting": 2}, lambda worker: worker.accounting == api.WORKER_ACCOUNTING_SAMPLED),
    ({"worker_type": "build"}, lambda worker: worker.worker_type == "build"),
    ({"id_contains": "W-01"}, lambda worker: "w-01" in worker.worker_id),
    ({"rejection": 5}, lambda worker: worker.rejection == decision_pb2.REJECTION_REASON_DISCONNECTED),
    ({"rejection": 6}, lambda worker: worker.rejection == decision_pb2.REJECTION_REASON_NO_FREE_SLOT),
    (
        {"capabilities": ["gpu"], "connected": True, "worker_type": "spec"},
        lambda worker: "gpu" in worker.capabilities and worker.connected and worker.worker_type == "spec",
    ),
]


@pytest.mark.parametrize(("wanted", "passes"), FILTERS, ids=[str(wanted) for wanted, _ in FILTERS])
async def test_every_filter_lists_exactly_the_workers_that_pass_it(
    fleet: Server, wanted: dict[str, Any], passes: Test
) -> None:
    everyone = await pages(fleet, api.ListWorkersRequest())
    expected = [worker.worker_id for worker in everyone if passes(worker)]
    found = await pages(fleet, api.ListWorkersRequest(**wanted, page_size=20))
    assert [worker.worker_id for worker in found] == expected
    assert expected


async def test_a_filter_that_nobody_passes_answers_an_empty_page(fleet: Server) -> None:
    told = await fleet.admin.ListWorkers(api.ListWorkersRequest(cordoned=True))
    assert (len(told.workers), told.total_size, told.next_page_token) == (0, 0, "")
    assert told.HasField("as_of")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"page_size": 1_001}, "page_size"),
        ({"order_by": "shoe_size"}, "order_by"),
        ({"order_by": "load asc"}, "order_by"),
        ({"order_by": "load desc desc"}, "order_by"),
        ({"health": [1, 0]}, "health[1]"),
        ({"health": [4]}, "health[0]"),
        ({"accounting": 3}, "accounting"),
        ({"rejection": 99}, "rejection"),
        ({"rejection": 1}, "rejection"),
        ({"min_free_slots": -1}, "min_free_slots"),
        ({"min_free_slots": 10_001}, "min_free_slots"),
        ({"capabilities": [""]}, "capabilities[0]"),
        ({"capabilities": [f"c{number}" for number in range(65)]}, "capabilities"),
        ({"match_labels": {"": "x"}}, "match_labels"),
        ({"worker_type": "x" * 257}, "worker_type"),
        ({"id_contains": "a\nb"}, "id_contains"),
    ],
)
async def test_a_malformed_list_request_is_refused_by_field(server: Server, wanted: dict[str, Any], field: str) -> None:
    told = await refused(server.admin.ListWorkers(api.ListWorkersRequest(**wanted)))
    assert (told.code, told.reason, told.fields[:1]) == (Code.INVALID_ARGUMENT, "INVALID_ARGUMENT", [field])


def _of_our_making(server: Server, body: bytes) -> str:
    scope = paging.scope(server.app.core.incarnation, api.ListWorkersRequest())
    return urlsafe_b64encode(paging._digest(scope, body) + body).decode()


async def test_a_page_token_that_is_not_the_requests_own_is_refused(fleet: Server) -> None:
    token = (await fleet.admin.ListWorkers(api.ListWorkersRequest(page_size=10))).next_page_token
    flipped = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
    async with running_server() as other:
        for number in range(20):
            other.join(f"w-{number}")
        foreign = (await other.admin.ListWorkers(api.ListWorkersRequest(page_size=10))).next_page_token
    misuses = [
        api.ListWorkersRequest(page_token="x"),
        api.ListWorkersRequest(page_token="naïve"),
        api.ListWorkersRequest(page_token="A" * 5_000),
        api.ListWorkersRequest(page_token=flipped),
        api.ListWorkersRequest(page_token=foreign),
        api.ListWorkersRequest(page_token=token, order_by="load"),
        api.ListWorkersRequest(page_token=token, connected=True),
        api.ListWorkersRequest(page_token=_of_our_making(fleet, b"[0,null,1]")),
        api.ListWorkersRequest(page_token=_of_our_making(fleet, b"[0,NaN,1]")),
        api.ListWorkersRequest(page_token=_of_our_making(fleet, b"{}")),
    ]
    for request in misuses:
        told = await refused(fleet.admin.ListWorkers(request))
        assert (told.code, told.reason, told.fields) == (Code.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", ["page_token"])


async def test_a_page_token_serves_another_page_size(fleet: Server) -> None:
    token = (await fleet.admin.ListWorkers(api.ListWorkersRequest(page_size=10))).next_page_token
    told = await fleet.admin.ListWorkers(api.ListWorkersRequest(page_size=3, page_token=token))
    assert [worker.worker_id for worker in told.workers] == ["w-010", "w-011", "w-012"]


async def test_workers_that_come_and_go_between_pages_shift_nobody(fleet: Server) -> None:
    first = await fleet.admin.ListWorkers(api.ListWorkersRequest(page_size=10))
    await fleet.admin.RemoveWorker(api.RemoveWorkerRequest(worker_id="w-003"))
    fleet.join("w-0000")
    told = await fleet.admin.ListWorkers(api.ListWorkersRequest(page_size=2, page_token=first.next_page_token))
    assert [worker.worker_id for worker in told.workers] == ["w-010", "w-011"]


async def test_a_page_of_large_workers_ends_early_and_goes_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_PAGE_BYTES", 4_000)
    for number in range(12):
        server.join(f"w-{number:02}", capabilities=tuple(f"{number:02}-{each:03}" + "x" * 90 for each in range(15)))
    found: list[str] = []
    token = ""
    sizes = []
    while True:
        page = await server.admin.ListWorkers(api.ListWorkersRequest(page_token=token))
        found.extend(worker.worker_id for worker in page.workers)
        sizes.append(len(page.workers))
        token = page.next_page_token
        if not token:
            break
    assert found == [f"w-{number:02}" for number in range(12)]
    assert sizes[:-1] == [3] * (len(sizes) - 1)


@pytest.mark.parametrize("call", ["ListWorkers", "GetLoad", "GetStatus", "GetWorker"])
async def test_a_scan_lets_others_have_their_turn(fleet: Server, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "SLICE_S", -1.0)  # a turn is over as soon as it begins
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.get_running_loop().create_task(others())
    request = api.GetWorkerRequest(worker_id="nobody") if call == "GetWorker" else getattr(api, f"{call}Request")()
    await asyncio.gather(getattr(fleet.admin, call)(request), return_exceptions=True)
    counting.cancel()
    assert turns > FLEET


# ------------------------------------------------------------------------------------------------ GetWorker


async def test_a_worker_is_shown_with_what_it_said_and_the_leases_it_holds(server: Server) -> None:
    server.join(
        "w",
        cpu=0.5,
        node="n1",
        capabilities=("gpu",),
        specializations=("testing",),
        worker_type="build",
        slots=2,
        labels=(("zone", "a"),),
        accepts_tasks=False,
        reports_outcomes=True,
        software="sdk/1",
    )
    first = await server.assign("t1")
    server.clock.pass_s(2)
    second = await server.assign("t2")
    told = (await server.admin.GetWorker(api.GetWorkerRequest(worker_id="w"))).worker
    well_formed(told)
    assert (told.worker_id, told.node, told.software, told.worker_type) == ("w", "n1", "sdk/1", "build")
    assert (list(told.capabilities), list(told.specializations), dict(told.labels)) == (
        ["gpu"],
        ["testing"],
        {"zone": "a"},
    )
    assert (told.health, told.accounting, told.intent) == (1, 1, 1)
    assert (told.max_concurrent_tasks, told.running_leases, told.free_slots) == (2, 2, 0)
    assert (told.load, told.effective_load) == (pytest.approx(0.3), 1.0)
    assert told.rejection == decision_pb2.REJECTION_REASON_NO_FREE_SLOT
    assert told.rejection_detail
    assert told.heartbeat_age.seconds == 2
    assert told.heartbeats == 1
    assert told.epoch.connection == 1
    # Both tasks take the default of 5 s: the first has run for 2.
    assert told.estimated_available_at.seconds == 1_800_000_005
    for absent in ("success_rate", "average_duration", "speed", "round_trip", "health_since", "calendar"):
        assert not told.HasField(absent)
    assert [lease.lease_id for lease in told.leases] == [first.lease_id, second.lease_id]
    oldest = told.leases[0]
    assert (oldest.task.task_id, oldest.task_type, oldest.slots) == ("t1", "resize", 1)
    assert (oldest.state, oldest.elapsed.seconds) == (task_pb2.TASK_STATE_PLACED, 2)
    assert oldest.predicted_end.seconds == 1_800_000_005
    assert oldest.decision_id == first.decision_id
    assert not oldest.HasField("started_at")


async def test_a_worker_that_takes_no_tasks_has_no_time_at_which_it_is_available(server: Server) -> None:
    server.join("w")
    server.leave("w")
    told = (await server.admin.GetWorker(api.GetWorkerRequest(worker_id="w"))).worker
    assert not told.HasField("estimated_available_at")
    assert told.rejection == decision_pb2.REJECTION_REASON_DISCONNECTED
    listed = (await server.admin.ListWorkers(api.ListWorkersRequest())).workers[0]
    assert not listed.leases


async def test_health_is_as_old_as_the_question_not_as_the_last_sweep(server: Server) -> None:
    server.join("w")
    for age, health in ((30.0, api.WORKER_HEALTH_HEALTHY), (2.0, api.WORKER_HEALTH_UNHEALTHY)):
        server.clock.pass_s(age)
        told = await server.admin.GetWorker(api.GetWorkerRequest(worker_id="w"))
        assert told.worker.health == health


async def test_an_unknown_worker_is_not_found_and_similar_ids_are_told(server: Server) -> None:
    for name in ("render-07", "render-08", "Render-70", "build-1"):
        server.join(name)
    told = await refused(server.admin.GetWorker(api.GetWorkerRequest(worker_id="render-7")))
    assert (told.code, told.reason) == (Code.NOT_FOUND, "WORKER_UNKNOWN")
    assert told.metadata == {"worker_id": "render-7", "similar": "Render-70, render-07, render-08"}
    assert "'render-07'" in told.message
    told = await refused(server.admin.GetWorker(api.GetWorkerRequest(worker_id="xyz")))
    assert told.metadata == {"worker_id": "xyz"}


@pytest.mark.parametrize("worker_id", ["", "a\tb", "x" * 257])
@pytest.mark.parametrize("method", ["GetWorker", "RemoveWorker"])
async def test_a_malformed_worker_id_is_refused(server: Server, method: str, worker_id: str) -> None:
    request = getattr(api, f"{method}Request")(worker_id=worker_id)
    told = await refused(getattr(server.admin, method)(request))
    assert (told.code, told.fields) == (Code.INVALID_ARGUMENT, ["worker_id"])


# ------------------------------------------------------------------------------------------------ RemoveWorker


async def test_an_idle_worker_is_removed_and_may_come_back(server: Server) -> None:
    server.join("w")
    told = await server.admin.RemoveWorker(api.RemoveWorkerRequest(worker_id="w", reason="retired"))
    assert (told.lost_leases, told.requeued) == (0, 0)
    assert (await refused(server.admin.GetWorker(api.GetWorkerRequest(worker_id="w")))).code is Code.NOT_FOUND
    assert "retired" in server.app.shell.events.entries[-1].detail
    server.join("w")
    assert (await server.admin.GetWorker(api.GetWorkerRequest(worker_id="w"))).worker.connected


async def test_a_removed_workers_stream_ends_with_a_goodbye(server: Server) -> None:
    stream = server.schedule.Schedule()
    await stream.write(worker_pb2.WorkerHeartbeat(worker_id="w"))
    assert (await stream.read()).welcome.worker_id == "w"
    await server.admin.RemoveWorker(api.RemoveWorkerRequest(worker_id="w"))
    goodbye = (await stream.read()).goodbye
    assert goodbye.reason == worker_pb2.GOODBYE_REASON_REMOVED
    assert await stream.read() is grpc.aio.EOF


async def test_a_worker_with_leases_is_removed_only_by_force_and_loses_them(server: Server) -> None:
    server.join("w", reports_outcomes=True)
    await server.assign("t1")
    await server.assign("t2")
    told = await refused(server.admin.RemoveWorker(api.RemoveWorkerRequest(worker_id="w")))
    assert (told.code, told.reason) == (Code.FAILED_PRECONDITION, "WORKER_BUSY")
    assert told.metadata == {"worker_id": "w", "leases": "2"}
    assert (await server.admin.GetWorker(api.GetWorkerRequest(worker_id="w"))).worker.running_leases == 2
    gone = await server.admin.RemoveWorker(api.RemoveWorkerRequest(worker_id="w", force=True))
    assert gone.lost_leases == 2
    key = task_pb2.TaskKey(task_id="t1")
    task = (await server.schedule.GetTask(schedule_service_pb2.GetTaskRequest(task=key))).task
    assert task.state == task_pb2.TASK_STATE_LOST


async def test_removing_an_unknown_worker_is_not_found(server: Server) -> None:
    told = await refused(server.admin.RemoveWorker(api.RemoveWorkerRequest(worker_id="w", force=True)))
    assert (told.code, told.reason) == (Code.NOT_FOUND, "WORKER_UNKNOWN")


async def test_a_reason_has_at_most_4096_characters(keeper: Server) -> None:
    for number, length in enumerate((4_095, 4_096)):
        keeper.join(f"w{number}")
        request = api.RemoveWorkerRequest(worker_id=f"w{number}", reason="x" * length)
        await keeper.admin.RemoveWorker(request)
        await keeper.admin.TakeSnapshot(api.TakeSnapshotRequest(reason="x" * length))
    keeper.join("w2")
    request = api.RemoveWorkerRequest(worker_id="w2", reason="x" * 4_097)
    assert (await refused(keeper.admin.RemoveWorker(request))).fields == ["reason"]
    assert (await keeper.admin.GetWorker(api.GetWorkerRequest(worker_id="w2"))).worker.worker_id == "w2"
    long = api.TakeSnapshotRequest(reason="x" * 4_097)
    assert (await refused(keeper.admin.TakeSnapshot(long))).fields == ["reason"]


# ------------------------------------------------------------------------------------------------ TakeSnapshot


async def test_a_snapshot_is_written_where_it_says(keeper: Server, tmp_path: Path) -> None:
    keeper.join("w", reports_outcomes=True)
    decision = await keeper.assign("t1")
    outcome = task_pb2.Outcome(status=task_pb2.OUTCOME_STATUS_SUCCEEDED, duration=Duration(seconds=3))
    report = schedule_service_pb2.OutcomeReport(lease_id=decision.lease_id, outcome=outcome)
    await keeper.schedule.ReportOutcome(schedule_service_pb2.ReportOutcomeRequest(reports=[report]))
    told = await keeper.admin.TakeSnapshot(api.TakeSnapshotRequest(reason="before an upgrade"))
    written = Path(told.location)
    assert written.parent == tmp_path
    assert written.stat().st_size == told.size_bytes > 0  # noqa: ASYNC240 -- a stat of a local file
    assert told.prediction_keys == 2  # the type, and any type
    assert told.taken_at.seconds == 1_800_000_000
    assert told.HasField("took")


async def test_without_a_state_folder_there_is_no_snapshot_store(server: Server) -> None:
    told = await refused(server.admin.TakeSnapshot(api.TakeSnapshotRequest()))
    assert (told.code, told.reason) == (Code.FAILED_PRECONDITION, "NO_SNAPSHOT_STORE")


async def test_a_second_snapshot_at_once_is_refused(keeper: Server) -> None:
    snapshots = keeper.app.stores.snapshots
    assert snapshots is not None
    async with snapshots._busy:
        told = await refused(keeper.admin.TakeSnapshot(api.TakeSnapshotRequest()))
    assert (told.code, told.reason) == (Code.ABORTED, "SNAPSHOT_IN_PROGRESS")
    await keeper.admin.TakeSnapshot(api.TakeSnapshotRequest())


async def test_a_snapshot_that_the_disk_refuses_is_unavailable_and_shows_in_the_status(
    keeper: Server, tmp_path: Path
) -> None:
    (tmp_path / "snapshot.tmp").mkdir()
    told = await refused(keeper.admin.TakeSnapshot(api.TakeSnapshotRequest()))
    assert (told.code, told.reason) == (Code.UNAVAILABLE, "STORE_UNAVAILABLE")
    shown = await keeper.admin.GetStatus(api.GetStatusRequest())
    assert [part.name for part in shown.degraded] == ["store.snapshot"]
    (tmp_path / "snapshot.tmp").rmdir()
    await keeper.admin.TakeSnapshot(api.TakeSnapshotRequest())
    assert not (await keeper.admin.GetStatus(api.GetStatusRequest())).degraded


# ------------------------------------------------------------------------------------------------ WatchEvents

REGISTERED, HEALTH, CONNECTED = (
    api.EVENT_KIND_WORKER_REGISTERED,
    api.EVENT_KIND_WORKER_HEALTH_CHANGED,
    api.EVENT_KIND_WORKER_CONNECTED,
)


async def begun(server: Server, **wanted: Any) -> Any:
    """A watch that has begun from now: its first message is a token alone."""
    stream = server.admin.WatchEvents(api.WatchEventsRequest(**wanted))
    first = await stream.read()
    assert not first.HasField("event")
    assert first.resume_token
    return stream


async def read(stream: Any, count: int) -> list[api.WatchEventsResponse]:
    return [await stream.read() for _ in range(count)]


async def test_a_watcher_sees_what_happens_from_now_on_in_order(server: Server) -> None:
    server.join("before")
    stream = await begun(server)
    server.join("w")
    told = await read(stream, 2)
    assert [(each.event.kind, each.event.worker_id) for each in told] == [(REGISTERED, "w"), (CONNECTED, "w")]
    first, second = (each.event for each in told)
    assert second.sequence == first.sequence + 1
    assert first.at.seconds == 1_800_000_000
    assert first.server_incarnation == server.app.core.incarnation
    assert first.severity == api.SEVERITY_INFO
    assert first.detail == "worker w registered: 5 slots"
    well_formed(told[0])
    stream.cancel()


async def test_a_change_of_health_tells_before_and_after(server: Server) -> None:
    server.join("w")
    stream = await begun(server, kinds=[HEALTH])
    server.leave("w")
    event = (await stream.read()).event
    assert (event.before, event.after, event.severity) == ("healthy", "unhealthy", api.SEVERITY_WARNING)
    assert event.detail == "worker w health changed from healthy to unhealthy: its stream is lost"
    stream.cancel()


async def test_each_filter_leaves_out_the_others(server: Server) -> None:
    streams = [
        await begun(server, kinds=[CONNECTED]),
        await begun(server, worker_id="b"),
        await begun(server, min_severity=api.SEVERITY_WARNING),
        await begun(server, min_severity=api.SEVERITY_CRITICAL),
    ]
    server.join("a")
    server.join("b")
    server.leave("a")
    for _ in range(3):
        server.app.core.breaker.failed("resize", server.clock.monotonic)
    server.beat("b")  # any event brings the breaker's out
    kinds, worker, warnings, critical = [await read(stream, 2) for stream in streams]
    assert [each.event.worker_id for each in kinds] == ["a", "b"]
    assert [each.event.kind for each in worker] == [REGISTERED, CONNECTED]
    assert [each.event.kind for each in warnings] == [api.EVENT_KIND_WORKER_DISCONNECTED, HEALTH]
    assert {each.event.kind for each in critical} == {api.EVENT_KIND_BREAKER_OPENED}
    for stream in streams:
        stream.cancel()


async def test_a_watch_resumes_after_the_message_that_carried_the_token(server: Server) -> None:
    stream = await begun(server)
    server.join("a")
    told = await read(stream, 2)
    stream.cancel()
    server.join("b")
    stream = server.admin.WatchEvents(api.WatchEventsRequest(resume_token=told[0].resume_token))
    after = await read(stream, 3)
    assert [(each.event.kind, each.event.worker_id) for each in after] == [
        (CONNECTED, "a"),
        (REGISTERED, "b"),
        (CONNECTED, "b"),
    ]
    stream.cancel()


async def test_a_token_without_an_event_is_as_good(server: Server) -> None:
    server.join("a")
    stream = server.admin.WatchEvents(api.WatchEventsRequest())
    token = (await stream.read()).resume_token
    stream.cancel()
    server.join("b")
    stream = server.admin.WatchEvents(api.WatchEventsRequest(resume_token=token))
    assert (await stream.read()).event.worker_id == "b"
    stream.cancel()


@pytest.mark.parametrize(
    ("count", "expected"), [(1, ["c"]), (2, ["b", "c"]), (3, ["a", "b", "c"]), (1_000, ["a", "b", "c"])]
)
async def test_a_watch_begins_with_the_last_matching_events(server: Server, count: int, expected: list[str]) -> None:
    for name in "abc":
        server.join(name)
    stream = server.admin.WatchEvents(api.WatchEventsRequest(kinds=[REGISTERED], replay_last=count))
    assert [each.event.worker_id for each in await read(stream, len(expected))] == expected
    server.join("d")
    assert (await stream.read()).event.worker_id == "d"
    stream.cancel()


async def test_a_replay_of_nothing_begins_now(server: Server) -> None:
    server.join("a")
    stream = await begun(server, kinds=[api.EVENT_KIND_LEASE_LOST], replay_last=5)
    stream.cancel()


async def test_a_quiet_watch_shows_signs_of_life(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SIGN_OF_LIFE_S", 0.001)
    stream = await begun(server, worker_id="nobody")
    first = await stream.read()
    assert not first.HasField("event")
    server.join("somebody")
    while (told := await stream.read()).resume_token == first.resume_token:
        pass
    assert not told.HasField("event")  # nothing matched, and yet it is known how far the watch has come
    stream.cancel()


async def test_a_token_whose_events_are_gone_is_out_of_range(server: Server) -> None:
    server.app.shell.events.entries = deque(maxlen=4)
    stream = await begun(server)
    token = f"{server.app.core.incarnation}.{server.app.core.events}"
    server.join("a")
    server.join("b")  # four events: just as many as are kept
    resumed = server.admin.WatchEvents(api.WatchEventsRequest(resume_token=token))
    assert (await resumed.read()).event.worker_id == "a"
    resumed.cancel()
    stream.cancel()
    server.join("c")
    told = await refused(server.admin.WatchEvents(api.WatchEventsRequest(resume_token=token)).read())
    assert (told.code, told.reason) == (Code.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")


async def test_a_token_of_another_run_is_out_of_range(server: Server) -> None:
    told = await refused(server.admin.WatchEvents(api.WatchEventsRequest(resume_token="cafe0123.5")).read())
    assert (told.code, told.reason) == (Code.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")


async def test_a_malformed_watch_is_refused_by_field(server: Server) -> None:
    ours = server.app.core.incarnation
    for wanted, field in (
        ({"resume_token": "x"}, "resume_token"),
        ({"resume_token": f"{ours}."}, "resume_token"),
        ({"resume_token": f"{ours}.-1"}, "resume_token"),
        ({"resume_token": f"{ours}.99999"}, "resume_token"),
        ({"resume_token": f"{ours}.0", "replay_last": 1}, "replay_last"),
        ({"replay_last": 1_001}, "replay_last"),
        ({"kinds": [1, 0]}, "kinds[1]"),
        ({"kinds": [999]}, "kinds[0]"),
        ({"min_severity": 9}, "min_severity"),
        ({"worker_id": "a\x07"}, "worker_id"),
    ):
        told = await refused(server.admin.WatchEvents(api.WatchEventsRequest(**wanted)).read())
        assert (told.code, told.fields) == (Code.INVALID_ARGUMENT, [field])


@pytest.mark.parametrize("wanted", [{"task_type": "resize"}, {"tenant": ""}])
async def test_filters_by_task_are_not_supported_rather_than_ignored(server: Server, wanted: dict[str, str]) -> None:
    told = await refused(server.admin.WatchEvents(api.WatchEventsRequest(**wanted)).read())  # type: ignore[arg-type]
    assert (told.code, told.reason) == (Code.UNIMPLEMENTED, "NOT_SUPPORTED_YET")


async def test_a_reader_that_falls_behind_the_ring_is_told_and_may_resume(server: Server) -> None:
    server.app.shell.events.entries = deque(maxlen=4)
    stream = await begun(server)
    for name in "abc":  # six events before the watcher has its turn
        server.join(name)
    told = await refused(stream.read())
    assert (told.code, told.reason) == (Code.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")
    again = await refused(
        server.admin.WatchEvents(api.WatchEventsRequest(resume_token=told.metadata["resume_token"])).read()
    )
    assert again.code is Code.OUT_OF_RANGE


async def test_one_watcher_too_many_is_refused_until_another_ends(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "MAX_READERS", 2)
    streams = [await begun(server), await begun(server)]
    told = await refused(server.admin.WatchEvents(api.WatchEventsRequest()).read())
    assert (told.code, told.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS")
    streams[0].cancel()
    async with asyncio.timeout(10):
        while (await server.admin.GetStatus(api.GetStatusRequest())).streams.event_watches == 2:
            pass
    (await begun(server)).cancel()
    streams[1].cancel()


async def test_watches_end_with_unavailable_when_the_server_drains() -> None:
    async with running_server() as server:
        stream = await begun(server)
        await server.app.stop(10)
        told = await refused(stream.read())
        assert (told.code, told.reason) == (Code.UNAVAILABLE, "SERVER_DRAINING")


async def test_a_draining_server_changes_nothing_more_but_still_tells(keeper: Server) -> None:
    keeper.join("w")
    keeper.app.calls.draining = True
    keeper.app.admin.drain()
    for call in (
        keeper.admin.RemoveWorker(api.RemoveWorkerRequest(worker_id="w")),
        keeper.admin.TakeSnapshot(api.TakeSnapshotRequest()),
        keeper.admin.WatchEvents(api.WatchEventsRequest()).read(),
    ):
        told = await refused(call)
        assert (told.code, told.reason) == (Code.UNAVAILABLE, "SERVER_DRAINING")
    assert (await keeper.admin.GetStatus(api.GetStatusRequest())).serving == api.SERVING_STATE_DRAINING
    await keeper.app.stop(0)


# ------------------------------------------------------------------------------------------------ what is not there

PARTS = (
    AdminCalls,
    DeadLetterCalls,
    DecisionCalls,
    HistoryCalls,
    ExplainCalls,
    WaitingCalls,
    ConfigCalls,
    LogLevelCalls,
    AlertCalls,
    FleetCalls,
    ReinstateCalls,
    CalendarCalls,
    BreakerCalls,
    QueueCalls,
    PredictionCalls,
    RebalanceCalls,
    DemandCalls,
    DrainCalls,
    OverrideCalls,
    ShadowCalls,
)
MISSING = [method.name for method in METHODS if not any(hasattr(part, method.name) for part in PARTS)]


def test_the_methods_that_are_there_are_the_ones_promised() -> None:
    assert {method.name for method in METHODS} - set(MISSING) == {
        "GetStatus",
        "GetLoad",
        "GetAccuracy",
        "ListWorkers",
        "GetWorker",
        "RemoveWorker",
        "WatchEvents",
        "TakeSnapshot",
        "ListDeadLetters",
        "RetryDeadLetter",
        "DiscardDeadLetter",
        "GetConfig",
        "UpdateConfig",
        "ListConfigHistory",
        "RollbackConfig",
        "SetPredictionDefault",
        "SetLogLevel",
        "ListAlerts",
        "ExplainAssign",
        "RankWorkers",
        "ListWaiting",
        "ExplainWaiting",
        "GetDecision",
        "ListDecisions",
        "GetUtilization",
        "ListAuditEntries",
        "LearnFromHistory",
        "CordonWorker",
        "UncordonWorker",
        "ReinstateWorker",
        "ForceFallback",
        "TripBreaker",
        "ResetBreaker",
        "ListPredictions",
        "ForgetPredictions",
        "ReprioritizeTask",
        "PauseQueue",
        "ResumeQueue",
        "ListPauses",
        "DrainWorkers",
        "GetDrain",
        "ListDrains",
        "WatchDrain",
        "CancelDrain",
        "CreateOverride",
        "ListOverrides",
        "DeleteOverride",
        "SetWorkerCalendar",
        "RebalanceWaiting",
        "GetDemand",
        "GetShadowReport",
    }


def test_no_method_of_the_contract_is_missing() -> None:
    assert not MISSING


# ------------------------------------------------------------------------------------------------ described


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
async def test_a_method_can_be_described_by_its_name(server: Server, package: str) -> None:
    """`grpcurl describe scheduler_api.v1.AdminService.GetWorker` asks for just that."""
    ask: Any = server.channel.stream_stream(
        f"/{package}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )()
    for symbol, found in (("GetWorker", True), ("GetWorkers", False)):
        await ask.write(
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"scheduler_api.v1.AdminService.{symbol}")
        )
        assert (await ask.read()).HasField("file_descriptor_response") is found
    ask.cancel()
