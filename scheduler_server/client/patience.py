"""When is it worth asking again?

For refusals that pass by themselves (nobody has a free slot now), which the published retry policy leaves
alone: it knows only codes and cannot read when the server expects a slot.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

FIRST_PAUSE_S: Final = 0.05
"""Also the shortest pause: a server that says "now" is not asked in a tight loop."""
MAX_PAUSE_S: Final = 1.0
"""Doubling ends here where the server does not say when. As in the retry policy."""
SPREAD_RATIO: Final = 0.25
"""How much later than told, at most, so that callers told the same instant do not all come then. 0: all at
once."""


class Patience:
    """Pauses between refused calls. Time and chance come in, so it is the same for sync and async.

    Invariant: no pause ends after `start + limit`, and none before the server's `retry_after`. The last call
    may therefore end later than the limit, by its own deadline; cutting it short could lose a lease that has
    just been granted.
    """

    def __init__(self, limit: timedelta, *, now_s: float, chance: Callable[[], float]) -> None:
        self._until_s = now_s + limit.total_seconds()
        self._chance = chance
        self._backoff_s = FIRST_PAUSE_S

    def pause_s(self, retry_after: timedelta | None, *, now_s: float) -> float | None:
        """Seconds to wait before asking again; None when patience would end before that."""
        if retry_after is not None:
            pause_s = max(retry_after.total_seconds(), FIRST_PAUSE_S) * (1 + SPREAD_RATIO * self._chance())
        else:
            pause_s = self._backoff_s * (1 + self._chance()) / 2  # the upper half: never none at all
            self._backoff_s = min(2 * self._backoff_s, MAX_PAUSE_S)
        return pause_s if now_s + pause_s <= self._until_s else None
