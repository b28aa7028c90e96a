"""Worker streams: heartbeats per second against a sink with the same acks, and memory of many idle streams."""

import time
from typing import Any

from tests.performance.harness import Plan, progress, ratio_fields, ratio_target, report, rounded, target
from tests.performance.pairs import BASELINE, compare
from tests.performance.processes import Child, ChildError
from tests.performance.servers import RAMP_S, SETTLE_S, Servers
from tests.performance.stats import median_interval

STREAMS = 200
_CONNECTIONS = 20
MANY = 10_000
_MANY_CONNECTIONS = 100
_OURS = "weighted"
_WINDOW_S = 1.0
_PAIRS = 24
_SETTLED_BYTES = 1 << 20
_SETTLE_LIMIT_S = 15.0


def run(plan: Plan) -> dict[str, Any]:
    """Rate first, then memory in servers of their own."""
    window_s = plan.window_s(_WINDOW_S)
    pairs = plan.pair_count(_PAIRS)
    with Servers((_OURS,), 0) as servers:
        client = servers.client("beat_client", workers=STREAMS)
        for each in servers.children:
            client.ask("open", target=each, count=STREAMS, connections=_CONNECTIONS, listing=True)
            _flood(client, each, 1.0)
        compared = compare(lambda each: _flood(client, each, window_s), pairs, [_OURS])
    progress("heartbeats: rate done")
    memory = _memory()
    fields = {
        **ratio_fields(compared, _OURS),
        "sink_per_s": rounded(median_interval(compared.windows[BASELINE]).median),
        "beats_per_s": rounded(median_interval(compared.windows[_OURS]).median),
        **memory,
        "streams": STREAMS,
    }
    targets = [
        ratio_target(">=", 0.6, fields),
        target("bytes_per_stream", "<=", 45_000, memory["bytes_per_stream"]),
    ]
    return report("heartbeats", fields, targets, pairs, window_s)


def _flood(client: Child, name: str, seconds: float) -> float:
    per_s = float(client.ask("flood", seconds + 60.0, target=name, seconds=seconds, ramp_s=RAMP_S)["per_s"])
    time.sleep(SETTLE_S)
    return per_s


def _memory() -> dict[str, Any]:
    """Resident bytes per open stream, beyond what the first hundred took: those warm up what is made once."""
    found: dict[str, Any] = {}
    with Servers((_OURS,), 0) as servers:
        client = servers.client("beat_client", workers=MANY + 100)
        for name, told in ((_OURS, "bytes_per_stream"), (BASELINE, "sink_bytes_per_stream")):
            server = servers.children[name]
            client.ask("open", target=name, count=100, connections=1, listing=True)
            before = _settled(client, server, name)
            client.ask("open", 120.0, target=name, count=MANY, connections=_MANY_CONNECTIONS, listing=True)
            found[told] = rounded((_settled(client, server, name) - before) / MANY)
            progress(f"heartbeats: {MANY:,} streams on {name} done")
    return {**found, "open_streams": MANY, "connections": _MANY_CONNECTIONS}


def _settled(client: Child, server: Child, name: str) -> int:
    """Resident bytes once they no longer grow, every stream having beaten a few times."""
    for _ in range(3):
        if client.ask("beat_all", 120.0, target=name)["missing"]:
            raise ChildError(f"not every heartbeat was acknowledged by {name}")
    until = time.monotonic() + _SETTLE_LIMIT_S
    size = server.rss_bytes()
    while time.monotonic() < until:
        time.sleep(1.0)
        before, size = size, server.rss_bytes()
        if abs(size - before) < _SETTLED_BYTES:
            break
    return size
