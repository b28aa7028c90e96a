"""How each instrument is read: a few attributes that the core and its shell keep anyway, never a scan over workers."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import TypeAlias

from scheduler_server.alerts.rules import RULES
from scheduler_server.assignment.causes import SOURCES
from scheduler_server.assignment.losses import Loss
from scheduler_server.assignment.sparing import ejected_now
from scheduler_server.fallback.breaker import ALL, BreakerState
from scheduler_server.model.decision import Cause
from scheduler_server.model.drain import DrainState
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.model.worker import Health
from scheduler_server.telemetry import (
    access_instruments,
    demand_instruments,
    history_instruments,
    shadow_instruments,
    steering_instruments,
)
from scheduler_server.telemetry.alert_instruments import LIVE
from scheduler_server.telemetry.instrument import name_of
from scheduler_server.telemetry.instruments import (
    BOUNDS,
    DEAD_REASONS,
    DIRECTIONS,
    ENTRIES_MET,
    MOMENTS,
    OTHER,
    PLACEMENT_REFUSALS,
    STORE_STATES,
)
from scheduler_server.telemetry.push_instruments import PUSH_ENDS, SPAN_ENDS
from scheduler_server.telemetry.sources import DispatchFigures, Moment, StoreFigures

Series: TypeAlias = tuple[float, tuple[str, ...]]
"""A value, and the values of the instrument's labels in the order of its row."""

Reader: TypeAlias = Callable[[Moment], Iterable[Series]]


def _one(read: Callable[[Moment], float | None]) -> Reader:
    """An instrument without labels; None is nothing to export."""

    def reader(moment: Moment) -> Iterable[Series]:
        value = read(moment)
        return () if value is None else ((value, ()),)

    return reader


# ---------------------------------------------------------------------- server


def _streams(moment: Moment) -> Iterator[Series]:
    for kind, count in moment.sources.streams().items():
        yield count, (kind,)


def _drains(moment: Moment) -> Iterator[Series]:
    counts = Counter(drain.state for drain in moment.core.drains.drains.values() if not drain.over)
    for state in DrainState:
        if state is not DrainState.CANCELLED:
            yield counts[state], (name_of(state),)


def _messages(moment: Moment) -> Iterator[Series]:
    for labels, count in moment.sources.messages().items():
        yield count, labels


def _started(moment: Moment) -> Iterator[Series]:
    for method in moment.sources.calls.by_method.values():
        yield method.started, (method.name,)


def _pushes(moment: Moment) -> Iterator[Series]:
    ends = moment.sources.pushes()
    return ((ends[end], (end,)) for end in PUSH_ENDS) if ends is not None else iter(())


def _spans(moment: Moment) -> Iterator[Series]:
    ends = moment.sources.spans()
    return ((ends[end], (end,)) for end in SPAN_ENDS) if ends is not None else iter(())


def _events(moment: Moment) -> Iterator[Series]:
    counts = moment.sources.event_counts
    for kind in FleetEventKind:
        yield counts.get(kind, 0), (name_of(kind),)


# ---------------------------------------------------------------------- decisions


def _decisions(moment: Moment) -> Iterator[Series]:
    by_cause = moment.core.placement.by_cause
    for cause in Cause:
        yield by_cause[cause], (name_of(SOURCES[cause]), name_of(cause))


def _refusals(moment: Moment) -> Iterator[Series]:
    refusals = moment.core.placement.refusals
    others = sum(refusals.values())
    for reason in PLACEMENT_REFUSALS:
        count = refusals.get(reason, 0)
        others -= count
        yield count, (reason.value.lower(),)
    yield others, (OTHER,)


def _circuit(moment: Moment) -> tuple[BreakerState, int]:
    for name, state, failures, _ in moment.core.breaker.states(moment.now.monotonic):
        if name == ALL:
            return state, failures
    return BreakerState.CLOSED, 0


def _breaker_state(moment: Moment) -> Iterator[Series]:
    return _one_hot(_circuit(moment)[0], BreakerState)


def _open_types(moment: Moment) -> int:
    states = moment.core.breaker.states(moment.now.monotonic)
    return sum(name != ALL and state is not BreakerState.CLOSED for name, state, _, _ in states)


def _one_hot(current: IntEnum, states: Iterable[IntEnum]) -> Iterator[Series]:
    for state in states:
        yield int(state is current), (name_of(state),)


# ---------------------------------------------------------------------- workers, leases


def _workers(moment: Moment) -> Iterator[Series]:
    for health in Health:
        yield moment.core.fleet.by_health[health], (name_of(health),)


def _orphans(moment: Moment) -> int:
    return sum(map(len, moment.core.ledger.orphans.values()))


