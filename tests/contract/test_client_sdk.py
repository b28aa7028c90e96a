"""What the client SDK makes of the wire, sync and async alike: a real grpc server with scripted answers."""

import asyncio
import inspect
import textwrap
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, Protocol, cast

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from scheduler_api.v1 import admin_service_pb2, decision_pb2, task_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server import client as sdk
from scheduler_server.client import (
    AsyncSchedulerClient,
    Delivery,
    Outcome,
    OutcomeStatus,
    SchedulerClient,
    Task,
)
from scheduler_server.client.channel import ANY_DEADLINE_S
from tests.fakes.assign_server import Asked, AssignServer, assign_server, refusal

Code = grpc.StatusCode
TASK = Task(task_id="t1", task_type="resize", tenant="acme")
PLACED = api.AssignResponse(
    state=task_pb2.TASK_STATE_PLACED,
    decision=decision_pb2.Decision(
        decision_id="d1",
        lease_id="l1",
        worker_id="w1",
        predicted_wait_ms=0,
        predicted_duration_ms=1500,
        score=0.7,
        terms=[decision_pb2.ScoreTerm(name="load", value=0.5, weight=0.4)],
        source=decision_pb2.DECISION_SOURCE_PREDICTED,
        cause=decision_pb2.DECISION_CAUSE_BEST_SCORE,
        scorer="weighted",
        reasoning="w1 was best",
    ),
)
REPORTED = api.ReportOutcomeResponse(results=[api.OutcomeReportResult(result=api.OUTCOME_RESULT_ACCEPTED)])
FINE: dict[str, Any] = {
    "Assign": PLACED,
    "AssignBatch": api.AssignBatchResponse(results=[api.AssignBatchResult(response=PLACED)]),
    "ReportOutcome": REPORTED,
    "GetTask": api.GetTaskResponse(task=api.TaskStatus(state=task_pb2.TASK_STATE_STARTED)),
    "CancelTask": api.CancelTaskResponse(state=task_pb2.TASK_STATE_CANCELLED, worker_told=True),
}
UNAVAILABLE = refusal(Code.UNAVAILABLE, "SERVER_DRAINING")
FULL = refusal(Code.RESOURCE_EXHAUSTED, "NO_FREE_SLOT")


class InThreads:
    """A synchronous client with its methods to await, so that one test serves both."""

    def __init__(self, client: SchedulerClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not inspect.ismethod(found):
            return found

        async def in_thread(*args: Any, **named: Any) -> Any:
            return await asyncio.to_thread(found, *args, **named)

        return in_thread


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, span_s: float) -> None:
        self.slept_s.append(span_s)
        self.now_s += span_s

    async def sleep_aio(self, span_s: float) -> None:
        self.sleep(span_s)


class Connect(Protocol):
    def __call__(self, target: str = "", time: FakeTime | None = None, **options: Any) -> AsyncSchedulerClient: ...


@pytest.fixture
async def server() -> AsyncIterator[AssignServer]:
    async with assign_server() as running:
        for method, answer in FINE.items():
            running.answer(method, answer)
        yield running


@pytest.fixture(params=["sync", "aio"])
async def connect(request: pytest.FixtureRequest, server: AssignServer) -> AsyncIterator[Connect]:
    opened: list[AsyncSchedulerClient] = []

    def connect(target: str = "", time: FakeTime | None = None, **options: Any) -> AsyncSchedulerClient:
        if time is not None:
            sleep: Any = time.sleep if request.param == "sync" else time.sleep_aio
            options = {"clock": time.clock, "sleep": sleep, "chance": lambda: 0.0} | options
        if request.param == "sync":
            opened.append(cast(AsyncSchedulerClient, InThreads(SchedulerClient(target or server.target, **options))))
        else:
            opened.append(AsyncSchedulerClient(target or server.target, **options))
        return opened[-1]

    yield connect
    for client in opened:
        await client.close()


@pytest.fixture
def client(connect: Connect) -> AsyncSchedulerClient:
    return connect()


