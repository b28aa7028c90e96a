"""The figures that the rules go by: what the core and the stores keep anyway, and one pass over the fleet.

Each rule's reader is a generator, so that whoever looks can let others work between two steps: a yield is at most some
64 workers or a median of a thousand apart from the next. None is a step without a figure. What comes or goes between
two steps may be counted or not.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest, nsmallest
from typing import NamedTuple, TypeAlias

from scheduler_server.alerts.board import MOST_SUBJECTS, Board, Measured
from scheduler_server.alerts.window import Rise
from scheduler_server.assignment.causes import SOURCES
from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.sparing import ejected_now
from scheduler_server.fallback.breaker import ALL, BreakerState
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Cause, Rejection, Source
from scheduler_server.model.worker import Health
from scheduler_server.registry.record import WorkerRecord

LEAST_OUTCOMES = 50
"""Outcomes before accuracy and coverage are judged: a share is then known to within 14 parts in a hundred."""

LEAST_STARTS = 100
"""Waits before the coverage of expected starts is judged: its factors take twenty to learn."""

LEAST_DECISIONS = 20
"""Decisions of the window before the fallback's share is judged: one of three is no third."""

_STEP = 64
"""Workers or tasks looked at in one step: some 20 us."""

_FALLBACKS = tuple(cause for cause in Cause if SOURCES[cause] is Source.FALLBACK)

Steps: TypeAlias = Iterator[Measured | None]


