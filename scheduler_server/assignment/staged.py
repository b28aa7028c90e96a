"""Which staged tasks would start sooner on another worker?

A task that is staged stands in the queue of one worker, and that worker may turn out to be the wrong one: what runs
there takes longer than predicted, or somebody else has become free since. For every task that is held and not started
this compares when it will start where it is with when it would start where an ordinary decision would put it now. Only
workers that are told tasks beyond their slots are looked at, a bounded number of leases at a time; nothing is changed.
"""

from collections.abc import Callable, Iterator
from heapq import heapify, heappush, heappushpop, heapreplace
from typing import NamedTuple

from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.order import Coming
from scheduler_server.assignment.placement import Placement
from scheduler_server.assignment.queueing import Queue
from scheduler_server.assignment.rebalance_settings import RebalanceSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.task import Delivery, TaskState
from scheduler_server.predictor.remaining import Remaining
from scheduler_server.registry.eligibility import ClassKey, bounds_of
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.scorer import Scorer

MOST_LEASES = 512
"""Leases of a worker up to which it is looked at: one step then takes a millisecond at most. Whoever holds more than
that has a slot free every few moments, and nobody staged there waits for long."""

_MOST_KINDS = 32
"""Kinds of task, by what they need, for which one step asks where they would go: 5 us each."""

_LEASES_AT_ONCE = 128
"""Leases looked at in one step: about half a millisecond."""

RemainingOf = Callable[[TaskRecord, Now], Remaining]
Kind = tuple[ClassKey, str, tuple[str, ...]]
"""What a task needs, its category, and whom it is not to be given to: where it would go depends on nothing else."""

Known = dict[Kind, tuple[WorkerRecord | None, float]]


class Move(NamedTuple):
    """A staged task that would start sooner elsewhere, by so many seconds; `target` is the worker's id."""

    lease: TaskRecord
    target: str
    gain_s: float


def held(record: WorkerRecord) -> list[TaskRecord]:
    """What a worker has acknowledged, has not started and has no free slot for, in the order in which it will start.

    What a free slot is about to start is left out: it has only not been heard of yet.
    """
    waits = [lease for lease in record.leases.values() if not lease.started_at]
    begun = len(record.leases) - len(waits)
    beyond = waits[max(0, record.slots - begun - max(0, record.occupied - len(record.leases))) :]
    return [lease for lease in beyond if lease.state is TaskState.ACKNOWLEDGED and lease.delivery is Delivery.STREAM]


def starts(
    record: WorkerRecord, now: Now, remaining: RemainingOf, leaving: Callable[[TaskRecord], bool]
) -> tuple[dict[str, float], float]:
    """Seconds until each lease of a worker starts that has not, by id; and until one more would.

    First come, first served, over its slots; the means of what is left of each. `leaving`: has been asked back, and
    counts no more.
    """
    slots = max(1, record.slots)  # a worker may have none for a while
    rests = [remaining(lease, now).mean_ms / 1e3 for lease in record.leases.values() if lease.started_at]
    rests += [record.average_ms / 1e3] * max(0, record.occupied - len(record.leases))
    free_at = rests[:slots] + [0.0] * (slots - len(rests))
    heapify(free_at)
    for rest in rests[slots:]:
        heapreplace(free_at, free_at[0] + rest)
    found: dict[str, float] = {}
    for lease in record.leases.values():
        if lease.started_at:
            continue
        found[lease.lease_id] = free_at[0]
        if not leaving(lease):
            heapreplace(free_at, free_at[0] + _whole_s(lease))
    return found, free_at[0]


def _whole_s(lease: TaskRecord) -> float:
    """The mean of what a task takes that has not started."""
    prediction, duration_ms = lease.decision.prediction, lease.decision.duration_ms
    if prediction is None or prediction.point_ms <= 0.0:
        return duration_ms / 1e3
    return prediction.mean_ms * duration_ms / prediction.point_ms / 1e3