def close(asked: Asked, deadline_s: float) -> bool:
    """The call had this deadline: less what it took to arrive, more by what grpc rounds up (about 1 %)."""
    return asked.time_remaining_s is not None and abs(asked.time_remaining_s - deadline_s) < 1


CALLS: dict[str, Callable[[AsyncSchedulerClient], Any]] = {
    "Assign": lambda client: client.assign(TASK),
    "AssignBatch": lambda client: client.assign_batch([TASK]),
    "ReportOutcome": lambda client: client.report_outcome("l1", OutcomeStatus.SUCCEEDED),
    "GetTask": lambda client: client.get_task("t1"),
    "CancelTask": lambda client: client.cancel_task("t1"),
}


# ------------------------------------------------------------------------------------------------ answers


async def test_a_placement_says_which_worker_when_and_why(client: AsyncSchedulerClient) -> None:
    placement = await client.assign(TASK)
    assert (placement.worker_id, placement.lease_id, placement.decision_id) == ("w1", "l1", "d1")
    assert placement.predicted_wait == timedelta()
    assert placement.predicted_duration == timedelta(seconds=1.5)
    assert placement.score == 0.7
    assert placement.terms == (sdk.Term(name="load", value=0.5, weight=0.4),)
    assert placement.source is sdk.DecisionSource.PREDICTED
    assert placement.cause is sdk.DecisionCause.BEST_SCORE
    assert placement.reasoning == "w1 was best"
    assert placement.state is sdk.TaskState.PLACED
    assert placement.outcome is None
    assert placement.replayed is False


async def test_a_task_asks_for_what_its_caller_said(server: AssignServer, client: AsyncSchedulerClient) -> None:
    await client.assign(TASK, delivery=Delivery.STREAM, enqueue=True, explain=True)
    request = server.asked["Assign"][0].request
    assert request.task == TASK.to_proto()
    assert request.delivery == task_pb2.DELIVERY_STREAM
    assert request.WhichOneof("when_full") == "enqueue"
    assert request.view == api.EXPLANATION_VIEW_FULL


async def test_a_task_asks_for_nothing_that_its_caller_did_not_say(
    server: AssignServer, client: AsyncSchedulerClient
) -> None:
    await client.assign(TASK.to_proto())
    assert server.asked["Assign"][0].request == api.AssignRequest(task=TASK.to_proto())


async def test_a_batch_answers_each_item_in_its_place(server: AssignServer, client: AsyncSchedulerClient) -> None:
    unable = refusal(Code.FAILED_PRECONDITION, "NO_CAPABLE_WORKER", "no gpu")
    error = api.ItemError(code=unable.code, message=unable.message, details=unable.details)
    server.answer(
        "AssignBatch",
        api.AssignBatchResponse(
            results=[
                api.AssignBatchResult(response=PLACED),
                api.AssignBatchResult(error=error),
                api.AssignBatchResult(),
            ]
        ),
    )
    tasks = [Task(task_id=name, task_type="resize") for name in ("a", "b", "c")]
    placed, refused, missing = await client.assign_batch(tasks, delivery=Delivery.STREAM)
    assert isinstance(placed, sdk.Placement)
    assert placed.worker_id == "w1"
    assert type(refused) is sdk.NoCapableWorker
    assert refused.metadata == {"task_id": "b", "attempt": "1", "limit": "7"}
    assert type(missing) is sdk.ServerFault
    assert missing.metadata["task_id"] == "c"
    requests = server.asked["AssignBatch"][0].request.requests
    assert [(r.task.task_id, r.delivery) for r in requests] == [(name, Delivery.STREAM) for name in "abc"]


