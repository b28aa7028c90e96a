"""A worker behind a network that is late, cut, or silent for a while: it comes back; nothing is lost or doubled."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from scheduler_server.client import OutcomeStatus, Task, TaskState
from tests.bad_network import BadNetwork
from tests.integration.processes import House, Server, WorkerProcess, eventually, nap, until

QUICK: dict[str, Any] = {
    "health_healthy_within_s": 2,
    "health_unhealthy_after_s": 2,
    "health_remove_after_s": 60,
    "health_heartbeat_min_s": 0.2,
    "health_heartbeat_max_s": 0.5,
    "predictor_default_ms": 100,
}


@asynccontextmanager
async def far_worker(
    house: House, *, latency_s: float = 0.0, **settings: Any
) -> AsyncIterator[tuple[Server, WorkerProcess, BadNetwork]]:
    """A worker with 4 slots whose connection goes through a bad network; the queue service is near."""
    server = await house.server(**QUICK | settings)
    async with BadNetwork(server.address) as network:
        network.latency_s = latency_s
        worker = house.worker(network.address, "far", slots=4)
        await server.connected("far")
        yield server, worker, network


async def place(server: Server, names: list[str], seconds: float) -> list[Task]:
    tasks = [nap(name, seconds) for name in names]
    await asyncio.gather(*(server.hand_over(task) for task in tasks))
    return tasks


async def all_well(server: Server, worker: WorkerProcess, tasks: list[Task]) -> None:
    """Each task ran once, to its end, and the server knows how it ended."""
    over = await server.finished(*tasks)
    assert {status.outcome.status for status in over.values() if status.outcome} == {OutcomeStatus.SUCCEEDED}
    assert Counter(worker.began()) == Counter((task.task_id, 1) for task in tasks)
    assert Counter(worker.ended_tasks()) == Counter((task.task_id, 1) for task in tasks)
    assert (await server.status()).leases == 0
    assert (await server.workers())["far"].completed == len(tasks)


async def test_300_ms_of_latency_delay_tasks_and_lose_none(house: House) -> None:
    async with far_worker(house, latency_s=0.3) as (server, worker, _):
        since = time.monotonic()
        tasks = await place(server, ["a", "b", "c", "d"], 0.2)
        await all_well(server, worker, tasks)
        assert time.monotonic() - since >= 0.3 + 0.2 + 0.3
        known = (await server.workers())["far"]
        assert await server.health("far") == "HEALTHY"
        assert known.free_slots == 4


async def test_a_reset_in_the_middle_costs_no_task_and_starts_none_twice(house: House) -> None:
    async with far_worker(house) as (server, worker, network):
        tasks = await place(server, ["a", "b", "c"], 1.5)
        await until(lambda: len(worker.began()) == 3, "all run")
        before = (await server.workers())["far"].epoch.connection
        network.cut()

        async def back() -> bool:
            known = (await server.workers())["far"]
            return known.connected and known.epoch.connection > before

        await eventually(back, "the worker has connected again")
        assert [await server.state(task) for task in tasks] == [TaskState.STARTED] * 3
        more = await place(server, ["d"], 0.1)
        await all_well(server, worker, tasks + more)


async def test_reset_after_reset_every_task_is_run_and_no_attempt_of_it_twice(house: House) -> None:
    async with far_worker(house, latency_s=0.01, assignment_ack_within_s=1) as (server, worker, network):

        async def cutting() -> None:
            for _ in range(4):
                await asyncio.sleep(0.25)
                network.cut()

        cuts = asyncio.create_task(cutting())
        tasks = []
        for number in range(12):
            tasks += await place(server, [f"t{number}"], 0.15)
        await cuts
        over = await server.finished(*tasks)
        # An offer under way when the stream broke is given up where no acknowledgement comes within its time.
        again = [task.as_attempt(2) for task in tasks if over[task.task_id].state is TaskState.LOST]
        for status in over.values():
            assert status.outcome is not None
            if status.state is TaskState.FINISHED:
                assert status.outcome.status is OutcomeStatus.SUCCEEDED
        await asyncio.gather(*(server.hand_over(task) for task in again))
        assert all(status.state is TaskState.FINISHED for status in (await server.finished(*again)).values())
        assert set(Counter(worker.began()).values()) == {1}
        assert {task_id for task_id, _ in worker.ended_tasks()} == {task.task_id for task in tasks}
        assert network.connections >= 3
        assert (await server.status()).leases == 0


async def test_a_silence_of_3_s_makes_it_unhealthy_for_that_long_and_loses_nothing(house: House) -> None:
    async with far_worker(house) as (server, worker, network):
        tasks = await place(server, ["a", "b"], 1.0)
        await until(lambda: len(worker.began()) == 2, "both run")
        before = (await server.workers())["far"].epoch
        network.silent = True
        silent_since = time.monotonic()
        # Handed over into the silence: it arrives late, within the time for its acknowledgement (5 s).
        tasks += await place(server, ["into-the-silence"], 0.1)

        async def unhealthy() -> bool:
            return await server.health("far") == "UNHEALTHY"

        await eventually(unhealthy, "it is unhealthy", 3.5)
        await until(lambda: time.monotonic() - silent_since >= 3.0, "3 s of silence")
        assert ("into-the-silence", 1) not in worker.began()
        network.silent = False

        async def healthy() -> bool:
            return await server.health("far") == "HEALTHY"

        assert await eventually(healthy, "it is healthy again") < 2.0
        await all_well(server, worker, tasks)
        assert (await server.workers())["far"].epoch == before


async def test_an_offer_that_is_not_acknowledged_in_time_is_fenced_and_stopped_where_it_arrives_late(
    house: House,
) -> None:
    async with far_worker(house, assignment_ack_within_s=1) as (server, worker, network):
        network.silent = True
        task = nap("once", 3.0)
        assert (await server.hand_over(task)).worker_id == "far"
        near = house.worker(server.address, "near", slots=1)
        await server.connected("near")

        # The offer is given up, and the server itself makes the next attempt, where there is a slot.
        await until(lambda: near.began() == [("once", 2)], "it runs elsewhere", 1.0 + 3.0)
        assert not (await server.workers())["far"].connected
        second = nap("once", 3.0, attempt=2)
        await server.finished(second)
        assert near.ended_tasks() == [("once", 2)]
        # Now the first offer arrives, and the goodbye behind it. The worker comes back with it, and is told to stop.
        network.silent = False
        await server.connected("far")
        await until(lambda: any("FENCED" in line for line in worker.errors), "it was told that it is fenced")
        await until(lambda: [said["stopped"] for said in worker.said if "ended" in said] == [True], "it is stopped")
        third = nap("again", 0.1, excluded_workers=["near"])
        await server.hand_over(third)
        await server.finished(third)
        assert worker.ended_tasks() == [("again", 1)]
        assert (await server.state(second)) is TaskState.FINISHED


async def test_connections_that_lead_nowhere_are_given_up_for_ones_that_do(house: House) -> None:
    async with far_worker(house) as (server, worker, network):
        tasks = await place(server, ["long"], 3.0)
        await until(lambda: worker.began() == [("long", 1)], "it runs")
        network.silent = True
        network.cut()  # connections are accepted and lead nowhere
        await asyncio.sleep(1.0)  # not a synchronisation: attempts are to fail
        network.cut()
        network.silent = False
        await server.connected("far")
        await all_well(server, worker, tasks)
