"""The exponential moving average per task type: `new = alpha * actual + (1 - alpha) * previous`."""

from collections.abc import Iterator
from math import isfinite, sqrt
from typing import Any

from scheduler_server.model.making import make
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.predictor.by_type import ByType
from scheduler_server.predictor.dated import instant_of
from scheduler_server.predictor.defaults import configured_default
from scheduler_server.predictor.drift import Drift
from scheduler_server.predictor.reconfigurable import AT_ONCE
from scheduler_server.predictor.settings import LONGEST_MS, PredictorSettings

_SPREAD_P90 = 1.2816
"""Standard deviations from the mean to the 90th percentile of a normal distribution."""

_TRUST = 5.0
"""Outcomes after which confidence is one half (before spread is taken into account): about the memory of alpha 0.3,
whose last five outcomes carry 83 % of the weight."""


class EmaPredictor(ByType):
    """The specification's predictor: one average per task type, the first outcome taking the default's place.

    A second average, of the squared deviation, gives the spread from which P90 and confidence come. Confidence is
    n / (n + 5), divided by 1 + the coefficient of variation. Memory is bounded by `max_types`; the type that has
    learned nothing for longest goes first.
    """

    name = "ema"

    def __init__(self, settings: PredictorSettings) -> None:
        self.reconfigure(settings)
        self._known: dict[str, Prediction] = {}  # in order of learning, oldest first
        self._variance: dict[str, float] = {}
        self._beside = self._variance
        self._dates = {}
        self.evicted = 0

    def reconfigure(self, settings: PredictorSettings) -> None:
        """See Reconfigurable."""
        self._alpha = settings.ema_alpha
        self._settings = settings

    def predict(self, task: Task) -> Prediction:
        """The average of the task's type, or the configured default of type, category or all."""
        found = self._known.get(task.task_type)
        return found if found is not None else configured_default(self._settings, task, self.name)

    def observe(self, task: Task, duration_ms: float) -> None:
        """Move the average of the task's type towards this duration."""
        task_type = task.task_type
        known = self._known.pop(task_type, None)
        if known is None:
            for _ in range(min(AT_ONCE, len(self._known) - self._settings.max_types + 1)):
                oldest = next(iter(self._known))
                self._drop(oldest)
                self.evicted += 1
            self._put(task_type, f"type={task_type}", duration_ms, 0.0, 1)
            self._learned_now(task_type)
            return
        self._learned_now(task_type)
        alpha = self._alpha
        mean = known.mean_ms
        delta = duration_ms - mean
        variance = (1.0 - alpha) * (self._variance[task_type] + alpha * delta * delta)
        mean = alpha * duration_ms + (1.0 - alpha) * mean
        self._put(task_type, known.key, mean, variance, known.sample_count + 1)

    def _put(self, task_type: str, key: str, mean: float, variance: float, count: int) -> None:
        spread = sqrt(variance)
        confidence = count / (count + _TRUST) * (mean / (mean + spread))
        self._variance[task_type] = variance
        p90 = mean + _SPREAD_P90 * spread
        self._known[task_type] = make(Prediction, (mean, mean, mean, p90, confidence, count, key, self.name, None))

    def take_drifts(self) -> list[Drift]:
        """None: an average that moves has nothing to forget."""
        return []

    def state(self) -> Iterator[dict[str, Any]]:
        """One record per type."""
        for task_type in list(self._known):
            known = self._known.get(task_type)
            if known is not None:  # it may go while a snapshot is being written
                record = {
                    "type": task_type,
                    "mean_ms": known.mean_ms,
                    "variance": self._variance[task_type],
                    "samples": known.sample_count,
                }
                yield self._date(record, task_type)

    def restore(self, record: dict[str, Any]) -> None:
        """Take one type back."""
        task_type, mean, variance, samples = (
            record.get("type"), record.get("mean_ms"), record.get("variance"), record.get("samples")
        )  # fmt: skip
        if not (
            isinstance(task_type, str)
            and isinstance(mean, (int, float))
            and isinstance(variance, (int, float))
            and isinstance(samples, int)
            and 0 < mean <= LONGEST_MS
            and isfinite(variance)
            and variance >= 0
            and samples > 0
        ):
            raise ValueError(f"not an ema record: {record!r}")
        at = instant_of(record)
        self._put(task_type, f"type={task_type}", float(mean), float(variance), samples)
        if at:
            self._dates[task_type] = at