async def test_an_item_of_a_batch_is_refused_as_a_call_of_its_own_would_be(
    server: AssignServer, client: AsyncSchedulerClient
) -> None:
    details = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=3))
    status = refusal(Code.RESOURCE_EXHAUSTED, "NO_FREE_SLOT", "full", details)
    item = api.AssignBatchResult(error=api.ItemError(code=status.code, message=status.message, details=status.details))
    server.answer("Assign", status)
    server.answer("AssignBatch", api.AssignBatchResponse(results=[item]))
    with pytest.raises(sdk.NoFreeSlot) as raised:
        await client.assign(TASK)
    (returned,) = await client.assign_batch([TASK])
    assert type(returned) is sdk.NoFreeSlot
    assert returned.args == raised.value.args
    assert returned.retry_after == timedelta(seconds=3)


@pytest.mark.parametrize("count", [0, 2])
async def test_a_batch_with_another_number_of_answers_is_a_fault_of_the_server(
    server: AssignServer, client: AsyncSchedulerClient, count: int
) -> None:
    server.answer("AssignBatch", api.AssignBatchResponse(results=[api.AssignBatchResult(response=PLACED)] * count))
    server.answer("ReportOutcome", api.ReportOutcomeResponse(results=list(REPORTED.results) * count))
    with pytest.raises(sdk.ServerFault, match=f"answered {count}"):
        await client.assign_batch([TASK])
    with pytest.raises(sdk.ServerFault, match=f"answered {count}"):
        await client.report_outcome("l1", OutcomeStatus.SUCCEEDED)


async def test_an_outcome_is_reported_with_its_lease_and_duration(
    server: AssignServer, client: AsyncSchedulerClient
) -> None:
    result = await client.report_outcome(
        "l1",
        OutcomeStatus.FAILED,
        duration=timedelta(seconds=2),
        error_message="disk full",
        error_kind="OSError",
    )
    assert result is sdk.OutcomeResult.ACCEPTED
    (report,) = server.asked["ReportOutcome"][0].request.reports
    assert report.lease_id == "l1"
    assert Outcome.from_proto(report.outcome) == Outcome(
        status=OutcomeStatus.FAILED,
        duration=timedelta(seconds=2),
        error_message="disk full",
        error_kind="OSError",
    )


async def test_a_whole_outcome_arrives_as_it_is(server: AssignServer, client: AsyncSchedulerClient) -> None:
    outcome = Outcome(status=OutcomeStatus.SUCCEEDED, duration=timedelta(seconds=2), result=b"42")
    await client.report_outcome("l1", outcome)
    await client.report_outcome("l1", outcome.to_proto())
    first, second = (asked.request.reports[0].outcome for asked in server.asked["ReportOutcome"])
    assert first == second == outcome.to_proto()


async def test_a_single_refused_report_is_raised(server: AssignServer, client: AsyncSchedulerClient) -> None:
    status = refusal(Code.NOT_FOUND, "LEASE_UNKNOWN", "never granted")
    error = api.ItemError(code=status.code, message=status.message, details=status.details)
    server.answer(
        "ReportOutcome",
        api.ReportOutcomeResponse(results=[api.OutcomeReportResult(result=api.OUTCOME_RESULT_REFUSED, error=error)]),
    )
    with pytest.raises(sdk.LeaseUnknown, match="never granted") as raised:
        await client.report_outcome("l9", OutcomeStatus.SUCCEEDED)
    assert raised.value.metadata["lease_id"] == "l9"


async def test_many_reports_have_mixed_results(server: AssignServer, client: AsyncSchedulerClient) -> None:
    status = refusal(Code.ABORTED, "LEASE_MISMATCH")
    error = api.ItemError(code=status.code, message=status.message, details=status.details)
    server.answer(
        "ReportOutcome",
        api.ReportOutcomeResponse(
            results=[
                api.OutcomeReportResult(result=api.OUTCOME_RESULT_DUPLICATE),
                api.OutcomeReportResult(result=api.OUTCOME_RESULT_REFUSED, error=error),
                api.OutcomeReportResult(result=api.OUTCOME_RESULT_LATE),
            ]
        ),
    )
    outcome = Outcome(status=OutcomeStatus.SUCCEEDED)
    reports = [sdk.OutcomeReport(lease_id=name, outcome=outcome) for name in ("a", "b")]
    proto = api.OutcomeReport(lease_id="c", outcome=outcome.to_proto())
    first, second, third = await client.report_outcomes([*reports, proto])
    assert (first, third) == (sdk.OutcomeResult.DUPLICATE, sdk.OutcomeResult.LATE)
    assert type(second) is sdk.LeaseMismatch
    assert second.metadata["lease_id"] == "b"
    assert [r.lease_id for r in server.asked["ReportOutcome"][0].request.reports] == ["a", "b", "c"]


