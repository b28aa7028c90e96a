"""Tasks that wait in a server which is killed: what it promised is there again, once, in its order."""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from typing import Any

import grpc
import psutil
import pytest

from scheduler_server.client import AsyncSchedulerClient, Delivery, SchedulerError, ServerUnavailable, TaskState
from tests.integration.processes import DEADLINE_S, House, WorkerProcess, eventually, free_port, nap, until

NAMES = ("a", "b")
SETTINGS: dict[str, Any] = {"predictor_default_ms": 100}


class Promised:
    """Naps put into the queue of whatever server is there, and which of them it has answered WAITING or PLACED."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.waiting: set[str] = set()
        self.placed: set[str] = set()
        self.unanswered: set[str] = set()
        self._number = 0

    async def run(self, client: AsyncSchedulerClient, callers: int = 8) -> None:
        """Several callers at once, until the server is gone."""
        await asyncio.gather(*(self._one(client) for _ in range(callers)))

    async def _one(self, client: AsyncSchedulerClient) -> None:
        while True:
            self._number += 1
            task = nap(f"t-{self._number}", self._seconds)
            try:
                answer = await client.assign(task, delivery=Delivery.STREAM, enqueue=True, timeout=5.0)
            except SchedulerError:
                self.unanswered.add(task.task_id)
                return
            (self.waiting if answer.state is TaskState.WAITING else self.placed).add(task.task_id)
            await asyncio.sleep(0.05)


async def more(promised: Promised, count: int, running: "asyncio.Task[None]") -> None:
    """Wait until so many more tasks wait."""
    enough = len(promised.waiting) + count
    await until(lambda: len(promised.waiting) >= enough or running.done(), f"{enough} have been promised a place")
    assert not running.done()


def began(workers: list[WorkerProcess]) -> Counter[str]:
    """How often each task began, wherever."""
    return Counter(task_id for worker in workers for task_id, _ in worker.began())


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kills", [int(os.environ.get("KILLS", "3"))])  # make kills: 20, three minutes
async def test_what_was_promised_is_there_again_once_however_often_the_server_is_killed(
    house: House, kills: int
) -> None:
    port = free_port()
    server = await house.server(port=port, **SETTINGS)
    workers = await house.workers(server, *NAMES, slots=3)
    promised = Promised(0.08)
    for _ in range(kills):
        running = asyncio.create_task(promised.run(server.client))
        await more(promised, 40, running)
        await asyncio.sleep(random.uniform(0.0, 0.2))  # a moment that nothing here has chosen
        server.signal(signal.SIGKILL)
        await server.ended()
        await running
        server = await house.server(port=port, **SETTINGS)
        await server.connected(*NAMES)

    await until(lambda: promised.waiting <= set(began(workers)), f"all of {len(promised.waiting)} ran", within_s=120.0)
    done = began(workers)
    assert {task_id: times for task_id, times in done.items() if times > 1} == {}
    print(f"{kills} kills: {len(promised.waiting)} waited, {len(promised.placed)} placed at once, all began once")  # noqa: T201 -- a figure of the test


async def test_after_a_kill_they_wait_in_the_same_order_with_an_expected_start(house: House) -> None:
    port = free_port()
    server = await house.server(port=port, **SETTINGS)
    await house.workers(server, "a", slots=1)
    await server.hand_over(nap("long", 600.0))
    names = [f"t-{number}" for number in range(50)]
    for at, name in enumerate(names):
        task = nap(name, 0.01, priority=(at * 37 % 50) / 50)
        answer = await server.client.assign(task, delivery=Delivery.STREAM, enqueue=True)
        assert answer.state is TaskState.WAITING
    before = {name: (await server.client.get_task(name)).waiting for name in names}
    server.signal(signal.SIGKILL)
    await server.ended()
    again = await house.server(port=port, **SETTINGS)
    await again.connected("a")
    after = {name: (await again.client.get_task(name)).waiting for name in names}
    for name in names:
        was, now = before[name], after[name]
        assert was is not None
        assert now is not None
        assert now.position == was.position
        assert now.expected_start_p50 is not None
    assert sorted(each.position for each in after.values() if each is not None) == list(range(50))


async def test_going_down_by_sigterm_answers_who_waits_and_keeps_what_was_promised(house: House) -> None:
    port = free_port()
    server = await house.server(port=port, **SETTINGS)
    (worker,) = await house.workers(server, "a", slots=1)
    await server.hand_over(nap("long", 2.0))
    call = asyncio.create_task(server.client.assign(nap("patient", 0.01), delivery=Delivery.STREAM, wait=60))
    kept = await server.client.assign(nap("kept", 0.01), delivery=Delivery.STREAM, enqueue=True)
    assert kept.state is TaskState.WAITING

    async def both_wait() -> bool:
        return (await server.status()).waiting_tasks == 2

    await eventually(both_wait, "both wait")
    began_at = time.monotonic()
    assert await server.terminate() == 0
    assert time.monotonic() - began_at < DEADLINE_S / 3  # nobody waited for the call that waits
    with pytest.raises(ServerUnavailable):
        await call
    again = await house.server(port=port, **SETTINGS)
    await until(lambda: ("kept", 1) in worker.began(), "what was kept runs")
    assert worker.began().count(("kept", 1)) == 1
    assert ("patient", 1) not in worker.began()
    assert (await again.status()).waiting_tasks == 0


async def test_a_task_that_is_not_due_starts_in_its_time_by_the_clock_on_the_wall(house: House) -> None:
    server = await house.server(**SETTINGS)
    (worker,) = await house.workers(server, "a", slots=1)
    due = time.time() + 1.5
    task = nap("later", 0.01).to_proto()
    task.not_before.FromMilliseconds(round(due * 1_000))
    answer = await server.client.assign(task, delivery=Delivery.STREAM, enqueue=True)
    assert answer.state is TaskState.WAITING
    async with server.client.watch_tasks(tasks=["later"]) as changes:
        async for change in changes:
            if change.status.state is TaskState.STARTED:
                break
    late_s = time.time() - due
    assert worker.began() == [("later", 1)]
    assert change.status.placed_at is not None
    assert change.status.placed_at.timestamp() >= due - 0.002
    assert late_s < DEADLINE_S


async def test_a_disk_without_room_refuses_what_would_have_to_be_kept_and_nothing_else(house: House) -> None:
    server = await house.server(**SETTINGS)
    await house.workers(server, "a", slots=1)
    await server.hand_over(nap("long", 600.0))
    kept = await server.client.assign(nap("kept", 0.01), delivery=Delivery.STREAM, enqueue=True)
    assert kept.state is TaskState.WAITING
    process = psutil.Process(server.pid)
    process.rlimit(psutil.RLIMIT_FSIZE, (1_000, -1))  # no file may grow beyond that: writes fail as on a full disk
    with pytest.raises(ServerUnavailable, match="STORE_UNAVAILABLE: the task was not kept: the journal does not work"):
        await server.client.assign(nap("refused", 0.01), delivery=Delivery.STREAM, enqueue=True, timeout=10.0)
    status = await server.status()
    assert [part.name for part in status.degraded] == ["store.journal"]
    assert status.waiting_tasks == 1
    await house.workers(server, "b", slots=1)  # takes the one that waits
    await server.finished(nap("kept", 0.01))
    assert (await server.hand_over(nap("plain", 0.01))).worker_id == "b"
    process.rlimit(psutil.RLIMIT_FSIZE, (-1, -1))

    async def works_again() -> bool:
        return not (await server.status()).degraded

    await eventually(works_again, "the journal works again")
    for name in ("x", "refused"):
        await server.client.assign(nap(name, 600.0), delivery=Delivery.STREAM, enqueue=True)
    assert (await server.client.get_task("refused")).state is TaskState.WAITING


async def test_a_client_that_is_killed_while_it_waits_leaves_no_place_behind(house: House) -> None:
    server = await house.server(**SETTINGS)
    program = (
        "import sys; from scheduler_server.client import SchedulerClient, Task;"
        "SchedulerClient(sys.argv[1]).assign(Task(task_id='t', task_type='x'), wait=600)"
    )
    caller = house.child([sys.executable, "-c", program, server.address])

    async def waiting(count: int) -> bool:
        return (await server.status()).waiting_tasks == count

    await eventually(lambda: waiting(1), "it waits")
    caller.signal(signal.SIGKILL)
    await eventually(lambda: waiting(0), "its place is free")
    with pytest.raises(SchedulerError) as raised:
        await server.client.get_task("t")
    assert raised.value.code is grpc.StatusCode.NOT_FOUND
