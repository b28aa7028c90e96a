"""How well, how fast and how soon again do the predictors predict? On real histories, and where the truth is known."""

from math import exp, log
from typing import Any

from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.predictor.strategies import PREDICTORS
from tests.performance import made_up, trace_files, warm_restart
from tests.performance.harness import Plan, progress, report, rounded, target

_BASELINE = "ema"
_HIT25 = {"julia_ci": 85.0, "flowbench_eht": 83.0, "galaxy_bench": 79.0, "nasa_ipsc": 38.0}
_P90_AFTER_SHIFT = (85.0, 95.0)
_NOT_OF_PAIRS = ("pairs", "enough_pairs", "window_s")


def run(plan: Plan) -> dict[str, Any]:
    """Every predictor on every trace, then on durations whose distribution is known, then the restart."""
    settings = PredictorSettings()
    default = settings.strategy
    traces, skipped = trace_files.replayed(settings)
    progress("predict: recovery, shift and stationary workload")
    recovery = {name: made_up.recovery(name, settings) for name in PREDICTORS}
    shift = {name: made_up.shift(name, settings) for name in PREDICTORS}
    stationary = {name: made_up.stationary(name, settings) for name in PREDICTORS}
    progress("predict: warm restart")
    restart = warm_restart.measure()
    fields: dict[str, Any] = {
        "traces": traces,
        "default": default,
        "geomean_gain": _geomean_gain(traces, default),
        "recovery": recovery,
        "shift": shift,
        "stationary": {"ceiling": made_up.CEILING, **stationary},
        "warm_restart": restart,
    }
    if skipped:
        fields["skipped"] = skipped
        progress(f"predict: {skipped}")
    targets = [
        *_trace_targets(traces, default),
        *_made_up_targets(recovery[default], shift[default], stationary[default]),
        target("warm restart load s", "<=", 2.0, restart["load_s"]),
        target("warm restart stall ms", "<=", 5.0, restart["stall_ms"]),
    ]
    found = report("predict", fields, targets, 0, None)
    return {key: value for key, value in found.items() if key not in _NOT_OF_PAIRS}


def _geomean_gain(traces: dict[str, dict[str, Any]], default: str) -> float | None:
    gains = [each[default]["hit25"] / each[_BASELINE]["hit25"] for each in traces.values() if each[_BASELINE]["hit25"]]
    return rounded(exp(sum(map(log, gains)) / len(gains))) if gains and all(gains) else None


def _trace_targets(traces: dict[str, dict[str, Any]], default: str) -> list[dict[str, Any]]:
    targets = []
    for name, by_predictor in traces.items():
        found = by_predictor[default]
        least = max(_HIT25.get(name, 0.0), by_predictor[_BASELINE]["hit25"])
        targets += [
            target(f"{name} within 25 %", ">=", least, found["hit25"]),
            *_between(f"{name} P90 coverage", 88.0, 92.0, found["p90_coverage"]),
            *_between(f"{name} P50 coverage", 45.0, 55.0, found["p50_coverage"]),
            target(f"{name} us to predict", "<=", 5.0, found["us_predict"]),
            target(f"{name} us to update", "<=", 12.0, found["us_update"]),
        ]
    return targets


def _made_up_targets(
    recovery: dict[str, Any], shift: dict[str, Any], stationary: dict[str, Any]
) -> list[dict[str, Any]]:
    targets = [target(f"recovery {way}", "<=", 3, recovery[way]) for way in ("up", "down")]
    for way in ("up", "down"):
        after = shift[way][made_up.WINDOWS_BEFORE_JUDGED]
        targets += _between(f"P90 coverage 200 after a shift {way}", *_P90_AFTER_SHIFT, after)
    return [*targets, target("stationary within 25 %", ">=", 80.0, stationary["hit25"])]


def _between(name: str, low: float, high: float, value: float) -> list[dict[str, Any]]:
    return [target(name, ">=", low, value), target(name, "<=", high, value)]