async def test_a_task_is_found_by_its_identity(server: AssignServer, client: AsyncSchedulerClient) -> None:
    status = await client.get_task("t1", tenant="acme", attempt=2)
    assert status.state is sdk.TaskState.STARTED
    assert server.asked["GetTask"][0].request.task == task_pb2.TaskKey(tenant="acme", task_id="t1", attempt=2)


async def test_a_task_is_cancelled_by_its_identity_and_lease(
    server: AssignServer, client: AsyncSchedulerClient
) -> None:
    answer = await client.cancel_task("t1", tenant="acme", lease_id="l1", reason="obsolete")
    assert answer == sdk.Cancellation(state=sdk.TaskState.CANCELLED, worker_told=True)
    assert server.asked["CancelTask"][0].request == api.CancelTaskRequest(
        task=task_pb2.TaskKey(tenant="acme", task_id="t1", attempt=1), lease_id="l1", reason="obsolete"
    )


async def test_raw_methods_get_deadline_metadata_and_error_types(server: AssignServer, connect: Connect) -> None:
    client = connect(token="secret")
    server.answer("GetStatus", admin_service_pb2.GetStatusResponse(), refusal(Code.PERMISSION_DENIED, "X"))
    request = admin_service_pb2.GetStatusRequest()
    method = cast(Any, client.admin.GetStatus)
    assert await client.call(method, request) == admin_service_pb2.GetStatusResponse()
    asked = server.asked["GetStatus"][0]
    assert asked.metadata["authorization"] == "Bearer secret"
    assert close(asked, ANY_DEADLINE_S)
    with pytest.raises(sdk.AccessDenied):
        await client.call(method, request)


async def test_sync_and_async_give_equal_answers(server: AssignServer) -> None:
    server.answer("Assign", PLACED, PLACED, refusal(Code.ABORTED, "ATTEMPT_LOST", "w1 is gone"))
    with SchedulerClient(server.target) as blocking:
        async with AsyncSchedulerClient(server.target) as awaiting:
            assert await asyncio.to_thread(blocking.assign, TASK) == await awaiting.assign(TASK)
            with pytest.raises(sdk.AttemptLost) as one:
                await asyncio.to_thread(blocking.assign, TASK)
            with pytest.raises(sdk.AttemptLost) as other:
                await awaiting.assign(TASK)
    assert one.value.args == other.value.args


async def test_the_ten_lines_of_the_door_work(server: AssignServer) -> None:
    def deliver(task: Task, to: str) -> timedelta:
        return timedelta(seconds=1) if (task.task_id, to) == ("42", "w1") else timedelta()

    lines = [line for line in (sdk.__doc__ or "").splitlines() if line.startswith("    ")]
    code = textwrap.dedent("\n".join(lines)).replace("127.0.0.1:50051", server.target)
    names = vars(sdk) | {"timedelta": timedelta, "deliver": deliver}
    await asyncio.to_thread(exec, code, names)
    assert [asked.request.task.task_type for asked in server.asked["Assign"]] == ["resize-image"]
    assert [asked.request.reports[0].lease_id for asked in server.asked["ReportOutcome"]] == ["l1"]


