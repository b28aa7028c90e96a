"""Assign with a wait: the call is parked until a slot is free for its task, or until it gives up."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2, worker_pb2
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.model.refusal import Reason
from tests.contract.server import (
    DEADLINE_S,
    WALL_S,
    Problem,
    Running,
    Stream,
    refused,
    running,
    settings,
    span,
    task,
    until,
)

SLOT = worker_pb2.WorkerRegistration(max_concurrent_tasks=1, reports_outcomes=True)


def instant(seconds: float) -> Timestamp:
    made = Timestamp()
    made.FromMilliseconds(round(seconds * 1_000))
    return made


@pytest.fixture
async def full() -> AsyncIterator[tuple[Running, str]]:
    """A server whose only slot is taken, and the lease that takes it."""
    async with running() as live:
        await live.worker(registration=SLOT)
        yield live, (await live.assign("first")).decision.lease_id


def waits(live: Running, task_id: str = "t", wait_s: float = 60.0, **fields: Any) -> Any:
    """A call that waits, begun."""
    return live.stub.Assign(api.AssignRequest(task=task(task_id, **fields), wait=span(wait_s)), timeout=DEADLINE_S)


async def parked(live: Running, count: int = 1) -> None:
    await until(lambda: len(live.core.queue.waiting) == count, f"{count} tasks wait")


async def test_a_call_that_may_wait_is_answered_at_once_where_a_slot_is_free(live: Running) -> None:
    await live.worker(registration=SLOT)
    assert (await waits(live)).decision.worker_id == "w"


async def test_a_parked_call_gets_the_slot_that_becomes_free(full: tuple[Running, str]) -> None:
    live, lease = full
    call = waits(live)
    await parked(live)
    assert not call.done()
    await live.report(lease, duration=span(1))
    answer = await call
    assert task_pb2.TaskState.Name(answer.state) == "TASK_STATE_PLACED"
    assert answer.decision.worker_id == "w"
    assert not answer.replayed
    assert not answer.HasField("waiting")
    assert len(live.core.queue.waiting) == 0


async def test_a_parked_call_gets_the_worker_that_joins(live: Running) -> None:
    call = waits(live, required_capabilities=["gpu"])
    await parked(live)
    await live.worker("plain", registration=SLOT)
    await live.worker("able", registration=worker_pb2.WorkerRegistration(capabilities=["gpu"]))
    assert (await call).decision.worker_id == "able"


async def test_a_wait_that_runs_out_tells_where_the_task_stood(full: tuple[Running, str]) -> None:
    live, _ = full
    calls = [waits(live, "ahead", 120.0)]
    await parked(live)
    calls.append(waits(live, "t", 20.0))
    await parked(live, 2)
    live.forward(19.0)
    assert not calls[1].done()
    live.forward(1.001)
    problem = await refused(calls[1])
    assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "WAIT_OVER")
    assert (problem.metadata["task_id"], problem.metadata["position"]) == ("t", "1")
    assert float(problem.metadata["expected_start"]) >= WALL_S
    assert problem.refusal is not None
    assert task_pb2.BlockingReason.Name(problem.refusal.blocking) == "BLOCKING_REASON_NO_FREE_SLOT"
    assert problem.refusal.waiting.position == 1
    assert problem.refusal.waiting.blocking == problem.refusal.blocking
    assert problem.refusal.waiting.HasField("expected_start_p50")
    assert problem.retry_s is not None
    assert await unknown(live)
    assert len(live.core.queue.waiting) == 1  # the other waits on
    assert live.core.placement.refusals == {Reason.WAIT_OVER: 1}
    calls[0].cancel()


async def unknown(live: Running, task_id: str = "t") -> bool:
    problem = await refused(live.stub.GetTask(api.GetTaskRequest(task=task_pb2.TaskKey(task_id=task_id))))
    return problem.reason == "TASK_UNKNOWN"


async def test_a_wait_of_no_time_is_over_at_once(full: tuple[Running, str]) -> None:
    live, _ = full
    assert (await refused(waits(live, wait_s=0.0))).reason == "WAIT_OVER"
    assert len(live.core.queue.waiting) == 0


@pytest.mark.parametrize(
    ("registered", "required", "blocking", "words"),
    [
        (None, [], "NO_ELIGIBLE_WORKER_NOW", "no worker is registered yet"),
        (SLOT, ["gpu"], "NO_WORKER_COULD_EVER", "nobody has 'gpu'"),
    ],
    ids=["no workers", "nobody ever"],
)
async def test_what_blocks_it_is_told_by_its_class(
    live: Running,
    registered: worker_pb2.WorkerRegistration | None,
    required: list[str],
    blocking: str,
    words: str,
) -> None:
    if registered is not None:
        await live.worker(registration=registered)
    problem = await refused(waits(live, wait_s=0.0, required_capabilities=required))
    assert problem.reason == "WAIT_OVER"
    assert problem.refusal is not None
    assert task_pb2.BlockingReason.Name(problem.refusal.blocking) == f"BLOCKING_REASON_{blocking}"
    assert words in problem.message
    assert "expected_start" not in problem.metadata
    assert not problem.refusal.waiting.HasField("expected_start_p50")


async def test_a_caller_that_gives_up_frees_its_place_at_once(full: tuple[Running, str]) -> None:
    live, lease = full
    call = waits(live, "gone")
    await parked(live)
    patient = waits(live, "patient")
    await parked(live, 2)
    call.cancel()
    await parked(live, 1)
    assert await unknown(live, "gone")
    await live.report(lease, duration=span(1))
    assert (await patient).decision.task.task_id == "patient"


async def test_a_call_whose_own_deadline_passes_frees_its_place(full: tuple[Running, str]) -> None:
    live, _ = full
    request = api.AssignRequest(task=task(), wait=span(60))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await live.stub.Assign(request, timeout=0.2)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await parked(live, 0)
    assert await unknown(live)


async def test_a_client_that_vanishes_frees_its_place(full: tuple[Running, str]) -> None:
    live, _ = full
    async with grpc.aio.insecure_channel(live.app.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        other = Running(live.app, live.clock, channel)
        call = waits(other)
        await parked(live)
    await parked(live, 0)
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await call


async def test_a_second_call_for_the_same_task_waits_with_the_first(full: tuple[Running, str]) -> None:
    live, lease = full
    calls = [waits(live), waits(live)]
    await until(lambda: live.core.queue.waiting.by_task and len(tickets(live)) == 2, "both wait")
    assert len(live.core.queue.waiting) == 1
    await live.report(lease, duration=span(1))
    first, second = await asyncio.gather(*calls)
    assert first.decision == second.decision
    assert sum(1 for each in live.core.ledger.leases.values() if each.live) == 1


def tickets(live: Running, task_id: str = "t") -> dict[int, float]:
    return live.core.queue.waiting.by_task["", task_id].tickets


async def test_the_task_waits_on_when_one_of_two_callers_goes(full: tuple[Running, str]) -> None:
    live, lease = full
    gone, stays = waits(live), waits(live)
    await until(lambda: live.core.queue.waiting.by_task and len(tickets(live)) == 2, "both wait")
    gone.cancel()
    await until(lambda: len(tickets(live)) == 1, "one waits")
    await live.report(lease, duration=span(1))
    assert (await stays).decision.worker_id == "w"


async def test_the_same_task_with_a_different_body_is_refused_while_it_waits(full: tuple[Running, str]) -> None:
    live, _ = full
    call = waits(live)
    await parked(live)
    assert (await refused(waits(live, task_type="other"))).reason == "TASK_CONFLICT"
    assert (await refused(waits(live, attempt=2))).reason == "TASK_CONFLICT"
    assert not call.done()
    call.cancel()


async def test_a_plain_call_for_a_task_that_waits_is_told_so(full: tuple[Running, str]) -> None:
    live, _ = full
    call = waits(live)
    await parked(live)
    answer = await live.assign()
    assert task_pb2.TaskState.Name(answer.state) == "TASK_STATE_WAITING"
    assert answer.replayed
    assert answer.waiting.position == 0
    call.cancel()


async def test_a_plain_call_never_passes_one_that_waits(live: Running) -> None:
    call = waits(live, required_capabilities=["gpu"])
    await parked(live)
    await live.worker(registration=worker_pb2.WorkerRegistration(max_concurrent_tasks=1, capabilities=["gpu"]))
    assert (await live.refuse("late")).reason == "NO_FREE_SLOT"
    assert (await call).decision.worker_id == "w"


async def test_going_down_answers_every_call_that_waits(full: tuple[Running, str]) -> None:
    live, lease = full
    calls = [waits(live, f"t{count}") for count in range(3)]
    await parked(live, 3)
    live.app.calls.drain()
    for call in calls:
        problem: Problem = await refused(call)
        assert (problem.code, problem.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
    assert len(live.core.queue.waiting) == 0
    await live.report(lease, duration=span(1))  # a slot is free, and nothing takes it
    assert sum(1 for each in live.core.ledger.leases.values() if each.live) == 0


async def test_cancelling_a_task_answers_the_calls_that_wait_for_it(full: tuple[Running, str]) -> None:
    live, _ = full
    call = waits(live)
    await parked(live)
    told = await live.cancel()
    assert task_pb2.TaskState.Name(told.state) == "TASK_STATE_CANCELLED"
    assert not told.worker_told
    problem = await refused(call)
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "TASK_CANCELLED")
    assert await live.state() == "CANCELLED"
    assert (await refused(waits(live))).reason == "TASK_CANCELLED"


# ---------------------------------------------------------------------- windows of time


async def test_a_plain_call_for_a_task_that_is_not_due_is_told_when_to_come_back(live: Running) -> None:
    await live.worker()
    problem = await live.refuse(not_before=instant(WALL_S + 20))
    assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "NOT_YET_DUE")
    assert problem.retry_s == pytest.approx(20.0, abs=0.001)
    assert problem.refusal is not None
    assert problem.refusal.blocking == task_pb2.BLOCKING_REASON_NOT_YET_DUE
    live.forward(20.0)
    assert (await live.assign(not_before=instant(WALL_S + 20))).decision.worker_id == "w"


async def test_a_task_starts_no_sooner_than_it_is_due(live: Running) -> None:
    await live.worker()
    call = waits(live, wait_s=120.0, not_before=instant(WALL_S + 20))
    await parked(live)
    told = (await live.status()).waiting
    assert told.blocking == task_pb2.BLOCKING_REASON_NOT_YET_DUE
    live.forward(19.9)
    assert not call.done()
    assert len(live.core.queue.waiting) == 1
    live.forward(0.101)
    answer = await call
    assert answer.decision.worker_id == "w"
    assert answer.decision.decided_at.ToMilliseconds() >= (WALL_S + 20) * 1_000


async def test_a_task_that_has_not_started_by_then_expires(full: tuple[Running, str]) -> None:
    live, _ = full
    call = waits(live, start_by=instant(WALL_S + 30))
    await parked(live)
    live.forward(29.9)
    assert await live.state() == "WAITING"
    live.forward(0.2)
    problem = await refused(call)
    assert (problem.code, problem.reason) == ("DEADLINE_EXCEEDED", "START_BY_PASSED")
    status = await live.status()
    assert task_pb2.TaskState.Name(status.state) == "TASK_STATE_EXPIRED"
    assert status.HasField("ended_at")
    assert status.submitted_at.seconds == int(WALL_S)
    assert not status.HasField("waiting")


async def test_a_start_by_in_the_past_is_refused_before_anything_waits(full: tuple[Running, str]) -> None:
    live, _ = full
    problem = await refused(waits(live, start_by=instant(WALL_S - 1)))
    assert (problem.code, problem.reason) == ("DEADLINE_EXCEEDED", "START_BY_PASSED")
    assert len(live.core.queue.waiting) == 0


# ---------------------------------------------------------------------- bounds


async def test_a_full_queue_takes_nobody_more_and_says_its_limit() -> None:
    async with running(settings(queue=QueueSettings(max_length=2, tenant_share=1.0))) as live:
        calls = [waits(live, f"t{count}") for count in range(2)]
        await parked(live, 2)
        problem = await refused(waits(live, "third"))
        assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
        assert "queue.max_length is 2" in problem.message
        assert problem.retry_s is not None
        calls[0].cancel()
        await parked(live, 1)
        calls.append(waits(live, "third"))
        await parked(live, 2)
        for call in calls:
            call.cancel()


async def test_a_queue_of_no_length_lets_nobody_wait() -> None:
    async with running(settings(queue=QueueSettings(max_length=0))) as live:
        assert (await refused(waits(live))).reason == "QUEUE_FULL"


async def test_one_tenant_cannot_fill_the_queue() -> None:
    async with running(settings(queue=QueueSettings(max_length=4, tenant_share=0.5))) as live:
        calls = [waits(live, f"t{count}", tenant="greedy") for count in range(2)]
        await parked(live, 2)
        problem = await refused(waits(live, "third", tenant="greedy"))
        assert problem.reason == "QUEUE_FULL"
        assert "queue.tenant_share" in problem.message
        assert problem.refusal is not None
        assert problem.refusal.blocking == task_pb2.BLOCKING_REASON_OVER_TENANT_SHARE
        calls.append(waits(live, "third", tenant="modest"))
        await parked(live, 3)
        for call in calls:
            call.cancel()


@pytest.mark.parametrize(("bytes_", "taken"), [(99, True), (100, True), (101, False)])
async def test_payload_that_waits_is_bounded(bytes_: int, taken: bool) -> None:
    async with running(settings(queue=QueueSettings(max_payload_bytes=100))) as live:
        request = api.AssignRequest(
            task=task(payload=b"x" * bytes_), delivery=task_pb2.DELIVERY_STREAM, enqueue=api.Enqueue()
        )
        if taken:
            assert (await live.stub.Assign(request)).HasField("waiting")
        else:
            problem = await refused(live.stub.Assign(request))
            assert problem.reason == "QUEUE_FULL"
            assert "queue.max_payload_bytes is 100" in problem.message


async def test_tenants_without_number_leave_nothing_behind(live: Running) -> None:
    for first in range(0, 12_000, 1_000):
        numbers = range(first, first + 1_000)
        items = [
            api.AssignRequest(task=task("t", tenant=f"tenant-{n}", start_by=instant(WALL_S + n)), enqueue=api.Enqueue())
            for n in numbers
        ]
        answer = await live.stub.AssignBatch(api.AssignBatchRequest(requests=items))
        assert all(each.response.HasField("waiting") or each.HasField("error") for each in answer.results)
        live.forward(1_000.0)
    await parked(live, 0)
    assert len(live.core.queue.tenants) <= 10_000


async def test_the_bare_worker_frees_a_parked_call_by_its_sample(live: Running) -> None:
    stream: Stream = await live.worker(queue_depth=5)
    call = waits(live)
    await parked(live)
    live.forward(1.0)
    await stream.send(queue_depth=4)
    assert (await call).decision.worker_id == "w"
