"""The same warning a thousand times is one warning and a number."""

import time
from collections import OrderedDict
from collections.abc import Callable

_MAX_KEYS = 1024  # remembered keys; beyond, the one due longest ago is forgotten and may speak again early


class Every:
    """Lets one through per key and period, and counts those between. Not for two threads at once.

    Invariant: `_last` holds, per key, when it was last let through and how many were held back since.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._last: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def due(self, key: str = "") -> int | None:
        """None: hold it back. Otherwise say it, and that so many were held back since the last time.

        if (held_back := slow_disk.due(path)) is not None:
            log.warning("disk is slow", extra={"held_back": held_back})
        """
        now = self._clock()
        last = self._last.get(key)
        if last is not None and now - last[0] < self._seconds:
            self._last[key] = (last[0], last[1] + 1)
            return None
        self._last[key] = (now, 0)
        self._last.move_to_end(key)
        if len(self._last) > _MAX_KEYS:
            self._last.popitem(last=False)
        return last[1] if last is not None else 0


def every(seconds: float, clock: Callable[[], float] = time.monotonic) -> Every:
    """At most one per key in `seconds`, by a clock that never goes back. 0 lets everything through."""
    return Every(seconds, clock)
