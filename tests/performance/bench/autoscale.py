"""Does a fleet that follows the demand signal hold a target wait through a tripling of load? On a virtual clock."""

from typing import Any

from tests.autoscaled import TRIPLED, Autoscaled, Figures
from tests.performance.harness import Plan, progress, report, rounded, target

_WAIT_S, _START_S = 60.0, 30.0
_SEEDS = (1, 2, 3)
_NAMES = ("before", "tripled", "after")
_LEAST_WITHIN = 0.99


def run(_plan: Plan) -> dict[str, Any]:
    """Three runs that follow the signal, and one of the same load whose fleet stays as it is."""
    worst: dict[str, Figures] = {}
    for seed in _SEEDS:
        progress(f"autoscale: run {seed} of {len(_SEEDS)}")
        figures = Autoscaled(TRIPLED, wait_s=_WAIT_S, start_s=_START_S, seed=seed).run()
        for name, each in zip(_NAMES, figures, strict=True):
            if name not in worst or each.p95_s > worst[name].p95_s:
                worst[name] = each
    progress("autoscale: the same without the signal")
    still = dict(zip(_NAMES, Autoscaled(TRIPLED, seed=_SEEDS[0], follows=False).run(), strict=True))
    fields = {
        "target_wait_s": _WAIT_S,
        "worker_start_s": _START_S,
        "runs": len(_SEEDS),
        "followed": {name: _told(each) for name, each in worst.items()},
        "fixed_fleet": {name: _told(each) for name, each in still.items()},
    }
    tripled = worst["tripled"]
    targets = [
        target("p95 wait s, tripled load", "<=", _WAIT_S, tripled.p95_s),
        target("share within the target wait, tripled load", ">=", _LEAST_WITHIN, tripled.within),
    ]
    found = report("autoscale", fields, targets, 0, None)
    return {key: value for key, value in found.items() if key not in ("pairs", "enough_pairs", "window_s")}


def _told(figures: Figures) -> dict[str, float]:
    return {name: rounded(float(value)) for name, value in figures._asdict().items()}
