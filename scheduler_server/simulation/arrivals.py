"""When tasks come: at random, in bursts, or at their own times, as fast as loads a fleet by what is asked for."""

from collections.abc import Callable, Iterator
from math import isfinite
from random import Random

from scheduler_server.simulation.pieces import Facts, Piece

BURST_TASKS = 20.0
"""Mean number of tasks of a burst."""

BURST_RATE = 10.0
"""How much faster than on average they come within one."""

SHORTEST_SPAN = 1e-9  # of its work: a trace whose tasks all came at one instant has no times of its own to scale


class NoTimes(Exception):
    """A workload's own times cannot be scaled to a load; one line that says why."""


Arrivals = Callable[[Iterator[Piece], Facts, float, Random], Iterator[Piece]]
"""Pieces in their order, the workload's facts, tasks per second, chance: the same pieces with other instants."""


def poisson(pieces: Iterator[Piece], _facts: Facts, rate: float, chance: Random) -> Iterator[Piece]:
    """Independent of each other: exponential gaps."""
    at = 0.0
    draw = chance.expovariate
    for _, work_s, task in pieces:
        at += draw(rate)
        yield Piece(at, work_s, task)


def bursty(pieces: Iterator[Piece], _facts: Facts, rate: float, chance: Random) -> Iterator[Piece]:
    """Bursts of geometrically many tasks, ten times as fast as the average, and rests that make up for it.

    Gaps are hyperexponential, so their coefficient of variation is about 6 where Poisson's is 1.
    """
    last = 1.0 / BURST_TASKS
    within = rate * BURST_RATE
    # A cycle of n tasks has to take n / rate in the mean: n - 1 short gaps, and one rest.
    rest_s = BURST_TASKS / rate - (BURST_TASKS - 1.0) / within
    at = 0.0
    for _, work_s, task in pieces:
        at += chance.expovariate(1.0 / rest_s) if chance.random() < last else chance.expovariate(within)
        yield Piece(at, work_s, task)


def own(pieces: Iterator[Piece], facts: Facts, rate: float, _chance: Random) -> Iterator[Piece]:
    """The workload's own instants, all gaps stretched or shortened alike. Raises NoTimes."""
    if facts.tasks < 2 or facts.span_s <= SHORTEST_SPAN * facts.work_s:  # noqa: PLR2004 -- one instant is no stretch
        what = "one task" if facts.tasks == 1 else "tasks that all came at one instant"
        raise NoTimes(f"has {what}: no times of its own that could be scaled to a load (--arrivals poisson)")
    factor = facts.tasks / rate / facts.span_s
    if not isfinite(factor):
        raise NoTimes("has times that cannot be scaled to the load")
    return (Piece(at * factor, work_s, task) for at, work_s, task in pieces)


ARRIVALS: dict[str, Arrivals] = {"poisson": poisson, "own": own, "bursty": bursty}


def rate_for(load: float, capacity: float, facts: Facts) -> float:
    """Tasks per second that keep a fleet of this capacity (slots times speed) busy for this share of the time."""
    return load * capacity / facts.mean_s
