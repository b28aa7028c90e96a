"""Whom each policy would choose. None acts, and none keeps anything but its own turn."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import isfinite
from typing import NamedTuple, Protocol

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.model.decision import Rejection
from scheduler_server.registry.eligibility import EligibilityClass
from scheduler_server.registry.fleet import KEY_PER_SCORE, Fleet
from scheduler_server.registry.ranking import key_of
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.scorer import Scorer
from scheduler_server.scorer.settings import ScorerSettings
from scheduler_server.scorer.strategies import SCORERS
from scheduler_server.shadow.seats import Able, Seat, stands
from scheduler_server.shadow.settings import CALLER
from scheduler_server.simulation import choosing

_MOST_TURNS = 1_000
"""Kinds of tasks whose turn is remembered; the one that was asked for longest ago goes, and begins anew."""


class CannotChoose(Exception):
    """The policy has no answer for this decision; why."""


class Situation(NamedTuple):
    """What a policy chooses from: the live decision, who could do the task, and how they stood."""

    fleet: Fleet
    live: TaskRecord
    eligible: EligibilityClass
    able: Able
    seats: Sequence[Seat]


class Policy(Protocol):
    """A way to choose. `wants` may say that a decision is none of its business."""

    def wants(self, live: TaskRecord) -> bool:
        """Does it have a choice about this one?"""

    def choose(self, at: Situation) -> Seat:
        """The worker it would choose. Raises CannotChoose."""


class _Everything:
    def wants(self, live: TaskRecord) -> bool:
        return True


class RoundRobin(_Everything):
    """One able worker after the other, whatever they are busy with."""

    def __init__(self) -> None:
        self._turns: OrderedDict[object, int] = OrderedDict()

    def choose(self, at: Situation) -> Seat:
        """See Policy. Kinds of tasks that need the same share a turn."""
        eligible = at.eligible
        kind = (eligible.required, eligible.labels, eligible.accepts_tasks, eligible.bounds)
        turns = self._turns
        record, turns[kind] = at.able.next_up(turns.get(kind, 0))
        turns.move_to_end(kind)
        if len(turns) > _MOST_TURNS:
            turns.popitem(last=False)
        if record is None:
            raise CannotChoose("no able worker is up")
        return Seat(record, at.live)


class Plain(_Everything):
    """By what the workers are busy with, or by nothing; whether they have a free slot does not matter."""

    def __init__(
        self, choose: Callable[[Sequence[Seat], Callable[[], float]], Seat], draw: Callable[[], float]
    ) -> None:
        self._choose = choose
        self._draw = draw

    def choose(self, at: Situation) -> Seat:
        """See Policy."""
        if not at.seats:
            raise CannotChoose("no able worker is up")
        return self._choose(at.seats, self._draw)


class ByScore(_Everything):
    """The candidate with the greatest key, as the core would choose with this scorer: free slots only."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def choose(self, at: Situation) -> Seat:
        """See Policy."""
        key, bonus = self._scorer.key, self._scorer.specialization_bonus * KEY_PER_SCORE
        category, floor = at.live.task.category if bonus else "", self._scorer.health_score_floor
        best: Seat | None = None
        top = 0.0
        for seat in at.seats:
            if seat.room <= 0 or seat.record.health_score < floor:
                continue
            found = key_of(at.fleet, seat.worker, key)
            if category and category in seat.record.specializations:
                found += bonus
            if isfinite(found) and (best is None or found > top):
                best, top = seat, found
        if best is None:
            raise CannotChoose("no candidate has a score")
        return best


class CallersChoice:
    """The worker that the queue service named with the task."""

    def wants(self, live: TaskRecord) -> bool:
        """See Policy: many tasks name none."""
        return bool(live.task.caller_choice)

    def choose(self, at: Situation) -> Seat:
        """See Policy."""
        name = at.live.task.caller_choice
        record: WorkerRecord | None = at.fleet.records.get(name)
        if record is None:
            raise CannotChoose(f"worker {name!r} is not known")
        if not at.eligible.serves(record.pool):
            raise CannotChoose(f"worker {name!r} cannot do it: {at.eligible.lacking(record.pool).name}")
        why = stands(record, at.live)
        if why is not Rejection.CANDIDATE:
            raise CannotChoose(f"worker {name!r} could not have it: {why.name}")
        return Seat(record, at.live)


def make(name: str, settings: ScorerSettings, draw: Callable[[], float]) -> Policy:
    """The policy of this name, one of `settings.NAMES`. `draw` answers 0 to below 1, by chance."""
    if name == CALLER:
        return CallersChoice()
    if name == "round_robin":
        return RoundRobin()
    if name in SCORERS:
        return ByScore(SCORERS[name](settings))
    return Plain(_PLAIN[name], draw)


_PLAIN: dict[str, Callable[[Sequence[Seat], Callable[[], float]], Seat]] = {
    "random": choosing.any_one,
    "best_of_two": choosing.emptier_of_two,
    "least_loaded": lambda seats, _draw: choosing.emptiest(seats),
}
