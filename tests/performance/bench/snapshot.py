"""Does a snapshot of 100,000 task types stall the event loop, and how soon does a restart know them again?

A ticker on the loop wants to run every millisecond; its lateness while nothing happens is what machine and neighbours
do by themselves, its lateness while an edition is written is that and what snapshots add.
"""

import asyncio
import gc
import logging
import random
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from scheduler_server.app import App
from scheduler_server.model.task import Task
from scheduler_server.rpc.collector import settle
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from tests.performance.harness import Plan, progress, report, rounded, target
from tests.performance.stats import median_interval
from tests.redis_server import any_executable, redis_server

KEYS = 100_000
_TICK_S = 0.001
_IDLE_S = 0.5  # about as long as a write, so that both see the same of the neighbours
_ROUNDS = 7


def run(plan: Plan) -> dict[str, Any]:
    """To a file and to a Redis on a socket of this machine."""
    rounds = plan.pair_count(_ROUNDS)
    logging.disable(logging.WARNING)  # this Redis saves nothing, on purpose
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder) / "r", program=any_executable()) as server:
        where = {"file": "", "redis": server.unix_url}
        found = {name: _on_a_loop_of_its_own(Path(folder) / name, url, rounds) for name, url in where.items()}
    logging.disable(logging.NOTSET)
    targets = []
    for name, each in found.items():
        targets += [
            target(f"{name} stall ms", "<=", 5.0, each["write_max_ms"]),
            target(f"{name} load s", "<=", 2.0, each["load_s"]),
        ]
    return report("snapshot", {"keys": KEYS, **found}, targets, rounds, None)


def _on_a_loop_of_its_own(folder: Path, url: str, rounds: int) -> dict[str, Any]:
    try:
        import uvloop  # as the server runs, where it exists
    except ImportError:
        return asyncio.run(_measure(folder, url, rounds))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(folder, url, rounds))


async def _measure(folder: Path, url: str, rounds: int) -> dict[str, Any]:
    settings = Settings(
        server=ServerSettings(listen="127.0.0.1:0"),
        storage=StorageSettings(state_folder=str(folder), snapshot_url=url, snapshot_interval_s=86_400),
    )
    app = App(settings)
    await app.start()
    chance = random.Random(1)
    for number in range(KEYS):
        app.core.predictor.observe(Task("", "t", 1, f"type-{number}"), chance.lognormvariate(8.0, 1.0))
    keeper = app.stores.snapshots
    assert keeper is not None
    gc.collect()
    settle()
    idle: list[float] = []
    writing: list[float] = []
    took: list[float] = []
    for _ in range(rounds):
        idle.append((await _lateness_ms(asyncio.sleep(_IDLE_S)))[0])
        worst, seconds = await _lateness_ms(keeper.write())
        writing.append(worst)
        took.append(seconds)
    await app.stop(0.0)
    loads = []
    for _ in range(3):
        again = App(settings)
        began = time.perf_counter()
        await again.start()
        loads.append(time.perf_counter() - began)
        known = sum(1 for _ in again.core.predictor.state())
        assert known >= KEYS, known
        await again.stop(0.0)
    gc.unfreeze()
    progress(f"snapshot: {keeper.backend} done")
    return {
        # The median of the rounds' worst: one round's is as often a neighbour's doing, as `idle_max_ms` shows.
        "write_max_ms": rounded(median_interval(writing).median),
        "write_max_ms_worst_round": rounded(max(writing)),
        "idle_max_ms": rounded(median_interval(idle).median),
        "idle_max_ms_worst_round": rounded(max(idle)),
        "write_s": rounded(median_interval(took).median),
        "load_s": rounded(max(loads)),
        "size_bytes": keeper.size_bytes,
    }


async def _lateness_ms(beside: Awaitable[object]) -> tuple[float, float]:
    """How late the ticker was at worst, and how long the work took in seconds."""
    worst = 0.0

    async def tick() -> None:
        nonlocal worst
        while True:
            due = time.perf_counter() + _TICK_S
            await asyncio.sleep(_TICK_S)
            worst = max(worst, time.perf_counter() - due)

    ticking = asyncio.get_running_loop().create_task(tick())
    await asyncio.sleep(0.01)
    worst = 0.0
    began = time.perf_counter()
    await beside
    seconds = time.perf_counter() - began
    ticking.cancel()
    return worst * 1_000.0, seconds
