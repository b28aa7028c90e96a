"""AdminService: what operators ask.

Answers about many workers are made in slices of a millisecond, with the loop's turn in between, so each worker's line
is true when it is written and the whole is not one instant's. What is not here answers UNIMPLEMENTED (`server.py`).
"""

import logging
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from scheduler_api.v1 import admin_service_pb2, schedule_service_pb2
from scheduler_server.alerts.board import Board
from scheduler_server.assignment.effects import RemoveReply
from scheduler_server.assignment.events import RemoveWorker, Tick
from scheduler_server.assignment.losses import Loss
from scheduler_server.model.clock import Now
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.rpc import (
    accuracy,
    alerts,
    calendars,
    checks,
    encode,
    paging,
    queue_view,
    reinstating,
    status,
    worker_view,
)
from scheduler_server.rpc.access import Access
from scheduler_server.rpc.alerts import AlertCalls
from scheduler_server.rpc.breaker_calls import BreakerCalls
from scheduler_server.rpc.calendar_calls import CalendarCalls
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.config_calls import ConfigCalls
from scheduler_server.rpc.dead_letters import DeadLetterCalls
from scheduler_server.rpc.demand_calls import DemandCalls
from scheduler_server.rpc.demand_watch import DemandWatch
from scheduler_server.rpc.drain_calls import DrainCalls
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.explain_calls import ExplainCalls
from scheduler_server.rpc.fleet_calls import FleetCalls
from scheduler_server.rpc.history_calls import HistoryCalls, history_calls
from scheduler_server.rpc.paging import Turn
from scheduler_server.rpc.prediction_calls import PredictionCalls
from scheduler_server.rpc.queue_calls import QueueCalls
from scheduler_server.rpc.rebalance_calls import RebalanceCalls
from scheduler_server.rpc.reinstating import ReinstateCalls
from scheduler_server.rpc.schedule import ScheduleCalls
from scheduler_server.rpc.shadow_calls import ShadowCalls
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.steering import Steering
from scheduler_server.rpc.stores import Stores
from scheduler_server.rpc.streams import WorkerStreams
from scheduler_server.rpc.waiting_calls import WaitingCalls
from scheduler_server.rpc.watch import EventWatchers
from scheduler_server.rpc.worker_query import Filter, Order, Profile, similar
from scheduler_server.storage.snapshot_store import SnapshotError

_LOG = logging.getLogger(__name__)

PROTOCOL_VERSION = 1

_SHORTEST_WINDOW_S, _LONGEST_WINDOW_S = 60.0, 3_600.0

_BEYOND_METHODS = (
    "accept_within",
    "calendar",
    "delivery_stream",
    "drain",
    "ejection",
    "enqueue",
    "explanation_full",
    "ramp",
    "wait",
)
"""Features that are fields of a method, or that several make together."""


