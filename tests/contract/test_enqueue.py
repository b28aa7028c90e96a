"""Assign with enqueue: the task is kept, answered WAITING once that is on disk, and placed when a slot is free."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scheduler_api.v1 import admin_service_pb2 as admin_api
from scheduler_api.v1 import admin_service_pb2_grpc, task_pb2, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from scheduler_server.storage.entries import Entry, JournalError, JournalFault
from scheduler_server.storage.journal import Journal
from tests.contract.server import (
    DEADLINE_S,
    WALL_S,
    Running,
    item_problem,
    refused,
    running,
    span,
    task,
    until,
)
from tests.contract.test_waiting import SLOT, instant, parked, waits

STREAM: Any = task_pb2.DELIVERY_STREAM


def kept(folder: Path, **parts: Any) -> Settings:
    """Settings of a server with a journal on disk."""
    parts.setdefault("server", ServerSettings(listen="127.0.0.1:0"))
    return Settings(storage=StorageSettings(state_folder=str(folder)), **parts)


async def enqueue(live: Running, task_id: str = "t", *, delivery: Any = 0, **fields: Any) -> api.AssignResponse:
    request = api.AssignRequest(task=task(task_id, **fields), enqueue=api.Enqueue(), delivery=delivery)
    return await live.stub.Assign(request, timeout=DEADLINE_S)


def state(answer: Any) -> str:
    return task_pb2.TaskState.Name(answer.state).removeprefix("TASK_STATE_")


def on_disk(folder: Path) -> list[Entry]:
    """What a server that started now would find."""
    journal = Journal.open(folder / "journal.sqlite")
    try:
        return journal.load()
    finally:
        journal.close()


async def status(live: Running) -> admin_api.GetStatusResponse:
    return await admin_service_pb2_grpc.AdminServiceStub(live.channel).GetStatus(admin_api.GetStatusRequest())


async def load(live: Running) -> admin_api.GetLoadResponse:
    return await admin_service_pb2_grpc.AdminServiceStub(live.channel).GetLoad(admin_api.GetLoadRequest())


async def test_a_task_for_which_a_slot_is_free_is_placed_at_once(live: Running) -> None:
    await live.worker(registration=SLOT)
    answer = await enqueue(live)
    assert state(answer) == "PLACED"
    assert answer.decision.worker_id == "w"


async def test_a_task_that_is_kept_is_on_disk_before_anybody_is_told(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        await live.worker(registration=SLOT)
        await live.assign("first")
        answer = await enqueue(live)
        (entry,) = [each for each in on_disk(tmp_path) if each.kind == "task"]
        assert b"resize" in entry.body
        assert state(answer) == "WAITING"
        assert answer.waiting.position == 0
        assert answer.waiting.blocking == task_pb2.BLOCKING_REASON_NO_FREE_SLOT
        assert answer.waiting.HasField("expected_start_p50")
        assert answer.waiting.expected_start_p90.ToNanoseconds() >= answer.waiting.expected_start_p50.ToNanoseconds()
        assert answer.waiting.as_of.seconds == int(WALL_S)
        assert not answer.HasField("decision")


async def test_it_is_placed_when_a_slot_is_free_and_its_entry_becomes_that_of_the_lease(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        await live.worker(registration=SLOT)
        lease = (await live.assign("first")).decision.lease_id
        await enqueue(live)
        await live.report(lease, duration=span(1))
        status = await live.status()  # waits for the disk, so that nobody is told what a kill would undo
        assert state(status) == "PLACED"
        assert [(each.kind, each.id) for each in on_disk(tmp_path)] == [("lease", status.decision.lease_id)]


async def test_whatever_moment_a_kill_comes_at_the_task_has_a_place_or_a_lease(tmp_path: Path) -> None:
    """Each batch that reaches the disk is a state that a kill may leave."""
    async with running(kept(tmp_path)) as live:
        store: Any = live.app.stores.journal._store
        works, seen = store.apply, []

        def apply(puts: Any, deletes: Any) -> None:
            works(puts, deletes)
            seen.append([each.kind for each in store.load()])

        store.apply = apply
        await live.worker(registration=SLOT)
        for count in range(20):
            answer = await enqueue(live, f"t{count}")
            assert state(answer) == ("WAITING" if count else "PLACED")
        for count in range(19):
            lease = (await live.status(f"t{count}")).decision.lease_id
            await live.report(lease, duration=span(1))
            assert await live.state(f"t{count + 1}") == "PLACED"
    told = [each for each in seen if each]
    assert told[-1] == ["lease"]
    counts = [len(each) for each in told]
    peak = counts.index(max(counts))
    assert max(counts) == 20
    assert all(before - after in (0, 1, -1) for before, after in zip(counts[peak:], counts[peak + 1 :], strict=False))
    assert all(each.count("lease") == 1 for each in told[peak:])  # never none, never two


async def test_waiting_is_told_with_all_that_is_known(live: Running) -> None:
    await live.worker(registration=SLOT)
    await live.assign("first")
    for count in range(3):
        await enqueue(live, f"t{count}")
    live.forward(5.0)
    for count in range(3):
        told = await live.status(f"t{count}")
        assert state(told) == "WAITING"
        assert told.task_type == "resize"
        assert told.submitted_at.seconds == int(WALL_S)
        assert not told.HasField("decision")
        waiting = told.waiting
        assert waiting.position == count
        assert waiting.blocking_detail == "all 1 slots that could take it are taken"
        assert waiting.as_of.seconds == int(WALL_S) + 5
        assert waiting.expected_start_p50.ToNanoseconds() > waiting.as_of.ToNanoseconds()


async def test_the_estimate_tells_how_many_it_has_learned_from_and_how_often_it_held(live: Running) -> None:
    await live.worker(registration=SLOT)
    lease = (await live.assign("first")).decision.lease_id
    for count in range(20):
        await enqueue(live, f"t{count}")
        live.forward(1.0)
        await live.report(lease, duration=span(1))
        lease = (await live.status(f"t{count}")).decision.lease_id
    told = (await enqueue(live, "last")).waiting
    assert told.sample_count > 0
    assert 0.0 <= told.observed_coverage <= 1.0
    figures = await admin_service_pb2_grpc.AdminServiceStub(live.channel).GetAccuracy(admin_api.GetAccuracyRequest())
    assert figures.overall.wait_p90_coverage == pytest.approx(told.observed_coverage)
    assert 0.0 <= figures.overall.wait_p50_coverage <= figures.overall.wait_p90_coverage


async def test_asked_again_it_is_the_same_place(live: Running) -> None:
    await enqueue(live, "ahead")
    first, again = await enqueue(live), await enqueue(live)
    assert (state(first), first.replayed) == ("WAITING", False)
    assert (state(again), again.replayed) == ("WAITING", True)
    assert len(live.core.queue.waiting) == 2


async def test_a_call_may_wait_for_a_task_that_is_kept_and_goes_without_it(live: Running) -> None:
    await enqueue(live)
    call = waits(live, wait_s=10.0)
    await until(lambda: live.core.queue.waiting.by_task["", "t"].tickets, "the call waits")
    live.forward(10.001)
    assert (await refused(call)).reason == "WAIT_OVER"
    assert await live.state() == "WAITING"
    await live.worker(registration=SLOT)
    assert await live.state() == "PLACED"


async def test_a_call_that_waits_and_then_enqueues_leaves_its_task_behind(live: Running) -> None:
    call = waits(live)
    await parked(live)
    assert state(await enqueue(live)) == "WAITING"
    call.cancel()
    await until(lambda: not live.core.queue.waiting.by_task["", "t"].tickets, "the call is gone")
    assert await live.state() == "WAITING"


async def test_its_worker_gets_it_on_its_stream(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        stream = await live.sdk_worker(slots=1)
        first = (await live.assign("first")).decision.lease_id
        assert state(await enqueue(live, delivery=STREAM, payload=b"work")) == "WAITING"
        finished = task_pb2.Outcome(status=task_pb2.OUTCOME_STATUS_SUCCEEDED, duration=span(1))
        await stream.send(reports=[worker_pb2.LeaseReport(lease_id=first, finished=finished)])
        got = [await stream.next(), await stream.next()]
        (run,) = [each.run_task for each in got if each.HasField("run_task")]
        assert (run.task.task_id, run.task.payload) == ("t", b"work")
        # It was on disk before it was handed over: killed in between, the server would place it a second time.
        assert [(each.kind, each.id) for each in on_disk(tmp_path)] == [("lease", run.lease_id)]


async def test_cancelled_in_the_moment_between_lease_and_hand_over_it_is_not_handed_over(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        stream = await live.sdk_worker(slots=1)
        first = (await live.assign("first")).decision.lease_id
        await enqueue(live, delivery=STREAM)
        report, cancel = live.report(first, duration=span(1)), live.cancel()
        await asyncio.gather(report, cancel)
        assert await live.state() == "CANCELLED"
        await stream.send(sequence=2)  # it has stopped, or has never heard of it
        after = api.AssignRequest(task=task("after"), delivery=STREAM, wait=span(10))
        await live.stub.Assign(after, timeout=20)
        while not (got := await stream.next()).HasField("run_task"):
            assert not got.HasField("goodbye")
        if got.run_task.task.task_id == "t":  # it was quicker than the cancel: then it is told to stop
            assert (await stream.next()).cancel.lease_id == got.run_task.lease_id
        else:
            assert got.run_task.task.task_id == "after"


async def test_cancelling_a_kept_task_takes_it_out_of_the_journal(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        await enqueue(live)
        told = await live.cancel(reason="not wanted")
        assert (task_pb2.TaskState.Name(told.state), told.worker_told) == ("TASK_STATE_CANCELLED", False)
        assert task_pb2.TaskState.Name((await live.cancel()).state) == "TASK_STATE_CANCELLED"
        status = await live.status()
        assert state(status) == "CANCELLED"
        assert status.HasField("ended_at")
        assert (await refused(enqueue(live))).reason == "TASK_CANCELLED"
        assert state(await enqueue(live, attempt=2)) == "WAITING"
        assert (await live.status()).task.attempt == 2
    assert len(on_disk(tmp_path)) == 1


async def test_a_cancel_that_names_a_lease_does_not_concern_a_task_that_waits(live: Running) -> None:
    await enqueue(live)
    problem = await refused(live.cancel(lease_id="l"))
    assert (problem.code, problem.reason) == ("ABORTED", "LEASE_MISMATCH")
    assert await live.state() == "WAITING"


async def test_the_latest_attempt_is_told_also_where_an_older_one_expired_waiting(live: Running) -> None:
    await enqueue(live, start_by=instant(WALL_S + 5))
    live.forward(5.0)
    assert await live.state() == "EXPIRED"
    assert (await refused(enqueue(live, start_by=instant(WALL_S + 5)))).reason == "START_BY_PASSED"
    await live.worker()
    await live.assign(attempt=2)
    assert ((await live.status()).task.attempt, await live.state()) == (2, "PLACED")
    assert await live.state(attempt=1) == "EXPIRED"


async def test_a_kept_task_starts_when_it_is_due_and_not_before(live: Running) -> None:
    await live.worker(registration=SLOT)
    answer = await enqueue(live, not_before=instant(WALL_S + 20))
    assert state(answer) == "WAITING"
    assert answer.waiting.blocking == task_pb2.BLOCKING_REASON_NOT_YET_DUE
    live.forward(19.9)
    assert await live.state() == "WAITING"
    live.forward(0.11)
    assert await live.state() == "PLACED"


# ---------------------------------------------------------------------- batches


async def test_items_of_a_batch_may_be_kept(live: Running) -> None:
    await live.worker(registration=SLOT)
    items = [
        api.AssignRequest(task=task("a"), enqueue=api.Enqueue()),
        api.AssignRequest(task=task("b"), enqueue=api.Enqueue()),
        api.AssignRequest(task=task("c")),
        api.AssignRequest(task=task("d"), enqueue=api.Enqueue()),
        api.AssignRequest(task=task("e"), wait=span(1)),
    ]
    answer = await live.stub.AssignBatch(api.AssignBatchRequest(requests=items))
    assert [state(each.response) for each in answer.results[:2]] == ["PLACED", "WAITING"]
    assert item_problem(answer.results[2].error).reason == "NO_FREE_SLOT"
    assert answer.results[3].response.waiting.position == 1
    last = item_problem(answer.results[4].error)
    assert (last.reason, last.fields) == ("INVALID_ARGUMENT", ["requests[4].wait"])


async def test_what_a_batch_keeps_is_on_disk_before_it_is_answered(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        items = [api.AssignRequest(task=task(f"t{n}"), enqueue=api.Enqueue()) for n in range(1_000)]
        answer = await live.stub.AssignBatch(api.AssignBatchRequest(requests=items))
        assert len(on_disk(tmp_path)) == 1_000
        assert [each.response.waiting.position for each in answer.results] == list(range(1_000))


# ---------------------------------------------------------------------- a journal that does not work


def _corrupt(path: Path) -> None:
    path.write_bytes(b"this is not a journal" * 100)


def _newer(path: Path) -> None:
    Journal.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def _folder(path: Path) -> None:
    path.mkdir()


SPOILS = {
    "corrupt": (_corrupt, "corrupt"),
    "newer": (_newer, "version 99"),
    "unwritable": (_folder, "cannot be opened"),
}


@pytest.mark.parametrize(("spoil", "why"), SPOILS.values(), ids=SPOILS)
async def test_without_a_journal_nothing_is_kept_and_tasks_are_placed_as_ever(
    tmp_path: Path, spoil: Any, why: str
) -> None:
    spoil(tmp_path / "journal.sqlite")
    async with running(kept(tmp_path)) as live:
        await live.worker()
        await nothing_is_kept(live, why)


async def nothing_is_kept(live: Running, why: str) -> None:
    problem = await refused(enqueue(live, "kept"))
    assert (problem.code, problem.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
    assert problem.metadata["store"] == "journal"
    assert why in problem.message
    assert problem.retry_s is not None
    unknown = await refused(live.stub.GetTask(api.GetTaskRequest(task=task_pb2.TaskKey(task_id="kept"))))
    assert unknown.reason == "TASK_UNKNOWN"
    assert len(live.core.queue.waiting) == 0
    items = [api.AssignRequest(task=task("kept"), enqueue=api.Enqueue()), api.AssignRequest(task=task("in a batch"))]
    answer = await live.stub.AssignBatch(api.AssignBatchRequest(requests=items))
    assert item_problem(answer.results[0].error).reason == "STORE_UNAVAILABLE"
    assert answer.results[1].response.decision.worker_id == "w"
    assert (await live.assign("plain")).decision.worker_id == "w"
    told = await status(live)
    (store,) = [each for each in told.stores if each.name == "journal"]
    assert store.state == admin_api.STORE_STATE_UNAVAILABLE
    assert why in store.last_error
    (part,) = [each for each in told.degraded if each.name == "store.journal"]
    assert "enqueue is refused" in part.consequence


@contextmanager
def failing(live: Running, fault: JournalFault) -> Iterator[None]:
    """Let the journal of a running server fail at each commit."""
    store: Any = live.app.stores.journal._store
    works = store.apply

    def apply(puts: Any, deletes: Any) -> None:
        raise JournalError(fault, f"journal: {fault.value}, for this test")

    store.apply = apply
    try:
        yield
    finally:
        store.apply = works


@pytest.mark.parametrize("fault", [JournalFault.DISK_FULL, JournalFault.LOCKED, JournalFault.IO])
async def test_a_journal_that_fails_while_a_task_comes_takes_it_back(tmp_path: Path, fault: JournalFault) -> None:
    async with running(kept(tmp_path)) as live:
        await live.worker(registration=SLOT)
        await live.assign("first")
        with failing(live, fault):
            problem = await refused(enqueue(live))
            assert (problem.code, problem.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
            assert fault.value in problem.message
            assert len(live.core.queue.waiting) == 0
            batch = await live.stub.AssignBatch(
                api.AssignBatchRequest(requests=[api.AssignRequest(task=task("b"), enqueue=api.Enqueue())])
            )
            assert item_problem(batch.results[0].error).reason == "STORE_UNAVAILABLE"
        await until(lambda: live.app.shell.journal.status().healthy, "the journal works again")
        answer = await enqueue(live)  # as if it had never been asked for
        assert (state(answer), answer.replayed) == ("WAITING", False)
    assert [each.kind for each in on_disk(tmp_path)].count("task") == 1


async def test_a_call_that_waits_keeps_its_place_when_another_could_not_be_promised_it(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        call = waits(live)
        await parked(live)
        with failing(live, JournalFault.IO):
            assert (await refused(enqueue(live))).reason == "STORE_UNAVAILABLE"
        assert not live.core.queue.waiting.by_task["", "t"].enqueued
        assert not call.done()
        await until(lambda: live.app.shell.journal.status().healthy, "the journal works again")
        call.cancel()
        await parked(live, 0)
    assert on_disk(tmp_path) == []


async def test_a_journal_that_somebody_else_has_locked_refuses_until_it_is_let_go(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        await live.worker(registration=worker_pb2.WorkerRegistration(max_concurrent_tasks=1, reports_outcomes=True))
        await until(lambda: live.app.shell.journal.status().pending == 0, "the journal rests")
        other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert (await live.assign("plain")).decision.worker_id == "w"
        problem = await refused(enqueue(live))
        assert problem.reason == "STORE_UNAVAILABLE"
        assert "locked by another process" in problem.message
        other.execute("ROLLBACK")
        other.close()
        await until(lambda: live.app.shell.journal.status().healthy, "the journal works again")
        assert state(await enqueue(live)) == "WAITING"
    assert sorted(each.kind for each in on_disk(tmp_path)) == ["lease", "task"]


async def test_a_batch_that_the_journal_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        with failing(live, JournalFault.DISK_FULL):
            items = [api.AssignRequest(task=task(f"t{n}"), enqueue=api.Enqueue()) for n in range(10)]
            answer = await live.stub.AssignBatch(api.AssignBatchRequest(requests=items))
            assert {item_problem(each.error).reason for each in answer.results} == {"STORE_UNAVAILABLE"}
            assert len(live.core.queue.waiting) == 0
        await until(lambda: live.app.shell.journal.status().healthy, "the journal works again")
    assert on_disk(tmp_path) == []


async def test_a_task_whose_turn_comes_while_the_journal_fails_is_handed_over_all_the_same(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        stream = await live.sdk_worker(slots=1)
        first = (await live.assign("first")).decision.lease_id
        await enqueue(live, delivery=STREAM)
        with failing(live, JournalFault.IO):
            await live.report(first, duration=span(1))
            run = (await stream.next()).run_task
            assert run.task.task_id == "t"
            assert await live.state() == "OFFERED"


# ---------------------------------------------------------------------- restart


async def test_what_was_kept_is_there_again_in_its_order_with_its_expected_start(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        await live.worker(registration=SLOT)
        await live.assign("first")
        for count in range(5):
            await enqueue(live, f"t{count}", priority=count / 10)
        before = [(await live.status(f"t{count}")).waiting for count in range(5)]
    async with running(kept(tmp_path)) as live:
        again = [(await live.status(f"t{count}")).waiting for count in range(5)]
        assert [each.position for each in again] == [each.position for each in before]
        assert {each.blocking for each in again} == {task_pb2.BLOCKING_REASON_NO_ELIGIBLE_WORKER_NOW}
        await live.worker("another", registration=SLOT)
        order = sorted(range(5), key=lambda count: before[count].position)
        assert await live.state(f"t{order[0]}") == "PLACED"
        again = [(await live.status(f"t{count}")).waiting for count in order[1:]]
        assert [each.position for each in again] == [0, 1, 2, 3]
        assert all(each.HasField("expected_start_p50") for each in again)


async def test_what_expired_while_the_server_was_away_is_expired(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        await enqueue(live, start_by=instant(WALL_S + 5))
    async with running(kept(tmp_path)) as live:
        live.forward(5.001)
        assert await live.state() == "EXPIRED"
    assert on_disk(tmp_path) == []


async def test_a_task_with_a_lease_and_a_place_is_not_placed_twice(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        await live.worker(registration=SLOT)
        lease = (await live.assign("first")).decision.lease_id
        await enqueue(live)
        (place,) = [each for each in on_disk(tmp_path) if each.kind == "task"]
        await live.report(lease, duration=span(1))
        assert await live.state() == "PLACED"
    journal = Journal.open(tmp_path / "journal.sqlite")
    journal.apply([place], [])  # no crash does that; a file put together by hand may
    journal.close()
    async with running(kept(tmp_path)) as live:
        assert len(live.core.queue.waiting) == 0
        assert await live.state() == "PLACED"
    assert [each.kind for each in on_disk(tmp_path)] == ["lease"]


async def test_going_down_keeps_what_was_kept(tmp_path: Path) -> None:
    async with running(kept(tmp_path)) as live:
        await live.worker(registration=SLOT)
        lease = (await live.assign("first")).decision.lease_id
        await enqueue(live)
        live.app.calls.drain()
        await live.report(lease, duration=span(1))
        assert await live.state() == "WAITING"
        assert (await refused(enqueue(live, "late"))).reason == "SERVER_DRAINING"
    assert [each.kind for each in on_disk(tmp_path)] == ["task"]


# ---------------------------------------------------------------------- as operators see it


async def test_the_load_tells_how_many_wait_why_since_when_and_how_much_work_that_is(live: Running) -> None:
    nobody = await load(live)
    assert (nobody.queued_tasks, len(nobody.blocking), nobody.HasField("oldest_wait")) == (0, 0, False)
    await live.worker(registration=SLOT)
    await live.assign("first")
    await enqueue(live, "a")
    live.forward(10.0)
    await enqueue(live, "b")
    await enqueue(live, "c", required_capabilities=["gpu"])
    await enqueue(live, "d", not_before=instant(WALL_S + 1_000))
    live.forward(5.0)
    told = await load(live)
    assert told.queued_tasks == 4
    by_reason = {task_pb2.BlockingReason.Name(each.blocking): each.count for each in told.blocking}
    assert by_reason == {
        "BLOCKING_REASON_NO_FREE_SLOT": 2,
        "BLOCKING_REASON_NO_WORKER_COULD_EVER": 1,
        "BLOCKING_REASON_NOT_YET_DUE": 1,
    }
    assert told.oldest_wait.ToTimedelta().total_seconds() == pytest.approx(15.0, abs=0.001)
    assert told.queued_work.ToTimedelta().total_seconds() == pytest.approx(4 * 5.0)  # an unknown type takes 5 s
    assert (await status(live)).waiting_tasks == 4
