"""Predictors that remember the last few durations of each task type, and nothing else."""

from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.predictor.by_type import ByType
from scheduler_server.predictor.dated import instant_of
from scheduler_server.predictor.defaults import configured_default
from scheduler_server.predictor.drift import Drift
from scheduler_server.predictor.reconfigurable import AT_ONCE
from scheduler_server.predictor.settings import LONGEST_MS, PredictorSettings

_P90_RANK = 0.9


class RecentPredictor(ByType):
    """A statistic of the last `most` durations of the task's type.

    P90 is the longest of up to ten: an eleventh like them stays below it in ten cases of eleven.
    Confidence is n / (n + 1) for the n durations remembered, times shortest / longest of them. Memory is bounded by
    `max_types`; the type that has learned nothing for longest goes first.
    """

    def __init__(
        self, name: str, most: int, statistic: Callable[[list[float]], float], settings: PredictorSettings
    ) -> None:
        self.name = name
        self._most = most
        self._statistic = statistic
        self._settings = settings
        self._recent: dict[str, list[float]] = {}  # in order of learning, oldest first
        self._known: dict[str, Prediction] = {}
        self._beside = self._recent
        self._dates = {}
        self.evicted = 0

    def reconfigure(self, settings: PredictorSettings) -> None:
        """See Reconfigurable."""
        self._settings = settings

    def predict(self, task: Task) -> Prediction:
        """The statistic of the task's type, or the configured default."""
        found = self._known.get(task.task_type)
        return found if found is not None else configured_default(self._settings, task, self.name)

    def observe(self, task: Task, duration_ms: float) -> None:
        """Remember this duration, and forget the one that is one too many."""
        task_type = task.task_type
        recent = self._recent.pop(task_type, None)
        if recent is None:
            for _ in range(min(AT_ONCE, len(self._recent) - self._settings.max_types + 1)):
                oldest = next(iter(self._recent))
                self._drop(oldest)
                self.evicted += 1
            recent = []
        recent.append(duration_ms)
        if len(recent) > self._most:
            del recent[0]
        known = self._known.get(task_type)
        self._put(task_type, recent, 1 if known is None else known.sample_count + 1)
        self._learned_now(task_type)

    def _put(self, task_type: str, recent: list[float], count: int) -> None:
        self._recent[task_type] = recent
        ranked = sorted(recent)
        point = self._statistic(recent)
        kept = len(ranked)
        confidence = kept / (kept + 1.0) * (ranked[0] / ranked[-1])
        p90 = ranked[min(kept - 1, int(_P90_RANK * kept))]
        self._known[task_type] = Prediction(
            point, sum(recent) / kept, point, p90, confidence, count, f"type={task_type}", self.name
        )

    def take_drifts(self) -> list[Drift]:
        """None: the last few durations are all that it goes by, so there is nothing to forget."""
        return []

    def state(self) -> Iterator[dict[str, Any]]:
        """One record per type."""
        for task_type in list(self._recent):
            known = self._known.get(task_type)
            if known is not None:  # it may go while a snapshot is being written
                recent = list(self._recent[task_type])
                yield self._date({"type": task_type, "recent_ms": recent, "samples": known.sample_count}, task_type)

    def restore(self, record: dict[str, Any]) -> None:
        """Take one type back."""
        task_type, recent, samples = record.get("type"), record.get("recent_ms"), record.get("samples")
        if not (
            isinstance(task_type, str)
            and isinstance(recent, list)
            and 0 < len(recent) <= self._most
            and all(type(each) in (int, float) and isfinite(each) and 0 < each <= LONGEST_MS for each in recent)
            and type(samples) is int
            and samples >= len(recent)
        ):
            raise ValueError(f"not a record of {self.name}: {record!r}")
        at = instant_of(record)
        self._put(task_type, [float(each) for each in recent], samples)
        if at:
            self._dates[task_type] = at
