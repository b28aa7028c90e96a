"""Tasks that end inside a window, and how long each took from just before its submission. Standard library only."""

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any


class Window:
    """Counts from `ramp_s` after it is made, for `seconds`."""

    def __init__(self, ramp_s: float, seconds: float, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._start = clock() + ramp_s
        self._end = self._start + seconds
        self._seconds = seconds
        self._took_us: list[int] = []
        self._all = 0

    @property
    def open(self) -> bool:
        """True while tasks are to be submitted."""
        return self._clock() < self._end

    def ended(self, submitted: float) -> None:
        """A task that was submitted then has ended, and its submitter knows."""
        now = self._clock()
        self._all += 1
        if self._start <= now < self._end:
            self._took_us.append(round((now - submitted) * 1e6))

    def told(self) -> Mapping[str, Any]:
        """Tasks per second, every latency in microseconds, and all tasks: also before and after it counted."""
        return {"per_s": len(self._took_us) / self._seconds, "took_us": self._took_us, "all": self._all}