# ------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (Code.INVALID_ARGUMENT, "INVALID_ARGUMENT", sdk.InvalidTask),
        (Code.RESOURCE_EXHAUSTED, "NO_FREE_SLOT", sdk.NoFreeSlot),
        (Code.RESOURCE_EXHAUSTED, "QUEUE_FULL", sdk.NoFreeSlot),
        (Code.RESOURCE_EXHAUSTED, "TOO_MANY_WORKERS", sdk.OverLimit),
        (Code.FAILED_PRECONDITION, "NO_CAPABLE_WORKER", sdk.NoCapableWorker),
        (Code.FAILED_PRECONDITION, "TASK_CANCELLED", sdk.TaskCancelled),
        (Code.FAILED_PRECONDITION, "TASK_FINISHED", sdk.TaskFinished),
        (Code.FAILED_PRECONDITION, "SOMETHING_NEW", sdk.SchedulerError),
        (Code.ABORTED, "ATTEMPT_LOST", sdk.AttemptLost),
        (Code.ABORTED, "LEASE_MISMATCH", sdk.LeaseMismatch),
        (Code.ALREADY_EXISTS, "TASK_CONFLICT", sdk.TaskConflict),
        (Code.NOT_FOUND, "TASK_UNKNOWN", sdk.TaskUnknown),
        (Code.NOT_FOUND, "LEASE_UNKNOWN", sdk.LeaseUnknown),
        (Code.NOT_FOUND, "WORKER_UNKNOWN", sdk.SchedulerError),
        (Code.DEADLINE_EXCEEDED, "START_BY_PASSED", sdk.StartByPassed),
        (Code.DEADLINE_EXCEEDED, "", sdk.DeadlineExceeded),
        (Code.UNAVAILABLE, "SERVER_DRAINING", sdk.ServerUnavailable),
        (Code.CANCELLED, "", sdk.ServerUnavailable),
        (Code.UNIMPLEMENTED, "NOT_SUPPORTED_YET", sdk.NotSupported),
        (Code.UNAUTHENTICATED, "TOKEN_INVALID", sdk.AccessDenied),
        (Code.PERMISSION_DENIED, "ROLE_MISSING", sdk.AccessDenied),
        (Code.INTERNAL, "INTERNAL", sdk.ServerFault),
        (Code.UNKNOWN, "", sdk.ServerFault),
    ],
)
async def test_each_code_and_reason_has_its_error(
    server: AssignServer,
    client: AsyncSchedulerClient,
    code: grpc.StatusCode,
    reason: str,
    expected: type[sdk.SchedulerError],
) -> None:
    server.answer("Assign", refusal(code, reason, "what is wrong"))
    with pytest.raises(sdk.SchedulerError) as raised:
        await client.assign(TASK)
    error = raised.value
    assert type(error) is expected
    assert (error.code, error.reason, error.message) == (code, reason, "what is wrong")
    said = {"limit": "7"} if reason else {}
    assert error.metadata == {"task_id": "t1", "tenant": "acme", "attempt": "1"} | said


async def test_an_invalid_task_names_the_fields(server: AssignServer, client: AsyncSchedulerClient) -> None:
    faults = error_details_pb2.BadRequest(
        field_violations=[{"field": "task.priority", "description": "must be 0 to 1, is nan"}]
    )
    server.answer("Assign", refusal(Code.INVALID_ARGUMENT, "INVALID_ARGUMENT", "1 field", faults))
    with pytest.raises(sdk.InvalidTask, match=r"task\.priority: must be 0 to 1, is nan") as raised:
        await client.assign(TASK)
    assert raised.value.field_violations == (
        sdk.FieldViolation(field="task.priority", description="must be 0 to 1, is nan"),
    )


async def test_a_refusal_however_long_arrives_whole(server: AssignServer, client: AsyncSchedulerClient) -> None:
    missing = [f"{number:02}".ljust(256, "x") for number in range(64)]
    detail = decision_pb2.PlacementRefusal(missing_capabilities=missing)
    server.answer("Assign", refusal(Code.FAILED_PRECONDITION, "NO_CAPABLE_WORKER", "no", detail))
    with pytest.raises(sdk.NoCapableWorker) as raised:
        await client.assign(TASK)
    assert raised.value.refusal == detail


