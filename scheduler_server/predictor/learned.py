"""What a predictor has learned can be looked at, key by key."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from scheduler_server.model.prediction import Prediction


class Learned(NamedTuple):
    """What is known under one key. `task_type` None: the key is wider than a type.

    `learned_at` is the wall second of the last outcome that taught it, `drifts` how often drift made it forget, and
    `drifted_at` the wall second of the last time; 0: not known, or never.
    """

    task_type: str | None
    prediction: Prediction
    learned_at: float = 0.0
    drifts: int = 0
    drifted_at: float = 0.0


@runtime_checkable
class Tells(Protocol):
    """A predictor that can tell; every built-in one does."""

    def learned(self) -> Iterator[Learned]:
        """All keys, in no order; whoever asks may pause, and what comes or goes meanwhile may be in it or not."""
