"""WatchTasks with `together`: the same changes, several in a message; only for who asks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from scheduler_api.v1 import decision_pb2, task_pb2, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.client import AsyncSchedulerClient, SchedulerClient, TaskChange
from scheduler_server.client.watching import AsyncTaskWatch, TaskWatch
from scheduler_server.model.decision import Cause
from scheduler_server.rpc import following, task_watch
from tests.contract.server import DEADLINE_S, Running, span, task
from tests.contract.test_enqueue import STREAM, state
from tests.contract.test_task_watch import Watch


def told(message: api.WatchTasksResponse) -> list[tuple[str, str]]:
    return [(each.task.task.task_id, state(each.task)) for each in message.changes]


async def some(live: Running, count: int) -> str:
    """So many tasks wait; the token from before."""
    watch = await Watch(live).begin()
    watch.call.cancel()
    items = [api.AssignRequest(task=task(f"t{number}"), enqueue=api.Enqueue()) for number in range(count)]
    await live.stub.AssignBatch(api.AssignBatchRequest(requests=items))
    return watch.token


async def test_what_one_heartbeat_tells_is_one_message(live: Running) -> None:
    stream = await live.sdk_worker(slots=1)
    watch = await Watch(live, together=True).begin()
    lease = (await live.assign(delivery=STREAM)).decision.lease_id
    assert told(await watch.read()) == [("t", "OFFERED")]
    await stream.next()
    finished = task_pb2.Outcome(status=task_pb2.OUTCOME_STATUS_SUCCEEDED, duration=span(2), result=b"done")
    reports = [
        worker_pb2.LeaseReport(lease_id=lease, acknowledged=worker_pb2.LeaseAcknowledged()),
        worker_pb2.LeaseReport(lease_id=lease, started=worker_pb2.LeaseStarted()),
        worker_pb2.LeaseReport(lease_id=lease, finished=finished),
    ]
    await stream.beat(reports=reports)
    message = await watch.read()
    assert told(message) == [("t", "ACKNOWLEDGED"), ("t", "STARTED"), ("t", "FINISHED")]
    assert message.changes[2].task.outcome.result == b"done"
    assert not message.HasField("task")
    assert not message.HasField("at")
    assert all(each.HasField("at") for each in message.changes)
    assert len({each.resume_token for each in message.changes}) == 3
    assert message.resume_token == message.changes[2].resume_token
    watch.call.cancel()


async def test_who_does_not_ask_is_told_one_by_one(live: Running) -> None:
    watch = Watch(live, resume_token=await some(live, 3))
    for number in range(3):
        message = await watch.read()
        assert message.task.task.task_id == f"t{number}"
        assert not message.changes
    watch.call.cancel()


@pytest.mark.parametrize(("count", "sizes"), [(99, [99]), (100, [100]), (101, [100, 1]), (250, [100, 100, 50])])
async def test_a_message_tells_at_most_a_hundred_changes(live: Running, count: int, sizes: list[int]) -> None:
    watch = Watch(live, together=True, resume_token=await some(live, count))
    messages = [await watch.read() for _ in sizes]
    assert [len(each.changes) for each in messages] == sizes
    assert [task_id for each in messages for task_id, _ in told(each)] == [f"t{number}" for number in range(count)]
    watch.call.cancel()


async def test_a_message_is_ended_by_the_change_that_makes_it_large(
    live: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await some(live, 4)
    first, second = (len(each.body) for each in list(live.app.calls.watchers._ring.entries)[:2])
    for limit, sizes in ((first + second, [2, 2]), (first + second + 1, [3, 1]), (1, [1, 1, 1, 1])):
        monkeypatch.setattr(following, "BYTES_TOGETHER", limit)
        watch = Watch(live, together=True, resume_token=token)
        assert [len((await watch.read()).changes) for _ in sizes] == sizes
        watch.call.cancel()


async def test_a_token_from_inside_a_message_leads_on_from_there(live: Running) -> None:
    watch = Watch(live, together=True, resume_token=await some(live, 3))
    inside = (await watch.read()).changes[0].resume_token
    again = Watch(live, together=True, resume_token=inside)
    assert told(await again.read()) == [("t1", "WAITING"), ("t2", "WAITING")]
    for each in (watch, again):
        each.call.cancel()


async def test_choices_hold_for_changes_together(live: Running) -> None:
    token = await some(live, 3)
    await live.cancel("t1")
    watch = Watch(live, together=True, resume_token=token, tasks=[task_pb2.TaskKey(task_id="t1")])
    assert told(await watch.read()) == [("t1", "WAITING"), ("t1", "CANCELLED")]
    watch.call.cancel()


async def test_the_client_hands_out_each_change_and_goes_on_inside_a_message(live: Running) -> None:
    token = await some(live, 3)
    client = AsyncSchedulerClient(live.app.address)
    async with client, asyncio.timeout(DEADLINE_S), client.watch_tasks(resume_token=token) as changes:
        first = await anext(aiter(changes))
        assert (first.status.task_id, changes.resume_token) == ("t0", first.resume_token)
        second = await anext(aiter(changes))  # another loop over the same watch: the rest of the message is not lost
        assert (second.status.task_id, changes.resume_token) == ("t1", second.resume_token)
        async with client.watch_tasks(resume_token=changes.resume_token) as again:
            third = await anext(aiter(again))
        assert third.status.task_id == "t2"


async def test_the_client_without_a_loop_does_too(live: Running) -> None:
    token = await some(live, 3)

    def watch() -> list[str]:
        with SchedulerClient(live.app.address) as client, client.watch_tasks(resume_token=token) as changes:
            return [next(iter(changes)).status.task_id for _ in range(3)]

    assert await asyncio.to_thread(watch) == ["t0", "t1", "t2"]


# ---------------------------------------------------------------------- a server that knows one change per message only


def _as_an_older_server_tells_it() -> list[api.WatchTasksResponse]:
    messages = [api.WatchTasksResponse(resume_token="r.0")]
    for number in (1, 2):
        message = api.WatchTasksResponse(resume_token=f"r.{number}")
        message.task.task.task_id = f"t{number}"
        message.at.seconds = number
        messages.append(message)
    return [*messages, api.WatchTasksResponse(resume_token="r.7")]


class _Call:
    """A stream of those messages, for both kinds of client; it waits at the end."""

    def __init__(self) -> None:
        self._messages = iter(_as_an_older_server_tells_it())

    def __iter__(self) -> Iterator[api.WatchTasksResponse]:
        return self._messages

    def __next__(self) -> api.WatchTasksResponse:
        return next(self._messages)

    async def read(self) -> api.WatchTasksResponse:
        return next(self._messages)

    def cancel(self) -> None:
        pass


def _open(request: api.WatchTasksRequest, metadata: Any) -> _Call:
    return _Call()


async def test_the_client_understands_an_older_server() -> None:
    seen: list[TaskChange] = []
    async with AsyncTaskWatch(_open, api.WatchTasksRequest(), lambda: ()) as changes:
        iterator: AsyncIterator[TaskChange] = aiter(changes)
        seen = [await anext(iterator) for _ in range(2)]
        assert changes.resume_token == "r.2"
    with TaskWatch(_open, api.WatchTasksRequest(), lambda: ()) as plain:
        also = [next(iter(plain)) for _ in range(2)]
    assert [(each.status.task_id, each.resume_token) for each in seen] == [("t1", "r.1"), ("t2", "r.2")]
    assert seen == also
    assert seen[0].at is not None


# ---------------------------------------------------------------------- the decision, written once for all changes


async def test_every_change_tells_the_decision_as_get_task_does(live: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_watch, "_DECISIONS", 1)  # two tasks in turn: what was kept is forgotten each time
    stream = await live.sdk_worker(slots=2)
    watch = await Watch(live, together=True).begin()
    leases = {each: (await live.assign(each, delivery=STREAM)).decision.lease_id for each in ("a", "b")}
    for fact in ("acknowledged", "started"):
        for lease in leases.values():
            report = worker_pb2.LeaseReport(lease_id=lease)
            getattr(report, fact).SetInParent()
            await stream.send(reports=[report])
    changes: list[api.TaskChange] = []
    while len(changes) < 6:
        changes += (await watch.read()).changes
    for task_id in leases:
        asked = (await live.stub.GetTask(api.GetTaskRequest(task=task_pb2.TaskKey(task_id=task_id)))).task
        told_of_it = [each.task for each in changes if each.task.task.task_id == task_id]
        assert [state(each) for each in told_of_it] == ["OFFERED", "ACKNOWLEDGED", "STARTED"]
        assert [each.decision for each in told_of_it] == [asked.decision] * 3
    watch.call.cancel()


async def test_a_decision_that_was_changed_is_told_as_it_is_then(live: Running) -> None:
    stream = await live.sdk_worker()
    watch = await Watch(live, together=True).begin()
    lease = (await live.assign(delivery=STREAM)).decision.lease_id
    first = (await watch.read()).changes[0].task.decision
    record = live.core.ledger.leases[lease]
    record.decision = record.decision._replace(cause=Cause.REBALANCED)
    await stream.send(reports=[worker_pb2.LeaseReport(lease_id=lease, started=worker_pb2.LeaseStarted())])
    second = (await watch.read()).changes[-1].task.decision
    assert first.cause != decision_pb2.DECISION_CAUSE_REBALANCED
    assert second.cause == decision_pb2.DECISION_CAUSE_REBALANCED
    watch.call.cancel()
