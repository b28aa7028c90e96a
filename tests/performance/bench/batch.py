"""AssignBatch of 100 against a no-op that builds the same answer, and against single calls."""

from typing import Any

from tests.performance.harness import Plan, aa_fields, progress, ratio_fields, ratio_target, report, rounded, target
from tests.performance.pairs import BASELINE, compare
from tests.performance.servers import Servers, closed_loop
from tests.performance.stats import median_interval

SIZE = 100
_IN_FLIGHT = 4  # batches: enough that neither side waits for the other
_UNARY = "unary"
_SCORER = "weighted"
_WORKERS = 10_000
_HELD = 2_048
_WINDOW_S = 1.0
_PAIRS = 24


def run(plan: Plan) -> dict[str, Any]:
    """Batches against the no-op's, single calls in between."""
    window_s = plan.window_s(_WINDOW_S)
    pairs = plan.pair_count(_PAIRS)
    with Servers((_SCORER,), _WORKERS) as servers:
        client = servers.client("closed_loop", workers=_WORKERS)

        def measure(name: str, seconds: float = window_s) -> float:
            if name == _UNARY:
                return closed_loop(servers, client, _SCORER, seconds, held=_HELD).per_s
            return closed_loop(
                servers, client, name, seconds, in_flight=_IN_FLIGHT, held=_HELD, at_once=SIZE, batch=SIZE
            ).per_s

        for name in (BASELINE, _SCORER, _UNARY):
            measure(name, 1.5)
        compared = compare(measure, pairs, [_SCORER, _UNARY])
    progress("batch: done")
    batches, singles = compared.windows[_SCORER], compared.windows[_UNARY]
    times = median_interval([batch / single for batch, single in zip(batches, singles, strict=True)])
    fields = {
        **ratio_fields(compared, _SCORER),
        **aa_fields(compared.ratios[BASELINE]),
        "noop_per_s": rounded(median_interval(compared.windows[BASELINE]).median),
        "batch_per_s": rounded(median_interval(batches).median),
        "unary_per_s": rounded(median_interval(singles).median),
        "times_unary": rounded(times.median),
        "times_unary_lo": rounded(times.lo),
        "times_unary_hi": rounded(times.hi),
    }
    targets = [
        ratio_target(">=", 0.35, fields),
        target("times_unary", ">=", 8.0, times.median, times.lo, times.hi),
    ]
    return report("batch", {**fields, "batch": SIZE, "in_flight": _IN_FLIGHT}, targets, pairs, window_s)