async def test_a_lost_attempt_tells_the_next(server: AssignServer, client: AsyncSchedulerClient) -> None:
    server.answer("Assign", refusal(Code.ABORTED, "ATTEMPT_LOST"), PLACED)
    with pytest.raises(sdk.AttemptLost) as raised:
        await client.assign(TASK.as_attempt(4))
    assert raised.value.next_attempt == 5
    await client.assign(TASK.as_attempt(5))
    assert server.asked["Assign"][1].request.task.attempt == 5


async def test_the_server_knows_the_next_attempt_better(server: AssignServer, client: AsyncSchedulerClient) -> None:
    detail = error_details_pb2.ErrorInfo(
        reason="ATTEMPT_LOST", domain="scheduler-server", metadata={"next_attempt": "9"}
    )
    server.answer("Assign", refusal(Code.ABORTED, "", "lost", detail))
    with pytest.raises(sdk.AttemptLost) as raised:
        await client.assign(TASK)
    assert raised.value.next_attempt == 9


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff not a status",
        status_pb2.Status(code=5, message="another").SerializeToString(),
        status_pb2.Status(code=3, message="another").SerializeToString(),
        b"",
    ],
    ids=["garbage", "another code", "another message", "empty"],
)
async def test_details_that_make_no_sense_leave_code_and_message(
    server: AssignServer, client: AsyncSchedulerClient, details: bytes
) -> None:
    async def abort(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        await context.abort(Code.INVALID_ARGUMENT, "what is wrong", (("grpc-status-details-bin", details),))

    server.answer("Assign", abort)
    with pytest.raises(sdk.InvalidTask) as raised:
        await client.assign(TASK)
    assert (raised.value.message, raised.value.reason) == ("what is wrong", "")


async def test_a_reason_of_another_product_is_not_ours(server: AssignServer, client: AsyncSchedulerClient) -> None:
    server.answer("Assign", refusal(Code.RESOURCE_EXHAUSTED, "NO_FREE_SLOT", "quota", domain="proxy.example"))
    with pytest.raises(sdk.OverLimit) as raised:
        await client.assign(TASK)
    assert raised.value.reason == ""


async def test_an_exception_in_the_server_is_its_fault(server: AssignServer, client: AsyncSchedulerClient) -> None:
    async def fail(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        raise ZeroDivisionError

    server.answer("Assign", fail)
    with pytest.raises(sdk.ServerFault):
        await client.assign(TASK)


async def test_an_answer_beyond_the_size_limit_is_not_taken_for_a_full_fleet(
    server: AssignServer, connect: Connect
) -> None:
    time = FakeTime()
    client = connect(time=time, options=[("grpc.max_receive_message_length", 10)])
    with pytest.raises(sdk.OverLimit):
        await client.assign(TASK, patience=60)
    assert time.slept_s == []


async def test_answers_above_grpcs_own_limit_of_four_mebibytes_arrive(
    server: AssignServer, client: AsyncSchedulerClient
) -> None:
    outcome = task_pb2.Outcome(status=task_pb2.OUTCOME_STATUS_SUCCEEDED, result=bytes(5 * 1024 * 1024))
    server.answer("Assign", api.AssignResponse(state=task_pb2.TASK_STATE_FINISHED, outcome=outcome))
    placement = await client.assign(TASK)
    assert placement.outcome == Outcome.from_proto(outcome)


# ------------------------------------------------------------------------------------------- retry policy


@pytest.mark.parametrize("method", CALLS)
async def test_unavailable_is_tried_four_times_in_all(
    server: AssignServer, client: AsyncSchedulerClient, method: str
) -> None:
    server.answer(method, UNAVAILABLE)
    with pytest.raises(sdk.ServerUnavailable):
        await CALLS[method](client)
    assert len(server.asked[method]) == 4


@pytest.mark.parametrize("method", CALLS)
async def test_the_first_answer_after_unavailable_ends_the_retries(
    server: AssignServer, client: AsyncSchedulerClient, method: str
) -> None:
    server.answer(method, UNAVAILABLE, UNAVAILABLE, FINE[method])
    await CALLS[method](client)
    assert len(server.asked[method]) == 3


@pytest.mark.parametrize(
    "code", [Code.RESOURCE_EXHAUSTED, Code.INTERNAL, Code.ABORTED, Code.DEADLINE_EXCEEDED, Code.UNKNOWN]
)
async def test_other_codes_are_not_retried(
    server: AssignServer, client: AsyncSchedulerClient, code: grpc.StatusCode
) -> None:
    server.answer("Assign", refusal(code, "SOME_REASON"))
    with pytest.raises(sdk.SchedulerError):
        await client.assign(TASK)
    assert len(server.asked["Assign"]) == 1


async def test_raw_methods_are_not_retried(server: AssignServer, client: AsyncSchedulerClient) -> None:
    server.answer("GetStatus", UNAVAILABLE)
    with pytest.raises(sdk.ServerUnavailable):
        await client.call(cast(Any, client.admin.GetStatus), admin_service_pb2.GetStatusRequest())
    assert len(server.asked["GetStatus"]) == 1


# ---------------------------------------------------------------------------------------------- deadlines


@pytest.mark.parametrize(("method", "deadline_s"), sdk.DEADLINES_S.items())
async def test_each_call_has_its_deadline(
    server: AssignServer, client: AsyncSchedulerClient, method: str, deadline_s: float
) -> None:
    await CALLS[method](client)
    assert close(server.asked[method][0], deadline_s)


@pytest.mark.parametrize("timeout", [30, 30.0, timedelta(seconds=30)])
async def test_the_caller_may_say_another_deadline(
    server: AssignServer, client: AsyncSchedulerClient, timeout: timedelta | float
) -> None:
    await client.assign(TASK, timeout=timeout)
    assert close(server.asked["Assign"][0], 30)


async def test_waiting_in_the_server_adds_to_the_deadline(server: AssignServer, client: AsyncSchedulerClient) -> None:
    await client.assign(TASK, wait=timedelta(seconds=20))
    await client.assign(TASK, wait=20, timeout=5)
    (first, second) = server.asked["Assign"]
    assert first.request.wait == second.request.wait == Duration(seconds=20)
    assert close(first, 22)
    assert close(second, 5)


async def test_a_silent_server_is_given_up_at_the_deadline(server: AssignServer, client: AsyncSchedulerClient) -> None:
    async def hang(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        await asyncio.Event().wait()

    server.answer("Assign", hang)
    with pytest.raises(sdk.DeadlineExceeded) as raised:
        await client.assign(TASK, timeout=0.1)
    assert type(raised.value) is sdk.DeadlineExceeded


# ----------------------------------------------------------------------------------------------- patience


def full(retry_after: timedelta | None, reason: str = "NO_FREE_SLOT") -> status_pb2.Status:
    if retry_after is None:
        return refusal(Code.RESOURCE_EXHAUSTED, reason)
    delay = Duration()
    delay.FromTimedelta(retry_after)
    return refusal(Code.RESOURCE_EXHAUSTED, reason, "full", error_details_pb2.RetryInfo(retry_delay=delay))


async def test_patience_asks_again_when_the_server_expects_a_slot(server: AssignServer, connect: Connect) -> None:
    time = FakeTime()
    server.answer("Assign", full(timedelta(seconds=3)), full(timedelta(seconds=8), "QUEUE_FULL"), full(None), PLACED)
    placement = await connect(time=time).assign(TASK, patience=timedelta(seconds=60))
    assert placement.worker_id == "w1"
    assert time.slept_s == [3.0, 8.0, 0.025]
    requests = [asked.request for asked in server.asked["Assign"]]
    assert len(requests) == 4
    assert all(request == requests[0] for request in requests)


async def test_patience_spreads_callers_who_were_told_the_same_instant(server: AssignServer, connect: Connect) -> None:
    time = FakeTime()
    server.answer("Assign", full(timedelta(seconds=4)), PLACED)
    await connect(time=time, chance=lambda: 0.5).assign(TASK, patience=60)
    assert time.slept_s == [4.5]


async def test_patience_that_would_end_before_the_slot_gives_up_at_once(server: AssignServer, connect: Connect) -> None:
    time = FakeTime()
    server.answer("Assign", full(timedelta(seconds=3)))
    with pytest.raises(sdk.NoFreeSlot) as raised:
        await connect(time=time).assign(TASK, patience=7)
    assert time.slept_s == [3.0, 3.0]
    assert len(server.asked["Assign"]) == 3
    assert raised.value.retry_after == timedelta(seconds=3)


async def test_without_patience_a_full_fleet_is_asked_once(server: AssignServer, connect: Connect) -> None:
    time = FakeTime()
    server.answer("Assign", full(timedelta()))
    with pytest.raises(sdk.NoFreeSlot):
        await connect(time=time).assign(TASK)
    assert len(server.asked["Assign"]) == 1
    assert time.slept_s == []


async def test_patience_has_none_for_what_does_not_pass(server: AssignServer, connect: Connect) -> None:
    time = FakeTime()
    server.answer("Assign", FULL, refusal(Code.FAILED_PRECONDITION, "NO_CAPABLE_WORKER"))
    with pytest.raises(sdk.NoCapableWorker):
        await connect(time=time).assign(TASK, patience=60)
    assert len(server.asked["Assign"]) == 2


async def test_patience_sleeps_by_the_real_clock_too(server: AssignServer, client: AsyncSchedulerClient) -> None:
    server.answer("Assign", full(timedelta(milliseconds=50)), PLACED)
    assert (await client.assign(TASK, patience=5)).worker_id == "w1"


# --------------------------------------------------------------------------------------------- connection


async def test_a_token_is_read_anew_for_each_call(server: AssignServer, connect: Connect) -> None:
    tokens = iter(["first", "second"])
    client = connect(token=lambda: next(tokens), metadata=[("x-team", "blue")])
    await client.assign(TASK)
    await client.get_task("t1")
    asked = [server.asked["Assign"][0].metadata, server.asked["GetTask"][0].metadata]
    assert [metadata["authorization"] for metadata in asked] == ["Bearer first", "Bearer second"]
    assert {metadata["x-team"] for metadata in asked} == {"blue"}


async def test_without_a_token_none_is_sent(server: AssignServer, client: AsyncSchedulerClient) -> None:
    await client.assign(TASK)
    assert "authorization" not in server.asked["Assign"][0].metadata


async def test_credentials_make_the_channel_a_secure_one(connect: Connect) -> None:
    async with assign_server(grpc.local_server_credentials()) as secure:
        secure.answer("Assign", PLACED)
        client = connect(secure.target, credentials=grpc.local_channel_credentials())
        assert (await client.assign(TASK)).worker_id == "w1"


async def test_where_nobody_listens_the_server_is_unavailable(connect: Connect) -> None:
    async with assign_server() as gone:
        pass
    with pytest.raises(sdk.ServerUnavailable):
        await connect(gone.target).assign(TASK)


async def test_who_waits_for_a_connection_waits_until_the_deadline(connect: Connect) -> None:
    async with assign_server() as gone:
        pass
    client = connect(gone.target, wait_for_ready=True)
    with pytest.raises(sdk.DeadlineExceeded):
        await client.assign(TASK, timeout=0.3)
    with pytest.raises(sdk.DeadlineExceeded):
        await client.call(cast(Any, client.admin.GetStatus), admin_service_pb2.GetStatusRequest(), timeout=0.3)


async def test_leaving_the_context_closes_the_connection(server: AssignServer) -> None:
    with SchedulerClient(server.target) as blocking:
        await asyncio.to_thread(blocking.assign, TASK)
    async with AsyncSchedulerClient(server.target) as awaiting:
        await awaiting.assign(TASK)
    with pytest.raises(ValueError, match="closed channel"):
        blocking.assign(TASK)
    with pytest.raises(grpc.aio.UsageError):
        await awaiting.assign(TASK)
