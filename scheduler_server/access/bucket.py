"""A token bucket: a rate over a while, and a burst after a pause."""


class Bucket:
    """Holds at most `burst`, and gets `per_s` a second.

    A batch is let in while there is anything left, and what it takes beyond is owed: it is not cut, and what comes
    after it waits for longer. So over any while no more than the rate, the burst and one batch get in.
    """

    __slots__ = ("_at", "_burst", "_left", "_per_s")

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left, self._at = burst, now

    def take(self, count: float, now: float) -> float:
        """0 when they were taken; otherwise the seconds until one may ask again, and nothing was taken."""
        left = self._left + (now - self._at) * self._per_s
        self._at = now
        self._left = left = min(left, self._burst)
        if left < 1.0:
            return (1.0 - left) / self._per_s
        self._left = left - count
        return 0.0

    def change(self, per_s: float, burst: float, now: float) -> None:
        """Another rate and burst from now on; what it got by the old rate, or owes, stays."""
        self._left = min(self._left + (now - self._at) * self._per_s, self._burst, burst)
        self._per_s, self._burst, self._at = per_s, burst, now
