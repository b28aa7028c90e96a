"""Other settings hold from now on: what of them each part is told, and what has to be worked out anew.

Nothing is lost on the way: leases, waiting tasks, sessions and what was learned stay as they are. What changes is only
looked at where the settings that it rests on differ, since some of it looks at every worker or every waiting task:

    another scorer, or its weights      every key anew           a heartbeat's work per worker
    thresholds of health                every worker judged      likewise
    another order, patience, worth      the place of each        as if all of them came anew, but in slices
    another predictor                   the last outcomes        at most 1,000 of them are taught

All of it is one step of the core: between two decisions, with one revision before it and another after it. Only the
waiting tasks are too many for that: they move into another order a few at a time (`renewing.py`).
"""

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from scheduler_server.assignment.effects import Effect, Published
from scheduler_server.assignment.events import Configured
from scheduler_server.assignment.ledger import Ledger
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.model.task import Task
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.dated import Dated
from scheduler_server.predictor.reconfigurable import Reconfigurable
from scheduler_server.predictor.settings import LONGEST_MS, PredictorSettings
from scheduler_server.predictor.strategies import PREDICTORS
from scheduler_server.scorer import Scorer
from scheduler_server.scorer.strategies import SCORERS

if TYPE_CHECKING:
    from scheduler_server.assignment.core import Scheduler

TAUGHT = 1_000
"""Outcomes, the latest, that a predictor is taught which takes over: ten milliseconds, and far beyond what any of them
remembers of a type."""


class Predictors:
    """The predictors that were in force before, by strategy, with what they had learned then: for going back.

    `since` is the wall second since which the one in force has heard of every outcome.
    """

    def __init__(self, since: float) -> None:
        self.since = since
        self._left: dict[str, tuple[Predictor, float]] = {}

    def kept(self, name: str, settings: PredictorSettings) -> Predictor | None:
        """The one of this strategy, made where there is none yet; None where no predictor is called so."""
        if name not in self._left and name in PREDICTORS:
            self._left[name] = PREDICTORS[name](settings), -inf
        found = self._left.get(name)
        return None if found is None else found[0]

    def others(self) -> list[tuple[str, Predictor]]:
        """Those that are kept."""
        return [(name, predictor) for name, (predictor, _) in self._left.items()]

    def switch(self, now: Now, before: tuple[str, Predictor], settings: PredictorSettings, ledger: Ledger) -> Predictor:
        """Keep the one before, and teach the one that takes over what has ended since it was left, or ever."""
        after, left_at = self._left.pop(settings.strategy, (None, -inf))
        after = after or PREDICTORS[settings.strategy](settings)
        if isinstance(after, Reconfigurable):
            after.reconfigure(settings)
        self._left[before[0]] = before[1], now.monotonic
        self.since = now.wall
        lessons: deque[tuple[Task, float, float]] = deque()
        for record in ledger.latest():
            if record.ended_at <= left_at or len(lessons) >= TAUGHT:
                break
            outcome = record.outcome
            if record.taught and outcome is not None and outcome.status is OutcomeStatus.SUCCEEDED:
                lessons.appendleft((record.task, record.taught_ms, record.ended_wall))
        for task, duration_ms, ended_wall in lessons:
            if isinstance(after, Dated):
                after.wall = ended_wall
            after.observe(task, min(LONGEST_MS, duration_ms))
            self.since = min(self.since, ended_wall)
        return after


def reconfigure(core: "Scheduler", now: Now, event: Configured, out: list[Effect]) -> None:
    """Carry one change out."""
    before, settings = core.settings, event.settings
    core.settings = settings
    predictor, scorer = _predictor(core, now, before, settings), _scorer(core, before, settings)
    core.predictor, core.scorer = predictor, scorer
    core.placement.reconfigure(settings, predictor, scorer)
    core.outcomes.reconfigure(predictor)
    core.accuracy.reconfigure(settings.predictor)
    core.breaker.reconfigure(settings.fallback)
    core.ledger.reconfigure(settings.assignment)
    core.losses.reconfigure(settings.assignment)
    core.drains.reconfigure(settings.assignment)
    core.talk.reconfigure(settings.worker.lost_track_after_s)
    core.probing.reconfigure(settings.worker)
    core.rebalancing.reconfigure(now, settings.rebalance)
    core.shifts.reconfigure(settings.worker)
    core.link.reconfigure(now, settings, out)
    core.ramping.reconfigure(settings.ramp)
    if before.ejection != settings.ejection:
        core.ejecting.reconfigure(now, settings.ejection, out)
    _fleet(core, now, before, settings, out)
    core.queue.reconfigure(now, settings.queue, settings.assignment.objective, predictor)
    by_length, waiting = core.placement.within is not None, core.queue.waiting
    if by_length != waiting.by_length:
        waiting.by_length = by_length
        core.queue.renewing.reorder(now, core.queue.renewing.order)
    if before.worker.within_shift != settings.worker.within_shift:  # what is free may be free for others now
        core.fleet.opened.extend(pool for pool in core.fleet.pools if pool.counts[0])
    told = core.placement.policy_revision, event.revision
    core.placement.policy_revision = event.revision
    out.append(Published(core.event(now, FleetEventKind.CONFIG_CHANGED, before=str(told[0]), after=str(told[1]))))


def _predictor(core: "Scheduler", now: Now, before: CoreSettings, settings: CoreSettings) -> Predictor:
    if before.predictor.strategy != settings.predictor.strategy:
        in_force = before.predictor.strategy, core.predictor
        return core.predictors.switch(now, in_force, settings.predictor, core.ledger)
    if before.predictor != settings.predictor and isinstance(core.predictor, Reconfigurable):
        core.predictor.reconfigure(settings.predictor)
    return core.predictor


def _scorer(core: "Scheduler", before: CoreSettings, settings: CoreSettings) -> Scorer:
    if before.scorer_name == settings.scorer_name and before.scorer == settings.scorer:
        return core.scorer
    return SCORERS[settings.scorer_name](settings.scorer)


def _fleet(core: "Scheduler", now: Now, before: CoreSettings, settings: CoreSettings, out: list[Effect]) -> None:
    """Judge and rank every worker anew, where what they are judged or ranked by is other than before."""
    floor, fleet = core.scorer.health_score_floor, core.fleet
    same_order = fleet.key_function == core.scorer.key
    if not same_order:
        fleet.key_function = core.scorer.key
    same_limits = before.health == settings.health and before.worker.max_offers == settings.worker.max_offers
    if not same_limits or floor != core.vitals.floor:
        core.vitals.reconfigure(now, settings.health, settings.worker.max_offers, floor, out)
    elif not same_order:
        fleet.refresh_all()
    if before.health != settings.health:
        core.departures.reconfigure(settings.health)
