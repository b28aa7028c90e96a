"""Times of calls: quantiles in a size that does not grow with the run."""

import math

_LEAST_S = 1e-6
"""Shorter ones count as this long: no call over a socket is."""
_STEP = 1.01
"""Each bucket ends so much later than the one before: quantiles are exact to 1 %, and an hour takes 2,200 buckets."""
_LOG_STEP = math.log(_STEP)


class Latencies:
    """Times in seconds. A quantile is the end of its bucket, so at most 1 % too long; the longest is exact."""

    def __init__(self) -> None:
        self.count = 0
        self.longest_s = 0.0
        self._buckets: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """One more."""
        bucket = math.ceil(math.log(max(seconds, _LEAST_S) / _LEAST_S) / _LOG_STEP)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.longest_s = max(self.longest_s, seconds)

    def quantile_s(self, share: float) -> float | None:
        """What at least this share of them (above 0, at most 1) does not exceed; None where there are none."""
        rank = math.ceil(share * self.count - 1e-9)  # 0.07 * 100 is a little more than 7
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                return min(float(_LEAST_S * _STEP**bucket), self.longest_s)
        return None
