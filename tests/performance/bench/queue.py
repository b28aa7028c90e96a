"""What do waiting tasks cost, and does it stay the same however many wait? In process, no wire.

Timed are whole events, with the prediction, the outcome and the decision that belong to them (backlog.py says which).
Held against the target are `enqueue`, `query`, and of `slot_freed` the part that is there because tasks wait: `taking`.
The rest of it is an outcome and a decision, which BENCH=decide measures; what these cost in this fleet, in the same
run, with nothing waiting, is `alone_us`, and `beyond_alone_us` is the whole event less that. It is more than `taking`
where the next task came long ago: its data, and its type's prediction, are then neither fresh nor in any cache.
"""

import gc
from typing import Any

from scheduler_server.assignment.order import ORDERS
from scheduler_server.rpc.collector import settle
from tests.performance.backlog import ALONE, KINDS, Backlog
from tests.performance.decisions import Micros
from tests.performance.harness import Plan, progress, report, rounded, target
from tests.performance.pairs import BASELINE, order, ratios_of
from tests.performance.stats import median_interval

SIZES = (100, 1_000, 10_000, 100_000)
WHOLE = ("enqueue", "slot_freed", "query")
"""Whole events: what flatness is about."""

BOUNDED = ("enqueue", "taking", "query")
"""What is held against the target in microseconds."""

_TURNS = 400
_PAIRS = 30
_MOST_US, _MOST_RATIO = 25.0, 2.0


def run(plan: Plan) -> dict[str, Any]:
    """Every number of waiting tasks, in every order."""
    pairs = plan.pair_count(_PAIRS)
    by_order = {name: _order(name, pairs) for name in ORDERS}
    targets = []
    for name, found in by_order.items():
        flat = found["flatness"]
        targets.append(target(f"{name} flatness", "<=", _MOST_RATIO, flat["ratio"], flat["ratio_lo"], flat["ratio_hi"]))
        targets += [
            target(f"{name} {kind} us", "<=", _MOST_US, max(us[kind] for us in found["p50_us"].values()))
            for kind in BOUNDED
        ]
    worst = max(by_order, key=lambda name: float(by_order[name]["flatness"]["ratio"]))
    fields = {"flatness": by_order[worst]["flatness"]["ratio"], "worst_order": worst, "by_order": by_order}
    return report("queue", {**fields, "turns": _TURNS}, targets, pairs, None)


def _order(name: str, pairs: int) -> dict[str, Any]:
    smallest, *others = SIZES
    backlogs = {BASELINE if size == smallest else str(size): Backlog(size, name) for size in SIZES}
    alone = Backlog(0, name)
    settle()  # as the real server does
    for backlog in (alone, *backlogs.values()):
        backlog.chunk(_TURNS)
    windows = order(pairs, [str(size) for size in others])
    found: list[Micros] = []
    by_themselves: list[Micros] = []
    for window in windows:
        if len(found) % 4 == 0:  # between two blocks
            by_themselves.append(alone.chunk(_TURNS))
        found.append(backlogs[window].chunk(_TURNS))
    gc.unfreeze()
    progress(f"queue: {name} done")
    ratios = {}
    for kind in KINDS:
        by_size = ratios_of(windows, [each[kind] for each in found])
        middle = median_interval(by_size[str(SIZES[-1])])
        ratios[kind] = {
            "ratio": rounded(middle.median), "ratio_lo": rounded(middle.lo), "ratio_hi": rounded(middle.hi),
            "aa_ratio": rounded(median_interval(by_size[BASELINE]).median),
        }  # fmt: skip
    worst = max(WHOLE, key=lambda kind: ratios[kind]["ratio"])
    chunks: dict[str, list[Micros]] = {}
    for window, each in zip(windows, found, strict=True):
        chunks.setdefault(str(smallest) if window == BASELINE else window, []).append(each)
    # The least decile of the chunks' medians: what else runs on the machine can only add to it.
    p50_us = {size: _at(each, 0.1) for size, each in chunks.items()}
    alone_us = _at(by_themselves, 0.1)
    return {
        "flatness": {"worst": worst, **ratios[worst]},
        "ratios": ratios,
        "p50_us": p50_us,
        "typical_us": {size: _at(each, 0.5) for size, each in chunks.items()},
        "alone_us": alone_us,
        "beyond_alone_us": {
            size: rounded(us["slot_freed"] - sum(alone_us[half] for half in ALONE)) for size, us in p50_us.items()
        },
    }


def _at(found: list[Micros], share: float) -> Micros:
    at = int(share * (len(found) - 1))
    return {kind: rounded(sorted(each[kind] for each in found)[at]) for kind in found[0]}
