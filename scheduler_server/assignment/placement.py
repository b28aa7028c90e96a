r"""The decision itself.

    known? -> feasible workers -> prediction -> score -> lease          (predicted)
                     \_ any failure, or an open breaker -> round robin -> lease   (fallback)

Nothing here awaits: between reading the fleet and taking the lease the fleet cannot change.
"""

from collections.abc import Callable, Set
from math import inf, isfinite
from typing import TYPE_CHECKING

from scheduler_server.assignment import explanation, repeats
from scheduler_server.assignment.causes import NO_PREDICTION, SOURCES, WAITABLE
from scheduler_server.assignment.effects import Effect, Granted, HandOver, Reply
from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.explaining import Explaining
from scheduler_server.assignment.ledger import Ledger, TaskRecord
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.trail import NO_TRAIL
from scheduler_server.assignment.within_shift import within_shift
from scheduler_server.fallback import least_busy, round_robin
from scheduler_server.fallback.breaker import CircuitBreaker
from scheduler_server.model.clock import Now, Stopwatch
from scheduler_server.model.decision import (
    Cause,
    Decision,
    Explanation,
    Rejection,
    Score,
    Source,
    without,
)
from scheduler_server.model.histogram import Histogram
from scheduler_server.model.making import make
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import Delivery, Task, TaskKey
from scheduler_server.model.worker import Accounting, Health
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.usable import usable
from scheduler_server.registry import availability, capacity
from scheduler_server.registry.eligibility import ClassKey, EligibilityClass
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.scorer import Scorer

if TYPE_CHECKING:
    from scheduler_server.assignment.overrides import Overrides
    from scheduler_server.assignment.queueing import Queue

_NO_SCORE = Score(0.0, ())
_FALLBACK = Source.FALLBACK

_CANDIDATE, _HEALTHY, _TRACKED = Rejection.CANDIDATE, Health.HEALTHY, Accounting.TRACKED

_COLD_HINT_MS = 1_000.0
"""What a refused caller's hint goes by before the first outcome: asking too early costs a call, too late
a slot's time."""

_LATENCIES_S = (5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)
"""Bounds of how long a decision takes: from a quarter of the usual to twice the predictor's default budget."""

_HINT_MEMORY = 10
"""Outcomes that a refused caller's hint goes by: steady enough, and soon free of the default."""

Watch = Callable[[float, WorkerRecord], None]
WatchAck = Callable[[float, TaskRecord], None]
Age = Callable[[WorkerRecord, Now, list[Effect]], None]


