"""What GetTask and CancelTask promise of tasks with a lease, and what is not there yet."""

from typing import Any

import pytest

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2, worker_pb2
from scheduler_api.v1.admin_service_pb2 import GetWorkerRequest
from scheduler_api.v1.admin_service_pb2_grpc import AdminServiceStub
from tests.contract.server import WALL_S, Running, digest, refused, span, task


async def test_a_task_that_was_never_seen_is_not_found(live: Running) -> None:
    problem = await refused(live.stub.GetTask(api.GetTaskRequest(task=task_pb2.TaskKey(task_id="t"))))
    assert (problem.code, problem.reason, problem.domain) == ("NOT_FOUND", "TASK_UNKNOWN", "scheduler-server")
    assert problem.metadata["task_id"] == "t"
    assert "'t'" in problem.message


async def test_a_placed_task_tells_its_decision(live: Running) -> None:
    await live.worker()
    placed = await live.assign(tenant="acme")
    status = await live.status(tenant="acme")
    assert task_pb2.TaskState.Name(status.state) == "TASK_STATE_PLACED"
    assert status.decision == placed.decision
    assert (status.task.tenant, status.task.task_id, status.task.attempt) == ("acme", "t", 1)
    assert status.task_type == "resize"
    assert status.submitted_at.seconds == int(WALL_S)
    assert not status.HasField("started_at")
    assert not status.HasField("ended_at")
    assert not status.HasField("outcome")
    assert not status.HasField("waiting")


async def test_tenants_do_not_see_each_others_tasks(live: Running) -> None:
    await live.worker()
    await live.assign("t", tenant="a")
    problem = await refused(live.stub.GetTask(api.GetTaskRequest(task=task_pb2.TaskKey(task_id="t", tenant="b"))))
    assert problem.reason == "TASK_UNKNOWN"


async def test_attempt_0_in_a_question_is_the_latest(live: Running) -> None:
    stream = await live.sdk_worker()
    first = (await live.assign()).decision.lease_id
    await stream.beat(reports=[worker_pb2.LeaseReport(lease_id=first, returned=worker_pb2.LeaseReturned())])
    await live.assign(attempt=2)
    assert (await live.status()).task.attempt == 2
    assert await live.state(attempt=1) == "LOST"
    assert await live.state(attempt=2) == "PLACED"
    problem = await refused(live.stub.GetTask(api.GetTaskRequest(task=task_pb2.TaskKey(task_id="t", attempt=3))))
    assert problem.reason == "TASK_UNKNOWN"


@pytest.mark.parametrize(("age_s", "known"), [(899.0, True), (900.0, True), (902.0, False)])
async def test_an_ended_task_is_kept_for_a_quarter_of_an_hour(live: Running, age_s: float, known: bool) -> None:
    await live.worker()
    lease = (await live.assign()).decision.lease_id
    await live.report(lease, duration=span(1))
    live.forward(age_s)
    if known:
        assert await live.state() == "FINISHED"
    else:
        problem = await refused(live.stub.GetTask(api.GetTaskRequest(task=task_pb2.TaskKey(task_id="t"))))
        assert problem.reason == "TASK_UNKNOWN"


async def test_cancelling_a_placed_task_frees_its_slot(live: Running) -> None:
    await live.worker(registration=worker_pb2.WorkerRegistration(max_concurrent_tasks=1, reports_outcomes=True))
    await live.assign()
    assert (await live.refuse("next")).reason == "NO_FREE_SLOT"
    answer = await live.cancel()
    assert task_pb2.TaskState.Name(answer.state) == "TASK_STATE_CANCELLED"
    assert await live.state() == "CANCELLED"
    assert (await live.status()).outcome.status == task_pb2.OUTCOME_STATUS_CANCELLED
    assert (await live.assign("next")).decision.worker_id == "w"


async def test_a_bare_worker_cannot_be_told_of_a_cancel(live: Running) -> None:
    await live.worker()
    await live.assign()
    assert not (await live.cancel()).worker_told


async def test_cancelling_again_is_answered_with_ok_and_changes_nothing(live: Running) -> None:
    await live.worker()
    await live.assign()
    await live.cancel()
    before = digest(live)
    again = await live.cancel()
    assert task_pb2.TaskState.Name(again.state) == "TASK_STATE_CANCELLED"
    assert not again.worker_told
    assert digest(live) == before


