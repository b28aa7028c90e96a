"""How long will it take?

A predictor is asked for every task and told every success; both must be O(1), because both stand on the hot path. A
predictor that cannot be (slow, or in another process) fills the table of `published.py` instead: the core never waits
for a prediction. Whatever a predictor does wrong (an error, NaN, a negative or stale answer, one that took too long) is
caught where it is called, counts for the circuit breaker, and makes that one decision a fallback.

Durations are milliseconds on a worker of speed 1: the core multiplies what it observed by the worker's speed before
teaching, and divides by the chosen worker's speed when predicting.

May import: model.
"""

from collections.abc import Iterator
from typing import Any, Protocol

from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.predictor.drift import Drift


class Predictor(Protocol):
    """A strategy for predicting durations.

    `state` yields what it knows as values of JSON types, in as many small records as there are, so that a snapshot of
    100,000 of them need not stall anybody; `restore` takes one such record back and raises ValueError where it cannot.
    """

    @property
    def name(self) -> str:
        """Stable name, as configuration and decisions give it."""

    def predict(self, task: Task) -> Prediction:
        """How long this task takes at speed 1."""

    def observe(self, task: Task, duration_ms: float) -> None:
        """Learn that such a task took this long at speed 1; above 0."""

    @property
    def evicted(self) -> int:
        """Keys forgotten so far to stay within the configured number; never falls."""

    @property
    def keys(self) -> int:
        """How many keys it has learned something for."""

    def warm(self) -> None:
        """Build now what `predict` would build on its first call: called once, before the server serves."""

    def take_drifts(self) -> list[Drift]:
        """Keys whose durations have changed since the last call, oldest first; a bounded number."""

    def state(self) -> Iterator[dict[str, Any]]:
        """What it knows, record by record."""

    def restore(self, record: dict[str, Any]) -> None:
        """Take one record back."""