class Placement:
    """Chooses workers and grants leases.

    `age` brings one worker's health up to now, `watch_release` and `watch_ack` ask for a timer: all are the core's.
    `untrusted` are the task types whose predictions are too poor to be used.
    """

    def __init__(
        self,
        settings: CoreSettings,
        fleet: Fleet,
        ledger: Ledger,
        predictor: Predictor,
        scorer: Scorer,
        breaker: CircuitBreaker,
        stopwatch: Stopwatch,
        incarnation: str,
        *,
        age: Age,
        watch_release: Watch,
        watch_ack: WatchAck,
        untrusted: Set[str],
    ) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._breaker = breaker
        self._stopwatch = stopwatch
        self._incarnation = incarnation
        self._age = age
        self._watch_release = watch_release
        self._watch_ack = watch_ack
        self._untrusted = untrusted
        self.queue: Queue  # the core's; it places through us
        self._granted = 0
        self.overrides: Overrides | None = None  # while there are any; they place through us
        self._limits(settings, predictor, scorer)
        self._classes = fleet.eligibility.classes
        self._lease_prefix = f"l-{incarnation}-"
        self._decision_prefix = f"d-{incarnation}-"
        self.policy_revision = 1
        self.remembered: set[frozenset[str]] = set()  # capability sets known before a restart; see state.py
        self.remembered_until = -inf
        self.mean_ms = min(
            self._default_ms, _COLD_HINT_MS
        )  # of outcomes, moving; for telling refused callers when to come back
        self._timed = 0  # outcomes in it, up to its memory
        self.refused_in_a_row = 0  # since a slot was last freed
        self.by_cause = [0] * (max(Cause) + 1)
        self.refusals: dict[Reason, int] = {}
        self.explaining = Explaining(settings, fleet, scorer, breaker)
        self.latencies = Histogram(_LATENCIES_S)

    def _limits(self, settings: CoreSettings, predictor: Predictor, scorer: Scorer) -> None:
        self._settings = settings
        self._predictor = predictor
        self._scorer = scorer
        self._budget_s = settings.predictor.budget_ms / 1_000.0
        self._stale_after_s = settings.predictor.stale_after_s
        self._default_ms = default_ms = settings.predictor.default_ms
        self.unknown = Prediction(default_ms, default_ms, default_ms, default_ms, 0.0, 0, "default", "none")
        self._lost_track_after_s = settings.worker.lost_track_after_s
        self._lease_factor = settings.assignment.lease_factor / 1_000.0
        self._max_offers = settings.worker.max_offers
        self.within = within_shift(self._fleet, settings.worker.within_shift)

    def reconfigure(self, settings: CoreSettings, predictor: Predictor, scorer: Scorer) -> None:
        """Decide by these from now on."""
        self._limits(settings, predictor, scorer)
        self.explaining.reconfigure(settings, scorer, self._granted)

    # ------------------------------------------------------------------ one task

    def submit(self, now: Now, event: Submit, out: list[Effect]) -> None:
        """Answer one Submit."""
        task = event.task
        queue = self.queue
        if queue.busy:
            if queue.known(now, event, out):
                return
            if self._fleet.opened and queue.open:  # they were first
                queue.fill(now, out, len(queue.waiting))
        older = self._ledger.tasks.get((task.tenant, task.task_id))
        if older is not None:
            answer = repeats.known(older, task)
            if answer is not None:
                out.append(answer if event.explain else repeats.unexplained(answer))
                return
        if task.start_by is not None and task.start_by < now.wall:
            self.refuse(explanation.too_late(task), out)
            return
        if queue.pauses.scopes and (event.wait_s is not None or event.enqueue) and queue.pauses.covers(task):
            queue.park(now, event, out)
            return
        if task.not_before is not None and task.not_before > now.wall:
            refusal: Refusal | None = explanation.too_early(now, task)
        else:
            refusal = self.attempt(now, event, older, out, why=event.wait_s is None and not event.enqueue)
        if refusal is None:
            return
        if refusal.reason in WAITABLE and (event.wait_s is not None or event.enqueue):
            queue.park(now, event, out)
        else:
            self.refuse(refusal, out)

    def place_waiting(self, now: Now, event: Submit, since_wall: float, out: list[Effect]) -> TaskRecord | None:
        """Place a task that has waited since then; None where the free workers are none for it. No Reply."""
        task = event.task
        older = self._ledger.tasks.get((task.tenant, task.task_id))
        if self.attempt(now, event, older, out, why=False) is not None:
            return None
        out.pop()  # the Reply: whoever waits for it is told otherwise
        record = self._ledger.tasks[task.tenant, task.task_id]
        record.submitted_wall = since_wall
        return record

    def attempt(
        self,
        now: Now,
        event: Submit,
        older: TaskRecord | None,
        out: list[Effect],
        *,
        why: bool = True,
        needs: ClassKey | None = None,
    ) -> Refusal | None:
        """Place a task, or say why nobody can take it now; without `why`, only that. `needs`: overrides say them."""
        task = event.task
        if needs is None:
            if self.overrides is not None:
                return self.overrides.attempt(now, event, older, out, why=why)
            needs = (task.required, task.labels, event.delivery is Delivery.STREAM)
        eligible = self._classes.get(needs)
        if eligible is None:
            eligible = self._fleet.eligible(needs)
            if eligible is None:
                return explanation.too_many_label_keys(task, self._fleet)
        if not why and not self._open(eligible):
            return NOBODY
        excluded = task.excluded if event.trail is NO_TRAIL else event.excluded
        if not excluded:
            if self._place(now, event, eligible, older, out):
                return None
            return self._nobody(now, event, eligible) if why else NOBODY
        aside = self.exclude(eligible, excluded)
        try:
            if self._place(now, event, eligible, older, out):
                return None
            return self._nobody(now, event, eligible) if why else NOBODY
        finally:
            for record in aside:
                self._fleet.refresh(record)

    @staticmethod
    def _open(eligible: EligibilityClass) -> bool:
        """Is there a candidate?"""
        for pool in eligible.pools:  # noqa: SIM110 -- `any` over a generator takes three times as long
            if pool.counts[0]:
                return True
        return False

    def exclude(self, eligible: EligibilityClass, excluded: tuple[str, ...]) -> list[WorkerRecord]:
        """Take these workers out of the running for one task; they are to be refreshed afterwards."""
        aside = []
        for worker_id in excluded:
            record = self._fleet.records.get(worker_id)
            if record is not None and eligible.serves(record.pool):
                record.pool.set_status(record, Rejection.EXCLUDED)
                self._fleet.set_aside(record)
                aside.append(record)
        return aside

    def _place(
        self, now: Now, event: Submit, eligible: EligibilityClass, older: TaskRecord | None, out: list[Effect]
    ) -> bool:
        """Choose by prediction and score, or in turn where those fail, and grant the lease; False: there is nobody."""
        task = event.task
        started = self._stopwatch()
        kept_out: Cause | None = None
        if not self._breaker.calm:
            # A trial must come to a verdict, so nobody is asked when there is nobody to choose.
            if not any(pool.counts[0] for pool in eligible.pools):
                return False
            kept_out = self._breaker.keeps_out(task.task_type, now.monotonic)
        if kept_out is None:
            cause, worker, prediction, score, count = self._ask(now, task, eligible, started, out)
        else:
            cause, worker, prediction, score, count = kept_out, None, None, _NO_SCORE, 0
        asked = prediction
        if cause is None:
            cause = eligible.alone if count == 1 else eligible.chosen
            source, scorer = SOURCES[cause], self._scorer.name
        else:
            by_count = cause is Cause.PREDICTION_UNTRUSTED
            source, scorer, score = _FALLBACK, least_busy.NAME if by_count else round_robin.NAME, _NO_SCORE
            if cause in NO_PREDICTION:
                prediction = None
            worker = self._without_prediction(now, eligible, by_count, out)
        if worker is None:
            return False
        explained = None
        granted, explaining = self._granted, self.explaining
        if event.explain or granted == explaining.at or (source is _FALLBACK and explaining.unheard(now, cause)):
            explained = explaining.explain(now, granted, task, eligible, worker, prediction, asked, cause, source)
        self._grant(now, event, worker, prediction, score, source, cause, scorer, count, explained, older, out)
        self.latencies.observe(self._stopwatch() - started)
        return True

    def _ask(
        self, now: Now, task: Task, eligible: EligibilityClass, started: float, out: list[Effect]
    ) -> tuple[Cause | None, WorkerRecord | None, Prediction | None, Score, int]:
        """Ask predictor and scorer, and tell the breaker how that went; the budget runs since `started`.

        Answers what failed (None: nothing did), the worker, the prediction, the score and the number of candidates.
        Without a failure and without a worker there are no candidates.
        """
        worker: WorkerRecord | None = None
        prediction: Prediction | None = None
        score = _NO_SCORE
        count = 0
        cause: Cause | None = None
        try:
            prediction = self._predictor.predict(task)
            as_of = prediction.as_of
            if not usable(prediction):
                cause = Cause.PREDICTION_INVALID
            elif as_of is not None and now[0] - as_of > self._stale_after_s:
                cause = Cause.PREDICTION_STALE
            elif task.task_type in self._untrusted:
                return Cause.PREDICTION_UNTRUSTED, None, prediction, score, 0  # no failure: the breaker is not told
        except Exception:  # noqa: BLE001 -- a predictor is a plug-in: whatever it raises becomes a fallback
            cause = Cause.PREDICTOR_ERROR
        if cause is None and prediction is not None:
            worker, count = self._best(now, eligible, task.category, out)
            if self.within is not None and worker is not None and not self.within.fits(now, worker, prediction):
                bonus = self._scorer.specialization_bonus
                worker = self.within.pick(now, eligible, prediction, task.category, bonus, self._best, out)
                count = count if worker is not None else 0
            if worker is not None:
                try:
                    score = self._scorer.score(worker, task, 0.0, prediction.point_ms / worker.speed)
                    if not -inf < score[0] < inf:
                        cause = Cause.SCORE_INVALID
                except Exception:  # noqa: BLE001 -- a scorer is a plug-in: whatever it raises becomes a fallback
                    cause = Cause.SCORER_ERROR
            elif count:
                cause = Cause.SCORE_INVALID  # candidates, but none that the scorer could give a key
            else:
                if self.within is not None and not self._breaker.calm:
                    self._breaker.succeeded(task.task_type)  # a trial: both have answered, and nobody has time for it
                return None, None, prediction, score, 0
        # What was late and wrong is wrong: its prediction must not be used.
        if self._stopwatch() - started > self._budget_s and cause is None:
            cause = Cause.OVER_BUDGET
            self.explaining.took_s = self._stopwatch() - started
        if cause is not None:
            self._breaker.failed(task.task_type, now.monotonic)
        elif not self._breaker.calm:
            self._breaker.succeeded(task.task_type)
        return cause, worker, prediction, score, count

    def _best(
        self, now: Now, eligible: EligibilityClass, category: str, out: list[Effect]
    ) -> tuple[WorkerRecord | None, int]:
        fleet, bonus = self._fleet, self._scorer.specialization_bonus
        while True:
            worker, count = fleet.best(eligible, category, bonus)
            if worker is None or now[0] <= fleet.nobody_ages_before or not fleet.band_over(worker, now[0]):
                return worker, count
            self._age(worker, now, out)  # it has grown older since the last sweep: its key is no longer true

    def _without_prediction(
        self, now: Now, eligible: EligibilityClass, by_count: bool, out: list[Effect]
    ) -> WorkerRecord | None:
        """The next candidate in turn, or the emptiest of the next few.

        Degraded ones only where no healthy is free, and staged on somebody only where nobody is free.
        """

        def candidate(record: WorkerRecord) -> bool:
            if self._fleet.band_over(record, now.monotonic):
                self._age(record, now, out)
            return record.status is _CANDIDATE

        def free(record: WorkerRecord) -> bool:
            return candidate(record) and record.free > 0

        def healthy(record: WorkerRecord) -> bool:
            return free(record) and record.health is _HEALTHY

        for acceptable in (healthy, free, candidate):
            if by_count:
                found = least_busy.least_busy(eligible, acceptable, _free_share)
            else:
                found = round_robin.next_in_turn(eligible, acceptable)
            if found is not None:
                return found
        return None

    def _grant(
        self,
        now: Now,
        event: Submit,
        worker: WorkerRecord,
        prediction: Prediction | None,
        score: Score,
        source: Source,
        cause: Cause,
        scorer: str,
        count: int,
        explained: Explanation | None,
        older: TaskRecord | None,
        out: list[Effect],
    ) -> None:
        task = event.task
        monotonic, wall = now
        number = str(self._granted + 1)
        self._granted += 1
        if prediction is not None:
            point_ms = prediction.point_ms
            lasts_s = prediction.p90_ms * self._lease_factor
        else:
            point_ms = self._default_ms
            lasts_s = point_ms * self._lease_factor
        lease_id = self._lease_prefix + number
        decision = make(
            Decision,
            (
                self._decision_prefix + number,
                make(TaskKey, task[:3]),
                task.task_type,
                lease_id,
                worker.worker_id,
                0.0 if worker.free > 0 else availability.of_leases(worker, monotonic) * 1_000.0,
                point_ms / worker.speed,
                score[0],
                score[1],
                source,
                cause,
                scorer,
                self.policy_revision,
                self._incarnation,
                wall,
                prediction,
                count,
                worker.health is not _HEALTHY,
                explained,
            ),
        )
        least_s = self._lost_track_after_s
        delivery = event.delivery
        expires_at = monotonic + (lasts_s if lasts_s > least_s else least_s)  # noqa: FURB136 -- max() costs 0.1 us
        record = TaskRecord(task, decision, worker, delivery, monotonic, expires_at)
        record.held = event.held
        record.trail = event.trail
        self._ledger.add(record, older)
        worker.leases[lease_id] = record
        worker.pool.began(record.ends_at - monotonic)
        if self.queue.fair:
            self.queue.usage.began(record)
        if delivery is Delivery.STREAM:
            worker.offers += 1
            if worker.offers >= self._max_offers:
                worker.barred = worker.barred or Rejection.OUTBOUND_FULL
        if worker.accounting is _TRACKED:
            worker.occupied += 1
        elif capacity.granted(worker, monotonic, point_ms / 1_000.0):
            self._watch_release(worker.release_at, worker)
        fleet = self._fleet
        fleet.used(worker)
        fleet.refresh(worker)
        self.by_cause[cause] += 1
        out.append(make(Granted, (record,)))
        if delivery is Delivery.STREAM and worker.session is not None:
            within = worker.registration.accept_within_s or self._settings.assignment.ack_within_s
            record.offered_on = worker.session
            out.append(HandOver(worker.session, task, decision, within))
            self._watch_ack(monotonic + within, record)
        if explained is not None and not event.explain:
            decision = without(decision)
        out.append(make(Reply, (record.state, decision, None, False, None, None)))

    @property
    def by_source(self) -> dict[tuple[Source, Cause], int]:
        """Decisions made, by source and cause."""
        return {(SOURCES[cause], cause): self.by_cause[cause] for cause in Cause if self.by_cause[cause]}

    def record_of(self, tenant: str, task_id: str) -> TaskRecord | None:
        """The latest attempt of a task that was placed."""
        return self._ledger.tasks.get((tenant, task_id))

    def followed_up(self, key: TaskKey) -> bool:
        """Did the server itself make the next attempt of this one?"""
        tenant, task_id, attempt = key
        record = self._ledger.find(*key)
        if record is not None:
            return record.requeued
        latest = self._ledger.tasks.get((tenant, task_id))
        return latest is not None and latest.covers(attempt)

    # ------------------------------------------------------------------ nobody

    def _nobody(self, now: Now, event: Submit, eligible: EligibilityClass) -> Refusal:
        """Why nobody can take the task now, and when asking again makes sense."""
        remembered = self.remembers(now, eligible)
        refusal = explanation.nobody(
            event,
            eligible,
            self._fleet,
            self.mean_ms,
            self.refused_in_a_row + 1,
            remembered=remembered,
            counts=None if self.within is None else self.within.rejections(eligible),
            wall=now.wall,
        )
        if refusal.reason is Reason.NO_FREE_SLOT:  # the others do not wait for a slot
            self.refused_in_a_row += 1
        return refusal

    def remembers(self, now: Now, eligible: EligibilityClass) -> bool:
        """Were workers that could take it known before a restart, and may they still come back?"""
        return now.monotonic < self.remembered_until and any(
            eligible.required <= capabilities for capabilities in self.remembered
        )

    def refuse(self, refusal: Refusal, out: list[Effect]) -> None:
        """Answer a Submit with a no, and count it."""
        out.append(Reply(None, None, None, False, self.counted(refusal)))

    def counted(self, refusal: Refusal) -> Refusal:
        """Count a no, told in whatever way."""
        self.refusals[refusal.reason] = self.refusals.get(refusal.reason, 0) + 1
        return refusal

    def slot_freed(self, duration_ms: float | None) -> None:
        """A lease ended, after this long where it is known."""
        self.refused_in_a_row = 0
        if duration_ms is not None and isfinite(duration_ms):
            self._timed = min(self._timed + 1, _HINT_MEMORY)
            self.mean_ms += (duration_ms - self.mean_ms) / self._timed


def _free_share(record: WorkerRecord) -> float:
    return record.free / record.slots


NOBODY = Refusal(Reason.NO_FREE_SLOT, "")
"""Nobody can take it; nobody asks why."""
