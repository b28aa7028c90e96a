"""How the server is, part by part: what GetStatus and GetLoad are made of."""

from math import sqrt
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.assignment.core import Scheduler
from scheduler_server.fallback import round_robin
from scheduler_server.fallback.breaker import ALL, BreakerState
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Rejection
from scheduler_server.model.standing import About, OrderKind, StandingOrder
from scheduler_server.model.worker import Accounting, Health
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.rpc import encode, history_view
from scheduler_server.rpc.stores import DECISION_LOG, JOURNAL, SNAPSHOT, TASKS, Stores
from scheduler_server.scorer.settings import ScorerSettings

MOST_TYPE_BREAKERS = 100

_OK, _DEGRADED, _UNAVAILABLE, _DISABLED = (
    admin_service_pb2.STORE_STATE_OK,
    admin_service_pb2.STORE_STATE_DEGRADED,
    admin_service_pb2.STORE_STATE_UNAVAILABLE,
    admin_service_pb2.STORE_STATE_DISABLED,
)

_FORGETFUL = "nothing survives a restart: storage.state_folder is empty"
_LEASES_FORGOTTEN = "no lease and no waiting task survives a restart: storage.state_folder is empty"
_LEASES_AT_RISK = (
    "tasks are placed as ever; leases granted meanwhile are forgotten if the server restarts, and their slots count as"
    " free until their workers report; enqueue is refused (STORE_UNAVAILABLE)"
)
_LEASES_DROPPED = (
    "tasks are placed as ever; leases whose entries were dropped are forgotten if the server restarts, and their slots"
    " count as free until their workers report"
)
_LESSONS_AT_RISK = (
    "nothing now; after a restart predictions and worker records start from the last snapshot that worked"
)
_TASKS_STAY = (
    "tasks of the streams stay in Redis until it can be asked; those that were read go on, and Assign is as ever"
)
_ALL_FALL_BACK = "every task is placed in turn (round_robin), without prediction or score"
_TYPE_FALLS_BACK = "tasks of this type are placed in turn (round_robin), without prediction or score"


def weights(scorer: str, settings: ScorerSettings) -> dict[str, float]:
    """Factors of a built-in scorer's terms, by term; of others nothing is known."""
    if scorer == "weighted":
        return {"wait": settings.wait_weight, "load": settings.load_weight, "priority": settings.priority_weight}
    if scorer == "capability":
        return {
            "capacity": settings.capacity_weight,
            "success_rate": settings.success_weight,
            "speed": settings.speed_weight,
        }
    if scorer == "specialist":
        return {"health": 1.0, "specialization": settings.specialization_bonus, "room": settings.room_weight}
    if scorer == "earliest_finish":
        return {"wait_s": -1.0, "duration_s": -1.0}
    return {}


def policy(message: admin_service_pb2.Policy, core: Scheduler, profile: str) -> None:
    """Fill a Policy."""
    message.revision = core.placement.policy_revision
    message.profile = profile
    message.predictor = core.predictor.name
    message.scorer = core.scorer.name
    message.weights.update(weights(core.scorer.name, core.settings.scorer))
    message.fallback = round_robin.NAME
    message.order = core.queue.renewing.order.name
    message.objective = core.queue.objective
    message.overrides = len(core.overrides.in_force)
    if core.scorer.name == "weighted":
        encode.set_span(message.max_wait, core.settings.scorer.max_wait_ms / 1_000.0)
    forced = dict(core.standing.of(OrderKind.FALLBACK))
    for about, order in sorted(forced.items()):
        if about.name == ALL:
            _forced(message.forced_fallback, order)
        elif len(message.forced_types) < MOST_TYPE_BREAKERS:
            _forced(message.forced_types.add(task_type=about.name), order)


def _forced(message: Any, order: StandingOrder) -> None:
    """Fill a ForcedFallback."""
    encode.set_instant(message.since, order.since)
    if order.until is not None:
        encode.set_instant(message.expires_at, order.until)
    message.author, message.reason = order.author, order.reason


def decisions(response: admin_service_pb2.GetStatusResponse, core: Scheduler) -> None:
    """Add the counts of decisions, by source and cause."""
    for (source, cause), count in sorted(core.placement.by_source.items()):
        response.decisions.add(source=source.value, cause=cause.value, count=count)


# ---------------------------------------------------------------------- stores


