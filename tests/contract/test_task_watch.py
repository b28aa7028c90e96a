"""WatchTasks: each change of each task once, in order, as it was when it happened."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest

from scheduler_api.v1 import admin_service_pb2 as admin_api
from scheduler_api.v1 import admin_service_pb2_grpc, task_pb2, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.client import (
    ENDED,
    AsyncSchedulerClient,
    InvalidTask,
    NoFreeSlot,
    SchedulerClient,
    ServerUnavailable,
    Task,
    TaskState,
)
from scheduler_server.rpc import following
from tests.contract.server import DEADLINE_S, WALL_S, Problem, Running, refused, running, span, task, unread, until
from tests.contract.test_enqueue import STREAM, enqueue, kept, on_disk, state
from tests.contract.test_waiting import SLOT, instant, waits


class Watch:
    """One reader, begun."""

    def __init__(self, live: Running, **request: Any) -> None:
        self.call: Any = live.stub.WatchTasks(api.WatchTasksRequest(**request))
        self.token = ""

    async def begin(self) -> "Watch":
        """Read the message that tells where it begins."""
        first = await self.read()
        assert not first.HasField("task")
        return self

    async def read(self) -> api.WatchTasksResponse:
        got = await asyncio.wait_for(self.call.read(), DEADLINE_S)
        assert got is not grpc.aio.EOF, f"the stream ended: {await self.call.code()}"
        self.token = got.resume_token
        return cast(api.WatchTasksResponse, got)

    async def next(self) -> tuple[str, str]:
        """Task id and state of the next change."""
        got = await self.read()
        return got.task.task.task_id, state(got.task)

    async def some(self, count: int) -> list[tuple[str, str]]:
        return [await self.next() for _ in range(count)]

    async def problem(self) -> Problem:
        async def to_the_end() -> str:
            while (got := await self.call.read()) is not grpc.aio.EOF:
                pass
            return f"{got}"

        return await refused(to_the_end())


@pytest.fixture
async def watched(live: Running) -> AsyncIterator[tuple[Running, Watch]]:
    """A server with a worker that takes tasks from its stream, and a reader of all tasks."""
    watch = await Watch(live).begin()
    yield live, watch
    watch.call.cancel()


async def test_the_life_of_a_task_is_told_step_by_step(live: Running) -> None:
    stream = await live.sdk_worker(slots=1)
    watch = await Watch(live).begin()
    first = (await live.assign("first", delivery=STREAM)).decision
    await enqueue(live, delivery=STREAM)
    while not (got := await stream.next()).HasField("run_task"):
        pass
    lease = got.run_task.lease_id
    await stream.beat(reports=[worker_pb2.LeaseReport(lease_id=lease, acknowledged=worker_pb2.LeaseAcknowledged())])
    await stream.beat(reports=[worker_pb2.LeaseReport(lease_id=lease, started=worker_pb2.LeaseStarted())])
    finished = task_pb2.Outcome(status=task_pb2.OUTCOME_STATUS_SUCCEEDED, duration=span(2), result=b"done")
    await stream.send(reports=[worker_pb2.LeaseReport(lease_id=lease, finished=finished)])
    seen = [await watch.read() for _ in range(6)]
    assert [(each.task.task.task_id, state(each.task)) for each in seen] == [
        ("first", "OFFERED"),
        ("t", "WAITING"),
        ("first", "ACKNOWLEDGED"),
        ("first", "STARTED"),
        ("first", "FINISHED"),
        ("t", "OFFERED"),
    ]
    waiting, finish = seen[1].task, seen[4].task
    assert waiting.waiting.position == 0
    assert waiting.waiting.blocking == task_pb2.BLOCKING_REASON_NO_FREE_SLOT
    assert not waiting.HasField("decision")
    assert finish.outcome.result == b"done"
    assert finish.HasField("ended_at")
    assert finish.decision.lease_id == first.lease_id
    assert not seen[3].task.HasField("ended_at")
    assert not seen[2].task.HasField("started_at")
    assert all(each.at.seconds == int(WALL_S) for each in seen)
    assert len({each.resume_token for each in seen}) == 6
    watch.call.cancel()


async def test_what_one_heartbeat_tells_at_once_is_told_one_by_one(live: Running) -> None:
    stream = await live.sdk_worker(slots=1)
    watch = await Watch(live).begin()
    lease = (await live.assign(delivery=STREAM)).decision.lease_id
    await stream.next()
    finished = task_pb2.Outcome(status=task_pb2.OUTCOME_STATUS_SUCCEEDED, duration=span(2))
    reports = [
        worker_pb2.LeaseReport(lease_id=lease, acknowledged=worker_pb2.LeaseAcknowledged()),
        worker_pb2.LeaseReport(lease_id=lease, started=worker_pb2.LeaseStarted()),
        worker_pb2.LeaseReport(lease_id=lease, finished=finished),
    ]
    await stream.beat(reports=reports)
    seen = [await watch.read() for _ in range(4)]
    assert [state(each.task) for each in seen] == ["OFFERED", "ACKNOWLEDGED", "STARTED", "FINISHED"]
    assert [each.task.HasField("outcome") for each in seen] == [False, False, False, True]
    assert [each.task.HasField("ended_at") for each in seen] == [False, False, False, True]
    watch.call.cancel()


async def test_tasks_that_end_without_a_lease_are_told(watched: tuple[Running, Watch]) -> None:
    live, watch = watched
    await enqueue(live, "late", start_by=instant(WALL_S + 5))
    await enqueue(live, "unwanted")
    await live.cancel("unwanted")
    live.forward(5.001)
    assert await watch.some(4) == [
        ("late", "WAITING"),
        ("unwanted", "WAITING"),
        ("unwanted", "CANCELLED"),
        ("late", "EXPIRED"),
    ]


async def test_a_lost_task_is_told(watched: tuple[Running, Watch]) -> None:
    live, watch = watched
    stream = await live.sdk_worker()
    lease = (await live.assign()).decision.lease_id
    await stream.beat(reports=[worker_pb2.LeaseReport(lease_id=lease, returned=worker_pb2.LeaseReturned())])
    assert await watch.some(2) == [("t", "PLACED"), ("t", "LOST")]


async def test_a_reader_may_choose_states_and_is_told_of_no_others(live: Running) -> None:
    ends = await Watch(live, states=[task_pb2.TASK_STATE_FINISHED, task_pb2.TASK_STATE_CANCELLED]).begin()
    every = await Watch(live).begin()
    for task_id in ("1", "2"):
        await enqueue(live, task_id)
        await live.cancel(task_id)
    assert await every.some(4) == [("1", "WAITING"), ("1", "CANCELLED"), ("2", "WAITING"), ("2", "CANCELLED")]
    assert await ends.some(2) == [("1", "CANCELLED"), ("2", "CANCELLED")]
    again = Watch(live, states=[task_pb2.TASK_STATE_WAITING], resume_token=every.token.rpartition(".")[0] + ".0")
    assert await again.some(2) == [("1", "WAITING"), ("2", "WAITING")], "a token is good for other states too"


@pytest.mark.parametrize("number", [0, max(task_pb2.TaskState.values()) + 1])
async def test_a_state_without_a_meaning_is_refused(live: Running, number: int) -> None:
    problem = await Watch(live, states=[task_pb2.TASK_STATE_PLACED, number]).problem()
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["states[1]"])


async def test_the_sdk_asks_for_ends_only(live: Running) -> None:
    client = AsyncSchedulerClient(live.app.address)
    async with client, asyncio.timeout(DEADLINE_S), client.watch_tasks(states=ENDED) as changes:
        await enqueue(live, "1")
        await live.cancel("1")
        async for change in changes:
            assert change.status.state is TaskState.CANCELLED
            break


async def test_a_reader_may_choose_a_tenant_or_tasks(live: Running) -> None:
    of_a = await Watch(live, tenant="a").begin()
    nameless = await Watch(live, tenant="").begin()
    chosen = await Watch(
        live, tasks=[task_pb2.TaskKey(task_id="1", tenant="b"), task_pb2.TaskKey(task_id="2", attempt=2)]
    ).begin()
    for tenant in ("a", "b", ""):
        for task_id in ("1", "2"):
            await enqueue(live, task_id, tenant=tenant)
    await live.cancel("2")
    await enqueue(live, "2", attempt=2)
    assert [(each.task.task.tenant, each.task.task.task_id) for each in [await of_a.read() for _ in range(2)]] == [
        ("a", "1"),
        ("a", "2"),
    ]
    assert await nameless.some(4) == [("1", "WAITING"), ("2", "WAITING"), ("2", "CANCELLED"), ("2", "WAITING")]
    got = [await chosen.read() for _ in range(2)]
    assert [(each.task.task.tenant, each.task.task.task_id, each.task.task.attempt) for each in got] == [
        ("b", "1", 1),
        ("", "2", 2),
    ]
    for watch in (of_a, nameless, chosen):
        watch.call.cancel()


async def test_a_token_leads_on_from_where_it_was_given(watched: tuple[Running, Watch]) -> None:
    live, watch = watched
    for count in range(3):
        await enqueue(live, f"t{count}")
    await watch.some(2)
    again = Watch(live, resume_token=watch.token)
    assert await again.next() == ("t2", "WAITING")
    await enqueue(live, "t3")
    assert await again.next() == ("t3", "WAITING")
    again.call.cancel()


@pytest.mark.parametrize("token", ["x", "x.y", ".1", "a.-1", "a." + "9" * 20, "\u0661.\u0661"])
async def test_a_token_that_is_none_is_refused(live: Running, token: str) -> None:
    problem = await Watch(live, resume_token=token).problem()
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["resume_token"])


async def test_a_token_of_another_run_is_out_of_range(live: Running) -> None:
    problem = await Watch(live, resume_token="another.0").problem()
    assert (problem.code, problem.reason) == ("OUT_OF_RANGE", "RESUME_TOKEN_EXPIRED")


async def test_a_token_of_what_has_not_happened_is_told_by_field(live: Running) -> None:
    problem = await Watch(live, resume_token=f"{live.core.incarnation}.1").problem()
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["resume_token"])


async def test_a_token_older_than_what_is_kept_is_out_of_range(live: Running) -> None:
    live.app.calls.watchers._ring.entries = deque(maxlen=3)
    watch = await Watch(live).begin()
    before = watch.token
    for count in range(3):
        await enqueue(live, f"t{count}")
    oldest = Watch(live, resume_token=before)
    assert await oldest.next() == ("t0", "WAITING")
    await enqueue(live, "t3")
    problem = await Watch(live, resume_token=before).problem()
    assert (problem.code, problem.reason) == ("OUT_OF_RANGE", "RESUME_TOKEN_EXPIRED")
    for each in (watch, oldest):
        each.call.cancel()


@pytest.mark.parametrize(("count", "taken"), [(1_000, True), (1_001, False)])
async def test_at_most_a_thousand_tasks_can_be_chosen(live: Running, count: int, taken: bool) -> None:
    keys = [task_pb2.TaskKey(task_id=f"t{n}") for n in range(count)]
    watch = Watch(live, tasks=keys)
    if taken:
        await watch.begin()
        watch.call.cancel()
    else:
        assert (await watch.problem()).fields == ["tasks"]


async def test_one_reader_more_than_the_limit_is_refused(live: Running) -> None:
    watches = [await Watch(live).begin() for _ in range(following.MAX_READERS)]
    problem = await Watch(live).problem()
    assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_WATCHERS")
    admin = admin_service_pb2_grpc.AdminServiceStub(live.channel)
    assert (await admin.GetStatus(admin_api.GetStatusRequest())).streams.task_watches == following.MAX_READERS
    for watch in watches:
        watch.call.cancel()
    await until(lambda: len(live.app.calls.watchers) == 0, "all are gone")


async def test_a_reader_that_takes_nothing_is_ended(live: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "WRITE_WITHIN_S", 0.2)
    async with unread(live) as other:
        watch = await Watch(other).begin()
        for first in range(0, 3_000, 1_000):
            items = [api.AssignRequest(task=task(f"t{first + n}"), enqueue=api.Enqueue()) for n in range(1_000)]
            await live.stub.AssignBatch(api.AssignBatchRequest(requests=items))
        await until(lambda: len(live.app.calls.watchers) == 0, "the reader is given up")
        problem = await watch.problem()
        assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "WATCHER_TOO_SLOW")


async def test_going_down_ends_the_readers(watched: tuple[Running, Watch]) -> None:
    live, watch = watched
    live.app.calls.drain()
    problem = await watch.problem()
    assert (problem.code, problem.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
    assert (await Watch(live).problem()).reason == "SERVER_DRAINING"


async def test_a_lease_of_a_kept_task_is_on_disk_before_it_is_told(tmp_path: Any) -> None:
    async with running(kept(tmp_path)) as live:
        watch = await Watch(live).begin()
        await enqueue(live)
        await live.worker(registration=SLOT)
        assert await watch.next() == ("t", "WAITING")
        got = await watch.read()
        assert state(got.task) == "PLACED"
        assert [(each.kind, each.id) for each in on_disk(tmp_path)] == [("lease", got.task.decision.lease_id)]
        watch.call.cancel()


async def test_a_task_that_waits_with_its_call_is_told_when_it_has_a_lease(watched: tuple[Running, Watch]) -> None:
    live, watch = watched
    call = waits(live)
    await until(lambda: len(live.core.queue.waiting) == 1, "the call waits")
    await live.worker(registration=SLOT)
    await call
    assert await watch.next() == ("t", "PLACED")


# ---------------------------------------------------------------------- with the client


async def test_the_client_watches_and_misses_nothing_asked_for_since_it_began(live: Running) -> None:
    client = AsyncSchedulerClient(live.app.address)
    seen: list[tuple[str, str]] = []
    token = ""
    async with client.watch_tasks(tenant="acme") as changes:
        placement = await client.assign(Task(task_id="t", task_type="resize", tenant="acme"), enqueue=True)
        assert placement.state is TaskState.WAITING
        assert placement.waiting is not None
        assert placement.waiting.as_of is not None
        await client.assign(Task(task_id="other", task_type="resize"), enqueue=True)
        await live.worker(registration=worker_pb2.WorkerRegistration(max_concurrent_tasks=5))
        async for change in changes:
            seen.append((change.status.task_id, change.status.state.name))
            token = change.resume_token
            if change.status.state is TaskState.PLACED:
                break
    assert seen == [("t", "WAITING"), ("t", "PLACED")]
    await client.cancel_task("t", tenant="acme")
    async with client.watch_tasks(tasks=[("acme", "t")], resume_token=token) as changes:
        async for change in changes:
            assert change.status.state is TaskState.CANCELLED
            break
    with pytest.raises(InvalidTask, match="resume_token"):
        async with client.watch_tasks(resume_token="x"):
            pass
    await client.close()


async def test_the_client_without_a_loop_watches_too(live: Running) -> None:
    def watch() -> list[str]:
        with SchedulerClient(live.app.address) as client, client.watch_tasks(tasks=["t"]) as changes:
            client.assign(Task(task_id="t", task_type="resize"), enqueue=True)
            client.cancel_task("t")
            seen = []
            for change in changes:
                seen.append(change.status.state.name)
                if len(seen) == 2:
                    break
            return seen

    assert await asyncio.to_thread(watch) == ["WAITING", "CANCELLED"]


async def test_a_watch_that_the_server_ends_raises_as_calls_do(live: Running) -> None:
    client = AsyncSchedulerClient(live.app.address)
    async with client.watch_tasks() as changes:
        live.app.calls.drain()
        with pytest.raises(ServerUnavailable, match="SERVER_DRAINING"):
            async for _ in changes:
                pass
    await client.close()


async def test_a_wait_that_is_over_is_a_missing_slot_to_the_client(live: Running) -> None:
    await live.worker(registration=SLOT)
    await live.assign("first")
    client = AsyncSchedulerClient(live.app.address)
    with pytest.raises(NoFreeSlot) as raised:
        await client.assign(Task(task_id="t", task_type="resize"), wait=0)
    assert raised.value.reason == "WAIT_OVER"
    assert raised.value.refusal is not None
    assert raised.value.refusal.waiting.position == 0
    assert raised.value.retry_after is not None
    await client.close()
