"""Which decisions are explained, and what their explanations go by.

Those whose request asks for it; of the others every n-th, and now and then a fallback. Counted, not drawn: a log of
events replays to the same explanations.
"""

from math import inf, isfinite

from scheduler_server.assignment import explanation
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.fallback.breaker import ALL, CircuitBreaker
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Cause, Change, ChangeKind, Explanation, Source
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.registry.eligibility import EligibilityClass
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.scorer import Scorer

_FALLBACKS_EVERY_S = 60.0
"""How often a fallback of one cause is explained without being asked for: the first tells what is wrong."""

_BREAKER = frozenset({Cause.BREAKER_OPEN, Cause.TYPE_BREAKER_OPEN})


class Explaining:
    """Invariant: `at` is how many leases have been granted when a decision is explained that nobody asked for."""

    def __init__(self, settings: CoreSettings, fleet: Fleet, scorer: Scorer, breaker: CircuitBreaker) -> None:
        self._settings = settings
        self._fleet = fleet
        self._scorer = scorer
        self._breaker = breaker
        share = settings.assignment.explain_share
        self._every = round(1.0 / share) if share > 0.0 else 0
        self.at = self._every - 1
        self._explained_at = [-inf] * (max(Cause) + 1)  # fallbacks, by cause; monotonic seconds
        self.took_s = 0.0  # the last answer of predictor and scorer that was over the budget

    def reconfigure(self, settings: CoreSettings, scorer: Scorer, granted: int) -> None:
        """Explain by these from now on, so many leases having been granted."""
        before, self._settings, self._scorer = self._settings, settings, scorer
        share = settings.assignment.explain_share
        if share != before.assignment.explain_share:
            self._every = round(1.0 / share) if share > 0.0 else 0
            self.at = granted + self._every - 1 if self._every else -1

    def unheard(self, now: Now, cause: Cause) -> bool:
        """Is it a fallback of a kind that was not explained for a while? Then it counts as explained."""
        if not self._every or now.monotonic < self._explained_at[cause] + _FALLBACKS_EVERY_S:
            return False
        self._explained_at[cause] = now.monotonic
        return True

    def explain(
        self,
        now: Now,
        granted: int,
        task: Task,
        eligible: EligibilityClass,
        worker: WorkerRecord,
        prediction: Prediction | None,
        asked: Prediction | None,
        cause: Cause,
        source: Source,
    ) -> Explanation:
        """The explanation of a decision, before its lease is granted.

        `prediction` is what it was based on, `asked` what the predictor said, of use or not.
        """
        if granted >= self.at and self._every:
            self.at = granted + self._every
        settings = self._settings
        point_ms = settings.predictor.default_ms if prediction is None else prediction.point_ms
        instead = None
        if source is Source.FALLBACK:
            instead = self.instead(now, task.task_type, cause, asked, self.took_s)
        most = settings.assignment.explained
        return explanation.explain(
            now, eligible, self._fleet, self._scorer, task, point_ms, worker, most=most, instead=instead
        )

    def instead(self, now: Now, task_type: str, cause: Cause, asked: Prediction | None, took_s: float) -> Change:
        """What would have made a fallback a prediction, as far as it can be told without the workers.

        `took_s` is how long predictor and scorer took, where that was too long.
        """
        actual = needed = None
        settings = self._settings.predictor
        if cause is Cause.PREDICTION_STALE and asked is not None and asked.as_of is not None:
            actual, needed = now.monotonic - asked.as_of, settings.stale_after_s
        elif cause is Cause.OVER_BUDGET:
            actual, needed = took_s * 1e3, settings.budget_ms
        elif cause in _BREAKER:
            circuit = ALL if cause is Cause.BREAKER_OPEN else task_type
            trial_s = self._breaker.trial_in_s(circuit, now.monotonic)
            if isfinite(trial_s):  # not for one that an operator opened for good
                actual, needed = trial_s, 0.0
        return Change(ChangeKind.PREDICTION, "", wins=False, actual=actual, needed=needed)
