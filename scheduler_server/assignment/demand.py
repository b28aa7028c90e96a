"""How many slots would serve what waits within a target wait? The signal that autoscalers follow.

    needed = max(in use, load + waiting work / (target + mean duration))
    load   = in use + growth of the waiting work, smoothed

The **load** is what comes, in slots that it keeps busy: what is in use, and as many more as the waiting work grows by,
in slot-seconds per second. So many slots keep pace. Without the growth a signal follows a rising load from behind, by
as much as new slots are late; while a backlog is worked off, growth is below 0: more is in use than what comes.

**Waiting work** is worked off within the target by slots beside those: one that is added begins a task at once and one
more every mean duration m, 1 + T/m of them within T, so n tasks with the work W = n*m need n / (1 + T/m) = W / (T + m):
one each where nobody is to wait, W/T where the target is long. W is the sum of the predicted means and 1.28 times its
standard deviation: nine in ten backlogs are no longer. That follows from P50 and mean of each, as of a log-normal
duration.

Staged tasks wait, too, on a worker. What waits for its not_before, under a pause or a full cap, would not be helped by
slots. Classes share workers, and each is told what it would need were the waiting tasks of the others not there.
"""

from collections.abc import Iterable, Iterator
from math import ceil, exp, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scheduler_server.assignment.demand_settings import ANY, OTHER, DemandSettings
from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.lanes import Group
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.clock import Now
from scheduler_server.model.task import Pairs
from scheduler_server.registry.eligibility import ClassKey, EligibilityClass
from scheduler_server.registry.record import WorkerRecord

if TYPE_CHECKING:
    from scheduler_server.assignment.core import Scheduler

Needs = tuple[tuple[str, ...], Pairs]
"""What tells classes apart here: required capabilities and labels, however their tasks are handed over."""

_P90 = 1.2815515655446004
"""Standard deviations from the median to the 90th percentile of a normal distribution."""

_MOST_SPREAD = 3.0
"""Standard deviation of one duration in units of its mean, at most: a P50 of almost nothing is no knowledge."""

_STEP = 64
"""Tasks or workers looked at in one step: some 20 us."""

_CLASSES_AT_ONCE = 16

_SAMPLED = 2_000
"""Waiting tasks that a look at intervals takes the spread of durations from, where more wait."""

_TRIES = 3
"""Passes over a fleet whose pools are made anew meanwhile; then the last one counts, right or not."""


class Sum:
    """What waits of one class: tasks, their work in slot-seconds, and its variance."""

    __slots__ = ("classes", "count", "last", "required", "variance", "work_s")

    def __init__(self, required: frozenset[str]) -> None:
        self.required = required
        self.count = 0
        self.work_s = self.variance = 0.0
        self.last: Waiter | None = None
        self.classes: dict[int, EligibilityClass] = {}

    def add(self, p50_s: float, mean_s: float) -> None:
        """One more."""
        self.count += 1
        self.work_s += mean_s
        self.variance += variance_of(p50_s, mean_s)

    def merge(self, other: "Sum") -> None:
        """The tasks of another class as well."""
        self.count += other.count
        self.work_s += other.work_s
        self.variance += other.variance
        self.classes.update(other.classes)

    def more_slots(self, target_s: float) -> float:
        """Slots that begin them all within the target, beside those that keep pace with what comes."""
        if not self.count:
            return 0.0
        high_s = self.work_s + _P90 * sqrt(self.variance)
        return min(float(self.count), high_s / (target_s + self.work_s / self.count))


def variance_of(p50_s: float, mean_s: float) -> float:
    """Of a log-normal duration; 0 where the mean is not above the median."""
    if not 0.0 < p50_s < mean_s:
        return 0.0
    return mean_s * mean_s * min(_MOST_SPREAD**2, (mean_s / p50_s) ** 2 - 1.0)


class ClassDemand(NamedTuple):
    """One class. `last_start` is the wall second at which the last of its tasks will start as things are."""

    required: tuple[str, ...]
    labels: Pairs
    waiting: int
    work_s: float
    present: int
    used: int
    needed: int
    last_start: float | None = None


class NamedDemand(NamedTuple):
    """The demand of the classes that one name stands for."""

    waiting: int
    work_s: float
    present: int
    used: int
    needed: int


class Demand(NamedTuple):
    """All of it. `classes` have the greatest need first; `named` has the settings' names, `any` and `other`."""

    classes: tuple[ClassDemand, ...]
    named: dict[str, NamedDemand]
    target_s: float
    needed: int
    present: int
    used: int
    as_of: float


