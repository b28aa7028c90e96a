"""How well are tasks placed? Real histories (TRACES) through the simulator: the core beside what is usual without it.

Excess of a task is its wait over its own duration at speed 1, or over the trace's median where it is shorter. Headline:
Poisson arrivals at 90 % load, 20 workers of 4 slots, a quarter each of speed 0.5 and 2, predictions learned as tasks
end. Everything follows from seeds, so a figure comes out the same again on any machine; only the rates do not.
"""

import gc
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.simulation.arrivals import NoTimes
from scheduler_server.simulation.backtest import COUNTED
from scheduler_server.simulation.fleet import FleetPlan
from scheduler_server.simulation.intervals import Interval
from scheduler_server.simulation.names import choice
from scheduler_server.simulation.pieces import Piece, Workload, of_rows, recorded
from scheduler_server.simulation.study import Setting, Study, study
from scheduler_server.simulation.trace_file import TraceFile
from scheduler_server.simulation.trace_layout import columns
from scheduler_server.simulation.traces import BadRows, read_trace
from tests.performance import trace_files
from tests.performance.harness import Plan, progress, report, rounded, target

SEEDS = 10
_BESIDE = 2  # seeds of what is reported beside the headline
_POLICIES = ("round_robin", "p2c", "least_loaded", "central_fifo", "default", "default+oracle")
_SPEEDS = (0.5, 1.0, 1.0, 2.0)
_LOAD, _EVEN_LOAD = 0.9, 0.8
_FIFO = "central_fifo"

_BEATS = 4
"""Heartbeats in a mean task duration, where that is rarer than the server's longest interval: ten seconds would be
nothing but heartbeats where tasks last for hours. Spans of silence are longer by as much."""

_LONGEST_INTERVAL_S = CoreSettings().health.heartbeat_max_s
_LATE_BY = 10.0  # mean task durations
_WORTH_IT = 0.3  # of central FIFO's excess: below, there is next to nothing to gain
_NOT_WORSE = 1.02
_RARELY = 200_000  # objects between two looks for cycles: a simulation makes none, and much that lives for a while
_NOT_OF_PAIRS = ("pairs", "enough_pairs", "window_s")


def run(plan: Plan) -> dict[str, Any]:
    """Every trace: headline, own times, late heartbeats, everything failing, evenness."""
    gc.set_threshold(_RARELY)
    found, missing = trace_files.files(os.environ.get("TRACES"))
    seeds, beside = plan.pair_count(SEEDS), min(plan.pair_count(SEEDS), _BESIDE)
    traces: dict[str, Any] = {}
    targets: list[dict[str, Any]] = []
    for path in found:
        workload = _workload(path)
        name = workload.name
        headline = _study(workload, _POLICIES, "poisson", seeds)
        traces[name] = figures = _figures(headline)
        targets += _headline_targets(name, figures)
        try:
            figures["own_times"] = _figures(_study(workload, _POLICIES, "own", beside))
        except NoTimes as error:
            figures["own_times"] = {"skipped": str(error)}
        figures["late_heartbeats"] = late = _late_heartbeats(workload, beside)
        figures["failing"] = failing = _failing(workload, beside)
        figures["evenness"] = even = _evenness(workload, beside)
        targets += [
            target(f"{name} late heartbeats", "<=", 1.15, late["ratio"]),
            target(f"{name} all fails: placed %", ">=", 100.0, failing["placed_percent"]),
            target(f"{name} all fails: mean wait vs least loaded", "<=", 1.3, failing["vs_least_loaded"]),
            target(f"{name} CoV %, equal speeds, default", "<", 15.0, even["equal_speeds"]["cov_percent"]),
            target(f"{name} CoV %, unequal speeds, even", "<=", 3.0, even["unequal_speeds_even"]["cov_percent"]),
        ]
    fields: dict[str, Any] = {"seeds": seeds, "seeds_beside": beside, "load": _LOAD, "traces": traces}
    if not found:
        fields["skipped"] = f"no trace at {', '.join(missing)} (TRACES names files and folders)"
        progress(f"placement: {fields['skipped']}")
    result = report("placement", fields, targets, 0, None)
    return {key: value for key, value in result.items() if key not in _NOT_OF_PAIRS}


def _workload(path: Path) -> Workload:
    def read() -> Iterator[Piece]:
        with TraceFile(str(path), sys.stdin.buffer) as file:
            yield from of_rows(read_trace(file.lines(), columns(), BadRows()), frozenset(COUNTED))

    return recorded(trace_files.name_of(path), read)


def _plan(workload: Workload, **changes: Any) -> FleetPlan:
    heartbeat_s = max(_LONGEST_INTERVAL_S, workload.facts.mean_s / _BEATS)
    return replace(FleetPlan(speeds=_SPEEDS, heartbeat_s=heartbeat_s), **changes)


def _study(
    workload: Workload,
    policies: Sequence[str],
    arrivals: str,
    seeds: int,
    *,
    load: float = _LOAD,
    lists: bool = True,
    **plan: Any,
) -> Study:
    setting = Setting(workload=workload, arrivals=arrivals, plan=_plan(workload, **plan), load=load, seeds=seeds)
    found = study(setting, [choice(name, lists=lists) for name in policies], CoreSettings(), time.perf_counter)
    means = (f"{name} {sum(runs.each('excess')) / seeds:.3g}" for name, runs in found.runs.items())
    progress(f"placement: {workload.name}, {arrivals}: excess {', '.join(means)}")
    return found


