"""Means and ratios over seeds, and where they lie with 95 % confidence."""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

RESAMPLES = 4_000
_SEED = 20_240_101  # the same interval from the same figures

# Student's t, 97.5 %, by degrees of freedom from 1.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_T_MANY = 1.96

LEAST = 2
"""Seeds that an interval needs."""


class Interval(NamedTuple):
    """A figure and its interval; `lo` and `hi` are None where one seed tells nothing of chance."""

    value: float
    lo: float | None
    hi: float | None


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of one figure over seeds, by Student's t. At least one value."""
    mean = sum(values) / len(values)
    if len(values) < LEAST:
        return Interval(mean, None, None)
    deviation = sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    freedom = len(values) - 1
    t = _T[freedom - 1] if freedom <= len(_T) else _T_MANY
    half = t * deviation / sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def ratio_interval(parts: Sequence[float], wholes: Sequence[float]) -> Interval | None:
    """The ratio of two means over the same seeds, by a paired bootstrap; None where the whole is 0.

    Paired: seeds are drawn anew, each with both of its figures, so that what a hard seed does to both cancels.
    """
    if not sum(wholes):
        return None
    value = sum(parts) / sum(wholes)
    if len(parts) < LEAST:
        return Interval(value, None, None)
    return Interval(value, *_bootstrap(np.asarray(parts, dtype=float), np.asarray(wholes, dtype=float)))


def _bootstrap(
    parts: "np.ndarray[tuple[int], np.dtype[np.float64]]", wholes: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> tuple[float, float]:
    drawn = np.random.default_rng(_SEED).integers(0, len(parts), size=(RESAMPLES, len(parts)))
    below = wholes[drawn].sum(axis=1)
    ratios = parts[drawn].sum(axis=1)[below > 0.0] / below[below > 0.0]
    lo, hi = np.quantile(ratios, (0.025, 0.975))
    return float(lo), float(hi)