async def cancelling(live: Running, task_id: str = "t", **fields: Any) -> Any:
    return await refused(live.stub.CancelTask(api.CancelTaskRequest(task=task_pb2.TaskKey(task_id=task_id), **fields)))


async def test_an_unknown_task_cannot_be_cancelled(live: Running) -> None:
    problem = await cancelling(live)
    assert (problem.code, problem.reason, problem.metadata) == (
        "NOT_FOUND",
        "TASK_UNKNOWN",
        {"task_id": "t", "attempt": "1"},
    )


async def test_a_finished_task_cannot_be_cancelled(live: Running) -> None:
    await live.worker()
    await live.report((await live.assign()).decision.lease_id, duration=span(1))
    before = digest(live)
    problem = await cancelling(live)
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "TASK_FINISHED")
    assert digest(live) == before


async def test_a_cancel_that_names_another_lease_changes_nothing(live: Running) -> None:
    await live.worker()
    await live.assign()
    other = (await live.assign("other")).decision.lease_id
    before = digest(live)
    for lease_id in (other, "nobody's"):
        problem = await cancelling(live, lease_id=lease_id)
        assert (problem.code, problem.reason) == ("ABORTED", "LEASE_MISMATCH")
    assert digest(live) == before


async def test_a_cancel_that_names_the_lease_of_the_task_is_carried_out(live: Running) -> None:
    await live.worker()
    lease = (await live.assign()).decision.lease_id
    assert task_pb2.TaskState.Name((await live.cancel(lease_id=lease)).state) == "TASK_STATE_CANCELLED"


async def test_attempt_0_in_a_change_is_attempt_1(live: Running) -> None:
    stream = await live.sdk_worker()
    first = (await live.assign()).decision.lease_id
    await stream.beat(reports=[worker_pb2.LeaseReport(lease_id=first, returned=worker_pb2.LeaseReturned())])
    await live.assign(attempt=2)
    assert task_pb2.TaskState.Name((await live.cancel()).state) == "TASK_STATE_LOST"
    assert await live.state(attempt=2) == "PLACED"


# ---------------------------------------------------------------------- not yet


NOT_YET: list[tuple[str, api.AssignRequest, str]] = [
    ("more than one slot", api.AssignRequest(task=task(slots=2)), "task.slots"),
    ("more than one slot, in time", api.AssignRequest(task=task(slots=2), enqueue=api.Enqueue()), "task.slots"),
]


@pytest.mark.parametrize(("what", "request_", "field"), NOT_YET, ids=[each[0] for each in NOT_YET])
async def test_what_a_later_version_brings_is_refused_by_name(
    live: Running, what: str, request_: api.AssignRequest, field: str
) -> None:
    await live.worker()
    before = digest(live)
    problem = await refused(live.stub.Assign(request_))
    assert (problem.code, problem.reason) == ("UNIMPLEMENTED", "NOT_SUPPORTED_YET")
    assert problem.metadata["field"] == field
    assert problem.message.startswith(f"{field}: this server does not support that yet: ")
    assert digest(live) == before


async def test_inside_a_batch_that_is_the_status_of_the_item(live: Running) -> None:
    await live.worker()
    answer = await live.stub.AssignBatch(api.AssignBatchRequest(requests=[each for _, each, _ in NOT_YET]))
    assert [each.error.code for each in answer.results] == [12] * len(NOT_YET)
    assert answer.results[0].error.message.startswith("requests[0].task.slots: ")


async def test_one_slot_said_aloud_is_one_slot(live: Running) -> None:
    await live.worker()
    assert (await live.assign(slots=1)).decision.worker_id == "w"


async def test_a_worker_that_takes_tasks_beyond_its_slots_has_them_staged_and_the_server_says_so(live: Running) -> None:
    registration = worker_pb2.WorkerRegistration(max_concurrent_tasks=1, prefetch=1, accepts_tasks=True)
    await live.worker(registration=registration)
    first = (await live.assign("first", delivery=task_pb2.DELIVERY_STREAM)).decision
    second = (await live.assign("second", delivery=task_pb2.DELIVERY_STREAM)).decision
    assert first.predicted_wait_ms == 0.0
    assert second.predicted_wait_ms == pytest.approx(5_000, abs=200)
    shown = (await AdminServiceStub(live.channel).GetWorker(GetWorkerRequest(worker_id="w"))).worker
    assert (shown.prefetch, shown.staged, shown.free_slots) == (1, 1, 0)
