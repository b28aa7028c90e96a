"""Tasks through ours, by the client SDK: Assign, hand-over on the worker's stream, the outcome by WatchTasks."""

import asyncio
import gc
import os
from collections.abc import Mapping
from itertools import count
from time import perf_counter
from typing import Any

import uvloop

from scheduler_server.client import ENDED, AsyncSchedulerClient, Delivery, SchedulerError, Task, TaskState
from tests.performance.peers.counting import Window
from tests.performance.processes import arguments, obey

_TENANT = "bench"
_WAIT_S = 10.0


class Load:
    """One client, and the tasks whose end it waits for."""

    def __init__(self, client: AsyncSchedulerClient) -> None:
        self._client = client
        self._numbers = count()
        self._ends: dict[str, asyncio.Future[None]] = {}

    async def watch(self) -> None:
        """Hear of every end."""
        async with self._client.watch_tasks(tenant=_TENANT, states=ENDED) as changes:
            async for change in changes:
                if change.status.state == TaskState.FINISHED:
                    self._ends.pop(change.status.task_id).set_result(None)

    def _task(self) -> tuple[Task, asyncio.Future[None]]:
        task_id = f"{os.getpid()}-{next(self._numbers)}"
        end = self._ends[task_id] = asyncio.get_running_loop().create_future()
        return Task(task_id=task_id, task_type="noop", tenant=_TENANT), end

    async def one_by_one(self, window: Window) -> None:
        """One after the other; many of these run side by side."""
        while window.open:
            submitted = perf_counter()
            task, end = self._task()
            await self._client.assign(task, delivery=Delivery.STREAM, wait=_WAIT_S)
            await end
            window.ended(submitted)

    async def unheard(self, window: Window) -> None:
        """As one by one, but nobody watches: a task counts when it is placed, and there are slots for so many only."""
        while window.open:
            submitted = perf_counter()
            task, _ = self._task()
            self._ends.clear()
            await self._client.assign(task, delivery=Delivery.STREAM, wait=_WAIT_S)
            window.ended(submitted)

    async def in_batches(self, window: Window, size: int) -> None:
        """So many at once, and again once all of them have ended."""
        while window.open:
            submitted = perf_counter()
            made = [self._task() for _ in range(size)]
            placed = await self._client.assign_batch([task for task, _ in made], delivery=Delivery.STREAM, enqueue=True)
            for each in placed:
                if isinstance(each, SchedulerError):
                    raise each
            for _, end in made:
                await end
                window.ended(submitted)


async def main(address: str, watched: bool) -> None:
    """Submit what the parent says."""
    async with AsyncSchedulerClient(address, wait_for_ready=True) as client, asyncio.TaskGroup() as group:
        load = Load(client)
        if watched:
            group.create_task(load.watch())

        async def run(way: str, seconds: float, ramp_s: float, in_flight: int, size: int) -> Mapping[str, Any]:
            gc.collect()
            window = Window(ramp_s, seconds)
            async with asyncio.TaskGroup() as submitting:
                for _ in range(in_flight):
                    submitting.create_task(
                        load.in_batches(window, size)
                        if way == "batches"
                        else load.one_by_one(window)
                        if watched
                        else load.unheard(window)
                    )
            return window.told()

        await obey({"run": run}, {})


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**arguments()))
