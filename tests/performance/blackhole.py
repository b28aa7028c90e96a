"""`make blackhole`: what one bad worker takes from a fleet, on the real core and a virtual clock.

Four tables: a worker that fails every task in 5 ms, one that is ten times slower, newcomers, and how often the test
ejects workers that are like all others.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from math import exp, log
from random import Random
from statistics import mean

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.registry.admission_settings import EjectionSettings, RampSettings
from scheduler_server.registry.ejection import Suspicion, Totals
from tests.unit.assignment.fleet_sim import FleetSim, Worker, percentile
from tests.unit.assignment.rig import WALL_S

_GOOD = 10
_SLOTS = 4
_BEGINS_S = 1_000.0
_SEEDS = range(1, 4)


def good(number: int = _GOOD) -> list[Worker]:
    """Workers of four slots, at speed 1."""
    return [Worker(f"w{at}", _SLOTS) for at in range(number)]


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows as they come."""
    print(f"\n{title}\n", flush=True)
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


# ---------------------------------------------------------------------- a black hole


def black_hole(load: float, bad: int, *, ejects: bool, seconds: float = 300.0) -> Sequence[object]:
    """A row: who got which share, before and after the first ejection."""
    settings = CoreSettings(ejection=EjectionSettings(enabled=ejects))
    fleet = good() + [Worker(f"bad{at}", _SLOTS, fails=1.0) for at in range(bad)]
    sim = FleetSim(fleet, rate=load * _GOOD * _SLOTS, settings=settings)
    sim.run(seconds)
    ejections = list(sim.of_kind(FleetEventKind.WORKER_EJECTED))
    first: dict[str, float] = {}
    for event in ejections:
        first.setdefault(event.worker_id, event.at - WALL_S - _BEGINS_S)
    out_at = max(first.values()) if len(first) == bad else 0.0
    after = sim.by_worker(out_at)
    taken = sum(count for name, count in after.items() if name.startswith("bad"))
    before = sum(sim.by_worker().values()) - sum(after.values())
    wrong = sum(not name.startswith("bad") for name in first)
    share = f"{taken / sum(after.values()):.2%}"
    at = f"{out_at:.1f} s, {before} tasks" if out_at else "never"
    return f"{load:.0%}", bad, "yes" if ejects else "no", at, share, wrong


# ---------------------------------------------------------------------- a slow one


def waits(load: float, prefetch: int, scorer: str, *, slow: bool, seed: int) -> tuple[float, float, float]:
    """p99 of the wait and of wait and work together, seconds; and the share of the slow one."""
    fleet = good() + ([Worker("slow", _SLOTS, speed=0.1)] if slow else [])
    for worker in fleet:
        worker.prefetch = prefetch
    sim = FleetSim(fleet, rate=load * _GOOD * _SLOTS, scorer=scorer, seed=seed)
    sim.run(120.0, warm_s=40.0)
    tasks = sim.tasks
    share = sim.by_worker()["slow"] / len(tasks)
    return percentile([told.wait_s for told in tasks], 0.99), percentile([told.in_all_s for told in tasks], 0.99), share


def slow_one(load: float, prefetch: int, scorer: str) -> Sequence[object]:
    """A row: means over the seeds."""
    without = [waits(load, prefetch, scorer, slow=False, seed=seed) for seed in _SEEDS]
    beside = [waits(load, prefetch, scorer, slow=True, seed=seed) for seed in _SEEDS]
    (wait, whole, _), (with_wait, with_whole, share) = (
        [mean(column) for column in zip(*rows, strict=True)] for rows in (without, beside)
    )
    ratio = f"{with_wait / wait:.2f}" if wait > 0.01 else "-"
    cells = f"{wait:.2f} s", f"{with_wait:.2f} s", ratio, f"{whole:.2f} s", f"{with_whole:.2f} s", f"{share:.1%}"
    return scorer, prefetch, f"{load:.0%}", *cells


# ---------------------------------------------------------------------- newcomers


def newcomers(what: str, known: int, new: int, ramp_s: float) -> Sequence[object]:
    """A row: waits of the first minute after some workers came."""
    come_at = 60.0 if known else 0.0
    fleet = [Worker(f"w{at}", _SLOTS) for at in range(known)]
    fleet += [Worker(f"new{at}", _SLOTS, comes_at=come_at) for at in range(new)]
    settings = CoreSettings(ramp=RampSettings(over_s=ramp_s))
    sim = FleetSim(fleet, rate=0.85 * _SLOTS * (known + new / 2 if known else new), settings=settings)
    sim.run(come_at + 60.0)
    told = [each.wait_s for each in sim.tasks if each.came_at >= _BEGINS_S + come_at]
    return what, f"{ramp_s:g} s", f"{mean(told):.2f} s", f"{percentile(told, 0.99):.2f} s"


