"""How much longer? A running task corrects its own estimate by not having ended yet.

Up to its P90 a task is one of those that it was predicted among, so the log-normal law through P50 and P90 is cut at
the time it has run. Beyond its P90 that law loses its meaning: the narrower it is, the more surely it says "now", again
and again. What has overrun by far is another kind of task than was thought, and of such things the best that is known
is how long they have lasted.
"""

from math import erfc, exp, log, sqrt
from statistics import NormalDist
from typing import NamedTuple

from scheduler_server.model.prediction import Prediction

_TO_P90 = 1.2815515655446004
"""Standard deviations from the median to the 90th percentile of a normal distribution."""

_LEAST_SPREAD = 0.02
"""Log-deviation that is always allowed: heartbeats and clocks alone scatter by about two parts in a hundred."""

_FAR = 6.0
"""Standard deviations beyond which the tail is taken from its leading term: erfc would lose its digits."""

_AGAIN_P50, _AGAIN_MEAN, _AGAIN_P90 = 1.0, 2.0, 5.0
"""What is left of a task at twice its P90, in units of the time it has run. In four public traces (CI jobs, workflows
on a cluster, bioinformatics, batch of 1993; types with ten outcomes or more) the medians were 0.7 to 1.3, the means
1.0 to 6.5 and the 90th percentiles 2.4 to 37, and about the same at five times the P90."""

_NORMAL = NormalDist()


class Remaining(NamedTuple):
    """Time until a running task ends, in milliseconds: `mean_ms` for sums, half of such tasks end within `p50_ms`."""

    mean_ms: float
    p50_ms: float
    p90_ms: float


def remaining(prediction: Prediction, speed: float, elapsed_ms: float) -> Remaining:
    """What is left after `elapsed_ms` on a worker of this speed. Never negative; never falls as a task overruns."""
    p50, p90, mean = prediction.p50_ms / speed, prediction.p90_ms / speed, prediction.mean_ms / speed
    if elapsed_ms <= 0.0 or p50 <= 0.0:
        return Remaining(mean, p50, max(p50, p90))
    spread = max(_LEAST_SPREAD, log(p90 / p50) / _TO_P90 if p90 > p50 else 0.0)
    run = (log(elapsed_ms) - log(p50)) / spread  # in standard deviations
    rest_p50 = p50 * _exp(spread * _later(run, 0.5)) - elapsed_ms
    rest_p90 = p50 * _exp(spread * _later(run, 0.9)) - elapsed_ms
    rest_mean = _rest_of_mean(mean, elapsed_ms, run, spread, rest_p50)
    # From the P90 to twice the P90 the one law gives way to the other.
    again = min(1.0, max(0.0, elapsed_ms / max(p50, p90) - 1.0)) * elapsed_ms
    return Remaining(
        max(0.0, rest_mean, _AGAIN_MEAN * again),
        max(0.0, rest_p50, _AGAIN_P50 * again),
        max(0.0, rest_p90, _AGAIN_P90 * again),
    )


def _later(run: float, share: float) -> float:
    """The standard deviation that this share of those still running at `run` end before."""
    if run < _FAR:
        alive = erfc(run / sqrt(2.0)) / 2.0
        return _NORMAL.inv_cdf(min(max(1.0 - (1.0 - share) * alive, 1e-12), 1.0 - 1e-12))
    return sqrt(run * run - 2.0 * log(1.0 - share))


def _rest_of_mean(mean: float, elapsed: float, run: float, spread: float, rest_p50: float) -> float:
    if run >= _FAR:
        return rest_p50 / log(2.0)  # so far out the rest is exponential
    alive = erfc(run / sqrt(2.0)) / 2.0
    return max(rest_p50, mean * erfc((run - spread) / sqrt(2.0)) / 2.0 / alive - elapsed)


def _exp(power: float) -> float:
    return exp(min(power, 700.0))
