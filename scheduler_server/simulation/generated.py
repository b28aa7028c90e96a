"""Workloads whose truth is known: tasks of a few types, durations of a given shape and mean."""

from collections.abc import Callable, Iterator
from math import exp, log, sqrt
from random import Random
from statistics import NormalDist

from scheduler_server.model.task import Task
from scheduler_server.simulation.pieces import Piece, Workload, recorded

TYPES = 20
"""Task types, each with a level of its own: what a predictor can learn."""

USERS = 10

_WITHIN = 0.3
"""Log-deviation within a type: what no predictor can know."""

LOGNORMAL_CV = 2.0
PARETO_SHAPE = 1.1
PARETO_RATIO = 10_000.0
"""Of the longest to the shortest: bounded, so that a run is not decided by its one longest task."""

BIMODAL_LONG = 0.05
BIMODAL_RATIO = 50.0
"""One task in twenty takes fifty times as long as the others (in the mean 3.45 times a short one)."""

_NORMAL = NormalDist()

Draw = Callable[[float], float]
"""From a share 0-1 to a duration: the inverse of a distribution function."""


def _exponential(share: float) -> float:
    return -log(1.0 - share)


def _lognormal(share: float) -> float:
    sigma = sqrt(log(1.0 + LOGNORMAL_CV**2))
    return exp(sigma * _NORMAL.inv_cdf(min(max(share, 1e-12), 1.0 - 1e-12)) - sigma * sigma / 2)


def _pareto(share: float) -> float:
    """Bounded: 1 to PARETO_RATIO."""
    return float((1.0 - share * (1.0 - PARETO_RATIO**-PARETO_SHAPE)) ** (-1.0 / PARETO_SHAPE))


def _bimodal(share: float) -> float:
    return BIMODAL_RATIO if share > 1.0 - BIMODAL_LONG else 1.0


DURATIONS: dict[str, Draw] = {
    "exponential": _exponential,
    "lognormal": _lognormal,
    "pareto": _pareto,
    "bimodal": _bimodal,
}


def generate(shape: str, *, tasks: int, mean_s: float, seed: int) -> Workload:
    """So many tasks, all from one seed.

    A type stands for a part of the distribution and a task is drawn from its type's part, times a factor of its own; so
    the whole has the shape that was asked for (a little wider), and a type says something about a duration.
    """
    draw = DURATIONS[shape]
    strata = 2_000
    mean = sum(draw((each + 0.5) / strata) for each in range(strata)) / strata
    scale = mean_s / mean / exp(_WITHIN**2 / 2)

    def pieces() -> Iterator[Piece]:
        chance = Random(f"{seed}/{shape}")  # noqa: S311 -- simulated work
        for number in range(tasks):
            kind = chance.randrange(TYPES)
            share = (kind + chance.random()) / TYPES
            work_s = scale * draw(share) * exp(chance.gauss(0.0, _WITHIN))
            user = f"u{chance.randrange(USERS)}"
            yield Piece(float(number), work_s, Task("", str(number), 1, f"type{kind:02d}", user=user))

    found = recorded(shape, pieces)
    return Workload(name=shape, facts=found.facts, pieces=found.pieces, generated=True, own_times=False)
