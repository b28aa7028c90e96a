"""Drift: the durations of a key are no longer what they were."""

from collections import deque
from typing import NamedTuple

_MOST = 256
"""Drifts kept until somebody takes them; beyond, the oldest go. A tick takes them, and hundreds between two ticks say
no more than that everything has changed."""


class Drift(NamedTuple):
    """The durations of one key have changed, and what was known of them has been forgotten.

    `before_ms` and `after_ms` are the points predicted, `direction` is "longer" or "shorter", `samples` the number of
    outcomes that were forgotten.
    """

    key: str
    before_ms: float
    after_ms: float
    direction: str
    samples: int


class Drifts:
    """The latest drifts that nobody has taken yet: bounded, the oldest go first."""

    def __init__(self) -> None:
        self._waiting: deque[Drift] = deque(maxlen=_MOST)

    def report(self, key: str, before_ms: float, after_ms: float, samples: int) -> None:
        """Keep one until it is taken."""
        direction = "longer" if after_ms > before_ms else "shorter"
        self._waiting.append(Drift(key, before_ms, after_ms, direction, samples))

    def take(self) -> list[Drift]:
        """Those since the last call, oldest first."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken
