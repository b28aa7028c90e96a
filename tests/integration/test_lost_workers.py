"""Workers that die, hang, and are replaced, as processes."""

import asyncio
import signal
import time
from typing import Any

import pytest

from scheduler_server.client import AttemptLost, NoFreeSlot, OutcomeStatus, Task, TaskState
from tests.integration.processes import House, eventually, nap, until

QUICK: dict[str, Any] = {
    "health_healthy_within_s": 2,
    "health_unhealthy_after_s": 2,
    "health_remove_after_s": 4,
    "health_heartbeat_min_s": 0.2,
    "health_heartbeat_max_s": 0.5,
    "health_cleanup_interval_s": 0.1,
}
SWEEP_S = 1.0  # how late an event of health may be, beyond its threshold
SLACK_S = 1.5  # how late anything may be on two busy cores


async def test_a_killed_worker_gets_nothing_more_at_once_and_is_removed_after_its_time(house: House) -> None:
    server = await house.server(**QUICK)
    workers = {worker.worker_id: worker for worker in await house.workers(server, "a", "b", slots=20)}
    task = nap("long", 60.0)
    placement = await server.hand_over(task)
    victim = workers.pop(placement.worker_id)
    ((survivor_id, survivor),) = workers.items()
    await until(lambda: victim.began() == [("long", 1)], "the task runs")

    killed_at = time.monotonic()
    victim.signal(signal.SIGKILL)

    async def lost() -> bool:
        return not (await server.workers())[victim.worker_id].connected

    # Long before any timer: the threshold of silence is 2 s.
    assert await eventually(lost, "the stream is known to be lost") < 1.0
    assert await server.health(victim.worker_id) == "UNHEALTHY"
    elsewhere = [await server.hand_over(nap(f"after-{number}", 0.0)) for number in range(10)]
    assert {each.worker_id for each in elsewhere} == {survivor_id}

    known = (await server.workers())[victim.worker_id]
    assert known.running_leases == 1
    assert await server.state(task) is TaskState.STARTED
    again = await server.hand_over(task)
    assert (again.replayed, again.lease_id) == (True, placement.lease_id)

    async def removed() -> bool:
        return victim.worker_id not in await server.workers()

    await eventually(removed, "the worker is removed", QUICK["health_remove_after_s"] + SWEEP_S + SLACK_S)
    # Its last heartbeat was at most one interval before its death.
    assert time.monotonic() - killed_at >= QUICK["health_remove_after_s"] - 0.6
    status = await server.client.get_task("long")
    assert status.state is TaskState.LOST
    assert status.outcome is not None
    assert status.outcome.status is OutcomeStatus.LOST
    assert (await server.status()).leases == 0
    with pytest.raises(AttemptLost) as refused:
        await server.hand_over(task)
    assert refused.value.next_attempt == 2

    retry = nap("long", 60.0, attempt=2)
    assert (await server.hand_over(retry)).worker_id == survivor_id
    await until(lambda: ("long", 2) in survivor.began(), "the second attempt runs")


async def test_a_worker_that_hangs_is_unhealthy_until_it_goes_on_and_its_tasks_go_on_too(house: House) -> None:
    server = await house.server(**QUICK | {"health_remove_after_s": 60})
    (worker,) = await house.workers(server, "a", slots=4)
    task = nap("through-it-all", 6.0)
    await server.hand_over(task)
    await until(lambda: worker.began() == [("through-it-all", 1)], "the task runs")
    before = (await server.workers())["a"]

    stopped_at = time.monotonic()
    worker.signal(signal.SIGSTOP)

    async def unhealthy() -> bool:
        return await server.health("a") == "UNHEALTHY"

    await eventually(unhealthy, "the worker is unhealthy", 2.0 + SWEEP_S + SLACK_S)
    assert time.monotonic() - stopped_at >= 2.0 - 0.6  # 0.5 s of interval, jittered
    with pytest.raises(NoFreeSlot) as refused:
        await server.client.assign(Task(task_id="nobody", task_type="nap"))
    assert refused.value.reason == "NO_ELIGIBLE_WORKER_NOW"
    assert (await server.workers())["a"].connected
    assert await server.state(task) is TaskState.STARTED

    worker.signal(signal.SIGCONT)

    async def healthy() -> bool:
        return await server.health("a") == "HEALTHY"

    assert await eventually(healthy, "the worker is healthy again") < SLACK_S
    assert (await server.client.assign(Task(task_id="somebody", task_type="nap"))).worker_id == "a"
    outcome = (await server.finished(task))["through-it-all"].outcome
    assert outcome is not None
    assert outcome.status is OutcomeStatus.SUCCEEDED
    assert worker.began() == [("through-it-all", 1)]
    assert (await server.workers())["a"].epoch == before.epoch  # the stream was never lost


