"""What would a task be answered? A decision as `placement.py` makes it, that takes nothing and changes nothing.

The task is tried as if it were new. Nothing is leased or counted, no trial of the breaker begins, nobody's turn is
over, no label becomes one that the fleet is sorted by. The answer is the one that Assign gives right after it, if the
state was brought up to now before (`Look`): ages are the one thing that a decision brings up to date by itself.
"""

from collections.abc import Callable
from math import inf
from typing import NamedTuple

from scheduler_server.assignment import explanation
from scheduler_server.assignment.causes import NO_PREDICTION, SOURCES
from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.scanning import Scan
from scheduler_server.assignment.within_shift import WithinShift
from scheduler_server.fallback import least_busy, round_robin
from scheduler_server.model.clock import Now, Stopwatch
from scheduler_server.model.decision import Cause, Decision, Rejection, Score, Source
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.refusal import Refusal
from scheduler_server.model.task import Delivery, Pairs
from scheduler_server.model.worker import Health
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.usable import usable
from scheduler_server.registry import availability
from scheduler_server.registry.eligibility import Bounds, ClassKey, EligibilityClass
from scheduler_server.registry.fleet import MAX_LABEL_KEYS
from scheduler_server.registry.ranking import Counts, Ranked, leading, rejections
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.scorer import Scorer

_NO_SCORE = Score(0.0, ())
_COUNTED = frozenset({Cause.SCORER_ERROR, Cause.SCORE_INVALID, Cause.OVER_BUDGET})
"""Fallbacks before which the candidates were counted."""


class Needs(NamedTuple):
    """Who could do it. `exact`: nobody in these pools lacks anything; else labels have to be looked at one by one."""

    eligible: EligibilityClass
    exact: bool


def needs_of(core: Scheduler, event: Submit, bounds: Bounds | None = None) -> Needs | None:
    """The pools that could serve a task; None where it matches on more label keys than can be sorted by.

    `bounds`: what overrides say of its workers.
    """
    fleet, task = core.fleet, event.task
    index = fleet.eligibility
    stream = event.delivery is Delivery.STREAM

    def having(labels: Pairs) -> ClassKey:
        return (task.required, labels, stream) if bounds is None else (task.required, labels, stream, bounds)

    key = having(task.labels)
    found = index.classes.get(key)
    if found is not None:
        return Needs(found, exact=True)
    names = {name for name, _ in task.labels}
    unsorted = names - index.label_keys
    if unsorted and all(fleet.carries(name) for name in names):
        if len(index.label_keys | names) > MAX_LABEL_KEYS:
            return None
        sorted_by = tuple(pair for pair in task.labels if pair[0] not in unsorted)
        return Needs(index.make(having(sorted_by), fleet.pools, keep=False), exact=False)
    return Needs(index.make(key, fleet.pools, keep=False), exact=True)


