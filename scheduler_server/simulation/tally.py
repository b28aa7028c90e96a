"""Counts of rounded values: medians and quantiles of any number of values in bounded memory."""

from collections import Counter


class Tally:
    """Positive values, rounded to three significant digits: at most 900 counters per decade.

    A median is then wrong by at most half a unit of its third digit, which is more than anybody reads of it.
    """

    def __init__(self) -> None:
        self._counts: Counter[float] = Counter()
        self.count = 0

    def add(self, value: float) -> None:
        """One more value, finite and not negative."""
        self._counts[float(f"{value:.3g}")] += 1
        self.count += 1

    def median(self) -> float | None:
        """The middle value, or the mean of the two middle ones; None without values."""
        if not self.count:
            return None
        lower, upper = (self.count - 1) // 2, self.count // 2
        seen, at_lower = 0, None
        for value in sorted(self._counts):
            seen += self._counts[value]
            if at_lower is None and seen > lower:
                at_lower = value
            if at_lower is not None and seen > upper:
                return (at_lower + value) / 2
        raise AssertionError("the counts do not sum up to their count")
