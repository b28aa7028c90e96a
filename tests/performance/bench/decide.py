"""What does a decision itself cost, and does it cost the same in a fleet of any size? In process, no wire."""

import gc
from typing import Any

from scheduler_server.rpc.collector import settle
from tests.performance.decisions import Micros, Mix
from tests.performance.harness import Plan, progress, ratio_fields, report, rounded, target
from tests.performance.pairs import BASELINE, compare
from tests.performance.stats import median_interval

SIZES = (100, 1_000, 10_000, 100_000)
SCORERS = ("weighted", "earliest_finish")
_TURNS = 1_500  # about 50 ms: short against what else the machine does, so that pairs see the same of it
_PAIRS = 30
_STEP_ROUNDS = 12
_BUDGET_US = {"validate": 4, "identity_ledger": 4, "prediction": 3, "choice": 3, "answer": 4, "hand_off": 2}
"""What one Assign may add to the transport, by step."""


def run(plan: Plan) -> dict[str, Any]:
    """Every size and scorer."""
    pairs = plan.pair_count(_PAIRS)
    by_scorer = {scorer: _scorer(scorer, pairs) for scorer in SCORERS}
    worst = max(SCORERS, key=lambda scorer: float(by_scorer[scorer]["ratio"]))
    targets = []
    for scorer in SCORERS:
        found = by_scorer[scorer]
        dearest = max(sizes["assign"] + sizes["outcome"] for sizes in found["p50_us"].values())
        targets += [
            target(f"{scorer} flatness", "<=", 1.5, found["ratio"], found["ratio_lo"], found["ratio_hi"]),
            target(f"{scorer} assign + outcome us", "<=", 15.0, dearest),
        ]
    told = {name: value for name, value in by_scorer[worst].items() if name != "typical_us"}
    fields = {"flatness": by_scorer[worst]["ratio"], **told, "worst_scorer": worst, "by_scorer": by_scorer}
    return report("decide", {**fields, "budget_us": _BUDGET_US, "turns": _TURNS}, targets, pairs, None)


def _scorer(scorer: str, pairs: int) -> dict[str, Any]:
    smallest, *others = SIZES
    mixes = {BASELINE if size == smallest else str(size): Mix(size, scorer) for size in SIZES}
    settle()  # as the real server does
    chunks: dict[str, list[Micros]] = {name: [] for name in mixes}

    def measure(name: str) -> float:
        found = mixes[name].chunk(_TURNS)
        chunks[name].append(found)
        return found["assign"] + found["outcome"]

    for mix in mixes.values():
        mix.chunk(_TURNS)  # every type is learned, every class resolved
    compared = compare(measure, pairs, [str(size) for size in others])
    rounds: dict[str, list[Micros]] = {name: [] for name in mixes}
    for _ in range(_STEP_ROUNDS):  # in turn, so that a busy moment of the machine does not fall on one size alone
        for name, mix in mixes.items():
            rounds[name].append(mix.steps())
    gc.unfreeze()
    progress(f"decide: {scorer} done")

    def size(name: str) -> str:
        return str(smallest) if name == BASELINE else name

    return {
        **ratio_fields(compared, str(SIZES[-1])),
        # The least of the chunks' medians: what else runs on the machine can only add to it.
        "p50_us": {size(name): {**_least(found), **_least(rounds[name])} for name, found in chunks.items()},
        "typical_us": {
            size(name): rounded(median_interval([each["assign"] + each["outcome"] for each in found]).median)
            for name, found in chunks.items()
        },
    }


def _least(found: list[Micros]) -> Micros:
    return {kind: rounded(min(each[kind] for each in found)) for kind in found[0]}
