"""Histograms with logarithmic buckets, four to the factor of two: what stores can add up, medians are read from.

A bucket is 19 % wide, and within it values are taken to be spread evenly by their logarithms: a quantile is then a few
per cent off. Bucket 0 has everything below `LEAST` of its unit.
"""

from collections.abc import Mapping
from math import inf, log2

_PER_OCTAVE = 4
_MOST = 1_000
"""No bucket beyond: 2^250 of anything."""

WAIT_LEAST_MS = 1.0
"""A wait below a millisecond is none."""

ERROR_LEAST = 1.0 / 128.0
"""A relative error below 0.8 % is none."""


def bucket(value: float, least: float) -> int:
    """The bucket of a value, 0 or more."""
    if not least <= value < inf:  # NaN too
        return _MOST if value == inf else 0
    number = 1 + int(_PER_OCTAVE * log2(value / least))
    return number if number < _MOST else _MOST  # noqa: FURB136 -- min() costs 0.1 us


def quantile(counts: Mapping[int, int], share: float, least: float) -> float | None:
    """The value that this share of all does not exceed; None where there are none."""
    total = sum(counts.values())
    if total <= 0:
        return None
    wanted = share * total
    for number in sorted(counts):
        count = counts[number]
        if count and wanted <= count:
            if number == 0:
                return 0.0
            return float(least * 2.0 ** ((number - 1 + max(wanted, 0.0) / count) / _PER_OCTAVE))
        wanted -= count
    return float(least * 2.0 ** (max(counts) / _PER_OCTAVE))  # rounding


def upper(counts: Mapping[int, int], share: float, least: float) -> float | None:
    """The upper end of the bucket that `quantile` lies in: nothing of that share is above it."""
    total = sum(counts.values())
    if total <= 0:
        return None
    wanted = share * total
    for number in sorted(counts):
        wanted -= counts[number]
        if wanted <= 1e-9:  # noqa: PLR2004 -- shares of counts are not whole
            return 0.0 if number == 0 else float(least * 2.0 ** (number / _PER_OCTAVE))
    return float(least * 2.0 ** (max(counts) / _PER_OCTAVE))