class DryRun:
    """One task, tried. `scorer` and `predictor` are those in force unless others are to be tried.

    `scan` is needed where the index does not tell: `needs_scan` says so. Others than those in force are not held to the
    breaker, nor to what is known of how well the predictor in force does.
    """

    def __init__(
        self,
        core: Scheduler,
        event: Submit,
        stopwatch: Stopwatch,
        *,
        scorer: Scorer | None = None,
        predictor: Predictor | None = None,
    ) -> None:
        self._core = core
        self._event = event
        self._stopwatch = stopwatch
        self.scorer = scorer or core.scorer
        self._predictor = predictor or core.predictor
        self._in_force = self.scorer is core.scorer and self._predictor is core.predictor
        overrides = core.placement.overrides
        self.bounds = None if overrides is None else overrides.bounds_now(event)
        self.applied = () if overrides is None else overrides.applied(event, waits=False)  # overrides with a part in it
        self._needs = needs_of(core, event, self.bounds)
        self._took_s = 0.0

    @property
    def needs_scan(self) -> bool:
        """Must all workers be looked at?"""
        needs = self._needs
        return needs is not None and (not needs.exact or self.scorer is not self._core.scorer)

    # ------------------------------------------------------------------ ranked

    def ranked(self, most: int) -> tuple[Ranked, int, Counts]:
        """The best candidates, how many there are, and the rejections; not where a scan is needed."""
        if self._needs is None:
            return [], 0, ()
        eligible, fleet = self._needs.eligible, self._core.fleet
        aside = self._core.placement.exclude(eligible, self._event.excluded)
        try:
            bonus = self.scorer.specialization_bonus
            found = leading(fleet, eligible, self._event.task.category, bonus, most)
            return found, explanation.candidate_count(fleet, eligible), rejections(fleet, eligible)
        finally:
            for record in aside:
                fleet.refresh(record)

    def prediction(self) -> Prediction | None:
        """How long it would take; None where the predictor fails."""
        try:
            made = self._predictor.predict(self._event.task)
            return made if usable(made) else None
        except Exception:  # noqa: BLE001 -- a predictor is a plug-in: then there is no prediction
            return None

    # ------------------------------------------------------------------ decided

    def decide(self, now: Now, most: int, scan: Scan | None = None) -> Decision | Refusal:
        """The answer, with `most` candidates explained in full."""
        core, event, needs = self._core, self._event, self._needs
        task = event.task
        if task.start_by is not None and task.start_by < now.wall:
            return explanation.too_late(task)
        if task.not_before is not None and task.not_before > now.wall:
            return explanation.too_early(now, task)
        if needs is None:
            return explanation.too_many_label_keys(task, core.fleet)
        capped = None if core.placement.overrides is None else core.placement.overrides.would_hold(task)
        if capped is not None:
            return capped
        aside = core.placement.exclude(needs.eligible, event.excluded)
        try:
            return self._decide(now, needs.eligible, most, scan)
        finally:
            for record in aside:
                core.fleet.refresh(record)

    def _decide(self, now: Now, eligible: EligibilityClass, most: int, scan: Scan | None) -> Decision | Refusal:
        core, task = self._core, self._event.task
        placement, fleet = core.placement, core.fleet
        best: WorkerRecord | None = None
        if scan is None:
            best, count = fleet.best(eligible, task.category, self.scorer.specialization_bonus)
        else:
            ranked, count = scan.ranked, scan.candidates
            best = ranked[0][1] if ranked else None
        if not count:
            remembered = placement.remembers(now, eligible)
            waits = placement.refused_in_a_row + 1
            counts = None if scan is None else scan.rejections
            return explanation.nobody(
                self._event,
                eligible,
                fleet,
                placement.mean_ms,
                waits,
                remembered=remembered,
                counts=counts,
                wall=now.wall,
            )
        cause, asked, score = self._cause(now, best)
        within = placement.within
        if cause is None and within is not None:
            stays = self._staying(now, eligible, within, best, asked, scan)
            if stays is None:
                counts, waits = within.rejections(eligible), placement.refused_in_a_row + 1
                return explanation.nobody(
                    self._event,
                    eligible,
                    fleet,
                    placement.mean_ms,
                    waits,
                    remembered=False,
                    counts=counts,
                    wall=now.wall,
                )
            if stays is not best:
                best = stays
                cause, asked, score = self._cause(now, best)
        prediction = None if cause in NO_PREDICTION else asked
        if cause is None and best is not None:
            cause = eligible.alone if count == 1 else eligible.chosen
            worker, source, scorer = best, SOURCES[cause], self.scorer.name
        else:
            cause = cause or Cause.SCORE_INVALID
            by_count = cause is Cause.PREDICTION_UNTRUSTED
            source, score, count = Source.FALLBACK, _NO_SCORE, count if cause in _COUNTED else 0
            scorer = least_busy.NAME if by_count else round_robin.NAME
            by_turn = self._in_turn(eligible, by_count, scan)
            if by_turn is None:
                raise RuntimeError("there is a candidate, and nobody whose turn it is")
            worker = by_turn
        default_ms = core.settings.predictor.default_ms
        point_ms = default_ms if prediction is None else prediction.point_ms
        instead = None
        if source is Source.FALLBACK:
            instead = placement.explaining.instead(now, task.task_type, cause, asked, self._took_s)
        told = explanation.explain(
            now, eligible, fleet, self.scorer, task, point_ms, worker, most=most, instead=instead, scan=scan
        )
        return Decision(
            "",
            task.key,
            task.task_type,
            "",
            worker.worker_id,
            0.0 if worker.free > 0 else availability.of_leases(worker, now.monotonic) * 1_000.0,
            point_ms / worker.speed,
            score.value,
            score.terms,
            source,
            cause,
            scorer,
            placement.policy_revision,
            core.incarnation,
            now.wall,
            prediction,
            count,
            worker.health is not Health.HEALTHY,
            told,
        )

    def _staying(
        self,
        now: Now,
        eligible: EligibilityClass,
        within: WithinShift,
        best: WorkerRecord | None,
        asked: Prediction | None,
        scan: Scan | None,
    ) -> WorkerRecord | None:
        """The best of those within whose shift it would end."""
        if best is None or asked is None or within.fits(now, best, asked):
            return best
        fleet, bonus = self._core.fleet, self.scorer.specialization_bonus
        if scan is not None:
            return next((record for _, record in scan.ranked if within.fits(now, record, asked)), None)
        category = self._event.task.category

        def next_best(*_: object) -> tuple[WorkerRecord | None, int]:
            return fleet.best(eligible, category, bonus)

        return within.pick(now, eligible, asked, category, bonus, next_best, [])

    def _cause(self, now: Now, best: WorkerRecord | None) -> tuple[Cause | None, Prediction | None, Score]:
        """Why it would be a fallback, None where it would not be; the prediction, whatever it is, and the score."""
        core, task = self._core, self._event.task
        if self._in_force and not core.breaker.calm:
            kept_out = core.breaker.would_keep_out(task.task_type, now.monotonic)
            if kept_out is not None:
                return kept_out, None, _NO_SCORE
        cause, prediction, score = None, None, _NO_SCORE
        started = self._stopwatch()
        try:
            prediction = self._predictor.predict(task)
            as_of = prediction.as_of
            if not usable(prediction):
                cause = Cause.PREDICTION_INVALID
            elif as_of is not None and now.monotonic - as_of > core.settings.predictor.stale_after_s:
                cause = Cause.PREDICTION_STALE
            elif self._predictor is core.predictor and task.task_type in core.accuracy.untrusted:
                return Cause.PREDICTION_UNTRUSTED, prediction, score
        except Exception:  # noqa: BLE001 -- a predictor is a plug-in: whatever it raises would be a fallback
            cause = Cause.PREDICTOR_ERROR
        if cause is None and prediction is not None:
            if best is None:
                cause = Cause.SCORE_INVALID
            else:
                try:
                    score = self.scorer.score(best, task, 0.0, prediction.point_ms / best.speed)
                    if not -inf < score.value < inf:
                        cause = Cause.SCORE_INVALID
                except Exception:  # noqa: BLE001 -- a scorer is a plug-in: whatever it raises would be a fallback
                    cause = Cause.SCORER_ERROR
        self._took_s = self._stopwatch() - started
        if cause is None and self._took_s > core.settings.predictor.budget_ms / 1_000.0:
            cause = Cause.OVER_BUDGET
        return cause, prediction, score

    def _in_turn(self, eligible: EligibilityClass, by_count: bool, scan: Scan | None) -> WorkerRecord | None:
        """Whose turn it would be; the turn stays where it is."""

        def candidate(record: WorkerRecord) -> bool:
            return record.status is Rejection.CANDIDATE and (scan is None or not scan.lacking(record))

        def free(record: WorkerRecord) -> bool:
            return candidate(record) and record.free > 0

        def healthy(record: WorkerRecord) -> bool:
            return free(record) and record.health is Health.HEALTHY

        cursor = eligible.cursor
        try:
            acceptables: tuple[Callable[[WorkerRecord], bool], ...] = (healthy, free, candidate)
            for acceptable in acceptables:
                if by_count:
                    found = least_busy.least_busy(eligible, acceptable, lambda record: record.free / record.slots)
                else:
                    found = round_robin.next_in_turn(eligible, acceptable)
                if found is not None:
                    return found
            return None
        finally:
            eligible.cursor = cursor