class AdminCalls:
    """Each method: check the message, look, encode the answer. What can be refused is told by exception."""

    def __init__(
        self,
        shell: Shell,
        calls: ScheduleCalls,
        streams: WorkerStreams,
        stores: Stores,
        settings: Any,
        board: Board,
        config: ConfigCalls | None = None,
        others: tuple[object, ...] = (),
    ) -> None:
        self._shell = shell
        self._core = shell.core
        self._calls = calls
        self._streams = streams
        self._stores = stores
        self._settings = settings
        self.config = config
        self._watchers = EventWatchers(shell)
        self.version = _version()  # of the software
        self.alerts = board
        self.demand = DemandWatch(shell)
        self.access: Access | None = None  # set once the server knows who may do what
        history = history_calls(shell, stores, self._look, self.refuse_when_draining)
        self._history = next((each for each in history if isinstance(each, HistoryCalls)), None)
        self.shadow = next((each for each in others if isinstance(each, ShadowCalls)), None)
        waiting, steering = WaitingCalls(shell), Steering(shell, self._most_orders)
        self._drains = DrainCalls(shell, steering, self.refuse_when_draining)
        self.others = (
            DeadLetterCalls(stores, shell.core.incarnation, self.refuse_when_draining),
            ExplainCalls(shell),
            waiting,
            FleetCalls(shell, steering, self._record, self._fill, self.refuse_when_draining),
            self._drains,
            ReinstateCalls(shell, steering, self._record, self._fill, self.refuse_when_draining),
            CalendarCalls(shell, steering, self._record, self._fill, self.refuse_when_draining),
            BreakerCalls(shell, steering, self._profile, self.refuse_when_draining),
            QueueCalls(shell, steering, waiting, self.refuse_when_draining),
            PredictionCalls(shell, stores, self.refuse_when_draining),
            RebalanceCalls(shell, self.refuse_when_draining),
            DemandCalls(shell, self.demand.trends),
            *history,
            AlertCalls(board, shell.core.incarnation),
            *(() if config is None else (config,)),
            *others,
        )
        self._features = _features(calls, streams, self, *self.others)
        self.draining = False

    def drain(self) -> None:
        """The server is going down: end the watchers, change nothing more."""
        self.draining = True
        if self.config is not None:
            self.config.draining = True
        self._watchers.drain()
        self._drains.watches.drain()

    @property
    def drain_watches(self) -> int:
        """Open WatchDrain streams."""
        return len(self._drains.watches)

    @property
    def drain_messages(self) -> int:
        """Messages sent on streams of WatchDrain since the start."""
        return self._drains.watches.sent

    @property
    def event_watches(self) -> int:
        """Open WatchEvents streams."""
        return len(self._watchers)

    @property
    def event_messages(self) -> int:
        """Messages sent on streams of WatchEvents since the start."""
        return self._watchers.sent

    # ------------------------------------------------------------------ the whole

    async def GetStatus(
        self, request: admin_service_pb2.GetStatusRequest, context: Any
    ) -> admin_service_pb2.GetStatusResponse:
        """How is the server."""
        now = self._look()
        core = self._core
        response = admin_service_pb2.GetStatusResponse()
        response.version = self.version
        response.server_incarnation = core.incarnation
        encode.set_instant(response.started_at, core.started.wall)
        encode.set_span(response.uptime, max(0.0, now.monotonic - core.started.monotonic))
        serving, draining = admin_service_pb2.SERVING_STATE_SERVING, admin_service_pb2.SERVING_STATE_DRAINING
        response.serving = draining if self._calls.draining else serving
        status.policy(response.policy, core, self._profile())
        if self.shadow is not None:
            response.policy.shadow_policies.extend(self.shadow.names)
        status.stores(response, self._stores)
        status.breakers(response, core, now)
        reinstating.fill_status(response, core.ejecting)
        alerts.fill_status(response, self.alerts)
        if self.access is not None:
            self.access.fill_status(response)
        status.decisions(response, core)
        response.features.extend(self._features)
        response.protocol_version = PROTOCOL_VERSION
        encode.set_instant(response.now, now.wall)
        response.lost_track = core.losses.requeued[Loss.LOST_TRACK] + core.losses.reported[Loss.LOST_TRACK]
        orphans = sum(map(len, core.ledger.orphans.values()))
        grace_left = core.departures.not_before - now.monotonic
        if orphans and grace_left > 0:
            encode.set_span(response.loss_grace_left, grace_left)
        response.streams.workers = len(self._streams)
        response.streams.event_watches = len(self._watchers)
        response.streams.task_watches = len(self._calls.watchers)
        response.streams.drain_watches = self.drain_watches
        response.waiting_tasks = len(core.queue.waiting)
        tally = await self._tally(None)
        tally.fill_counts(response.workers)
        response.leases = tally.leases + orphans
        return response

    async def GetLoad(
        self, request: admin_service_pb2.GetLoadRequest, context: Any
    ) -> admin_service_pb2.GetLoadResponse:
        """How busy is the fleet."""
        checker = Checker()
        profile = Profile(request, checker)
        window_s = 0.0
        if request.HasField("window"):
            window_s = checker.span_s("window", request.window.seconds, request.window.nanos)
            if not checker.faults and not _SHORTEST_WINDOW_S <= window_s <= _LONGEST_WINDOW_S:
                checker.fault("window", f"must be 60 s to 3,600 s (got {window_s:g} s)")
        checker.done()
        now = self._look()
        response = admin_service_pb2.GetLoadResponse()
        tally = await self._tally(profile)
        tally.fill_load(response)
        await queue_view.fill_load(response, self._core, now)
        if self._history is not None:
            await self._history.fill_load(response, window_s, profile)
        encode.set_instant(response.as_of, now.wall)
        return response

    async def GetAccuracy(
        self, request: admin_service_pb2.GetAccuracyRequest, context: Any
    ) -> admin_service_pb2.GetAccuracyResponse:
        """How good were the predictions lately."""
        if request.HasField("range") and self._history is not None:
            return await self._history.accuracy(request)
        response = admin_service_pb2.GetAccuracyResponse()
        await accuracy.fill(response, request, self._core.accuracy, self._core.incarnation)
        if not request.task_type:
            accuracy.waits(response.overall, self._core.queue.expected)
        return response

    async def _tally(self, profile: Profile | None) -> status.Tally:
        tally = status.Tally()
        turn = Turn()
        for record in list(self._core.fleet.records.values()):
            if turn.over():
                await turn.pause()
            if record.row >= 0 and (profile is None or profile.matches(record)):
                tally.add(record)
        return tally

    # ------------------------------------------------------------------ workers

    async def ListWorkers(
        self, request: admin_service_pb2.ListWorkersRequest, context: Any
    ) -> admin_service_pb2.ListWorkersResponse:
        """Workers, filtered, sorted, paged. Choice and order are the scan's, values those of when they are written."""
        now = self._look()
        checker = Checker()
        wanted = Filter(request, checker)
        order = Order(request.order_by, checker, lambda record: self._core.available_in_s(record, now))
        size = paging.size(checker, request.page_size)
        checker.done()
        bound_to = paging.scope(self._core.incarnation, request)
        after = paging.read_token(bound_to, request.page_token)
        page: paging.Page[WorkerRecord] = paging.Page(size, after, backwards=order.backwards)
        response = admin_service_pb2.ListWorkersResponse()
        total = 0
        turn = Turn()
        for record in list(self._core.fleet.records.values()):
            if turn.over():
                await turn.pause()
            if record.row >= 0 and wanted.matches(record):  # a row below 0: removed since the scan began
                total += 1
                page.offer(order.position(record), record)

        def add(record: WorkerRecord) -> int:
            if record.row < 0:
                return 0
            message = response.workers.add()
            self._fill(message, record)
            return message.ByteSize()

        response.next_page_token = paging.next_token(bound_to, await page.write(turn, add))
        response.total_size = total
        encode.set_instant(response.as_of, now.wall)
        return response

    async def GetWorker(
        self, request: admin_service_pb2.GetWorkerRequest, context: Any
    ) -> admin_service_pb2.GetWorkerResponse:
        """One worker, with the leases it holds."""
        record = await self._record(request.worker_id)
        now = self._look()
        response = admin_service_pb2.GetWorkerResponse()
        self._fill(response.worker, record)
        written = 0
        turn = Turn()
        for lease in list(record.leases.values()):
            if turn.over():
                await turn.pause()
            if lease.live and written <= paging.MAX_PAGE_BYTES:
                message = response.worker.leases.add()
                worker_view.fill_lease(message, lease, now, self._core.remaining(lease, now))
                written += message.ByteSize()
        return response

    async def RemoveWorker(
        self, request: admin_service_pb2.RemoveWorkerRequest, context: Any
    ) -> admin_service_pb2.RemoveWorkerResponse:
        """Forget a worker."""
        checker = Checker()
        checker.text("reason", request.reason, limit=checks.MAX_DETAIL)
        record = await self._record(request.worker_id, checker)
        self.refuse_when_draining()
        # No await from here on: a lease granted in between would be lost without `force`.
        if record.leases and not request.force:
            about = (("worker_id", record.worker_id), ("leases", str(len(record.leases))))
            message = f"worker {record.worker_id!r} still holds leases ({len(record.leases)}): drain it, or send force"
            raise Refused(Refusal(Reason.WORKER_BUSY, message, about))
        reply: RemoveReply = self._shell.handle(RemoveWorker(request.worker_id, request.reason))
        if reply.refusal is not None:
            raise Refused(reply.refusal)
        return admin_service_pb2.RemoveWorkerResponse(lost_leases=reply.leases_lost)

    def _fill(self, message: admin_service_pb2.Worker, record: WorkerRecord) -> None:
        now = self._shell.now()
        wait_s = self._core.available_in_s(record, now)
        worker_view.fill(message, record, now, wait_s, self._streams.waiting(record.session))
        reinstating.fill(message, record, self._core.ejecting)
        by_operator = self._core.shifts.calendar_of(record)[1]
        calendars.fill_shift(message, record, now.wall, by_operator=by_operator)
        if (cordon := self._core.standing.cordoned(record.worker_id)) is not None:
            message.cordon_reason = cordon.reason
        if record.draining:
            message.drain_ids.extend(self._core.drains.covering(record.worker_id))

    async def _record(self, worker_id: str, checker: Checker | None = None) -> WorkerRecord:
        checker = checker or Checker()
        checker.text("worker_id", worker_id, required=True)
        checker.done()
        self._look()
        record = self._core.fleet.records.get(worker_id)
        if record is not None:
            return record
        message = f"worker {worker_id!r} is not known"
        about = [("worker_id", worker_id)]
        alike = await similar(self._core.fleet.records, worker_id)
        if alike:
            message += "; known are " + ", ".join(map(repr, alike))
            about.append(("similar", ", ".join(alike)))
        raise Refused(Refusal(Reason.WORKER_UNKNOWN, message, tuple(about)))

    # ------------------------------------------------------------------ events and snapshots

    async def WatchEvents(self, request: admin_service_pb2.WatchEventsRequest, context: Any) -> None:
        """Stream events."""
        self.refuse_when_draining()
        self._look()
        await self._watchers.watch(request, context)

    async def TakeSnapshot(
        self, request: admin_service_pb2.TakeSnapshotRequest, context: Any
    ) -> admin_service_pb2.TakeSnapshotResponse:
        """Write a snapshot now."""
        checker = Checker()
        checker.text("reason", request.reason, limit=checks.MAX_DETAIL)
        checker.done()
        self.refuse_when_draining()
        keeper = self._stores.snapshots
        if keeper is None:
            message = "no snapshot store is configured: storage.snapshot_url and storage.state_folder are empty"
            raise Refused(Refusal(Reason.NO_SNAPSHOT_STORE, message))
        if keeper.busy:
            raise Refused(Refusal(Reason.SNAPSHOT_IN_PROGRESS, "another snapshot is being written; wait for it"))
        _LOG.info("a snapshot is asked for: %s", request.reason or "no reason given")
        began = self._shell.now()
        try:
            await keeper.write()
        except SnapshotError as error:
            message = f"the snapshot was not written: {error}"
            raise Refused(Refusal(Reason.STORE_UNAVAILABLE, message, (("store", "snapshot"),))) from None
        response = admin_service_pb2.TakeSnapshotResponse()
        encode.set_instant(response.taken_at, began.wall)
        encode.set_span(response.took, max(0.0, self._shell.now().monotonic - began.monotonic))
        response.location = keeper.location
        response.size_bytes = keeper.size_bytes
        response.prediction_keys = self._core.predictor.keys
        return response

    # ------------------------------------------------------------------ shared

    def _look(self) -> Now:
        """The present instant, with the state brought up to it."""
        self._shell.handle(Tick())
        return self._shell.now()

    def _profile(self) -> str:
        """The profile in force."""
        profile: str = self._settings.profile if self.config is None else self.config.profile
        return profile

    def _most_orders(self) -> int:
        """How many standing orders there may be."""
        running = self._settings if self.config is None else self.config.running
        most: int = running.limits.standing_orders
        return most

    def refuse_when_draining(self) -> None:
        """Nothing is changed any more by a server that goes down."""
        if self.draining:
            raise Refused(Refusal(Reason.SERVER_DRAINING, "the server is going down; nothing was done"))


def _version() -> str:
    try:
        return version("scheduler-server")
    except PackageNotFoundError:  # run from a folder, not installed
        return ""


def _features(*parts: object) -> list[str]:
    """The methods that are there, in the spelling of features."""
    return [*(_snake(name) for name in _methods() if any(hasattr(part, name) for part in parts)), *_BEYOND_METHODS]


def _methods() -> Iterator[str]:
    for described in (schedule_service_pb2.DESCRIPTOR, admin_service_pb2.DESCRIPTOR):
        for service in described.services_by_name.values():
            for method in service.methods:
                yield method.name


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
