"""A fleet of bare five-field workers that report no outcome carries 80 % load without starving."""

import asyncio
import random
import time
from collections import Counter

import grpc
import pytest

from scheduler_api.v1 import admin_service_pb2 as admin_api
from scheduler_server.client import NoFreeSlot, Task
from tests.integration.bare_fleet import SLOTS, BareWorker
from tests.integration.processes import House, eventually

WORKERS = 20
LOAD = 0.8
MEAN_S = 0.5
LASTS_S = 12.0
PATIENCE_S = 3.0  # how long a refused task is asked for again, when the server says


@pytest.mark.slow
async def test_a_bare_fleet_that_never_reports_carries_80_percent_of_its_capacity(house: House) -> None:
    server = await house.server()
    chance = random.Random(7)
    # One in four never reads what the server says.
    fleet = {
        f"bare-{number:02}": BareWorker(f"bare-{number:02}", reads=number % 4 != 0, beat_s=chance.uniform(1.0, 2.0))
        for number in range(WORKERS)
    }
    channels = [grpc.aio.insecure_channel(server.address) for _ in range(4)]
    beating = [asyncio.create_task(worker.live(channels[number % 4])) for number, worker in enumerate(fleet.values())]
    await server.connected(*fleet)
    running: set[asyncio.Task[None]] = set()
    placed: Counter[str] = Counter()
    starved: list[str] = []
    waits: list[float] = []

    async def offer(task_id: str, seconds: float) -> None:
        since = time.monotonic()
        try:
            placement = await server.client.assign(Task(task_id=task_id, task_type="bare"), patience=PATIENCE_S)
        except NoFreeSlot:
            starved.append(task_id)
            return
        waits.append(time.monotonic() - since)
        placed[placement.worker_id] += 1
        work = asyncio.create_task(fleet[placement.worker_id].run(seconds))
        running.add(work)
        work.add_done_callback(running.discard)

    interval_s = MEAN_S / (LOAD * WORKERS * SLOTS)
    offers: list[asyncio.Task[None]] = []
    began = time.monotonic()
    while (since := time.monotonic() - began) < LASTS_S:
        while len(offers) * interval_s < since:
            offers.append(asyncio.create_task(offer(f"t{len(offers)}", chance.uniform(0.2, 0.8))))
        await asyncio.sleep(interval_s)
    await asyncio.gather(*offers)
    known = await server.workers()
    while running:
        await asyncio.wait(running)

    share = sum(placed.values()) / len(offers)
    most = sorted(worker.most for worker in fleet.values())
    deep = sum(worker.deep for worker in fleet.values()) / len(offers)
    busy = sum(worker.busy_s for worker in fleet.values()) / (LASTS_S * WORKERS * SLOTS)
    waits.sort()
    print(  # noqa: T201 -- the figure that this test is about
        f"\nbare fleet: offered {len(offers)}, placed {share:.2%}, busy {busy:.1%} of all slots;"
        f" waited p50 {waits[len(waits) // 2]:.3f} s, p99 {waits[len(waits) * 99 // 100]:.3f} s;"
        f" greatest depth p50 {most[WORKERS // 2]}, max {most[-1]} of {SLOTS} slots,"
        f" {deep:.1%} of tasks found more than {2 * SLOTS};"
        f" tasks per worker {min(placed.values())} to {max(placed.values())}"
    )
    assert len(offers) > 0.9 * LASTS_S / interval_s
    assert share >= 0.95, f"{len(starved)} of {len(offers)} starved"
    assert set(placed) == set(fleet)
    assert min(placed.values()) >= 0.5 * len(offers) / WORKERS
    # Nobody promises exactness for workers that are only estimated; these are the bounds of the simulated fleet.
    assert most[-1] <= 6 * SLOTS
    assert deep <= 0.15
    assert {worker.accounting for worker in known.values()} == {admin_api.WORKER_ACCOUNTING_SAMPLED}

    async def forgotten() -> bool:
        return (await server.status()).leases == 0

    await eventually(forgotten, "leases that nobody reported are over once samples show the slots free")
    for task in beating:
        task.cancel()
    await asyncio.gather(*beating, return_exceptions=True)
    for channel in channels:
        await channel.close()