class _Trend:
    """The load of something, smoothed, and what of it waited and when that was noted."""

    __slots__ = ("at", "load", "work_s")

    def __init__(self, at: float, work_s: float, load: float) -> None:
        self.at, self.work_s, self.load = at, work_s, load


class Trends:
    """Loads by class, by name, and of all. Only who looks at intervals keeps them (`note`); others read."""

    def __init__(self) -> None:
        self._known: dict[object, _Trend] = {}
        self._noted: dict[object, _Trend] = {}

    def load(self, key: object, used: int) -> float:
        """Slots that keep pace with what comes; of what was never noted, those in use."""
        found = self._known.get(key)
        return float(used) if found is None else found.load

    def note(self, now: Now, key: object, work_s: float, used: int, smooth_s: float) -> None:
        """What waits and is in use now of one of them; those that are not noted before `turn` are forgotten."""
        trend = self._known.get(key)
        if trend is None:
            trend = self._known[key] = _Trend(now.monotonic, work_s, used)
        passed = now.monotonic - trend.at
        if passed > 0.0:
            kept = exp(-passed / smooth_s)
            load = max(0.0, used + (work_s - trend.work_s) / passed)
            trend.load = kept * trend.load + (1.0 - kept) * load
            trend.at, trend.work_s = now.monotonic, work_s
        self._noted[key] = trend

    def turn(self) -> None:
        """All have been noted."""
        self._known, self._noted = self._noted, {}


