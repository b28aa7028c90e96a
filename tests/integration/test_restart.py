"""The server goes, by SIGTERM or kill -9, and comes back on its port and state folder: nothing is lost or doubled."""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from scheduler_api.v1 import admin_service_pb2 as admin_api
from scheduler_server.client import DecisionCause, DecisionSource, OutcomeStatus, Task, TaskState, TaskUnknown
from tests.integration.processes import (
    House,
    Load,
    Server,
    WorkerProcess,
    eventually,
    free_port,
    nap,
    until,
)

COMMITTED_S = 1.0  # the flush interval, and time for a commit on a busy disk
NAMES = ("a", "b", "c")
SETTINGS: dict[str, Any] = {"predictor_default_ms": 300, "fallback_retry_after_s": 3600}


async def learned(server: Server, task_id: str, task_type: str = "async-nap") -> tuple[int, float]:
    """Samples and milliseconds of the prediction for a type, by placing one more task of it that nobody delivers."""
    placement = await server.client.assign(Task(task_id=task_id, task_type=task_type), patience=10.0)
    prediction = placement.response.decision.prediction
    return prediction.sample_count, prediction.point_ms


async def teach(server: Server, *seconds: float, task_type: str = "async-nap") -> None:
    """Let tasks of one type run, one after another."""
    for number, each in enumerate(seconds):
        task = nap(f"lesson-{server.pid}-{number}", each, task_type=task_type)
        await server.hand_over(task)
        await server.finished(task)


async def offered(server: Server, load: Load, tasks: int) -> "asyncio.Task[None]":
    """Begin to offer a load, and wait until so many of its tasks have been placed."""
    running = asyncio.create_task(load.run(server.client))
    await until(lambda: len(load.placed) >= tasks or running.done(), f"{tasks} tasks are placed")
    assert not running.done()
    return running


async def live(server: Server) -> dict[str, str]:
    """Leases that the server holds, and whose they are."""
    held: dict[str, str] = {}
    for worker_id in await server.workers():
        answer = await server.client.call(
            server.client.admin.GetWorker, admin_api.GetWorkerRequest(worker_id=worker_id)
        )
        held |= {lease.lease_id: worker_id for lease in answer.worker.leases}
    return held


def each_ran_once(workers: list[WorkerProcess], load: Load) -> Counter[str]:
    """No task began twice, wherever; and how often each ran to its end."""
    began = Counter(task_id for worker in workers for task_id, _ in worker.began() if task_id.startswith("load"))
    assert set(began.values()) <= {1}, [task_id for task_id, times in began.items() if times > 1]
    placed = {task_id: placement.worker_id for task_id, (_, placement, _) in load.placed.items()}
    for worker in workers:
        for task_id, _ in worker.began():
            assert placed.get(task_id, worker.worker_id) == worker.worker_id
    return Counter(task_id for worker in workers for task_id, _ in worker.ended_tasks())