def _slots_used(moment: Moment) -> int:
    core = moment.core
    return core.ledger.live - _orphans(moment) + core.fleet.background


def _outcomes(moment: Moment) -> Iterator[Series]:
    ended = moment.core.outcomes.by_status
    for status in OutcomeStatus:
        yield ended.get(status, 0), (name_of(status),)


def _lost_leases(moment: Moment) -> Iterator[Series]:
    losses = moment.core.losses
    for then, counts in (("requeued", losses.requeued), ("reported", losses.reported)):
        for why in Loss:
            yield counts[why], (name_of(why), then)


def _ejections(moment: Moment) -> Iterator[Series]:
    ejecting = moment.core.ejecting
    yield ejecting.times, ("ejected",)
    yield ejecting.times_spared, ("capped",)


# ---------------------------------------------------------------------- waiting tasks


def _oldest_wait(moment: Moment) -> float | None:
    """Of the one that came first: those from before a restart come in the order in which they came then."""
    first = next(iter(moment.core.queue.waiting.by_task.values()), None)
    return max(0.0, moment.now.wall - first.since_wall) if first is not None else None


def _start_coverage(moment: Moment) -> Iterator[Series]:
    for bound, share in zip(BOUNDS, moment.core.queue.expected.coverage(), strict=True):
        if share is not None:
            yield share, (bound,)


# ---------------------------------------------------------------------- predictions


def _coverage(moment: Moment) -> Iterator[Series]:
    figures = moment.accuracy
    for bound, share in zip(BOUNDS, (figures.p50_coverage, figures.p90_coverage), strict=True):
        if share is not None:
            yield share, (bound,)


def _drifts(moment: Moment) -> Iterator[Series]:
    for direction in DIRECTIONS:
        yield moment.core.drifts.get(direction, 0), (direction,)


def _latest_drift(moment: Moment) -> Iterator[Series]:
    drift = moment.core.latest_drift
    if drift is not None:
        for at, predicted_ms in zip(MOMENTS, (drift.before_ms, drift.after_ms), strict=True):
            yield predicted_ms / 1_000.0, (at,)


# ---------------------------------------------------------------------- tasks by streams


def _entries(moment: Moment) -> Iterator[Series]:
    if moment.dispatch is not None:
        for event in ENTRIES_MET:
            yield moment.dispatch.met.get(event, 0), (event,)


def _dead_letters(moment: Moment) -> Iterator[Series]:
    if moment.dispatch is not None:
        for reason in DEAD_REASONS:
            yield moment.dispatch.dead.get(reason, 0), (reason,)


def _of_dispatch(read: Callable[[DispatchFigures], float | None]) -> Reader:
    return _one(lambda at: None if at.dispatch is None else read(at.dispatch))


# ---------------------------------------------------------------------- stores


def _store_states(moment: Moment) -> Iterator[Series]:
    for store in moment.stores:
        for state in STORE_STATES:
            yield int(store.state == state), (store.name, state)


def _of_stores(read: Callable[[StoreFigures], float]) -> Reader:
    return lambda moment: ((read(store), (store.name,)) for store in moment.stores)


def _snapshot(read: Callable[[StoreFigures], float | None]) -> Reader:
    """A figure of the newest snapshot, once there is one."""

    def reader(moment: Moment) -> Iterator[Series]:
        for store in moment.stores:
            if store.name == "snapshot" and store.age_s is not None and (value := read(store)) is not None:
                yield value, ()

    return reader


def _alerts(moment: Moment) -> Iterator[Series]:
    counts = moment.sources.alerts()
    for rule in RULES:
        for state in LIVE:
            yield counts.get((rule.name, state), 0), (rule.name, name_of(rule.severity), name_of(state))


