"""What does a fleet of any size cost one server? In process by event, memory per worker; on the wire, what it carries.

Every size is a process of its own, and all of them run at once: chunks of events go round, so that a busy moment of the
machine falls on all sizes alike. The million takes gigabytes and minutes to load, so it comes only where it is asked
for: SCALE_MOST=1000000. docs/scale.md says what the figures mean, and build/bench/scale.md is its table.
"""

import os
from contextlib import ExitStack
from statistics import median
from typing import Any

from scheduler_server.assignment.queue_settings import OBJECTIVES
from scheduler_server.assignment.settings import AssignmentSettings
from tests.performance.bench.heartbeats import STREAMS
from tests.performance.harness import RESULTS, Plan, progress, ratio_fields, report, rounded, target
from tests.performance.pairs import BASELINE, compare
from tests.performance.processes import Child
from tests.performance.servers import RAMP_S, Servers, closed_loop
from tests.performance.stats import median_interval

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
_MOST = 100_000
_MOST_HELD = 20_000
"""Leases out at once: of a million workers a quarter of the slots would be a million leases, and gigabytes."""

_TURNS = 500
_PAIRS = 20
_LOADED_WITHIN_S = 1_200.0
_WIRE_WORKERS = 10_000
_WIRE_HELD = 2_048
_WIRE_WINDOWS = 5
_WIRE_WINDOW_S = 2.0
_CONNECTIONS = 20
_FLATNESS = 1.5
"""What a turn may cost more in the largest fleet than in the smallest: memory is slower than caches."""


def run(plan: Plan) -> dict[str, Any]:
    """In process, then on the wire."""
    pairs = plan.pair_count(_PAIRS)
    most = int(os.environ.get("SCALE_MOST", _MOST))
    sizes = [size for size in SIZES if size <= most]
    if len(sizes) < 2:
        raise ValueError(f"SCALE_MOST must be at least {SIZES[1]:,}, not {most:,}")
    scorer = OBJECTIVES[AssignmentSettings().objective].scorer
    in_process = _in_process(sizes, scorer, pairs)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "scale.md").write_text(_table(in_process["by_size"]))
    wire = _wire(scorer, plan.window_s(_WIRE_WINDOW_S))
    return report(
        "scale",
        {**in_process, "wire": wire, "scorer": scorer},
        [target("flatness", "<=", _FLATNESS, *(in_process[f"ratio{end}"] for end in ("", "_lo", "_hi")))],
        pairs,
        None,
    )


def _in_process(sizes: list[int], scorer: str, pairs: int) -> dict[str, Any]:
    smallest, *others = sizes
    chunks: dict[int, list[dict[str, Any]]] = {size: [] for size in sizes}
    with ExitStack() as stack:
        children = {}
        for size in sizes:  # one after the other: the next one's loading must not slow this one's
            child = Child("tests.performance.scale_core", workers=size, scorer=scorer, most_held=_MOST_HELD)
            children[size] = stack.enter_context(child)
            child.ready = child.answer(_LOADED_WITHIN_S)
            progress(f"scale: {size:,} workers loaded in {child.ready['load_s']:.0f} s")

        def measure(name: str) -> float:
            size = smallest if name == BASELINE else int(name)
            found = children[size].ask("chunk", turns=_TURNS)
            chunks[size].append(found)
            return float(found["assign"] + found["outcome"] + found["heartbeat"])

        for size in sizes:
            measure(str(size))  # every type is learned, every class resolved
            chunks[size].clear()
        compared = compare(measure, pairs, [str(size) for size in others])
        by_size = {
            str(size): {
                "p50_us": _by_kind(chunks[size], min),
                "typical_us": _by_kind(chunks[size], median),
                "sweep_us": rounded(child.ask("sweep")["us"]),
                "whole_fleet_ages_ms": rounded(child.ask("age_all", _LOADED_WITHIN_S)["ms"]),
                "bytes_per_worker": rounded(child.ready["bytes_per_worker"]),
                "bytes_per_lease": rounded(child.ready["bytes_per_lease"]),
                "rss_mb": rounded(child.ready["rss_bytes"] / 2**20),
                "load_s": rounded(child.ready["load_s"]),
            }
            for size, child in children.items()
        }
    progress("scale: in process done")
    return {**ratio_fields(compared, str(sizes[-1])), "by_size": by_size, "sizes": sizes}


def _by_kind(found: list[dict[str, Any]], of: Any) -> dict[str, float]:
    """Over the chunks' medians; the least of them is what other work on the machine moves least."""
    return {kind: rounded(of(each[kind] for each in found)) for kind in found[0]}


def _table(by_size: dict[str, Any]) -> str:
    """The figures as docs/scale.md shows them, to be put there: build/bench/scale.md."""
    rows = [
        "| workers | decision | outcome | heartbeat | a sweep | all grow old at once | memory per worker | process |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size, found in by_size.items():
        cost = found["p50_us"]
        rows.append(
            f"| {int(size):,} | {cost['assign']:.1f} us | {cost['outcome']:.1f} us | {cost['heartbeat']:.1f} us"
            f" | {found['sweep_us']:,.0f} us | {found['whole_fleet_ages_ms']:,.1f} ms"
            f" | {found['bytes_per_worker']:,.0f} bytes | {found['rss_mb']:,.0f} MiB |"
        )
    return "\n".join(rows) + "\n"


def _wire(scorer: str, window_s: float) -> dict[str, Any]:
    """One server and one client process on the cores there are: rates, and the server's processor time per event."""
    with Servers((scorer,), _WIRE_WORKERS) as servers:
        client = servers.client("closed_loop", workers=_WIRE_WORKERS)
        closed_loop(servers, client, scorer, window_s, held=_WIRE_HELD)
        loads = [closed_loop(servers, client, scorer, window_s, held=_WIRE_HELD) for _ in range(_WIRE_WINDOWS)]
    progress("scale: assign on the wire done")
    beats, beat_us = [], []
    with Servers((scorer,), 0) as servers:
        client = servers.client("beat_client", workers=STREAMS)
        server = servers.children[scorer]
        client.ask("open", target=scorer, count=STREAMS, connections=_CONNECTIONS, listing=True)
        for _ in range(_WIRE_WINDOWS + 1):
            before = server.cpu_s()
            per_s = client.ask("flood", window_s + 60.0, target=scorer, seconds=window_s, ramp_s=RAMP_S)["per_s"]
            beats.append(per_s)
            beat_us.append((server.cpu_s() - before) / (per_s * (window_s + RAMP_S)) * 1e6)
    return {
        "assign_per_s": rounded(median_interval([each.per_s for each in loads]).median),
        "assign_server_cpu_us": rounded(median(each.server_cpu_us for each in loads)),
        "heartbeats_per_s": rounded(median_interval(beats[1:]).median),
        "heartbeat_server_cpu_us": rounded(median(beat_us[1:])),
        "workers": _WIRE_WORKERS,
        "streams": STREAMS,
    }
