"""Drains of real workers under a real server, while both are killed and come back.

Nothing is lost, nothing done twice, and what is told of the drain is true at every moment.

`make drains` has the thirty rounds; without it there are a few, in about fifteen seconds.
"""

import asyncio
import itertools
import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_server.client import AsyncSchedulerClient, Delivery, LossPolicy, SchedulerError, TaskState
from tests.integration.processes import House, Server, WorkerProcess, eventually, free_port, nap, until

SETTINGS: dict[str, Any] = {"predictor_default_ms": 100, "health_restart_grace_s": 20}
SLOTS, PREFETCH = 2, 2
NAMES = ("a", "b", "c")
ROUNDS = int(os.environ.get("DRAINS", "4"))
_BACKLOG = 30
_TOLD_WITHIN_S = 1.0  # far longer than a report takes
COMPLETE, CANCELLED = admin.DRAIN_STATE_COMPLETE, admin.DRAIN_STATE_CANCELLED


async def ask(server: Server, method: str, request: Any) -> Any:
    return await server.client.call(getattr(server.client.admin, method), request)


async def status(server: Server, drain_id: str) -> admin.DrainStatus:
    told: admin.DrainStatus = (await ask(server, "GetDrain", admin.GetDrainRequest(drain_id=drain_id))).drain
    return told


