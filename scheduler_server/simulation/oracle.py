"""Predictors that no server has: one that knows the truth, and parts that always fail."""

from collections.abc import Iterator
from typing import Any

from scheduler_server.model.decision import Score
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.model.worker import WorkerView
from scheduler_server.predictor.drift import Drift

_SURE = 1_000_000  # samples: more than anybody asks for


class Blank:
    """What a predictor needs besides `predict`: this one learns nothing."""

    evicted = 0
    keys = 0

    def observe(self, task: Task, duration_ms: float) -> None:
        """It has nothing to learn."""

    def warm(self) -> None:
        """Nothing to build."""

    def take_drifts(self) -> list[Drift]:
        """None."""
        return []

    def state(self) -> Iterator[dict[str, Any]]:
        """Nothing."""
        return iter(())

    def restore(self, record: dict[str, Any]) -> None:
        """Nothing is kept, so nothing can be taken back."""
        raise ValueError("keeps nothing")


class Oracle(Blank):
    """Knows how long each task takes at speed 1: `truth_ms` by task id, for as long as the task is not over."""

    name = "oracle"

    def __init__(self) -> None:
        self.truth_ms: dict[str, float] = {}

    def predict(self, task: Task) -> Prediction:
        """The truth, four times."""
        truth = self.truth_ms[task.task_id]
        return Prediction(truth, truth, truth, truth, 1.0, _SURE, "truth", self.name)


class Failing(Blank):
    """Raises whenever it is asked."""

    name = "failing"

    def predict(self, task: Task) -> Prediction:
        """Never."""
        raise RuntimeError("this predictor always fails")


class FailingScorer:
    """Raises whenever it is asked."""

    name = "failing"
    specialization_bonus = 0.0
    health_score_floor = 0.0

    def key(self, worker: WorkerView) -> float:
        """Never."""
        raise RuntimeError("this scorer always fails")

    def score(self, worker: WorkerView, task: Task, wait_ms: float, duration_ms: float) -> Score:
        """Never."""
        raise RuntimeError("this scorer always fails")