class StoreHealth(NamedTuple):
    """How one store is: can it be reached, failures in a row, entries lost since the start, and its last error."""

    name: str
    reachable: bool
    failures: int = 0
    dropped: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What is looked at; `stores` costs microseconds and names each store once."""

    core: Scheduler
    stores: Callable[[], Sequence[StoreHealth]]


class Readings:
    """Reads each rule's figures. Holds what counts were when the window began; for one thread."""

    def __init__(self, watched: Watched, board: Board, window_s: float, now: Now) -> None:
        self._core = watched.core
        self._stores = watched.stores
        self._board = board
        self._window_s = window_s
        self._began = now.monotonic
        self._lost = Rise(window_s, now.monotonic)
        self._drifts = Rise(window_s, now.monotonic)
        self._decisions = Rise(window_s, now.monotonic)
        self._fallbacks = Rise(window_s, now.monotonic)
        self._dropped: dict[str, Rise] = {}
        self._readers: dict[str, Callable[[Now], Steps]] = {
            "sustained_high_load": self._high_load,
            "worker_overloaded": self._overloaded,
            "no_active_worker": self._active,
            "workers_unhealthy": self._unhealthy,
            "workers_lost": self._workers_lost,
            "workers_ejected": self._workers_ejected,
            "waiting_age": self._waiting_age,
            "queue_near_full": self._fullness,
            "prediction_accuracy": self._accuracy,
            "prediction_coverage": self._coverage,
            "prediction_untrusted": self._untrusted,
            "drift": self._drift,
            "expected_start_coverage": self._start_coverage,
            "fallback_share": self._fallback_share,
            "breaker_open": self._breaker,
            "type_breaker_open": self._type_breakers,
            "store_unreachable": self._unreachable,
            "store_dropping": self._dropping,
        }

    def of(self, name: str, now: Now) -> Steps:
        """A rule's figures, step by step."""
        return self._readers[name](now)

    def _lately(self) -> str:
        return f"in the last {self._window_s:g} s"

    # ------------------------------------------------------------------ workers

    def _records(self) -> Iterator[tuple[int, WorkerRecord]]:
        for number, record in enumerate(list(self._core.fleet.records.values()), 1):
            if record.row >= 0:  # below 0: removed since the pass began
                yield number, record

    def _high_load(self, _now: Now) -> Steps:
        slots = used = 0
        for number, record in self._records():
            if record.barred is Rejection.CANDIDATE:
                slots += record.slots
                used += record.occupied
            if not number % _STEP:
                yield None
        if slots:
            yield Measured(used / slots, f"{used:,} of {slots:,} slots of active workers are taken")

    def _overloaded(self, _now: Now) -> Steps:
        rule, tracked = self._board.rules["worker_overloaded"], self._board.live["worker_overloaded"]
        loads: list[tuple[float, str]] = []
        for number, record in self._records():
            if record.connected and record.health is not Health.UNHEALTHY:
                if record.worker_id in tracked:
                    yield _load(record.load, record.worker_id)
                elif rule.seen(record.load):
                    loads.append((record.load, record.worker_id))
                    if len(loads) > 2 * MOST_SUBJECTS:
                        loads = nlargest(MOST_SUBJECTS, loads)
            if not number % _STEP:
                yield None
        for load, worker_id in nlargest(MOST_SUBJECTS, loads):
            yield _load(load, worker_id)

    def _active(self, _now: Now) -> Steps:
        core = self._core
        known, waiting, active = len(core.fleet.records), len(core.queue.waiting), 0
        for number, record in self._records():
            active += record.barred is Rejection.CANDIDATE
            if not number % _STEP:
                yield None
        if known or waiting:
            yield Measured(active, f"{active:,} of {known:,} known workers may be given tasks; {waiting:,} tasks wait")

    def _unhealthy(self, _now: Now) -> Steps:
        fleet = self._core.fleet
        silent, known = fleet.by_health[Health.UNHEALTHY], len(fleet.records)
        if known:
            yield Measured(silent / known, f"{silent:,} of {known:,} workers are unhealthy")

    def _workers_lost(self, now: Now) -> Steps:
        lost = self._lost.over(now.monotonic, self._core.departures.lost)
        yield Measured(lost, f"{lost:,} workers were lost with their leases {self._lately()}")

    def _workers_ejected(self, _now: Now) -> Steps:
        out, spared = ejected_now(self._core.fleet), len(self._core.ejecting.spared)
        yield Measured(out + spared, f"{out:,} workers are ejected, {spared:,} more fail out of line and are not")

    # ------------------------------------------------------------------ waiting tasks

    def _waiting_age(self, now: Now) -> Steps:
        oldest_s, of = 0.0, ""
        # All of them: what was placed again keeps the instant at which it first came, and stands behind.
        for number, waiter in enumerate(list(self._core.queue.waiting.by_task.values()), 1):
            due = max(waiter.since_wall, waiter.event.task.not_before or 0.0)
            if not waiter.gone and now.wall - due > oldest_s:
                oldest_s, of = now.wall - due, waiter.event.task.task_id
            if not number % _STEP:
                yield None
        waiting = len(self._core.queue.waiting)
        yield Measured(oldest_s, f"{waiting:,} tasks wait" + (f"; {of!r} has for {oldest_s:.0f} s" if of else ""))

    def _fullness(self, _now: Now) -> Steps:
        waiting, limits = self._core.queue.waiting, self._core.settings.queue
        shares = []
        if limits.max_length:
            share = len(waiting) / limits.max_length
            shares.append(
                (share, f"{len(waiting):,} of {limits.max_length:,} tasks that may wait do (queue.max_length)")
            )
        if limits.max_payload_bytes:
            share = waiting.payload_bytes / limits.max_payload_bytes
            said = f"{waiting.payload_bytes:,} of {limits.max_payload_bytes:,} bytes of payload that may wait do"
            shares.append((share, f"{said} (queue.max_payload_bytes)"))
        if shares:
            yield Measured(*max(shares, key=lambda each: each[0]))

    # ------------------------------------------------------------------ predictions

    def _accuracy(self, _now: Now) -> Steps:
        figures = self._core.accuracy.overall()
        if figures.sample_count >= LEAST_OUTCOMES and figures.within_factor_2 is not None:
            share = figures.within_factor_2
            yield Measured(share, f"{share:.0%} of the last outcomes were predicted to within a factor of two")

    def _coverage(self, _now: Now) -> Steps:
        figures = self._core.accuracy.overall()
        if figures.sample_count >= LEAST_OUTCOMES and figures.p90_coverage is not None:
            share = figures.p90_coverage
            yield Measured(share, f"{share:.0%} of the last outcomes took no longer than their P90")

    def _untrusted(self, _now: Now) -> Steps:
        untrusted, tracked = self._core.accuracy.untrusted, self._board.live["prediction_untrusted"]
        others = nsmallest(MOST_SUBJECTS, untrusted.difference(tracked))
        for task_type in [*tracked, *others]:
            share = self._core.accuracy.of_type(task_type).within_factor_2
            if share is not None:
                said = (
                    f"{share:.0%} of the last outcomes of type {task_type!r} were predicted to within a factor of two"
                )
                yield Measured(share, said, task_type)

    def _drift(self, now: Now) -> Steps:
        core = self._core
        drifts = self._drifts.over(now.monotonic, sum(core.drifts.values()))
        latest = f"; the latest is {core.latest_drift.key}" if drifts and core.latest_drift is not None else ""
        yield Measured(drifts, f"{drifts:,} drifts {self._lately()}{latest}")

    def _start_coverage(self, _now: Now) -> Steps:
        expected = self._core.queue.expected
        share = expected.coverage()[1]
        if share is not None and expected.judged >= LEAST_STARTS:
            yield Measured(share, f"{share:.0%} of the last waits ended no later than expected (P90)")

    def _fallback_share(self, now: Now) -> Steps:
        by_cause = self._core.placement.by_cause
        made = self._decisions.over(now.monotonic, sum(by_cause))
        fallen = self._fallbacks.over(now.monotonic, sum(by_cause[cause] for cause in _FALLBACKS))
        if made >= LEAST_DECISIONS:
            yield Measured(fallen / made, f"{fallen:,} of {made:,} decisions {self._lately()} were the fallback's")

    # ------------------------------------------------------------------ breakers

    def _open(self, now: Now) -> Iterator[tuple[str, int, str]]:
        for name, state, failures, _ in self._core.breaker.states(now.monotonic):
            if state is not BreakerState.CLOSED:
                said = f"{state.name.lower().replace('_', ' ')} after {failures} failures in a row"
                yield name, max(1, failures), said

    def _breaker(self, now: Now) -> Steps:
        for name, failures, said in self._open(now):
            if name == ALL:
                yield Measured(failures, f"the circuit breaker is {said}")

    def _type_breakers(self, now: Now) -> Steps:
        tracked = self._board.live["type_breaker_open"]
        opened = {name: (failures, said) for name, failures, said in self._open(now) if name != ALL}
        others = nsmallest(MOST_SUBJECTS, opened.keys() - tracked.keys())
        for name in [*(opened.keys() & tracked.keys()), *others]:
            failures, said = opened[name]
            yield Measured(failures, f"the circuit breaker of task type {name!r} is {said}", name)

    # ------------------------------------------------------------------ stores

    def _unreachable(self, _now: Now) -> Steps:
        for store in self._stores():
            failures = 0 if store.reachable else max(1, store.failures)
            how = "works" if store.reachable else f"is not reached: {store.last_error or 'no answer yet'}"
            yield Measured(failures, f"store {store.name} {how}", store.name)

    def _dropping(self, now: Now) -> Steps:
        for store in self._stores():
            rise = self._dropped.get(store.name)
            if rise is None:
                rise = self._dropped[store.name] = Rise(self._window_s, self._began)
            lost = rise.over(now.monotonic, store.dropped)
            yield Measured(lost, f"store {store.name} lost {lost:,} entries {self._lately()}", store.name)


def _load(load: float, worker_id: str) -> Measured:
    return Measured(load, f"worker {worker_id!r} reports a load of {load:.2f}", worker_id)