class Truth:
    """What a drain may never say: that something was undone, or other sums than its parts'."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._last = (0, 0, 0)
        self.looks = 0

    def look(self, told: admin.DrainStatus) -> None:
        """One look, later than the one before."""
        self.looks += 1
        counts = (told.returned_tasks, told.finished_tasks, told.stopped_tasks)
        assert all(now >= before for now, before in zip(counts, self._last, strict=True)), (self._last, told)
        self._last = counts
        if told.state == CANCELLED:
            return
        assert told.worker_count == self._workers, told
        if len(told.workers) == told.worker_count:
            assert sum(each.remaining_leases for each in told.workers) == told.remaining_leases, told
            assert sum(each.returned_tasks for each in told.workers) == told.returned_tasks, told
            assert sum(each.finished_tasks for each in told.workers) == told.finished_tasks, told
            assert sum(not each.remaining_leases for each in told.workers) == told.empty_workers, told
            assert all(each.pending_returns <= each.remaining_leases for each in told.workers), told
        assert (told.state == COMPLETE) == (told.remaining_leases == 0), told
        assert told.HasField("ended_at") == (told.state == COMPLETE), told


class Load:
    """Naps put into the queue of whatever server is there, and what was promised of them."""

    def __init__(self) -> None:
        self.promised: set[str] = set()
        self.stopped = False
        self._number = itertools.count(1)
        self._chance = random.Random(7)

    async def run(self, client: Callable[[], AsyncSchedulerClient], begun: Callable[[], int]) -> None:
        """Several callers until it is stopped, over restarts of the server."""
        await asyncio.gather(*(self._one(client, begun) for _ in range(4)))

    async def _one(self, client: Callable[[], AsyncSchedulerClient], begun: Callable[[], int]) -> None:
        """A call without an answer is asked again; not so much more is offered than is worked off."""
        while not self.stopped:
            if len(self.promised) - begun() > _BACKLOG:
                await asyncio.sleep(0.02)
                continue
            name, long_s = f"t-{next(self._number)}", self._chance.uniform(0.05, 0.4)
            task = nap(name, long_s, loss_policy=LossPolicy.REQUEUE)
            while not self.stopped:
                with suppress(SchedulerError):
                    answer = await client().assign(task, delivery=Delivery.STREAM, enqueue=True, timeout=5.0)
                    assert answer.state is not TaskState.LOST
                    self.promised.add(task.task_id)
                    break
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.04)


class Fleet:
    """Worker processes by name; one that is killed is followed by another of that name. All that ran is known."""

    def __init__(self, house: House, port: int) -> None:
        self._house = house
        self._address = f"127.0.0.1:{port}"
        self.all: list[WorkerProcess] = []
        self.now: dict[str, WorkerProcess] = {}

    def begin(self, name: str) -> None:
        zone = {"zone": f"z-{name}"}
        made = self._house.worker(self._address, name, slots=SLOTS, prefetch=PREFETCH, labels=zone, drain_timeout=10.0)
        self.all.append(made)
        self.now[name] = made

    def began(self) -> Counter[str]:
        """How often each task began, wherever."""
        return Counter(task_id for worker in self.all for task_id, _ in worker.began())

    def lines(self) -> int:
        """About how many tasks began: each says so, and that it ended."""
        return sum(len(worker.lines) for worker in self.all) // 2

    def ended(self) -> Counter[str]:
        """How often each task ran to its end."""
        return Counter(task_id for worker in self.all for task_id, _ in worker.ended_tasks())


class Scene:
    """A server on one port, whichever process it is now, three workers and a load."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.port = free_port()
        self.server: Server
        self.fleet = Fleet(house, self.port)
        self.load = Load()
        self.running: asyncio.Task[None] | None = None
        self.untold_since = math.inf  # the monotonic second since which workers may have had no server

    async def begin(self) -> None:
        self.server = await self._house.server(port=self.port, **SETTINGS)
        for name in NAMES:
            self.fleet.begin(name)
        await self.server.connected(*NAMES)
        self.running = asyncio.create_task(self.load.run(lambda: self.server.client, self.fleet.lines))

    async def kill_server(self) -> None:
        self.untold_since = time.monotonic()
        self.server.signal(signal.SIGKILL)
        await self.server.ended()
        self.server = await self._house.server(port=self.port, **SETTINGS)

    async def follow(self, drain_id: str, truth: Truth) -> None:
        """Look at a drain again and again, over restarts, until it is complete."""
        while True:
            client = self.server.client
            with suppress(SchedulerError):
                while True:
                    request = admin.GetDrainRequest(drain_id=drain_id)
                    answer = await client.call(client.admin.GetDrain, request, timeout=5.0)
                    truth.look(answer.drain)
                    if answer.drain.state == COMPLETE:
                        return
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)

    async def watch(self, drain_id: str, truth: Truth) -> None:
        """The same by its stream. A message has only the workers that changed, so only sums are looked at."""
        while True:
            with suppress(grpc.aio.AioRpcError):
                call = self.server.client.admin.WatchDrain(admin.WatchDrainRequest(drain_id=drain_id))
                async for message in call:
                    del message.drain.workers[:]
                    truth.look(message.drain)
                return
            await asyncio.sleep(0.05)

    async def kill_worker(self, name: str) -> set[str]:
        """One more process of that name; which tasks the one before was killed with.

        Those are among them of which it may not have told the end: it had just ended them, or had no server to tell.
        """
        before = self.fleet.now[name]
        before.signal(signal.SIGKILL)
        since = min(time.monotonic(), self.untold_since) - _TOLD_WITHIN_S
        await before.ended()
        self.fleet.begin(name)
        told = {each["ended"] for each in before.said if "ended" in each and each["at"] < since}
        return {task_id for task_id, _ in before.began()} - told

    async def end_worker(self, name: str) -> None:
        """It drains by its own wish and leaves; another takes its name."""
        before = self.fleet.now[name]
        before.signal(signal.SIGTERM)
        assert await before.ended(30.0) == 0
        assert {task_id for task_id, _ in before.began()} == {task_id for task_id, _ in before.ended_tasks()}
        self.fleet.begin(name)

    async def over(self) -> None:
        """All that was promised is done."""
        self.load.stopped = True
        assert self.running is not None
        await self.running

        async def all_over() -> bool:
            told = await self.server.status()
            return not told.waiting_tasks and not told.leases

        await eventually(all_over, f"nothing waits or runs of {len(self.load.promised)} tasks", within_s=60.0)