READERS: dict[str, Reader] = {
    "scheduler.alerts": _alerts,
    **access_instruments.READERS,
    **history_instruments.READERS,
    **demand_instruments.READERS,
    **steering_instruments.READERS,
    **shadow_instruments.READERS,
    "scheduler.uptime": _one(lambda at: max(0.0, at.now.monotonic - at.core.started.monotonic)),
    "scheduler.draining": _one(lambda at: int(at.sources.draining())),
    "scheduler.policy.revision": _one(lambda at: at.core.placement.policy_revision),
    "scheduler.streams": _streams,
    "scheduler.streams.overflowed": _one(lambda at: at.sources.overflows()),
    "scheduler.streams.messages": _messages,
    "scheduler.events": _events,
    "grpc.server.call.started": _started,
    "scheduler.decisions": _decisions,
    "scheduler.refusals": _refusals,
    "scheduler.breaker.state": _breaker_state,
    "scheduler.breaker.consecutive_failures": _one(lambda at: _circuit(at)[1]),
    "scheduler.breaker.open_types": _one(_open_types),
    "scheduler.scorer.failures": _one(lambda at: at.core.fleet.scorer_failures),
    "scheduler.workers": _workers,
    "scheduler.workers.ejected": _one(lambda at: ejected_now(at.core.fleet)),
    "scheduler.ejections": _ejections,
    "scheduler.workers.lost": _one(lambda at: at.core.departures.lost),
    "scheduler.probes": _one(lambda at: at.core.probing.sent),
    "scheduler.probes.failed": _one(lambda at: at.core.probing.failed),
    "scheduler.workers.off_shift": _one(lambda at: at.core.shifts.off),
    "scheduler.shifts.handed_over": _one(lambda at: at.core.shifts.handed_over),
    "scheduler.workers.draining": _one(lambda at: at.core.drains.draining),
    "scheduler.drains": _drains,
    "scheduler.drains.tasks": lambda at: ((n, (end,)) for end, n in at.core.drains.counts._asdict().items()),
    "scheduler.workers.available": _one(lambda at: at.core.fleet.candidates),
    "scheduler.workers.pools": _one(lambda at: len(at.core.fleet.pools)),
    "scheduler.slots": _one(lambda at: at.core.fleet.slots),
    "scheduler.slots.used": _one(_slots_used),
    "scheduler.tasks.waiting": _one(lambda at: len(at.core.queue.waiting)),
    "scheduler.tasks.waiting.oldest": _one(_oldest_wait),
    "scheduler.tasks.waiting.payload": _one(lambda at: at.core.queue.waiting.payload_bytes),
    "scheduler.expected_start.judged": _one(lambda at: at.core.queue.expected.judged),
    "scheduler.expected_start.coverage": _start_coverage,
    "scheduler.leases": _one(lambda at: at.core.ledger.live),
    "scheduler.leases.orphaned": _one(_orphans),
    "scheduler.outcomes": _outcomes,
    "scheduler.leases.lost": _lost_leases,
    "scheduler.tasks.set_aside": _one(lambda at: at.core.losses.set_aside),
    "scheduler.ledger.repairs": _one(lambda at: at.core.talk.repairs),
    "scheduler.ledger.unknown": _one(lambda at: at.core.talk.unknown),
    "scheduler.tasks.remembered": _one(lambda at: at.core.ledger.remembered),
    "scheduler.prediction.judged": _one(lambda at: at.accuracy.sample_count),
    "scheduler.prediction.within_25_percent": _one(lambda at: at.accuracy.within_25_percent),
    "scheduler.prediction.within_factor_2": _one(lambda at: at.accuracy.within_factor_2),
    "scheduler.prediction.median_relative_error": _one(lambda at: at.accuracy.median_relative_error),
    "scheduler.prediction.mean_relative_bias": _one(lambda at: at.accuracy.mean_relative_bias),
    "scheduler.prediction.coverage": _coverage,
    "scheduler.prediction.untrusted_types": _one(lambda at: len(at.core.accuracy.untrusted)),
    "scheduler.prediction.keys": _one(lambda moment: moment.core.predictor.keys),
    "scheduler.prediction.evictions": _one(lambda at: at.core.predictor.evicted),
    "scheduler.prediction.drifts": _drifts,
    "scheduler.prediction.latest_drift": _latest_drift,
    "scheduler.prediction.learn_failures": _one(lambda at: at.core.outcomes.learn_failures),
    "scheduler.dispatch.entries": _entries,
    "scheduler.dispatch.dead_letters": _dead_letters,
    "scheduler.dispatch.held": _of_dispatch(lambda found: found.held),
    "scheduler.dispatch.unread": _of_dispatch(lambda found: found.unread),
    "scheduler.dispatch.unheard": _of_dispatch(lambda found: found.unheard),
    "scheduler.dispatch.unpublished": _of_dispatch(lambda found: found.unpublished),
    "scheduler.store.state": _store_states,
    "scheduler.store.written": _of_stores(lambda store: store.written),
    "scheduler.store.dropped": _of_stores(lambda store: store.dropped),
    "scheduler.store.pending": _of_stores(lambda store: store.pending),
    "scheduler.store.consecutive_failures": _of_stores(lambda store: store.consecutive_failures),
    "scheduler.snapshot.age": _snapshot(lambda store: store.age_s),
    "scheduler.snapshot.records": _snapshot(lambda store: store.records),
    "scheduler.snapshot.size": _snapshot(lambda store: store.size_bytes),
    "scheduler.metrics.pushes": _pushes,
    "scheduler.traces.spans": _spans,
}
"""By the name of the instrument; a test holds it against the table. Histograms have their own."""
