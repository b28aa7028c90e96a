"""Quantiles of any number of values in bounded memory: exact while they are few, a tenth of a per cent off after."""

from array import array
from math import ceil

import numpy as np

EXACT = 1 << 17
"""Values kept as they are: a megabyte. A trace of a hundred thousand tasks has exact quantiles."""

_PER_E = 1_000  # bins for each factor of e: a bin is a tenth of a per cent wide
_LOWEST, _HIGHEST = 1e-6, 1e12
_BINS = ceil(_PER_E * float(np.log(_HIGHEST / _LOWEST))) + 1


class Sketch:
    """Values that are finite and not negative. What is below a millionth counts as 0."""

    __slots__ = ("_bins", "_values", "_zeros", "add", "count", "most")

    def __init__(self) -> None:
        self._values = array("d")
        self._bins: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None
        self._zeros = 0
        self.count = 0  # of those in bins; see `total`
        self.most = 0.0
        self.add = self._values.append  # one more value: the fastest way there is, `settle` after every few thousand

    @property
    def total(self) -> int:
        """Values so far."""
        return self.count + len(self._values)

    def settle(self) -> None:
        """Bring memory back below its bound. To be called at least once per hundred thousand values."""
        if len(self._values) >= EXACT:
            self._sort_in()

    def _sort_in(self) -> None:
        values = np.frombuffer(self._values, dtype=np.float64).copy()
        del self._values[:]
        if self._bins is None:
            self._bins = np.zeros(_BINS, dtype=np.int64)
        self.count += len(values)
        self.most = max(self.most, float(values.max(initial=0.0)))
        above = values[values > _LOWEST]
        self._zeros += len(values) - len(above)
        places = np.minimum((np.log(above / _LOWEST) * _PER_E).astype(np.int64), _BINS - 1)
        self._bins += np.bincount(places, minlength=_BINS)

    def quantiles(self, shares: list[float]) -> list[float]:
        """For each share the smallest value that at least this share does not exceed; 0 where there are no values."""
        if self._bins is None:
            ordered = np.sort(np.frombuffer(self._values, dtype=np.float64))
            if not len(ordered):
                return [0.0 for _ in shares]
            return [float(ordered[_rank(share, len(ordered))]) for share in shares]
        if len(self._values):
            self._sort_in()
        upto = np.cumsum(self._bins) + self._zeros
        found = []
        for share in shares:
            rank = _rank(share, self.count)
            if rank < self._zeros:
                found.append(0.0)
                continue
            place = int(np.searchsorted(upto, rank, side="right"))
            found.append(min(self.most, _LOWEST * float(np.exp((place + 0.5) / _PER_E))))
        return found

    def quantile(self, share: float) -> float:
        """One of them."""
        return self.quantiles([share])[0]


def _rank(share: float, count: int) -> int:
    return max(0, ceil(share * count - 1e-9) - 1)