async def test_a_second_process_of_the_same_name_takes_over_and_the_first_one_ends(house: House) -> None:
    server = await house.server(**QUICK | {"health_remove_after_s": 60, "worker_reconcile_grace_s": 0.5})
    (first,) = await house.workers(server, "a")
    task = nap("of-the-first", 60.0)
    await server.hand_over(task)
    await until(lambda: first.began() == [("of-the-first", 1)], "the task runs")
    boot = (await server.workers())["a"].epoch.boot_id

    second = house.worker(server.address, "a")
    assert await first.ended() == 3
    (last,) = (said for said in first.said if "failed" in said)
    assert last["failed"] == "WorkerSuperseded"

    async def of_the_second() -> bool:
        worker = (await server.workers())["a"]
        return worker.connected and worker.epoch.boot_id != boot

    await eventually(of_the_second, "the second process has the name")

    # The second does not run the first one's task; after the grace it is lost, and its slot is free.
    async def lost() -> bool:
        return await server.state(task) is TaskState.LOST

    await eventually(lost, "the first one's task is lost")
    retry = nap("of-the-first", 0.05, attempt=2)
    assert (await server.hand_over(retry)).worker_id == "a"
    assert (await server.finished(retry))["of-the-first"].state is TaskState.FINISHED
    assert second.began() == [("of-the-first", 2)]
    assert second.running


async def test_two_processes_of_one_name_do_not_take_it_from_each_other_for_ever(house: House) -> None:
    server = await house.server(**QUICK)
    names = [house.worker(server.address, "a") for _ in range(4)]
    await until(lambda: sum(worker.running for worker in names) == 1, "one of four is left")
    await server.connected("a")
    await server.hand_over(nap("one", 0.05))
    await server.finished(nap("one", 0.05))
    assert sum(worker.running for worker in names) == 1
    assert sum(len(worker.began()) for worker in names) == 1


async def test_a_worker_told_to_stop_finishes_what_runs_leaves_and_is_forgotten(house: House) -> None:
    server = await house.server()
    (worker,) = await house.workers(server, "a", slots=2)
    task = nap("last", 0.6)
    await server.hand_over(task)
    await until(lambda: worker.began() == [("last", 1)], "the task runs")
    worker.signal(signal.SIGTERM)

    async def draining() -> bool:
        known = (await server.workers()).get("a")
        return known is None or known.draining

    await eventually(draining, "it drains")
    assert await worker.ended() == 0
    assert (await server.client.get_task("last")).state is TaskState.FINISHED
    assert await server.workers() == {}


async def test_a_cancelled_task_is_stopped_on_its_worker(house: House) -> None:
    server = await house.server()
    (worker,) = await house.workers(server, "a", slots=2)
    tasks = [nap("sync", 60.0), nap("async", 60.0, task_type="async-nap")]
    for task in tasks:
        await server.hand_over(task)
    await until(lambda: len(worker.began()) == 2, "both run")
    told = await asyncio.gather(*(server.client.cancel_task(task.task_id) for task in tasks))
    assert all(each.worker_told for each in told)
    await until(lambda: sum("ended" in said for said in worker.said) == 2, "both handlers end")
    assert {said["stopped"] for said in worker.said if "ended" in said} == {True}
    assert [await server.state(task) for task in tasks] == [TaskState.CANCELLED] * 2
    await server.hand_over(nap("next", 0.0))
    await server.finished(nap("next", 0.0))