async def test_sigterm_under_load_loses_nothing_and_what_was_learned_is_there_again(house: House) -> None:
    port = free_port()
    server = await house.server(port=port, **SETTINGS)
    workers = await house.workers(server, *NAMES, slots=4)
    await teach(server, 0.1, 0.2, 0.15)
    before = await learned(server, "probe-before")
    assert before[0] == 3
    load = Load("load", lambda: random.uniform(0.2, 2.5), 0.02)
    offering = await offered(server, load, 20)

    stub: Any = health_pb2_grpc.HealthStub(server.client.channel)  # typed without Watch
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="scheduler_api.v1.ScheduleService"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    asked_at = time.monotonic()
    server.signal(signal.SIGTERM)
    assert (await asyncio.wait_for(watch.read(), 5.0)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await server.ended() == 0
    # Health watchers and worker streams are no calls to wait for: the grace of 10 s is for those.
    assert time.monotonic() - asked_at < 5.0
    await offering
    assert len(load.unanswered) <= 1
    for worker in workers:
        assert any("SERVER_SHUTDOWN" in line for line in worker.errors), worker.errors

    again = await house.server(port=port, **SETTINGS)
    restored = (await again.status()).stores
    configured = [store for store in restored if store.state != admin_api.STORE_STATE_DISABLED]
    assert {store.state for store in configured} == {admin_api.STORE_STATE_OK}
    await again.connected(*NAMES)
    assert await learned(again, "probe-after") == before

    # Everything that was placed and had not ended before is known, is where it was, and ends well.
    tasks = [task for task, _, _ in load.placed.values()]
    kept = []
    for task in tasks:
        with contextlib.suppress(TaskUnknown):
            await again.state(task)
            kept.append(task)
    assert kept, "the restart came too late: every task had ended"
    for task in kept:
        replayed = await again.hand_over(task)
        placement = load.placed[task.task_id][1]
        assert (replayed.replayed, replayed.lease_id) == (True, placement.lease_id)
        assert (replayed.worker_id, replayed.decision_id) == (placement.worker_id, placement.decision_id)
    over = await again.finished(*kept)
    assert {status.outcome.status for status in over.values() if status.outcome} == {OutcomeStatus.SUCCEEDED}
    ended = each_ran_once(workers, load)
    assert all(ended[task.task_id] == 1 for task in tasks)
    # What is left are the two probes, which nobody runs.
    assert set(await live(again)) <= {
        (await again.client.get_task(name)).lease_id for name in ("probe-before", "probe-after")
    }


async def test_kill_9_under_load_loses_no_lease_older_than_a_flush(house: House) -> None:
    port = free_port()
    server = await house.server(port=port, **SETTINGS)
    workers = await house.workers(server, *NAMES, slots=4)
    load = Load("load", lambda: random.uniform(1.0, 4.0), 0.02)
    offering = await offered(server, load, 12)
    await asyncio.sleep(COMMITTED_S)  # not a synchronisation: the age that the promise is about
    server.signal(signal.SIGKILL)
    killed_at = time.monotonic()
    await server.ended()
    await offering

    again = await house.server(port=port, worker_reconcile_grace_s=2, **SETTINGS)
    await again.connected(*NAMES)
    # What was placed, or had ended, so shortly before that it may not have been on disk is not promised.
    ended_at = {said["ended"]: said["at"] for worker in workers for said in worker.said if "ended" in said}
    promised = {
        task_id: (task, placement)
        for task_id, (task, placement, at) in load.placed.items()
        if at < killed_at - COMMITTED_S and ended_at.get(task_id, killed_at) >= killed_at
    }
    assert len(promised) >= 4, "the load was too light"
    for task_id, (task, placement) in promised.items():
        status = await again.client.get_task(task_id)
        assert status.state is not TaskState.LOST
        assert status.lease_id == placement.lease_id
        replayed = await again.hand_over(task)
        assert (replayed.replayed, replayed.decision_id) == (True, placement.decision_id)
        assert replayed.worker_id == placement.worker_id
    over = await again.finished(*(task for task, _ in promised.values()))
    assert {status.outcome.status for status in over.values() if status.outcome} == {OutcomeStatus.SUCCEEDED}

    async def all_over() -> bool:
        return not await live(again)

    await eventually(all_over, "every lease ends")
    await until(lambda: all(len(worker.began()) == len(worker.ended_tasks()) for worker in workers), "every task ends")
    ended = each_ran_once(workers, load)
    assert all(ended[task_id] == 1 for task_id in load.placed)
    # The verdict on them was to keep them: nobody stopped one, nobody was told that its lease is unknown.
    assert not [said for worker in workers for said in worker.said if said.get("stopped")]
    unknown = [line for worker in workers for line in worker.errors if "knows nothing of lease" in line]
    assert not [line for line in unknown for _, placement in promised.values() if f"{placement.lease_id};" in line]


async def test_an_outcome_that_came_while_the_server_was_away_counts_when_it_is_back(house: House) -> None:
    port = free_port()
    server = await house.server(port=port)
    (worker,) = await house.workers(server, "a")
    task = nap("in-the-gap", 0.6)
    placement = await server.hand_over(task)
    await until(lambda: worker.began() == [("in-the-gap", 1)], "the task runs")
    assert await server.terminate() == 0
    await until(lambda: worker.ended_tasks() == [("in-the-gap", 1)], "the task ends")
    again = await house.server(port=port)
    status = (await again.finished(task))["in-the-gap"]
    assert status.lease_id == placement.lease_id
    assert status.outcome is not None
    assert status.outcome.result == b"in-the-gap, attempt 1"
    assert (await again.workers())["a"].completed == 1
    assert (await learned(again, "probe", "nap"))[0] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
async def test_an_open_breaker_is_open_after_a_restart_where_a_snapshot_was_written(
    house: House, number: signal.Signals
) -> None:
    port = free_port()
    # A budget that nothing can keep: every prediction is late.
    server = await house.server(port=port, predictor_budget_ms=1e-6, storage_snapshot_interval_s=1, **SETTINGS)
    await house.workers(server, "a", slots=20)
    causes = [(await server.client.assign(Task(task_id=f"t{at}", task_type="x"))).cause for at in range(4)]
    assert causes == [DecisionCause.OVER_BUDGET] * 3 + [DecisionCause.BREAKER_OPEN]
    opened = (await server.status()).breaker
    assert opened.state == admin_api.BREAKER_STATE_OPEN
    if number is signal.SIGKILL:
        answer = await server.client.call(server.client.admin.TakeSnapshot, admin_api.TakeSnapshotRequest())
        assert answer.ByteSize()
    server.signal(number)
    await server.ended()

    again = await house.server(port=port, **SETTINGS)
    breaker = (await again.status()).breaker
    assert breaker.state == admin_api.BREAKER_STATE_OPEN
    assert breaker.consecutive_failures == 3
    assert abs(breaker.opened_at.ToNanoseconds() - opened.opened_at.ToNanoseconds()) < 30e9
    await again.connected("a")
    placement = await again.client.assign(Task(task_id="after", task_type="x"))
    assert (placement.source, placement.cause) == (DecisionSource.FALLBACK, DecisionCause.BREAKER_OPEN)


# ---------------------------------------------------------------------- damage


async def two_editions(house: House, port: int) -> tuple[tuple[int, float], tuple[int, float]]:
    """A state folder with a snapshot and the one before it; what each knew of the type "x"."""
    known = []
    for edition in ("first", "second"):
        server = await house.server(port=port)
        if edition == "first":
            await house.workers(server, "a", slots=50)
        await server.connected("a")
        placement = await server.client.assign(Task(task_id=edition, task_type="x"), patience=10.0)
        duration = 0.25 if edition == "first" else 0.5
        await server.client.report_outcome(placement.lease_id, OutcomeStatus.SUCCEEDED, duration=duration)
        known.append(await learned(server, f"{edition}-probe", "x"))
        assert await server.terminate() == 0
    assert known[0] != known[1]
    return known[0], known[1]


def flip(path: Path, at: float) -> None:
    """One byte of a file becomes another, so far into it."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0x10
    path.write_bytes(bytes(content))


async def test_a_damaged_snapshot_is_set_aside_and_the_one_before_is_used(house: House) -> None:
    port = free_port()
    first, second = await two_editions(house, port)
    state = house.folder / "state"
    flip(state / "snapshot", 0.5)
    server = await house.server(port=port)
    assert any("snapshot: is damaged: its checksum does not fit; set aside as" in line for line in server.errors)
    assert any("the previous edition is used" in line for line in server.errors)
    assert (state / "snapshot.damaged-1").exists()
    await server.connected("a")
    assert await learned(server, "after", "x") == first
    (snapshot,) = (store for store in (await server.status()).stores if store.name == "snapshot")
    assert any("is damaged" in warning for warning in snapshot.warnings)
    assert second != first


async def test_without_any_usable_snapshot_the_server_starts_with_what_is_configured(house: House) -> None:
    port = free_port()
    await two_editions(house, port)
    state = house.folder / "state"
    flip(state / "snapshot", 0.5)
    flip(state / "snapshot.1", 0.0)
    for kept in state.glob("decisions.sqlite*"):
        kept.unlink()  # or it would learn from that
    server = await house.server(port=port, predictor_default_ms=1_234)
    assert any("starting without it" in line for line in server.errors)
    await server.connected("a")
    assert await learned(server, "after", "x") == (0, 1_234.0)
    assert await server.terminate() == 0
    # And from then on it has one again.
    again = await house.server(port=port)
    assert not any("damaged" in line for line in again.errors)


@pytest.mark.parametrize("damage", ["header", "middle", "not SQLite", "cut"])
async def test_a_damaged_journal_is_told_and_tasks_are_placed_as_ever(house: House, damage: str) -> None:
    port = free_port()
    server = await house.server(port=port)
    await house.workers(server, "a", slots=50)
    for number in range(10):
        await server.client.assign(Task(task_id=f"t{number}", task_type="x"))
    assert await server.terminate() == 0
    journal = house.folder / "state" / "journal.sqlite"
    for side in ("-wal", "-shm"):
        journal.with_name(journal.name + side).unlink(missing_ok=True)
    content = journal.read_bytes()
    if damage == "header":
        flip(journal, 0.0)
    elif damage == "middle":
        # The last page holds the batches: one byte inside of a row's body.
        at = content.rindex(b"t9")
        journal.write_bytes(content[:at] + b"T" + content[at + 1 :])
    elif damage == "cut":
        journal.write_bytes(content[: len(content) // 2 + 100])
    else:
        journal.write_bytes(b"this is a letter to my grandmother\n" * 300)

    again = await house.server(port=port)
    told = [line for line in again.errors if "the journal is not usable, leases will not survive a restart" in line]
    assert len(told) == 1
    status = await again.status()
    degraded = {part.name: part for part in status.degraded}
    assert "store.journal" in degraded
    assert str(journal) in degraded["store.journal"].detail
    assert degraded["store.journal"].consequence.startswith("tasks are placed as ever")
    (store,) = (store for store in status.stores if store.name == "journal")
    assert store.state == admin_api.STORE_STATE_UNAVAILABLE
    assert status.serving == admin_api.SERVING_STATE_SERVING
    await again.connected("a")
    task = nap("still-placed", 0.05)
    await again.hand_over(task)
    assert (await again.finished(task))["still-placed"].state is TaskState.FINISHED
    assert await again.terminate() == 0
    assert journal.exists()
