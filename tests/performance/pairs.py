"""The order of windows, and what pairs they make.

A block is `A v v A`: baseline, variant, variant, baseline. Its first two and last two windows are pairs, and whatever
drifts at an even rate cancels over the block. Between two blocks the baseline stands beside itself: those are the
pairs of the baseline against itself, as far apart in time as the others.

    A v v A A w w A A v v A ...        A baseline, v and w variants
    [ ] [ ]                            pairs of v
          [ ]                          a pair of A with itself
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.performance.stats import Interval, median_interval

BASELINE = "baseline"
LEAST_PAIRS = 20
"""Fewer say little: single pairs of identical servers differ by a factor of 0.78-1.38 in their p99."""


class Compared(NamedTuple):
    """Every window's figure by name, in order, and the ratios of its pairs (variant / baseline)."""

    windows: dict[str, list[float]]
    ratios: dict[str, list[float]]  # by variant; the baseline's own under BASELINE

    def ratio(self, variant: str) -> Interval:
        """Median ratio of a variant with its interval."""
        return median_interval(self.ratios[variant])


def order(pairs: int, variants: Sequence[str]) -> list[str]:
    """The windows to measure for so many pairs of each variant (rounded up to an even number)."""
    blocks = [variant for _ in range((pairs + 1) // 2) for variant in variants]
    windows: list[str] = []
    for at, variant in enumerate(blocks):
        if at and len(blocks) < LEAST_PAIRS:
            windows += [BASELINE, BASELINE]  # few blocks have few joints: two more make each joint two pairs
        windows += [BASELINE, variant, variant, BASELINE]
    return windows


def ratios_of(names: Sequence[str], values: Sequence[float]) -> dict[str, list[float]]:
    """The ratio of each pair. Every window is in one pair with a variant or with itself on each side, never in more."""
    found: dict[str, list[float]] = {BASELINE: []}
    at = 0
    previous_end: int | None = None
    while at < len(names):
        if names[at : at + 2] == [BASELINE, BASELINE]:  # the two extra windows of a joint
            assert previous_end is not None
            found[BASELINE] += [values[at] / values[previous_end], values[at + 1] / values[at + 2]]
            previous_end = None
            at += 2
            continue
        block = values[at : at + 4]
        if previous_end is not None:
            pair = (values[previous_end], values[at])
            # Which of the two is divided changes from pair to pair: a drift must not look like a difference.
            found[BASELINE].append(pair[1] / pair[0] if len(found[BASELINE]) % 2 else pair[0] / pair[1])
        found.setdefault(names[at + 1], []).extend((block[1] / block[0], block[2] / block[3]))
        previous_end = at + 3
        at += 4
    return found


def compare(
    measure: Callable[[str], float],
    pairs: int,
    variants: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> Compared:
    """Measure every window in turn; `measure` gets the name of what to measure."""
    names = order(pairs, variants)
    values: list[float] = []
    for done, name in enumerate(names):
        values.append(measure(name))
        if progress is not None:
            progress(done + 1, len(names))
    return Compared(by_name(names, values), ratios_of(names, values))


def by_name(names: Sequence[str], values: Sequence[float]) -> dict[str, list[float]]:
    """The figures of each name, in order."""
    found: dict[str, list[float]] = {}
    for name, value in zip(names, values, strict=True):
        found.setdefault(name, []).append(value)
    return found
