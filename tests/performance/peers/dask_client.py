"""Tasks through Dask distributed: client.submit one by one, client.map in batches."""

import asyncio
import gc
from collections.abc import Mapping
from importlib.metadata import version
from itertools import count
from time import perf_counter
from typing import Any

import uvloop
from distributed import Client, wait  # type: ignore[import-not-found]  # lives in an environment of its own

from tests.performance.peers.counting import Window
from tests.performance.peers.dask_tasks import noop
from tests.performance.processes import arguments, obey

_numbers = count()


async def _submitted(client: Any, window: Window, fetch: bool) -> None:
    while window.open:
        submitted = perf_counter()
        future = client.submit(noop, next(_numbers), pure=False)
        if fetch:
            await future.result()
        else:
            await wait(future)  # that it has ended, without its result: one round trip less
        window.ended(submitted)


async def _mapped(client: Any, window: Window, size: int, fetch: bool) -> None:
    while window.open:
        submitted = perf_counter()
        futures = client.map(noop, [next(_numbers) for _ in range(size)], pure=False)
        if fetch:
            await client.gather(futures)
        else:
            await wait(futures)
        for _ in futures:
            window.ended(submitted)


async def main(scheduler: str, workers: int) -> None:
    """Submit what the parent says."""
    async with Client(scheduler, asynchronous=True, set_as_default=True) as client:
        await client.wait_for_workers(workers)

        async def run(
            way: str, seconds: float, ramp_s: float, in_flight: int, size: int, fetch: bool = True
        ) -> Mapping[str, Any]:
            gc.collect()
            window = Window(ramp_s, seconds)
            async with asyncio.TaskGroup() as submitting:
                for _ in range(in_flight):
                    submitting.create_task(
                        _mapped(client, window, size, fetch) if way == "batches" else _submitted(client, window, fetch)
                    )
            return window.told()

        await obey({"run": run}, {"versions": {name: version(name) for name in ("dask", "distributed", "uvloop")}})


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**arguments()))
