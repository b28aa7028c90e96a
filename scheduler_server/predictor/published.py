"""A table that somebody else fills: for predictors that are slow, foreign, or in another process."""

from collections.abc import Iterable, Iterator
from typing import Any

from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.dated import Dated
from scheduler_server.predictor.drift import Drift
from scheduler_server.predictor.forgetting import Forgets, ForgetsKeys
from scheduler_server.predictor.learned import Learned, Tells
from scheduler_server.predictor.reconfigurable import Reconfigurable
from scheduler_server.predictor.settings import PredictorSettings


class PublishedPredictor:
    """Answers from a published table; types not in it go to the built-in predictor behind it.

    Each entry carries the second it was published at. A producer that hangs is an entry that grows old, and its age
    counts as a failure where the prediction is used.
    """

    def __init__(self, name: str, behind: Predictor) -> None:
        self.name = name
        self._behind = behind
        self._table: dict[str, Prediction] = {}

    @property
    def wall(self) -> float:
        """See Dated."""
        return self._behind.wall if isinstance(self._behind, Dated) else 0.0

    @wall.setter
    def wall(self, wall: float) -> None:
        if isinstance(self._behind, Dated):
            self._behind.wall = wall

    def publish(self, entries: Iterable[tuple[str, Prediction]]) -> None:
        """Replace the entries of these task types."""
        self._table.update(entries)

    def predict(self, task: Task) -> Prediction:
        """The published entry of the task's type."""
        found = self._table.get(task.task_type)
        return found if found is not None else self._behind.predict(task)

    def observe(self, task: Task, duration_ms: float) -> None:
        """Teach the predictor behind."""
        self._behind.observe(task, duration_ms)

    def forget(self, task_type: str) -> int:
        """What the predictor behind has learned; what is published stays."""
        return self._behind.forget(task_type) if isinstance(self._behind, Forgets) else 0

    def forget_key(self, key: str) -> int:
        """The same for a key."""
        return self._behind.forget_key(key) if isinstance(self._behind, ForgetsKeys) else 0

    def learned(self) -> Iterator[Learned]:
        """What is published, and what the predictor behind has learned of other types."""
        for task_type, prediction in list(self._table.items()):
            yield Learned(task_type, prediction)
        if isinstance(self._behind, Tells):
            yield from (each for each in self._behind.learned() if each.task_type not in self._table)

    def reconfigure(self, settings: PredictorSettings) -> None:
        """The predictor behind."""
        if isinstance(self._behind, Reconfigurable):
            self._behind.reconfigure(settings)

    @property
    def evicted(self) -> int:
        """How much the predictor behind has forgotten to stay within its bounds."""
        return self._behind.evicted

    def take_drifts(self) -> list[Drift]:
        """The drifts that the predictor behind has seen."""
        return self._behind.take_drifts()

    @property
    def keys(self) -> int:
        """Those of the predictor behind."""
        return self._behind.keys

    def warm(self) -> None:
        """Warm the predictor behind."""
        self._behind.warm()

    def state(self) -> Iterator[dict[str, Any]]:
        """What the predictor behind knows."""
        return self._behind.state()

    def restore(self, record: dict[str, Any]) -> None:
        """Give it back to the predictor behind."""
        self._behind.restore(record)