@pytest.mark.timeout(60 + 25 * ROUNDS)
async def test_a_fleet_is_drained_under_load_while_workers_and_server_are_killed(house: House) -> None:
    scene = Scene(house)
    await scene.begin()
    chance = random.Random(11)
    killed: set[str] = set()  # tasks that a worker was killed with
    looks = returned = 0
    for number in range(ROUNDS):
        name, other = NAMES[number % 3], NAMES[(number + 1) % 3]
        drain_id, enough = f"d-{number}", len(scene.load.promised) + 15
        await until(lambda least=enough: len(scene.load.promised) > least, "there is load")  # type: ignore[misc] # mypy has no type for the default
        whom: dict[str, Any] = {"match_labels": {"zone": f"z-{name}*"}} if number % 2 else {"worker_ids": [name]}
        truth, seen = Truth(1), Truth(1)
        truth.look(
            (await ask(scene.server, "DrainWorkers", admin.DrainWorkersRequest(drain_id=drain_id, **whom))).drain
        )
        following = asyncio.gather(scene.follow(drain_id, truth), scene.watch(drain_id, seen))
        await asyncio.sleep(chance.uniform(0.0, 0.1))  # a moment that nothing here has chosen
        if number % 2 == 0:
            await scene.kill_server()
        if number % 4 == 1:
            killed |= await scene.kill_worker(name)
        elif number % 4 == 2:
            killed |= await scene.kill_worker(other)
        elif number % 4 == 3:
            await scene.end_worker(other)
        await scene.server.connected(*NAMES)
        async with asyncio.timeout(40):
            await following
        scene.untold_since = math.inf
        told = await status(scene.server, drain_id)
        truth.look(told)
        assert (told.state, told.remaining_leases) == (COMPLETE, 0)
        worker = (await scene.server.workers())[name]
        assert (worker.draining, list(worker.drain_ids), worker.running_leases) == (True, [drain_id], 0)
        looks, returned = looks + truth.looks + seen.looks, returned + told.returned_tasks
        await ask(scene.server, "CancelDrain", admin.CancelDrainRequest(drain_id=drain_id))
    await scene.over()
    began, ended, promised = scene.fleet.began(), scene.fleet.ended(), scene.load.promised
    # Who was killed with a task did it in part; it was done again, since its loss policy says so. Nothing else was.
    assert {task_id: times for task_id, times in began.items() if times > 1 and task_id not in killed} == {}
    assert {task_id: times for task_id, times in ended.items() if times > 1 and task_id not in killed} == {}
    lost = [(task_id, (await scene.server.client.get_task(task_id)).message) for task_id in promised - set(ended)]
    assert not lost
    print(  # noqa: T201 -- a figure of the test
        f"{ROUNDS} drains: {len(promised)} tasks promised, {len(killed)} in the hands of killed workers,"
        f" {returned} handed back, {looks} looks at progress, none of them wrong"
    )


async def test_a_worker_that_is_told_to_end_gives_back_first_and_finishes_what_runs(house: House) -> None:
    server = await house.server(**SETTINGS)
    (going,) = await house.workers(server, "going", slots=1, prefetch=2, drain_timeout=30.0)
    long, *held = [nap(name, 1.5 if name == "long" else 0.01) for name in ("long", "held-1", "held-2")]
    for task in (long, *held):
        await server.hand_over(task)
    await until(lambda: going.began() == [("long", 1)], "the first runs")
    (staying,) = await house.workers(server, "staying", slots=2)
    going.signal(signal.SIGTERM)
    assert await going.ended(30.0) == 0
    await until(lambda: len(staying.ended_tasks()) == len(held), "what was held is done elsewhere")
    assert (await server.finished(long))["long"].state is TaskState.FINISHED
    assert [sorted(each.began()) for each in (going, staying)] == [[("long", 1)], [("held-1", 2), ("held-2", 2)]]
    (own,) = (await ask(server, "ListDrains", admin.ListDrainsRequest())).drains
    assert (own.author, list(own.worker_ids), own.state) == ("going", ["going"], COMPLETE)
    assert (own.returned_tasks, own.finished_tasks, own.remaining_leases) == (2, 1, 0)