def stores(response: admin_service_pb2.GetStatusResponse, kept: Stores) -> None:
    """Add the stores, and what is degraded of them."""
    if kept.journal is not None:
        _journal(response.stores.add(), kept)
    _snapshot(response.stores.add(), kept)
    _tasks(response.stores.add(), kept)
    if kept.history is not None:
        history_view.fill(response.stores.add(), kept.history)
    for status in response.stores:
        if status.state in (_DEGRADED, _UNAVAILABLE):
            part = response.degraded.add(name=f"store.{status.name}")
            part.detail = status.last_error or _why_degraded(status, kept)
            part.consequence = _LESSONS_AT_RISK
            if status.name == TASKS and kept.tasks is not None:
                part.consequence = _TASKS_STAY
                if kept.tasks.link.failed_since is not None:
                    encode.set_instant(part.since, kept.tasks.link.failed_since)
            if status.name == DECISION_LOG:
                part.consequence = history_view.consequence(status.state == _UNAVAILABLE)
            if status.name == JOURNAL:
                part.consequence = _LEASES_AT_RISK if status.state == _UNAVAILABLE else _LEASES_DROPPED


def _journal(status: admin_service_pb2.StoreStatus, kept: Stores) -> None:
    now = kept.journal.status()
    status.name = JOURNAL
    status.backend = kept.journal_backend
    status.location = kept.journal_location
    status.state = _UNAVAILABLE if not now.healthy else _DEGRADED if now.dropped else _OK
    status.pending = now.pending
    status.dropped = now.dropped
    status.written = now.written
    status.consecutive_failures = 0 if now.healthy else 1  # at least: the journal does not count them in a row
    status.last_error = now.last_error or ""
    if kept.journal_backend == "memory":
        status.warnings.append(_FORGETFUL if kept.snapshots is None else _LEASES_FORGOTTEN)
    status.warnings.extend(kept.journal_warnings)


def _snapshot(status: admin_service_pb2.StoreStatus, kept: Stores) -> None:
    keeper = kept.snapshots
    status.name = SNAPSHOT
    if keeper is None:
        status.state = _DISABLED
        status.warnings.append(_FORGETFUL)
        return
    status.backend = keeper.backend
    status.location = keeper.location
    late = bool(keeper.overdue() or keeper.rival)
    status.state = _UNAVAILABLE if keeper.failures else _DEGRADED if late else _OK
    status.consecutive_failures = keeper.failures
    status.last_error = keeper.last_error
    status.written = keeper.written
    status.dropped = keeper.left_out
    status.records = keeper.records
    status.size_bytes = keeper.size_bytes
    status.warnings.extend(keeper.warnings)
    if keeper.last_success_at is not None:
        encode.set_instant(status.last_success_at, keeper.last_success_at)
    if keeper.restored_at is not None:
        encode.set_instant(status.restored_at, keeper.restored_at)
    if (age_s := keeper.age_s()) is not None:
        encode.set_span(status.age, age_s)


def _tasks(status: admin_service_pb2.StoreStatus, kept: Stores) -> None:
    status.name = TASKS
    dispatcher = kept.tasks
    if dispatcher is None:
        status.state = _DISABLED
        return
    link, outbox = dispatcher.link, dispatcher.outbox
    status.backend = "redis"
    status.location = f"{link.location} {', '.join(dispatcher.settings.streams)}"
    status.state = _OK if link.works and not outbox.dropped else _DEGRADED if link.works else _UNAVAILABLE
    status.consecutive_failures = link.failures
    status.last_error = link.last_error
    status.pending = len(outbox)
    status.dropped = outbox.dropped
    status.written = dispatcher.acknowledged
    status.records = len(dispatcher.holdings) + (dispatcher.lag or 0)
    status.warnings.extend(link.warnings)
    if link.last_success_at is not None:
        encode.set_instant(status.last_success_at, link.last_success_at)


def _why_degraded(status: admin_service_pb2.StoreStatus, kept: Stores) -> str:
    if status.name == SNAPSHOT and kept.snapshots is not None:
        return "; ".join(filter(None, (kept.snapshots.overdue(), kept.snapshots.rival)))
    if status.name == TASKS:
        return f"{status.dropped} decisions or outcomes were not published" if status.dropped else "not reached yet"
    return f"{status.dropped} entries were dropped since the start"


# ---------------------------------------------------------------------- breaker


