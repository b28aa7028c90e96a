"""How long does a caller wait? Calls at intended times, heartbeats meanwhile; against a no-op under the same load."""

import time
from typing import Any

from tests.performance.harness import Plan, progress, ratio_fields, ratio_target, report, rounded, target
from tests.performance.pairs import BASELINE, Compared, compare
from tests.performance.processes import Child
from tests.performance.servers import RAMP_S, SETTLE_S, Servers
from tests.performance.stats import quantile

RATES = (100, 1_000)
BEATS_PER_S = 1_000
STREAMS = 200
_CONNECTIONS = 20
_WORKERS = 10_000
_SCORER = "weighted"
_HELD = 512
_WINDOW_S = 1.5
_PAIRS = 20


def run(plan: Plan) -> dict[str, Any]:
    """Both rates, one after the other."""
    window_s = plan.window_s(_WINDOW_S)
    pairs = plan.pair_count(_PAIRS)
    by_rate: dict[str, dict[str, Any]] = {}
    with Servers((_SCORER,), _WORKERS) as servers:
        calls = servers.client("open_loop", workers=_WORKERS)
        beats = servers.client("beat_client", workers=STREAMS)
        for each in servers.children:
            beats.ask("open", target=each, count=STREAMS, connections=_CONNECTIONS, listing=False)
            _window(calls, beats, each, 500, 2.0)
        for rate in RATES:
            by_rate[str(rate)] = _rate(calls, beats, rate, window_s, pairs)
    worst = max(by_rate.values(), key=lambda found: float(found["ratio"]))
    told = {name: {rate: found[name] for rate, found in by_rate.items()} for name in ("p50_ms", "p99_ms", "p999_ms")}
    targets = [target("p99_ms at 100/s", "<", 10.0, by_rate["100"]["p99_ms"]["ours"])]
    targets += [ratio_target("<=", 1.3, found, f"p99 ratio at {rate}/s") for rate, found in by_rate.items()]
    ratio = {name: value for name, value in worst.items() if name.startswith(("ratio", "aa_"))}
    return report(
        "latency", {**ratio, **told, "by_rate": by_rate, "beats_per_s": BEATS_PER_S}, targets, pairs, window_s
    )


def _rate(calls: Child, beats: Child, rate: int, window_s: float, pairs: int) -> dict[str, Any]:
    latencies: dict[str, list[float]] = {BASELINE: [], _SCORER: []}
    late: list[float] = []
    retries = 0

    def measure(name: str) -> float:
        nonlocal retries
        answer = _window(calls, beats, name, rate, window_s)
        retries += answer["retries"]
        latencies[name] += answer["latencies_ms"]
        late.extend(answer["late_ms"])
        return quantile(answer["latencies_ms"], 0.99)

    compared: Compared = compare(measure, pairs, [_SCORER])
    progress(f"latency: {rate}/s done")

    def both(share: float) -> dict[str, float]:
        return {
            "noop": rounded(quantile(latencies[BASELINE], share)),
            "ours": rounded(quantile(latencies[_SCORER], share)),
        }

    pooled = both(0.99)
    return {
        **ratio_fields(compared, _SCORER),
        "p50_ms": both(0.5),
        "p99_ms": pooled,
        "p999_ms": both(0.999),
        "pooled_p99_ratio": rounded(pooled["ours"] / pooled["noop"]),
        "calls": {"noop": len(latencies[BASELINE]), "ours": len(latencies[_SCORER])},
        "retries": retries,
        "client_late_p99_ms": rounded(quantile(late, 0.99)),
    }


def _window(calls: Child, beats: Child, name: str, rate: int, seconds: float) -> dict[str, Any]:
    # The beats begin before the first call and end after the last.
    beats.tell("pace", target=name, rate_per_s=BEATS_PER_S, seconds=seconds + RAMP_S + 0.1)
    answer = calls.ask(
        "run", seconds + 60.0, target=name, rate_per_s=rate, seconds=seconds, ramp_s=RAMP_S, held=_HELD, at_once=16
    )
    beats.answer(60.0)
    time.sleep(SETTLE_S)
    return answer
