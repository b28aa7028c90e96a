"""What a task of a type that never ended here will take: defaults, hints, and what is usual elsewhere.

In this order: the configured default of the type; the caller's expectation, corrected by how it erred before; the base
estimate of the category, corrected the same way; what tasks of any type take for the same user and resources; what the
category took; what anything took; the default of all. Nobody vouches for any of it: confidence 0, no samples. Once a
task of the type has ended, none of it counts.
"""

from collections import OrderedDict
from math import exp, log
from typing import Any, TypeAlias

from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Hints, Task
from scheduler_server.predictor.known import Known, point_of
from scheduler_server.predictor.settings import LONGEST_MS, PredictorSettings

_LEAST_RATE = 0.05
"""Weight of the newest outcome once there have been twenty: long enough to be sure, short enough to follow people who
learn to estimate."""

_MOST_ENTRIES = 10_000
"""Corrections kept; the one learned longest ago goes first. Categories are few, but callers name them."""

_STEP = 0.5
"""How far P90 moves per outcome, in ln ms: unknown types are rare, and off by factors."""

_START_HIGH = 1.5
"""Where P90 starts above an estimate, in ln ms (a factor of 4.5): the least of where it settles on four real traces.
Before any type has ended, P90 is the estimate itself: that is what was configured or expected, and no more."""

HintKey: TypeAlias = tuple[str, str, int, int]
"""What is corrected ("expected", "category", "described"), the category, classes of description length and dependencies
(-1: not given)."""


class ColdStart:
    """Estimates for types without history, and what outcomes teach about them.

    Each correction is the mean of ln(actual / 1 ms) or ln(actual / expected), with a configured or given value as one
    outcome more.
    """

    def __init__(self, settings: PredictorSettings, predictor: str) -> None:
        self._settings = settings
        self._predictor = predictor
        self.entries: OrderedDict[HintKey, tuple[int, float]] = OrderedDict()
        self.usual_log = 0.0
        self.outcomes = 0
        self.high = 0.0

    def reconfigure(self, settings: PredictorSettings) -> None:
        """Estimate by these defaults from now on."""
        self._settings = settings

    def estimate(self, task: Task, like: Known | None) -> Prediction:
        """How long it takes; `like` is what is known of any type for the same user and resources."""
        settings = self._settings
        configured = settings.type_defaults_ms.get(task.task_type)
        if configured is not None:
            return self._saying(configured, f"default of type {task.task_type}")
        hints, category = task.hints, task.category
        if hints is not None and hints.expected_duration_ms:
            correction = self._correction(category)
            said = "expected by the caller" if not correction else "expected by the caller, corrected"
            return self._saying(hints.expected_duration_ms * exp(correction), said)
        base = settings.category_defaults_ms.get(category)
        if base is not None:
            found = self._of_category(category, hints)
            value, said = (base, "default of") if found is None else (exp(found), "corrected default of")
            return self._saying(value, f"{said} category {category}")
        if like is not None and (like.key[1] is not None or like.key[2] is not None):
            return self._saying(exp(point_of(like.low, like.high, like.centre)), like.named())
        found = self._of_category(category, hints) if category or hints is not None else None
        if found is not None:
            return self._saying(exp(found), f"any type, category={category}")
        if self.outcomes:
            return self._saying(exp(self.usual_log), "any type")
        return self._saying(settings.default_ms, "default")

    def _saying(self, value_ms: float, key: str) -> Prediction:
        value = min(LONGEST_MS, value_ms)
        return Prediction(
            value, value, value, max(value, min(LONGEST_MS, value * exp(self.high))), 0.0, 0, key, self._predictor
        )

    def _correction(self, category: str) -> float:
        found = self.entries.get(("expected", category, -1, -1)) or self.entries.get(("expected", "", -1, -1))
        return found[1] if found is not None else 0.0

    def _of_category(self, category: str, hints: Hints | None) -> float | None:
        found = self.entries.get(_described(category, hints)) or self.entries.get(("category", category, -1, -1))
        return found[1] if found is not None else None

    def judge(self, estimate: Prediction, duration_ms: float) -> None:
        """Move P90 of later estimates by whether this one held."""
        self.high = max(
            0.0, (self.high or _START_HIGH) + (0.9 * _STEP if duration_ms > estimate.p90_ms else -0.1 * _STEP)
        )

    def learn(self, task: Task, log_ms: float) -> None:
        """Take in an outcome, in ln ms, of a task that had a category or hints."""
        category, hints = task.category, task.hints
        if hints is not None and hints.expected_duration_ms:
            off = log_ms - log(hints.expected_duration_ms)
            self._teach(("expected", category, -1, -1), off, 0.0)
            if category:
                self._teach(("expected", "", -1, -1), off, 0.0)
        base = self._settings.category_defaults_ms.get(category)
        prior = self._teach(("category", category, -1, -1), log_ms, None if base is None else log(base))
        described = _described(category, hints)
        if described[0] == "described":
            self._teach(described, log_ms, prior)

    def _teach(self, key: HintKey, value: float, prior: float | None) -> float:
        """The mean with this value; where it is the first, `prior` counts as one before."""
        entries = self.entries
        count, mean = entries.pop(key, (0, 0.0))
        if not count:
            count, mean = (0, value) if prior is None else (1, prior)
            if len(entries) >= _MOST_ENTRIES:
                entries.popitem(last=False)
        mean += max(1.0 / (count + 1), _LEAST_RATE) * (value - mean)
        entries[key] = count + 1, mean
        return mean

    def restore(self, key: HintKey, count: int, mean: float) -> None:
        """Take one correction back."""
        self.entries[key] = count, mean

    def records(self) -> list[dict[str, Any]]:
        """The corrections, one record each."""
        return [{"hint": list(key), "count": count, "log": mean} for key, (count, mean) in self.entries.items()]


def _described(category: str, hints: Hints | None) -> HintKey:
    """The key of a category and of how a task was described: lengths in octaves, dependencies the same."""
    if hints is None or (hints.description_length is None and hints.dependencies is None):
        return "category", category, -1, -1
    length, needs = hints.description_length, hints.dependencies
    return (
        "described",
        category,
        -1 if length is None else length.bit_length(),
        -1 if needs is None else needs.bit_length(),
    )
