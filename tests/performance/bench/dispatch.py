"""Tasks from XADD to an acknowledged hand-over on a worker's stream, against a plain loop that reads and acknowledges.

The same Redis, set up as docs/dispatch.md asks (appendonly, appendfsync always), the same entries, the same batch
sizes: what the loop reads at once, the dispatcher reads at once. A window adds so many tasks as fast as Redis takes
them and ends when the last one is acknowledged there. Latency is measured apart, at a rate far below the highest.
"""

import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.performance.harness import Plan, progress, ratio_fields, ratio_target, report, rounded
from tests.performance.pairs import BASELINE, compare
from tests.performance.processes import Child, ChildError
from tests.performance.stats import median_interval
from tests.redis_server import RedisServer, any_executable

BATCHES = {1: 1_000, 8: 4_000, 64: 8_000}
"""Batch sizes, and tasks per window: about a second's worth each."""

_WORKERS, _SLOTS = 8, 64
_PAIRS = 6
_RATE_PER_S, _RATE_FOR_S = 300.0, 10.0
_WITHIN_S = 120.0


def run(plan: Plan) -> dict[str, Any]:
    """Every batch size."""
    pairs = plan.pair_count(_PAIRS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server = RedisServer(folder / "redis", any_executable(), "--appendonly", "yes", "--appendfsync", "always")
        stack.callback(server.stop)
        server.start()
        bench = _Bench(stack, server, folder)
        by_batch: dict[str, dict[str, Any]] = {}
        for batch, tasks in BATCHES.items():
            bench.window("ours", batch, tasks)  # warm: every type is learned
            bench.window(BASELINE, batch, tasks)
            compared = compare(partial(bench.window, batch=batch, tasks=tasks), pairs, ["ours"])
            by_batch[str(batch)] = {
                **ratio_fields(compared, "ours"),
                "plain_per_s": rounded(median_interval(compared.windows[BASELINE]).median),
                "dispatch_per_s": rounded(median_interval(compared.windows["ours"]).median),
                "server_cpu_us": rounded(median_interval(bench.cpu_us.pop(batch)).median),
            }
            progress(f"dispatch: batches of {batch}: {by_batch[str(batch)]}")
        latency = bench.latency(64)
    ratios = {batch: found["ratio"] for batch, found in by_batch.items()}
    worst = min(by_batch, key=lambda batch: float(ratios[batch]))
    return report(
        "dispatch",
        {
            **by_batch[worst],
            "worst_batch": int(worst),
            "by_batch": by_batch,
            "latency": latency,
            "workers": _WORKERS,
            "slots": _SLOTS,
        },
        [ratio_target(">=", 0.5, found, f"ratio at batches of {batch}") for batch, found in by_batch.items()],
        pairs,
        None,
    )


class _Bench:
    """Redis, one dispatcher per batch size, their workers, and the plain loops."""

    def __init__(self, stack: ExitStack, server: RedisServer, folder: Path) -> None:
        self._client: Any = server.client()
        self._servers = {
            batch: stack.enter_context(
                Child(
                    "tests.performance.dispatch_server",
                    url=server.url,
                    stream=_stream("ours", batch),
                    batch=batch,
                    state_folder=str(folder / f"state-{batch}"),
                )
            )
            for batch in BATCHES
        }
        targets = {str(batch): child.wait_ready()["address"] for batch, child in self._servers.items()}
        self._workers = stack.enter_context(
            Child("tests.performance.dispatch_workers", targets=targets, workers=_WORKERS, slots=_SLOTS)
        )
        loops = {_stream(BASELINE, batch): batch for batch in BATCHES}
        self._loops = stack.enter_context(Child("tests.performance.group_loop", url=server.url, loops=loops))
        self._workers.wait_ready()
        self._loops.wait_ready()
        self._number = 0
        self.cpu_us: dict[int, list[float]] = {}

    def window(self, name: str, batch: int, tasks: int) -> float:
        """Tasks per second of one window."""
        stream = _stream(name, batch)
        cpu_s = self._servers[batch].cpu_s()
        began = time.perf_counter()
        self._add(stream, tasks)
        self._all_acknowledged(stream, batch)
        took = time.perf_counter() - began
        if name != BASELINE:
            self.cpu_us.setdefault(batch, []).append((self._servers[batch].cpu_s() - cpu_s) / tasks * 1e6)
        self._client.xtrim(stream, maxlen=0)
        time.sleep(0.2)
        return tasks / took

    def latency(self, batch: int) -> dict[str, Any]:
        """From just before XADD to the worker's receipt of the task, at a steady rate."""
        self._workers.ask("latencies", target=str(batch))
        stream, began, sent = _stream("ours", batch), time.perf_counter(), 0
        while sent < _RATE_PER_S * _RATE_FOR_S:
            if time.perf_counter() - began >= sent / _RATE_PER_S:
                self._number += 1
                entry = {"task_id": f"t{self._number}", "task_type": "resize", "payload": repr(time.time())}
                self._client.xadd(stream, entry)
                sent += 1
            else:
                time.sleep(0.0005)
        self._all_acknowledged(stream, batch)
        found = self._workers.ask("latencies", target=str(batch))
        if found["count"] != sent:
            raise ChildError(f"{sent} tasks were added and {found['count']} handed over")
        return {"rate_per_s": _RATE_PER_S, **{name: rounded(value) for name, value in found.items()}}

    def _add(self, stream: str, tasks: int) -> None:
        left = tasks
        while left:
            pipeline = self._client.pipeline(transaction=False)
            for _ in range(min(250, left)):
                self._number += 1
                left -= 1
                pipeline.xadd(stream, {"task_id": f"t{self._number}", "task_type": "resize", "priority": "0.7"})
            pipeline.execute()

    def _all_acknowledged(self, stream: str, batch: int) -> None:
        until = time.perf_counter() + _WITHIN_S
        last = self._client.xinfo_stream(stream)["last-generated-id"]
        while True:
            (group,) = self._client.xinfo_groups(stream)
            if group["last-delivered-id"] == last and not group["pending"]:
                return
            if time.perf_counter() > until:
                raise ChildError(f"not all acknowledged: {group}, {self._servers[batch].ask('status')}")
            time.sleep(0.002)


def _stream(name: str, batch: int) -> str:
    return f"{{bench}}:{name}:{batch}"