class DemandLook:
    """One look: `steps` has to be gone through, with pauses as one likes, and then there is a `demand`.

    What comes or goes between two steps may be counted or not.
    """

    def __init__(self, core: "Scheduler", settings: DemandSettings, target_s: float, trends: Trends) -> None:
        self._core = core
        self._settings = settings
        self._target_s = target_s
        self._trends = trends
        self._sums: dict[Needs, Sum] = {}
        # By the index of the pool: slots of workers that may be given tasks, and how many of them are in use.
        self._slots = self._taken = np.zeros(0, dtype=np.int64)
        self._present = self._used = 0
        self.demand: Demand | None = None

    def steps(self, now: Now, *, idle: bool = False, note: bool = False) -> Iterator[None]:
        """The look; `idle`: classes in which nothing waits as well; `note`: keep the trends by it."""
        classes: list[ClassDemand] = []
        for _ in range(_TRIES):
            shape = self._core.fleet.shape
            self._sums = {}
            waiting = len(self._core.queue.waiting)
            yield from self._waiting(max(1, waiting // _SAMPLED) if note else 1)
            yield from self._workers()
            if idle:
                self._idle()
            classes = []
            for at, (needs, found) in enumerate(self._sums.items()):
                classes.append(self._class(now, needs, found, note=note))
                if not at % _CLASSES_AT_ONCE:
                    yield None
                    if shape != self._core.fleet.shape:
                        break
            if shape == self._core.fleet.shape:
                break
        named = self._named(now, note=note)
        waits = Sum(frozenset())
        more = 0.0
        for found in self._sums.values():
            waits.merge(found)
            more += found.more_slots(self._target_s)
        if note:
            self._trends.note(now, None, waits.work_s, self._used, self._settings.smooth_s)
            self._trends.turn()
        needed = _whole(max(self._used, self._trends.load(None, self._used) + more))
        classes.sort(key=lambda each: (each.present - each.needed, -each.waiting, each.required, each.labels))
        self.demand = Demand(tuple(classes), named, self._target_s, needed, self._present, self._used, now.wall)

    # ------------------------------------------------------------------ what there is

    def _waiting(self, every: int) -> Iterator[None]:
        """What stands in line, exactly; its spread by every so many tasks, and who is last where it is by all."""
        core = self._core
        waiting, overrides = core.queue.waiting, core.placement.overrides
        by_group: dict[Group, Sum] = {}
        for lineup in waiting.lineups():
            for at, (group, count, work_s) in enumerate(lineup.totals()):
                if not at % _CLASSES_AT_ONCE:
                    yield None
                if overrides is None or not overrides.holds(group.needs):
                    found = by_group[group] = self._sum(group.needs)
                    found.count += count
                    found.work_s += work_s
        seen: dict[int, list[float]] = {}
        for at, waiter in enumerate(list(waiting.by_task.values())[::every]):
            if not at % _STEP:
                yield None
            group_of = waiter.group
            if not waiter.placeable or group_of is None or group_of not in by_group:
                continue
            found = by_group[group_of]
            sums = seen.setdefault(id(found), [0.0, 0.0])
            sums[0] += waiter.work_s
            sums[1] += variance_of(waiter.p50_s, waiter.work_s)
            if every == 1 and not waiter.gone and (found.last is None or found.last.rank_key < waiter.rank_key):
                found.last = waiter
        usual = [sum(each) for each in zip(*seen.values(), strict=True)] or [0.0, 0.0]
        for found in {id(each): each for each in by_group.values()}.values():
            work_s, variance = seen.get(id(found), usual)
            if work_s > 0.0:
                found.variance += found.work_s * variance / work_s

    def _sum(self, needs: ClassKey) -> Sum:
        key = (needs[0], needs[1])
        found = self._sums.get(key)
        if found is None:
            found = self._sums[key] = Sum(frozenset(needs[0]))
        eligible = self._core.fleet.eligible(needs)
        if eligible is not None:
            found.classes[id(eligible)] = eligible
        return found

    def _workers(self) -> Iterator[None]:
        pools = len(self._core.fleet.pools)
        self._present = self._used = 0
        slots, taken = [0] * pools, [0] * pools
        for at, record in enumerate(list(self._core.fleet.records.values())):
            if not at % _STEP:
                yield None
            if record.row < 0 or record.barred:
                continue
            used = max(0, min(record.slots, record.occupied))
            self._present += record.slots
            self._used += used
            at_pool = record.pool.index
            if at_pool < pools:  # otherwise pools have come or were made anew, and all is looked at once more
                slots[at_pool] += record.slots
                taken[at_pool] += used
            if record.prefetch and len(record.leases) > record.slots:
                self._staged(record)
        self._slots, self._taken = np.array(slots, dtype=np.int64), np.array(taken, dtype=np.int64)

    def _staged(self, record: WorkerRecord) -> None:
        """What it holds beyond its slots waits, too."""
        begun = sum(1 for lease in record.leases.values() if lease.started_at)
        waits = [lease for lease in record.leases.values() if not lease.started_at]
        for lease in waits[max(0, record.slots - begun) :]:
            prediction = lease.decision.prediction or self._core.placement.unknown
            event = Submit(lease.task, lease.delivery, trail=lease.trail)
            found = self._sum(self._core.queue.waiting.needs(event))
            found.add(prediction.p50_ms / 1e3, prediction.mean_ms / 1e3)

    def _idle(self) -> None:
        for eligible in list(self._core.fleet.eligibility.classes.values()):
            key = (tuple(sorted(eligible.required)), tuple(sorted(eligible.labels)))
            if key not in self._sums:
                self._sums[key] = Sum(eligible.required)
            if not self._sums[key].count:
                self._sums[key].classes[id(eligible)] = eligible

    # ------------------------------------------------------------------ what follows

    def _there(self, classes: Iterable[EligibilityClass]) -> tuple[int, int]:
        """Slots of the workers that serve any of these, and how many of them are in use."""
        positions = [each.positions for each in classes if len(each.positions)]
        if not positions:
            return 0, 0
        at = positions[0] if len(positions) == 1 else np.unique(np.concatenate(positions))
        at = at[at < len(self._slots)]
        return int(self._slots[at].sum()), int(self._taken[at].sum())

    def _class(self, now: Now, needs: Needs, found: Sum, *, note: bool) -> ClassDemand:
        present, taken = self._there(found.classes.values())
        needed = self._needed(now, needs, found, taken, note=note)
        last = found.last
        start = None if last is None or last.gone else self._core.queue.prospects(now, last).start_p50
        return ClassDemand(*needs, found.count, found.work_s, present, taken, needed, start)

    def _needed(self, now: Now, key: object, found: Sum, used: int, *, note: bool) -> int:
        trends = self._trends
        if note:
            trends.note(now, key, found.work_s, used, self._settings.smooth_s)
        return _whole(max(used, trends.load(key, used) + found.more_slots(self._target_s)))

    def _named(self, now: Now, *, note: bool) -> dict[str, NamedDemand]:
        settings, fleet = self._settings, self._core.fleet
        sums = {name: Sum(frozenset(settings.classes.get(name, ()))) for name in (ANY, *settings.classes, OTHER)}
        for (required, labels), found in self._sums.items():
            sums[settings.name_of(required, labelled=bool(labels))].merge(found)
        told = {}
        for name, found in sums.items():
            classes = list(found.classes.values())
            if name != OTHER:  # every worker that has what the name says, whether anything waits or not
                eligible = fleet.eligible((tuple(sorted(found.required)), (), False))
                classes = [] if eligible is None else [eligible]
            present, taken = self._there(classes)
            needed = self._needed(now, name, found, taken, note=note)
            told[name] = NamedDemand(found.count, found.work_s, present, taken, needed)
        return told


def _whole(slots: float) -> int:
    """Slots are whole; what rounding adds is none."""
    return ceil(slots - 1e-9)
