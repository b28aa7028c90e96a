"""A server that has learned 100,000 keys: how long its snapshot stalls it, and how long the next start takes.

The real App on the real storage, in this process, on the loop that `serve` runs on.
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from scheduler_server.app import App
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.rpc.collector import settle
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from tests.performance.harness import rounded

KEYS = 100_000
_OBSERVATIONS = 3
_WRITES = 5
_TICK_S = 0.001


def measure() -> dict[str, Any]:
    """Seconds to load, the longest stall of the loop while writing (beside that of an idle loop), and what was kept."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        try:
            return runner.run(_measure(Path(folder)))
        finally:
            gc.unfreeze()
            gc.enable()


async def _measure(folder: Path) -> dict[str, Any]:
    settings = Settings(
        server=ServerSettings(listen="127.0.0.1:0"),
        storage=StorageSettings(state_folder=str(folder / "state"), snapshot_interval_s=86_400),
        predictor=PredictorSettings(max_types=KEYS),
    )
    app = App(settings)
    await app.start()
    try:
        written = await _taught_and_written(app)
        before = _predictions(app)
    finally:
        await app.stop(0)
    size = sum(each.stat().st_size for each in (folder / "state").glob("snapshot*") if not each.name.endswith(".1"))
    started = time.perf_counter()
    again = App(settings)
    await again.start()
    load_s = time.perf_counter() - started
    try:
        same = _predictions(again) == before
    finally:
        await again.stop(0)
    return {"keys": KEYS, "load_s": rounded(load_s), "bytes": size, "same_predictions": same, **written}


async def _taught_and_written(app: App) -> dict[str, Any]:
    predictor, keeper = app.core.predictor, app.stores.snapshots
    assert keeper is not None
    for turn in range(_OBSERVATIONS):
        for number in range(KEYS):
            predictor.observe(_task(number), 1_000.0 + number % 977 + 10 * turn)
    settle()  # as `serve` does, so that no full collection falls into a write
    stalls_s: list[float] = []
    idle_s: list[float] = []
    took_s: list[float] = []
    records: list[int] = []

    async def write() -> None:
        started = time.perf_counter()
        records.append(await keeper.write())
        took_s.append(time.perf_counter() - started)

    for _ in range(_WRITES):
        stalls_s.append(await _longest_stall_s(write))
        idle_s.append(await _longest_stall_s(lambda: asyncio.sleep(took_s[-1])))
    return {
        "records": records[-1],
        "write_s": rounded(median(took_s)),
        "stall_ms": rounded(1e3 * median(stalls_s)),
        "stall_ms_worst": rounded(1e3 * max(stalls_s)),
        "stall_ms_idle": rounded(1e3 * median(idle_s)),
        "writes": _WRITES,
    }


def _predictions(app: App) -> list[Prediction]:
    return [app.core.predictor.predict(_task(number)) for number in range(0, KEYS, 97)]


def _task(number: int) -> Task:
    return Task("", "t", 1, f"type {number}")


async def _longest_stall_s(work: Callable[[], Awaitable[None]]) -> float:
    """How late the latest tick of a millisecond came while the work went on."""
    worst = 0.0
    done = False

    async def tick() -> None:
        nonlocal worst
        due = time.perf_counter() + _TICK_S
        while not done:
            await asyncio.sleep(_TICK_S)
            now = time.perf_counter()
            worst = max(worst, now - due)
            due = now + _TICK_S

    ticking = asyncio.create_task(tick())
    try:
        await asyncio.sleep(10 * _TICK_S)  # it ticks before the work begins
        await work()
    finally:
        done = True
        await ticking
    return worst