# ---------------------------------------------------------------------- chance

Fails = Callable[[int, int], float]
"""The chance that the n-th outcome, of this worker, is a failure."""


def chance(outcomes: int, pace: Sequence[float], fails: Fails, seed: int = 1) -> tuple[float, int]:
    """The most evidence against anybody, and how often the default limit was reached."""
    random, totals = Random(seed), Totals()
    suspicions: dict[int, Suspicion] = {}
    settings = EjectionSettings()
    most, ejected = 0.0, 0
    for at, worker in enumerate(random.choices(range(len(pace)), pace, k=outcomes)):
        failed = random.random() < fails(at, worker)
        suspicion = suspicions.get(worker)
        if suspicion is None and failed:
            suspicion = suspicions[worker] = Suspicion()
        if suspicion is not None:
            said = suspicion.took("type", totals, failed, settings.tolerated)
            most = max(most, said)
            if said >= log(settings.certainty):
                ejected += 1
                del suspicions[worker]
            elif suspicion.over:
                del suspicions[worker]
        totals.add(failed)
    return most, ejected


def by_chance(what: str, outcomes: int, pace: Sequence[float], fails: Fails) -> Sequence[object]:
    """A row: the most evidence, as outcomes that it would take on average."""
    most, ejected = chance(outcomes, pace, fails)
    return what, len(pace), f"{outcomes:,}", f"{exp(most):,.0f}", ejected


def main() -> None:
    """All tables; with a number, so many outcomes in each row of the last."""
    outcomes = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    table(
        f"A worker that fails every task in 5 ms among {_GOOD} good ones",
        (
            "load of the good",
            "bad ones",
            "ejection",
            "all found after",
            "their share from then on",
            "good ones ejected",
        ),
        (
            black_hole(load, bad, ejects=ejects)
            for load in (0.3, 0.75, 0.95)
            for bad, ejects in ((1, False), (1, True), (2, True))
        ),
    )
    table(
        f"A worker ten times slower beside {_GOOD} good ones: p99 over {len(_SEEDS)} runs",
        ("scorer", "prefetch", "load", "wait without", "wait with", "ratio", "to the end without", "with", "its share"),
        (
            slow_one(load, prefetch, scorer)
            for scorer, prefetch in (("weighted", 0), ("weighted", 2), ("earliest_finish", 0))
            for load in (0.5, 0.9)
        ),
    )
    table(
        "Newcomers, at 85 % of what is there half way: waits of the first minute",
        ("fleet", "ramp.over_s", "mean wait", "p99 wait"),
        (
            newcomers(what, known, new, ramp_s)
            for what, known, new in (("20 start cold", 0, 20), ("10 more come to 10", 10, 10))
            for ramp_s in (0.0, RampSettings().over_s)
        ),
    )
    even = [1.0] * 10
    rows: list[tuple[str, Sequence[float], Fails]] = [
        (f"{share:.0%} fail", [1.0] * workers, lambda _at, _worker, share=share: share)  # type: ignore[misc]
        for workers in (2, 10, 100)
        for share in (0.01, 0.3, 0.5, 0.9)
    ]
    rows += [
        ("20 % fail; one does ten times as much as the others", [10.0, *even[1:]], lambda _at, _worker: 0.2),
        ("all fail from time to time: a bad deploy", even, lambda at, _worker: 1.0 if at // 500 % 2 else 0.01),
        ("the same with two workers", even[:2], lambda at, _worker: 1.0 if at // 500 % 2 else 0.01),
        ("all fail for 20 outcomes, then none", even, lambda at, _worker: 1.0 if at // 20 % 2 else 0.01),
        ("one fails twice as often: 20 %", even, lambda _at, worker: 0.1 if worker else 0.2),
    ]
    table(
        "Ejected by chance: nobody here is a black hole",
        ("fleet", "workers", "outcomes", "most evidence, as odds", "ejected"),
        (by_chance(what, outcomes, pace, fails) for what, pace, fails in rows),
    )


if __name__ == "__main__":
    main()
