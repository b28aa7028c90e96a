"""Policies side by side: the same tasks, the same fleet, the same failures, one seed after the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.simulation.arrivals import ARRIVALS, rate_for
from scheduler_server.simulation.core_policy import CorePolicy
from scheduler_server.simulation.engine import World
from scheduler_server.simulation.fleet import FleetPlan
from scheduler_server.simulation.intervals import Interval, mean_interval, ratio_interval
from scheduler_server.simulation.measures import CURVE, Measures
from scheduler_server.simulation.names import ORACLE, Choice
from scheduler_server.simulation.pieces import Facts, Workload

BASELINES = ("central_fifo", "p2c", "round_robin")
"""What every other policy's excess is divided by, as far as they are there."""

COMPARED = ("excess", "mean_wait_s", "p99_wait_s")

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One comparison: which tasks come how, to which fleet, at which load."""

    workload: Workload
    arrivals: str
    plan: FleetPlan
    load: float
    seeds: int
    first_seed: int = 1

    @property
    def name(self) -> str:
        """Workload and arrivals."""
        return f"{self.workload.name}, {self.arrivals}"


@dataclass(slots=True)
class Runs:
    """One policy over all seeds."""

    figures: list[dict[str, Any]] = field(default_factory=list)
    curves: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    tasks: int = 0
    overflowed: int = 0

    def over_seeds(self) -> dict[str, Interval | None]:
        """Each figure's mean over seeds; None where a seed had none."""
        found: dict[str, Interval | None] = {}
        for name in self.figures[0]:
            values = [each[name] for each in self.figures]
            found[name] = None if any(value is None for value in values) else mean_interval(values)
        return found

    def each(self, figure: str) -> list[float]:
        """One figure, seed by seed."""
        return [each[figure] or 0.0 for each in self.figures]

    def curve(self) -> list[float]:
        """Waits at the shares of `CURVE`, means over seeds."""
        return [sum(at) / len(at) for at in zip(*self.curves, strict=True)]

    @property
    def per_s(self) -> float | None:
        """Simulated tasks per second of real time."""
        return self.tasks / self.seconds if self.seconds > 0.0 else None


@dataclass(slots=True)
class Study:
    """What came of one setting, policy by policy."""

    setting: Setting
    runs: dict[str, Runs] = field(default_factory=dict)

    @property
    def facts(self) -> Facts:
        """Of the workload."""
        return self.setting.workload.facts

    def ratio(self, figure: str, policy: str, baseline: str) -> Interval | None:
        """A policy's figure over a baseline's, both over the same seeds; None where there is no such thing."""
        if policy not in self.runs or baseline not in self.runs:
            return None
        return ratio_interval(self.runs[policy].each(figure), self.runs[baseline].each(figure))

    def oracle_share(self, policy: str, baseline: str = "central_fifo") -> Interval | None:
        """What is kept of the gain that true durations would bring: (baseline - policy) / (baseline - oracle)."""
        oracle = f"{policy}+{ORACLE}"
        if not {policy, oracle, baseline} <= self.runs.keys():
            return None
        base = self.runs[baseline].each("excess")
        gained = [one - other for one, other in zip(base, self.runs[policy].each("excess"), strict=True)]
        most = [one - other for one, other in zip(base, self.runs[oracle].each("excess"), strict=True)]
        return ratio_interval(gained, most) if sum(most) > 0.0 else None

    def described(self) -> dict[str, Any]:
        """All of it as values of JSON types, the same from the same seeds."""
        setting, facts = self.setting, self.facts
        found: dict[str, Any] = {
            "workload": setting.workload.name,
            "arrivals": setting.arrivals,
            "load": setting.load,
            "seeds": setting.seeds,
            "first_seed": setting.first_seed,
            "tasks": facts.tasks,
            "mean_duration_s": facts.mean_s,
            "median_duration_s": facts.median_s,
            "gaps_cut": facts.gaps,
            "policies": {},
        }
        for name, runs in self.runs.items():
            figures = runs.over_seeds()
            found["policies"][name] = {
                **{key: None if each is None else each.value for key, each in figures.items()},
                "intervals": {key: [each.lo, each.hi] for key, each in figures.items() if each and each.lo is not None},
                "overflowed": runs.overflowed,
                "wait_quantiles_s": dict(zip((f"{share:g}" for share in CURVE), runs.curve(), strict=True)),
                "compared": self._compared(name),
                "oracle_share": _listed(self.oracle_share(name)),
            }
        return found

    def _compared(self, name: str) -> dict[str, list[float | None]]:
        found = {}
        for baseline in BASELINES:
            if baseline != name:
                for figure in COMPARED:
                    ratio = self.ratio(figure, name, baseline)
                    if ratio is not None:
                        found[f"{figure}_vs_{baseline}"] = list(ratio)
        return found


def study(
    setting: Setting,
    choices: Sequence[Choice],
    settings: CoreSettings,
    stopwatch: Callable[[], float],
    progress: Progress = lambda _name, _tasks: None,
) -> Study:
    """Run every policy for every seed.

    `progress` is told the policy that runs and how many tasks have been simulated in all. Raises Stalled and NoTimes.
    """
    found = Study(setting, {choice.name: Runs() for choice in choices})
    done = 0
    for seed in range(setting.first_seed, setting.first_seed + setting.seeds):
        for choice in choices:
            before = done

            def tell(tasks: int, name: str = choice.name, before: int = before) -> None:
                progress(name, before + tasks)

            _run(setting, choice, settings, seed, stopwatch, tell, found.runs[choice.name])
            done += setting.workload.facts.tasks
            progress(choice.name, done)
    return found


def _run(
    setting: Setting,
    choice: Choice,
    settings: CoreSettings,
    seed: int,
    stopwatch: Callable[[], float],
    progress: Callable[[int], None],
    runs: Runs,
) -> None:
    facts = setting.workload.facts
    rate = rate_for(setting.load, setting.plan.capacity, facts)
    chance = Random(f"{seed}/arrivals")  # noqa: S311 -- simulated, and the same again from its seed
    pieces = ARRIVALS[setting.arrivals](setting.workload.pieces(seed), facts, rate, chance)
    measures = Measures(facts)
    began = stopwatch()
    world = World(setting.plan, pieces, measures, str(seed), progress=progress)
    policy = choice.make(world, settings, str(seed))
    world.run(policy)
    runs.seconds += stopwatch() - began
    figures = measures.figures(world)
    near = fallback = None
    if isinstance(policy, CorePolicy):
        near = policy.near / policy.judged if policy.judged else None
        fallback = policy.fallback_share
    runs.figures.append({**figures, "within_25": near, "fallback_share": fallback, "impossible": world.impossible})
    runs.curves.append(measures.curve())
    runs.tasks += world.ended
    runs.overflowed += world.overflowed


def _listed(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else list(interval)
