"""A predictor that knows nothing and learns nothing: tests add the part that they are about."""

from collections.abc import Iterator
from typing import Any

from scheduler_server.model.task import Task
from scheduler_server.predictor.drift import Drift


class KnowsNothing:
    """All of `Predictor` but `predict`."""

    name = "knows nothing"
    evicted = 0
    keys = 0

    def observe(self, task: Task, duration_ms: float) -> None:
        """Learn nothing."""

    def warm(self) -> None:
        """Build nothing."""

    def take_drifts(self) -> list[Drift]:
        """None."""
        return []

    def state(self) -> Iterator[dict[str, Any]]:
        """Nothing."""
        return iter(())

    def restore(self, record: dict[str, Any]) -> None:
        """Take nothing back."""
        raise ValueError
