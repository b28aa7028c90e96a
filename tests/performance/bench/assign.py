"""Assign against a no-op: how much of the transport's rate is left when every call is a decision?"""

from statistics import median
from typing import Any

from tests.performance.harness import Plan, progress, ratio_fields, ratio_target, report, rounded
from tests.performance.pairs import BASELINE, Compared, compare
from tests.performance.servers import Servers, closed_loop
from tests.performance.stats import median_interval

SCORERS = ("weighted", "earliest_finish")

HELD = 2_048
"""Leases out at a time, about half a second's worth: real tasks last longer than the journal waits to write."""

_WINDOW_S = 1.5
_PAIRS = 24
_WARM_UP_S = 2.0
"""Every task type has then been learned, and pools, classes and connections exist."""


def run(plan: Plan, *, name: str = "assign", workers: int = 10_000, reach: float = 0.85) -> dict[str, Any]:
    """All scorers against one baseline."""
    window_s = plan.window_s(_WINDOW_S)
    pairs = plan.pair_count(_PAIRS)
    with Servers(SCORERS, workers) as servers:
        client = servers.client("closed_loop", workers=workers)
        for each in servers.children:
            closed_loop(servers, client, each, _WARM_UP_S, held=HELD)
        cpu_us: dict[str, list[float]] = {each: [] for each in servers.children}

        def measure(each: str) -> float:
            loaded = closed_loop(servers, client, each, window_s, held=HELD)
            cpu_us[each].append(loaded.server_cpu_us)
            return loaded.per_s

        compared = compare(
            measure,
            pairs,
            SCORERS,
            lambda done, of: progress(f"{name}: window {done} of {of}") if done % 16 == 0 else None,
        )
        states = {scorer: servers.children[scorer].ask("status") for scorer in SCORERS}
    by_scorer = {scorer: fields(compared, scorer) for scorer in SCORERS}
    worst = min(SCORERS, key=lambda scorer: float(by_scorer[scorer]["ratio"]))
    return report(
        name,
        {
            **by_scorer[worst],
            "worst_scorer": worst,
            "by_scorer": by_scorer,
            "server_cpu_us": {each: rounded(median(found)) for each, found in cpu_us.items()},
            "workers": workers,
            "held": HELD,
            "in_flight": 16,
            "outcomes_per_call": 16,
            "decisions": {scorer: state["causes"] for scorer, state in states.items()},
            "refusals": {scorer: state["refusals"] for scorer, state in states.items()},
        },
        [ratio_target(">=", reach, by_scorer[scorer], scorer) for scorer in SCORERS],
        pairs,
        window_s,
    )


def fields(compared: Compared, scorer: str) -> dict[str, Any]:
    """What is told of one scorer."""
    return {
        **ratio_fields(compared, scorer),
        "echo_per_s": rounded(median_interval(compared.windows[BASELINE]).median),
        "assign_per_s": rounded(median_interval(compared.windows[scorer]).median),
    }
