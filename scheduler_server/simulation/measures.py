"""What a run is judged by."""

from collections.abc import Mapping, Sequence
from math import inf, sqrt
from typing import Any

from scheduler_server.simulation.engine import World
from scheduler_server.simulation.fleet import Job, Machine
from scheduler_server.simulation.pieces import MOST_USERS, Facts
from scheduler_server.simulation.sketch import Sketch

BOUND_S = 10.0
"""Bounded slowdown: what is shorter counts as this long, so that waiting a second for a millisecond is not a thousand
(Feitelson and Rudolph, 1998)."""

CURVE = (0.01, 0.05, *(each / 20 for each in range(2, 18)), 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""Shares at which the distribution of waits is told."""

_SETTLE_EVERY = 1 << 14
_OTHER_USERS = "(others)"
_LEAST_WAIT_S = 1.0  # below, an error relative to the wait says nothing


class Measures:
    """Takes in each task that ended, and says in `figures` what came of all."""

    def __init__(self, facts: Facts) -> None:
        self._median_s = facts.median_s
        self._p90_s = facts.p90_s
        self.waits = Sketch()
        self._settle_in = _SETTLE_EVERY
        self._tasks = 0
        self._wait_s = self._excess = self._slowdown = 0.0
        self._long = self._short = 0
        self._long_excess = self._short_excess = 0.0
        self._users: dict[str, list[float]] = {}
        self._told = self._held50 = self._held90 = self._told90 = 0
        self._start_errors = Sketch()

    def ended(self, now: float, job: Job, machine: Machine) -> None:
        """See Watcher."""
        wait_s = job.started - job.arrived
        work_s = job.work_s
        ran_s = now - job.started
        self._tasks += 1
        self._wait_s += wait_s
        self.waits.add(wait_s)
        median_s = self._median_s
        excess = wait_s / (work_s if work_s > median_s else median_s)  # noqa: FURB136 -- max() costs 0.1 us
        self._excess += excess
        if work_s >= self._p90_s:
            self._long += 1
            self._long_excess += excess
        elif work_s <= median_s:
            self._short += 1
            self._short_excess += excess
        slowdown = max(1.0, (wait_s + ran_s) / (ran_s if ran_s > BOUND_S else BOUND_S))  # noqa: FURB136
        self._slowdown += slowdown
        user = job.task.user or job.task.tenant
        of_user = self._users.get(user)
        if of_user is None:
            if len(self._users) >= MOST_USERS:
                user = _OTHER_USERS
            of_user = self._users.setdefault(user, [0.0, 0.0])
        of_user[0] += 1.0
        of_user[1] += slowdown
        if job.told is not None:
            self._judge(job, job.told)
        self._settle_in -= 1
        if not self._settle_in:
            self._settle_in = _SETTLE_EVERY
            self.waits.settle()
            self._start_errors.settle()

    def _judge(self, job: Job, told: tuple[float, float]) -> None:
        p50, p90 = told
        self._told += 1
        self._held50 += job.started <= p50
        if p90 < inf:
            self._told90 += 1
            self._held90 += job.started <= p90
        self._start_errors.add(abs(p50 - job.started) / max(job.started - job.arrived, _LEAST_WAIT_S))

    def figures(self, world: World) -> dict[str, Any]:
        """All of it as values of JSON types; None where there is nothing to say."""
        tasks = self._tasks
        p50, p95, p99 = self.waits.quantiles([0.5, 0.95, 0.99])
        first_s = world.first_s
        span_s = world.last_end_s - first_s + world.skipped_s if first_s is not None else 0.0
        return {
            "tasks": tasks,
            "placed": _ratio(tasks, tasks + world.refused),
            "mean_wait_s": _ratio(self._wait_s, tasks),
            "p50_wait_s": p50 if tasks else None,
            "p95_wait_s": p95 if tasks else None,
            "p99_wait_s": p99 if tasks else None,
            "excess": _ratio(self._excess, tasks),
            "excess_short": _ratio(self._short_excess, self._short),
            "excess_long": _ratio(self._long_excess, self._long),
            "slowdown": _ratio(self._slowdown, tasks),
            "makespan_s": span_s if tasks else None,
            **spread(world.machines),
            "fairness": jain([total / count for count, total in self._users.values()]),
            "start_told": self._told,
            "start_p50_held": _ratio(self._held50, self._told),
            "start_p90_held": _ratio(self._held90, self._told90),
            "start_error": self._start_errors.quantile(0.5) if self._told else None,
            "failures": world.failures,
        }

    def curve(self) -> list[float]:
        """Waits at the shares of `CURVE`."""
        return self.waits.quantiles(list(CURVE))


def spread(machines: Sequence[Machine]) -> Mapping[str, float | None]:
    """How busy machines were while tasks came, and how evenly.

    Share of slot time, its coefficient of variation over machines, greatest over mean, Jain's index (1: all alike).
    """
    shares = [each.busy_s / (each.present_s * each.slots) for each in machines if each.present_s > 0.0]
    mean = sum(shares) / len(shares) if shares else 0.0
    if mean <= 0.0:
        return {"utilization": None, "busy_cov": None, "busy_max_over_mean": None, "busy_jain": None}
    deviation = sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))
    return {
        "utilization": mean,
        "busy_cov": deviation / mean,
        "busy_max_over_mean": max(shares) / mean,
        "busy_jain": jain(shares),
    }


def jain(values: Sequence[float]) -> float | None:
    """(sum x)^2 / (n sum x^2): 1 where all are equal, 1/n where one has everything (Jain, Chiu and Hawe, 1984)."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else None


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