# --------------------------------------------------------------------------------------------------- figures


def _figures(found: Study) -> dict[str, Any]:
    means = {name: runs.over_seeds() for name, runs in found.runs.items()}

    def by_policy(figure: str) -> dict[str, float | None]:
        return {name: _value(figures[figure]) for name, figures in means.items()}

    return {
        "tasks": found.facts.tasks,
        "mean_wait_s": by_policy("mean_wait_s"),
        "p99_wait_s": by_policy("p99_wait_s"),
        "excess": by_policy("excess"),
        "excess_vs_p2c": _triple(found.ratio("excess", "default", "p2c")),
        "excess_vs_fifo": _triple(found.ratio("excess", "default", _FIFO)),
        "oracle_share": _triple(found.oracle_share("default")),
        "p99_vs_fifo": _triple(found.ratio("p99_wait_s", "default", _FIFO)),
        "busy_cov": by_policy("busy_cov"),
        "within_25": by_policy("within_25"),
        "simulated_per_s": {name: rounded(runs.per_s or 0.0, 3) for name, runs in found.runs.items()},
    }


def _headline_targets(name: str, figures: dict[str, Any]) -> list[dict[str, Any]]:
    targets = []
    fifo = figures["excess"][_FIFO] or 0.0
    if figures["excess_vs_p2c"]:
        targets.append(_reach(f"{name} excess vs best of two", "<=", 0.08, figures["excess_vs_p2c"]))
    if figures["excess_vs_fifo"]:
        bound = 0.3 if fifo > _WORTH_IT else _NOT_WORSE
        targets.append(_reach(f"{name} excess vs FIFO (its own {fifo:.3g})", "<=", bound, figures["excess_vs_fifo"]))
    if figures["oracle_share"]:
        targets.append(_reach(f"{name} share of the oracle's gain", ">=", 0.85, figures["oracle_share"]))
    if figures["p99_vs_fifo"]:
        targets.append(_reach(f"{name} p99 wait vs FIFO", "<=", 1.6, figures["p99_vs_fifo"]))
    return targets


def _reach(name: str, sign: Any, bound: float, triple: list[float]) -> dict[str, Any]:
    return target(name, sign, bound, triple[0])


def _triple(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [None if each is None else rounded(each) for each in interval]


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else rounded(interval.value)


# ---------------------------------------------------------------------------------------------------- beside


def _late_heartbeats(workload: Workload, seeds: int) -> dict[str, Any]:
    """Heartbeats so old that nothing they say of our tasks is true any more; outcomes come on time.

    A fifth of the workers have work of others in half of their slots. `ratio` is of workers that tell how busy they are
    and not which leases they hold, since a queue service delivers; `lists` is of workers that list them.
    """
    late_s = _LATE_BY * workload.facts.mean_s
    found: dict[str, Any] = {}
    for name, lists in (("bare", False), ("lists", True)):
        by_delay = []
        for delay_s in (0.0, late_s):
            runs = _study(
                workload, ["default"], "poisson", seeds, lists=lists, background_share=0.2, heartbeat_delay_s=delay_s
            ).runs["default"]
            by_delay.append(sum(runs.each("excess")) / seeds)
        found[name] = {
            "on_time": rounded(by_delay[0]),
            "late": rounded(by_delay[1]),
            "ratio": rounded(by_delay[1] / by_delay[0]) if by_delay[0] else 1.0,
        }
    return {"ratio": found["bare"]["ratio"], "late_by_s": rounded(late_s), **found}


def _failing(workload: Workload, seeds: int) -> dict[str, Any]:
    """Predictor and scorer raise whenever they are asked."""
    found = _study(workload, ["least_loaded", "default+failing"], "poisson", seeds)
    runs = found.runs["default+failing"]
    ratio = found.ratio("mean_wait_s", "default+failing", "least_loaded")
    return {
        "placed_percent": rounded(100.0 * sum(runs.each("placed")) / seeds),
        "vs_least_loaded": rounded(ratio.value) if ratio is not None else 1.0,
        "fallback_percent": rounded(100.0 * sum(runs.each("fallback_share")) / seeds),
    }


def _evenness(workload: Workload, seeds: int) -> dict[str, Any]:
    """How evenly workers are busy at 80 % load, and what that costs in waiting."""
    equal = _study(workload, ["default"], "poisson", seeds, load=_EVEN_LOAD, speeds=(1.0,))
    unequal = _study(workload, ["default", "even"], "poisson", seeds, load=_EVEN_LOAD)
    return {
        "equal_speeds": _even(equal, "default"),
        "unequal_speeds_default": _even(unequal, "default"),
        "unequal_speeds_even": _even(unequal, "even"),
    }


def _even(found: Study, name: str) -> dict[str, float | None]:
    figures = found.runs[name].over_seeds()
    cov, excess = figures["busy_cov"], figures["excess"]
    return {
        "cov_percent": rounded(100.0 * cov.value) if cov is not None else 0.0,
        "excess": _value(excess),
        "mean_wait_s": _value(figures["mean_wait_s"]),
    }
