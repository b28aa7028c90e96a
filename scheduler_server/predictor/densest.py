"""Where the remembered durations of one key lie densest: the point that most of them are within 25 % of.

A prediction p is judged near when p is within 25 % of the actual duration a, that is when `a` is between p / 1.25 and
p / 0.75: on a logarithmic axis a window of always the same width, ln(5/3). The best point for the durations seen so far
is where such a window holds most of them. Mean and median are other questions: of 3, 4, 3, 4, 10, 10, 11, 11, 3, 4
seconds they say 6.3 and 4, and a point between 3.2 and 3.75 is near to six of ten.

The axis is divided into bins, ten to a window. `counts[i]` is the weight of the durations which a window that starts
at bin `base + i` holds, so that remembering one duration raises ten neighbours, and the densest window is the maximum.
All of that are a few operations on bytes, which the interpreter does in C: about a microsecond.

Recent durations weigh more: 21 for the last three, 5 up to the last twelve, 1 up to the last forty-eight. That is three
horizons, a factor of four apart, each with the same total weight of 48 (3 * 16, 12 * 4, 48 * 1): durations are
correlated locally, nobody knows over how many tasks, and no horizon is preferred. The largest sum, 144, fits a byte.
"""

from array import array
from math import floor, log

BINS = 10
"""Bins to a window; each is 5.1 % wide. Eight to sixteen make no difference to the hits."""

BIN = log(1.25 / 0.75) / BINS
"""Width of a bin, in ln ms."""

FIRST_CENTRE = log(1.25) - BIN / 2
"""A window that starts at bin i belongs to the point `i * BIN + FIRST_CENTRE`, in ln ms: bin b has its centre at
b * BIN, and a window starts ln(1.25) below its point."""

HORIZONS = ((3, 16), (12, 4), (48, 1))
"""How many durations back, and the weight that is lost there."""

MOST = HORIZONS[-1][0]
"""Durations remembered."""

_NEWEST = sum(weight for _, weight in HORIZONS)
_ONE, _TWO, _THREE = (age for age, _ in HORIZONS)

TOTALS = tuple(sum(min(n, age) * weight for age, weight in HORIZONS) for n in range(MOST + 1))
"""The weight of n durations remembered."""

RECENT_THREE = TOTALS[3]


def _adding(amount: int) -> bytes:
    return bytes((value + amount) % 256 for value in range(256))


_RISE = _adding(_NEWEST)
_FALL_ONE, _FALL_TWO, _FALL_THREE = (_adding(-weight) for _, weight in HORIZONS)
_RISES = tuple(_adding(sum(weight for age, weight in HORIZONS if age >= back)) for back in range(MOST + 1))
"""By how many durations back, from one: what it adds to the windows that hold it."""

_UP_TO = tuple(bytes(range(weight + 1)) for weight in range(256))
"""All weights up to one."""

_FIRST = bytes(BINS + 1) + bytes((_NEWEST,)) * BINS + bytes(2 * BINS)
"""The windows around the first duration."""

LEAST_LOG, MOST_LOG = log(1e-6), log(4e10)
"""Durations are remembered from a nanosecond on, and a year is 3.2e10 ms: an axis of 750 bins, whatever is said."""


_PER_BIN = 1.0 / BIN


def bin_of(log_ms: float) -> int:
    """The bin of a duration of at most a year, from its logarithm."""
    kept = log_ms if log_ms > LEAST_LOG else LEAST_LOG  # noqa: FURB136 -- a call would be half of it
    return floor(kept * _PER_BIN + 0.5)


class Densest:
    """The last 48 durations of one key, and their densest window.

    Invariants: `recent` are the bins of the durations, oldest first. `counts[i]` is their weight in the window that
    starts at bin `base + i`; windows outside `counts` are empty; `total` is the weight of all. `most` is the largest
    weight, and `low` to `high` are the starts of adjoining windows that have it, ten at most, because more could not
    hold the same durations: of several such stretches the one that holds the newest duration, or else the first.
    """

    __slots__ = ("base", "counts", "high", "low", "most", "recent", "total")

    def __init__(self) -> None:
        self.recent: array[int] = array("h")
        self.counts = bytearray()
        self.base = 0
        self.total = 0
        self.most = 0
        self.low = self.high = 0

    def begin(self, newest: int) -> None:
        """Remember the first."""
        self.recent.append(newest)
        self.base = newest - 2 * BINS
        self.counts = bytearray(_FIRST)
        self.total = self.most = _NEWEST
        self.low, self.high = newest - BINS + 1, newest

    def rebuild(self) -> None:
        """Work out everything from `recent`."""
        recent = self.recent
        self.base = base = min(recent) - 2 * BINS
        self.counts = counts = bytearray(max(recent) - base + 2 * BINS)
        kept = len(recent)
        for place, each in enumerate(recent):
            start = each - BINS + 1 - base
            counts[start : start + BINS] = counts[start : start + BINS].translate(_RISES[kept - place])
        self.total = TOTALS[kept]
        self.most = max(counts)
        self._settle()

    def add(self, newest: int) -> None:
        """Remember one more, in its bin, and find the densest window again."""
        recent = self.recent
        counts = self.counts
        base = self.base + BINS - 1  # of the first window that holds a bin, the place is the bin less this
        kept = len(recent)
        recent.append(newest)
        start = newest - base
        if start < 0:
            more = BINS - start
            counts[:0] = bytes(more)
            self.base -= more
            base -= more
            start = BINS
        end = start + BINS
        if end > len(counts):
            counts.extend(bytes(end - len(counts) + BINS))
        if kept >= _ONE:
            at = recent[kept - _ONE] - base
            held = slice(at, at + BINS)
            counts[held] = counts[held].translate(_FALL_ONE)
            if kept >= _TWO:
                at = recent[kept - _TWO] - base
                held = slice(at, at + BINS)
                counts[held] = counts[held].translate(_FALL_TWO)
                if kept >= MOST:
                    at = recent[0] - base
                    held = slice(at, at + BINS)
                    counts[held] = counts[held].translate(_FALL_THREE)
                    del recent[0]
                    kept -= 1
        self.total = TOTALS[kept + 1]
        held = slice(start, end)
        counts[held] = risen = counts[held].translate(_RISE)
        most = max(risen)
        higher = counts.translate(None, _UP_TO[most])  # what is above, in a third of the time that max(counts) takes
        if higher:
            most = max(higher)
        self.most = most
        low = counts.find(most)
        high = counts.rfind(most)
        if high - low < BINS and counts.count(most, low, high) == high - low:  # one stretch, as nearly always
            self.low = low + self.base
            self.high = high + self.base
        else:
            self._settle()

    def _settle(self) -> None:
        """Find the stretch of densest windows among several."""
        counts, base, most = self.counts, self.base, self.most
        newest = self.recent[-1] - BINS + 1 - base
        first = counts.find(most, newest, newest + BINS)
        if first < 0:
            first = counts.find(most)
        exact = bytes((most,))
        after = counts[first + 1 : first + BINS]
        last = first + len(after) - len(after.lstrip(exact))
        before = counts[max(0, last - BINS + 1) : first]
        self.high = base + last
        self.low = base + first - len(before) + len(before.rstrip(exact))

    def forget(self, but: int) -> None:
        """Keep only the newest so many."""
        del self.recent[: max(0, len(self.recent) - but)]
        self.rebuild()