def breakers(response: admin_service_pb2.GetStatusResponse, core: Scheduler, now: Now) -> None:
    """Fill in the breaker and those of task types, and what is degraded by them."""
    breaker(response.breaker, core, now, ALL)
    for name, state, failures, _ in sorted(core.breaker.states(now.monotonic)):
        if state is BreakerState.CLOSED:
            continue
        message = response.breaker
        if name != ALL:
            response.open_type_breakers += 1
            if response.open_type_breakers > MOST_TYPE_BREAKERS:
                continue
            message = response.type_breakers.add()
            breaker(message, core, now, name)
        part = response.degraded.add(name=f"breaker.{name}" if name else "breaker")
        part.since.CopyFrom(message.opened_at)
        how = "by an operator's order" if message.tripped else f"after {failures} failures in a row"
        part.detail = f"{state.name.lower().replace('_', ' ')} {how}"
        part.consequence = _TYPE_FALLS_BACK if name else _ALL_FALL_BACK
    for about, order in core.standing.of(OrderKind.FALLBACK):
        if about.name != ALL and len(response.degraded) >= MOST_TYPE_BREAKERS:
            continue
        part = response.degraded.add(name=f"fallback.{about.name}" if about.name else "fallback")
        encode.set_instant(part.since, order.since)
        part.detail = "forced by an operator" + (f": {order.reason}" if order.reason else "")
        part.consequence = _TYPE_FALLS_BACK if about.name else _ALL_FALL_BACK


def breaker(message: Any, core: Scheduler, now: Now, name: str) -> None:
    """Fill a BreakerStatus."""
    message.task_type = name
    message.state = BreakerState.CLOSED.value
    message.threshold = core.settings.fallback.failure_threshold
    for each, state, failures, trial_s in core.breaker.states(now.monotonic):
        if each != name:
            continue
        message.state = state.value
        message.consecutive_failures = failures
        trip = core.standing.orders.get(About(OrderKind.TRIP, name))
        if trip is not None:
            message.tripped = True
            encode.set_instant(message.opened_at, trip.since)
            if trip.until is not None:
                encode.set_instant(message.trip_expires_at, trip.until)
            return
        if state is BreakerState.CLOSED:
            return
        open_for_s = {kept["circuit"]: kept["open_for_s"] for kept in core.breaker.state(now.monotonic)}
        encode.set_instant(message.opened_at, now.wall - open_for_s[name])
        if state is BreakerState.OPEN:
            encode.set_instant(message.next_trial_at, now.wall + trial_s)


# ---------------------------------------------------------------------- workers


class Tally:
    """Workers counted one by one; what GetStatus and GetLoad say of all together."""

    def __init__(self) -> None:
        self.total = self.connected = self.cordoned = self.draining = self.tracked = self.leases = 0
        self.off_shift = self.ejected = 0
        self.by_health = dict.fromkeys(Health, 0)
        self.active = self.slots = self.used = self.free = 0
        self._shares = self._squares = self._greatest = self._loads = 0.0

    def add(self, record: WorkerRecord) -> None:
        """Count one."""
        self.total += 1
        self.by_health[record.health] += 1
        self.connected += record.connected
        self.cordoned += record.cordoned
        self.draining += record.draining
        self.off_shift += record.off_shift
        self.ejected += record.ejected
        self.tracked += record.accounting is Accounting.TRACKED
        self.leases += len(record.leases)
        if record.barred is not Rejection.CANDIDATE:
            return
        self.active += 1
        self.slots += record.slots
        self.used += record.occupied
        self.free += max(0, record.free)
        share = record.occupied / record.slots
        self._shares += share
        self._squares += share * share
        self._greatest = max(self._greatest, share)
        self._loads += record.load

    def fill_counts(self, message: admin_service_pb2.WorkerCounts) -> None:
        """Fill WorkerCounts."""
        message.total = self.total
        message.healthy = self.by_health[Health.HEALTHY]
        message.degraded = self.by_health[Health.DEGRADED]
        message.unhealthy = self.by_health[Health.UNHEALTHY]
        message.connected = self.connected
        message.cordoned = self.cordoned
        message.draining = self.draining
        message.off_shift = self.off_shift
        message.ejected = self.ejected
        message.tracked = self.tracked
        message.sampled = self.total - self.tracked

    def fill_load(self, response: Any) -> None:
        """Fill GetLoadResponse, apart from its instant."""
        response.total_workers = self.total
        response.active_workers = self.active
        response.total_capacity = self.slots
        response.used_capacity = self.used
        response.free_capacity = self.free
        if self.active:
            response.utilization = self.used / self.slots
            response.mean_load = self._loads / self.active
            mean = self._shares / self.active
            if mean > 0:
                # Sums of squares cancel badly for nearly equal shares: below 0 means 0.
                response.spread = sqrt(max(0.0, self._squares / self.active - mean * mean)) / mean
                response.max_over_mean = max(1.0, self._greatest / mean)
        self.fill_counts(response.workers)
