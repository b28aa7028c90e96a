"""What the best constant per type would have reached, chosen when everything was over."""

from collections import Counter
from math import exp, log

NEAR = 0.25
"""A prediction is near when it is off by at most this share of the actual duration."""


MOST_DURATIONS = 1_000
"""Different durations kept of a type. Most histories have whole seconds and stay far below."""

_STEP = 0.01
"""Of ln(duration), once there are more: limits are then half a percent off at most, and three decades are 691 steps."""


class Hindsight:
    """The durations of one task type in milliseconds, to four significant digits; to one percent where they are many.

    Memory is bounded by the range of the durations, not by their number.
    """

    def __init__(self) -> None:
        self._counts: Counter[float] = Counter()
        self._coarse = False
        self.rows = 0

    @property
    def different(self) -> int:
        """Different durations kept."""
        return len(self._counts)

    def add(self, duration_ms: float) -> None:
        """One more task."""
        self.rows += 1
        if self._coarse:
            self._counts[_coarsened(duration_ms)] += 1
            return
        self._counts[float(f"{duration_ms:.4g}")] += 1
        if len(self._counts) > MOST_DURATIONS:
            fine, self._counts, self._coarse = self._counts, Counter(), True
            for each, count in fine.items():
                self._counts[_coarsened(each)] += count

    def best_hits(self) -> int:
        """How many tasks the best constant is near to.

        A constant c is near to every duration from c / 1.25 to c / 0.75. The best one can be moved up until it would
        lose the shortest duration that it is near to, so it is 1.25 times one of them.
        """
        durations = sorted(self._counts)
        best = hits = upper = 0
        for shortest in durations:
            longest = shortest * (1 + NEAR) / (1 - NEAR) * (1 + 1e-12)  # a rounding must not lose an equal one
            while upper < len(durations) and durations[upper] <= longest:
                hits += self._counts[durations[upper]]
                upper += 1
            best = max(best, hits)
            hits -= self._counts[shortest]
        return best


def _coarsened(duration_ms: float) -> float:
    return exp(round(log(duration_ms) / _STEP) * _STEP)