class Elsewhere:
    """Where would a staged task start now, were it placed anew? `settings` are those in force."""

    def __init__(
        self,
        settings: RebalanceSettings,
        fleet: Fleet,
        queue: Queue,
        placement: Placement,
        scorer: Callable[[], Scorer],
        remaining: RemainingOf,
    ) -> None:
        self.settings = settings
        self._fleet = fleet
        self._queue = queue
        self._placement = placement
        self._scorer = scorer
        self._remaining = remaining

    def starts(
        self, record: WorkerRecord, now: Now, leaving: Callable[[TaskRecord], bool]
    ) -> tuple[dict[str, float], float]:
        """See `starts` of this module."""
        return starts(record, now, self._remaining, leaving)

    def key(self, lease: TaskRecord, now: Now) -> float:
        """Its place in the order of waiting tasks, did it wait: smaller goes first."""
        prediction = lease.decision.prediction
        mean_ms = lease.decision.duration_ms if prediction is None else prediction.mean_ms
        since = now.monotonic - max(0.0, now.wall - lease.submitted_wall)
        overrides = self._placement.overrides
        priority = lease.task.priority if overrides is None else overrides.priority(lease.task)
        return self._queue.waiting.order.key(Coming(since, priority, mean_ms / 1e3, 0.0))

    def may_move(self, lease: TaskRecord, now: Now) -> bool:
        """Is it free to move, wherever to?

        Not what was moved a moment ago, or often enough; what is paused, or under a cap, would wait instead of moving,
        and what has to be placed by an instant might miss it.
        """
        settings, trail, task = self.settings, lease.trail, lease.task
        if trail.moves >= settings.max_moves or (trail.moves and now.wall - trail.moved_at < settings.rest_s):
            return False
        if task.start_by is not None or self._queue.pauses.covers(task):
            return False
        bounds = bounds_of(self._queue.waiting.needs(_event(lease)))
        return bounds is None or not bounds.caps

    def needed_gain_s(self, lease: TaskRecord, start_s: float) -> float:
        """How much sooner it has to start elsewhere: more for each move that it has behind it."""
        settings = self.settings
        least: float = max(settings.least_gain_s, settings.least_gain_ratio * start_s) * 2.0**lease.trail.moves
        return least

    def better(self, now: Now, origin: WorkerRecord, lease: TaskRecord, start_s: float, known: Known) -> Move | None:
        """The move that is worth it; None: it stays. `known`: what has been found out in the same step."""
        needed_s = self.needed_gain_s(lease, start_s)
        if start_s < needed_s or start_s <= 0.0:
            return None
        task, trail = lease.task, lease.trail
        excluded = task.excluded + trail.avoid if trail.avoid else task.excluded
        if self._placement.overrides is None:
            needs: ClassKey = (task.required, task.labels, True)
        else:
            needs = self._queue.waiting.needs(_event(lease))
        kind = needs, task.category, excluded
        found = known.get(kind)
        if found is None:
            if len(known) >= _MOST_KINDS:
                return None
            found = known[kind] = self._target(now, kind)
        if found[0] is origin:  # who would be chosen before it
            self._fleet.set_aside(origin)
            found = self._target(now, kind)
            self._fleet.refresh(origin)
        target, wait_s = found
        if target is None or target is origin or target.health > origin.health:
            return None
        gain_s = start_s - wait_s
        if gain_s < needed_s or gain_s <= 0.0 or not self.may_move(lease, now):
            return None
        prediction = lease.decision.prediction
        if prediction is not None:  # a slower worker must not end it later
            longer_s = prediction.point_ms / 1e3 * (1.0 / target.speed - 1.0 / origin.speed)
            if longer_s >= gain_s:
                return None
        return Move(lease, target.worker_id, gain_s)

    def _target(self, now: Now, kind: Kind) -> tuple[WorkerRecord | None, float]:
        """Whom an ordinary decision would choose now, and the seconds until it would start there."""
        fleet = self._fleet
        needs, category, excluded = kind
        eligible = fleet.eligible(needs)
        if eligible is None:
            return None, 0.0
        aside = self._placement.exclude(eligible, excluded) if excluded else ()
        try:
            target = fleet.best(eligible, category, self._scorer().specialization_bonus)[0]
        finally:
            for record in aside:
                fleet.refresh(record)
        if target is None or target.free > 0:
            return target, 0.0
        if len(target.leases) > MOST_LEASES:
            return None, 0.0
        return target, self.starts(target, now, _stays)[1]


class Search:
    """Goes through the workers that hold staged tasks, in steps, and keeps the `most` moves that are next in order.

    `workers` are those there are when it begins; `passes` says of a worker that it cannot be asked now.
    """

    def __init__(
        self,
        elsewhere: Elsewhere,
        workers: list[WorkerRecord],
        most: int,
        *,
        asked: Callable[[TaskRecord], bool],
        passes: Callable[[WorkerRecord], bool],
    ) -> None:
        self._elsewhere = elsewhere
        self._left = iter(workers)
        self._most = most
        self._asked = asked
        self._passes = passes
        self._found: list[tuple[float, int, Move]] = []
        self._number = 0

    def step(self, now: Now) -> bool:
        """Look at some more; True: that was all."""
        looked = 0
        known: Known = {}
        for record in self._left:
            looked += 1 + self._look(now, record, known)
            if looked >= _LEASES_AT_ONCE:
                return False
        return True

    def moves(self) -> Iterator[Move]:
        """What was found, in the order of waiting tasks."""
        return (move for _, _, move in sorted(self._found, reverse=True))

    def _look(self, now: Now, record: WorkerRecord, known: Known) -> int:
        leases = len(record.leases)
        if leases <= record.slots or leases > MOST_LEASES or self._passes(record):
            return 0
        candidates = [lease for lease in held(record) if not self._asked(lease)]
        if not candidates:
            return leases
        elsewhere = self._elsewhere
        start_s, _ = elsewhere.starts(record, now, self._asked)
        for lease in candidates:
            move = elsewhere.better(now, record, lease, start_s[lease.lease_id], known)
            if move is not None:
                self._keep(elsewhere.key(lease, now), move)
        return leases

    def _keep(self, key: float, move: Move) -> None:
        self._number += 1
        entry = (-key, -self._number, move)  # the heap drops what would be last
        if len(self._found) < self._most:
            heappush(self._found, entry)
        else:
            heappushpop(self._found, entry)


def _event(lease: TaskRecord) -> Submit:
    return Submit(lease.task, lease.delivery, trail=lease.trail)


def _stays(_lease: TaskRecord) -> bool:
    return False
