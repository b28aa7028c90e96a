"""Medians with intervals, quantiles, and latencies that do not hide waiting."""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np

RESAMPLES = 4_000
"""Bootstrap resamples: the ends of a 95 % interval then move by less than a tenth of its width between seeds."""

_SEED = 1_000_003  # the same interval from the same figures


class Interval(NamedTuple):
    """A median and where it lies with 95 % confidence."""

    median: float
    lo: float
    hi: float


def median_interval(values: Sequence[float], resamples: int = RESAMPLES) -> Interval:
    """Median of the values with its 95 % percentile-bootstrap interval. At least one value."""
    if not values:
        raise ValueError("no values, no median")
    given = np.asarray(values, dtype=float)
    drawn = np.random.default_rng(_SEED).integers(0, len(given), size=(resamples, len(given)))
    medians = np.median(given[drawn], axis=1)
    lo, hi = np.quantile(medians, (0.025, 0.975))
    return Interval(float(np.median(given)), float(lo), float(hi))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed: nearest rank, so one that occurred."""
    if not values:
        raise ValueError("no values, no quantile")
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered) - 1e-9) - 1)]


class OpenLoop:
    """Calls are due at fixed instants, whether or not earlier ones have been answered.

    Latency counts from the intended instant. Counting from when a call was really sent would leave out the time that
    it waited behind a stall, which is just what the caller felt (coordinated omission).
    """

    def __init__(self, start: float, rate_per_s: float, calls: int) -> None:
        self._start = start
        self._rate = rate_per_s
        self.calls = calls
        self.sent = 0

    def intended(self, number: int) -> float:
        """The instant at which call `number`, from 0, is due."""
        return self._start + number / self._rate

    def due(self, now: float) -> range:
        """The calls that are due by now and were not given out before; they count as sent."""
        first = self.sent
        while self.sent < self.calls and self.intended(self.sent) <= now:
            self.sent += 1
        return range(first, self.sent)

    def next_at(self) -> float | None:
        """When the next call is due; None when all were sent."""
        return self.intended(self.sent) if self.sent < self.calls else None

    def latency(self, number: int, finished: float) -> float:
        """Seconds from the intended instant of a call to its end."""
        return finished - self.intended(number)
