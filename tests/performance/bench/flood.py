"""One identity names a million task types, 10,000 labels and 100,000 workers: are limits held, and others served?

The flood comes at a pace that leaves the server some of its core: a limit refuses, but refusing costs the price
of a call on the transport. Its process is nice to the others, as a flood from another machine would be.
"""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scheduler_server.access.tokens import new_token, shown
from tests.certificates import swap
from tests.performance.harness import Plan, progress, report, rounded, target
from tests.performance.processes import Child
from tests.performance.stats import quantile

_WINDOW_S = 2.0
_PER_S = 100.0
_LIMITS = {"workers": 1_000, "streams": 2_000, "assign_per_s": 2_000.0, "assign_burst": 2_000}
_KINDS = {"types": (1_000_000, 50_000.0), "labels": (10_000, 2_000.0), "workers": (100_000, 1_000.0)}
"""How many in all, and how many a second."""


def run(plan: Plan) -> dict[str, Any]:
    """Windows with and without the flood, in turn, until all has been asked for."""
    window_s = plan.window_s(_WINDOW_S)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        greedy, honest = new_token(), new_token()
        lines = [
            f"token {shown(greedy)} identity=greedy role=worker,producer workers=*",
            f"token {shown(honest)} identity=honest role=producer",
        ]
        swap(folder / "access", "\n".join(lines).encode())
        access = {"file": str(folder / "access")}
        server = stack.enter_context(
            Child("tests.performance.access_server", workers=100, tls={}, access=access, limits=_LIMITS)
        )
        address = str(server.wait_ready()["address"])
        client = "tests.performance.flood_client"
        flood = stack.enter_context(Child(client, address=address, token=greedy, nice=10))
        other = stack.enter_context(Child(client, address=address, token=honest))
        flood.wait_ready()
        other.wait_ready()
        other.ask("measure", 60.0, seconds=2.0, per_s=_PER_S)
        before = server.ask("status", 60.0)
        by_kind = {}
        for kind in _KINDS:
            by_kind[kind] = _flood(flood, other, kind, window_s)
            by_kind[kind]["rss_mib"] = rounded(server.ask("status", 60.0)["rss_mib"])
        time.sleep(15.0)  # memory that has grown is looked at within ten seconds
        after = server.ask("status", 60.0)
    worst = max(by_kind.values(), key=lambda found: float(found["p99_ratio"]))
    grown = after["rss_mib"] - before["rss_mib"]
    fields = {
        "p99_ratio": worst["p99_ratio"],
        "by_kind": by_kind,
        "rss_mib": {"before": rounded(before["rss_mib"]), "after": rounded(after["rss_mib"])},
        "limits_hit": after["limits_hit"],
        "workers": after["workers"],
        "prediction_keys": after["prediction_keys"],
        "classes": after["classes"],
        "limits": _LIMITS,
        "calls_per_s": _PER_S,
    }
    targets = [target(f"p99 ratio, {kind}", "<=", 1.5, found["p99_ratio"]) for kind, found in by_kind.items()]
    targets.append(target("memory grown MiB", "<=", 128.0, grown))
    return report("flood", fields, targets, 1, window_s)


def _flood(flood: Child, other: Child, kind: str, window_s: float) -> dict[str, Any]:
    wanted, per_s = _KINDS[kind]
    latencies: dict[bool, list[float]] = {False: [], True: []}
    asked = 0
    answers: dict[str, int] = {}
    while asked < wanted:
        for flooded in (False, True, True, False):
            if flooded:
                flood.tell("flood", kind=kind, seconds=window_s, per_s=per_s)
            latencies[flooded] += other.ask("measure", 60.0, seconds=window_s, per_s=_PER_S)["latencies_ms"]
            if flooded:
                found = flood.answer(60.0)
                asked += found["asked"]
                for code, number in found["answers"].items():
                    answers[code] = answers.get(code, 0) + number
        progress(f"flood: {kind}, {asked:,} of {wanted:,}")
    calm, wild = quantile(latencies[False], 0.99), quantile(latencies[True], 0.99)
    return {
        "asked": asked,
        "answers": answers,
        "p99_ms": {"undisturbed": rounded(calm), "flooded": rounded(wild)},
        "p50_ms": {
            "undisturbed": rounded(quantile(latencies[False], 0.5)),
            "flooded": rounded(quantile(latencies[True], 0.5)),
        },
        "p99_ratio": rounded(wild / calm),
    }
