"""What AssignBatch and ReportOutcome promise: each item its own status, the call as a whole for the rest."""

import pytest
from google.rpc import status_pb2

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2, worker_pb2
from tests.contract.server import Running, digest, item_problem, refused, span, task

Registration = worker_pb2.WorkerRegistration
SUCCEEDED, FAILED = task_pb2.OUTCOME_STATUS_SUCCEEDED, task_pb2.OUTCOME_STATUS_FAILED


def batch(*task_ids: str) -> api.AssignBatchRequest:
    return api.AssignBatchRequest(requests=[api.AssignRequest(task=task(each)) for each in task_ids])


def report(
    lease_id: str, status: task_pb2.OutcomeStatus.ValueType = SUCCEEDED, seconds: float = 1.0
) -> api.OutcomeReport:
    return api.OutcomeReport(lease_id=lease_id, outcome=task_pb2.Outcome(status=status, duration=span(seconds)))


# ---------------------------------------------------------------------- AssignBatch


async def test_a_batch_is_answered_in_the_order_of_its_requests(live: Running) -> None:
    await live.worker()
    answer = await live.stub.AssignBatch(batch("a", "b", "c"))
    assert [each.response.decision.task.task_id for each in answer.results] == ["a", "b", "c"]
    assert live.record().occupied == 3


async def test_each_item_has_the_status_that_its_own_call_would_have(live: Running) -> None:
    await live.worker(registration=Registration(max_concurrent_tasks=1, reports_outcomes=True))
    request = batch("placed", "", "no slot", "placed")
    request.requests.add(task=task("never", required_capabilities=["gpu"]))
    placed, faulty, full, again, never = (await live.stub.AssignBatch(request)).results
    assert placed.response.decision.worker_id == "w"
    assert (again.response.replayed, again.response.decision) == (True, placed.response.decision)
    problem = item_problem(faulty.error)
    assert (problem.code, problem.reason, problem.fields) == (
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        ["requests[1].task.task_id"],
    )
    problem = item_problem(full.error)
    assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "NO_FREE_SLOT")
    assert problem.retry_s is not None
    assert problem.rejections() == {"REJECTION_REASON_NO_FREE_SLOT": 1}
    problem = item_problem(never.error)
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "NO_CAPABLE_WORKER")


def test_an_item_error_is_a_google_rpc_status_on_the_wire() -> None:
    ours = {(each.number, each.name, each.type) for each in api.ItemError.DESCRIPTOR.fields}
    assert ours == {(each.number, each.name, each.type) for each in status_pb2.Status.DESCRIPTOR.fields}


async def test_a_thousand_items_are_taken_and_one_more_is_not(live: Running) -> None:
    await live.worker(registration=Registration(max_concurrent_tasks=2_000, reports_outcomes=True))
    answer = await live.stub.AssignBatch(batch(*(f"t{number}" for number in range(1_000))))
    assert len({each.response.decision.lease_id for each in answer.results}) == 1_000
    before = digest(live)
    problem = await refused(live.stub.AssignBatch(batch(*(f"u{number}" for number in range(1_001)))))
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["requests"])
    assert "1,000" in problem.message
    assert digest(live) == before


async def test_no_items_at_all_are_refused(live: Running) -> None:
    problem = await refused(live.stub.AssignBatch(api.AssignBatchRequest()))
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["requests"])
    problem = await refused(live.stub.ReportOutcome(api.ReportOutcomeRequest()))
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["reports"])


async def test_a_batch_that_was_carried_out_is_answered_however_long_the_answer(live: Running) -> None:
    for number in range(6):
        worker_id = f"{number}" + "\N{SNOWMAN}" * 255
        await live.worker(worker_id, registration=Registration(max_concurrent_tasks=2_000, reports_outcomes=True))
    request = batch(*("\N{SNOWMAN}" * 250 + f"{number}" for number in range(1_000)))
    for each in request.requests:
        each.view = api.EXPLANATION_VIEW_FULL
    assert request.ByteSize() < 4 * 1024 * 1024
    answer = await live.stub.AssignBatch(request)
    assert answer.ByteSize() > 4 * 1024 * 1024  # above what the server itself would take
    assert all(each.response.decision.lease_id for each in answer.results)


# ---------------------------------------------------------------------- ReportOutcome


async def test_the_first_report_counts_and_the_same_again_changes_nothing(live: Running) -> None:
    await live.worker()
    lease = (await live.assign()).decision.lease_id
    assert (await live.report(lease, duration=span(2.5))).result == api.OUTCOME_RESULT_ACCEPTED
    assert (live.record().completed, live.record().average) == (1, 2_500.0)
    before = digest(live)
    for status in (SUCCEEDED, FAILED):
        result = await live.report(lease, status, duration=span(9))
        assert result.result == api.OUTCOME_RESULT_DUPLICATE
        assert not result.HasField("error")
    assert digest(live) == before


async def test_one_report_twice_in_a_message_counts_once(live: Running) -> None:
    await live.worker()
    lease = (await live.assign()).decision.lease_id
    answer = await live.stub.ReportOutcome(api.ReportOutcomeRequest(reports=[report(lease), report(lease)]))
    assert [each.result for each in answer.results] == [api.OUTCOME_RESULT_ACCEPTED, api.OUTCOME_RESULT_DUPLICATE]
    assert live.record().completed == 1


async def test_a_report_of_a_lease_that_was_given_up_teaches_and_releases_nothing(live: Running) -> None:
    stream = await live.sdk_worker(slots=1)
    lease = (await live.assign()).decision.lease_id
    await stream.beat(reports=[worker_pb2.LeaseReport(lease_id=lease, returned=worker_pb2.LeaseReturned())])
    await live.assign("next")
    assert (await live.report(lease, duration=span(1))).result == api.OUTCOME_RESULT_LATE
    assert live.record().occupied == 1
    assert next(iter(live.core.predictor.state()))
    assert (await live.report(lease, duration=span(1))).result == api.OUTCOME_RESULT_DUPLICATE


async def test_an_outcome_for_an_unknown_lease_is_refused_and_the_others_count(live: Running) -> None:
    await live.worker()
    lease = (await live.assign()).decision.lease_id
    reports = [report("nobody's"), report(lease), report("")]
    unknown, known, faulty = (await live.stub.ReportOutcome(api.ReportOutcomeRequest(reports=reports))).results
    assert unknown.result == api.OUTCOME_RESULT_REFUSED
    problem = item_problem(unknown.error)
    assert (problem.code, problem.reason, problem.metadata) == (
        "NOT_FOUND",
        "LEASE_UNKNOWN",
        {"lease_id": "nobody's"},
    )
    assert known.result == api.OUTCOME_RESULT_ACCEPTED
    assert faulty.result == api.OUTCOME_RESULT_REFUSED
    problem = item_problem(faulty.error)
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["reports[2].lease_id"])


async def test_a_thousand_reports_are_taken_and_one_more_is_not(live: Running) -> None:
    before = digest(live)
    reports = [report(f"l{number}") for number in range(1_001)]
    answer = await live.stub.ReportOutcome(api.ReportOutcomeRequest(reports=reports[:1_000]))
    assert {each.result for each in answer.results} == {api.OUTCOME_RESULT_REFUSED}
    problem = await refused(live.stub.ReportOutcome(api.ReportOutcomeRequest(reports=reports)))
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["reports"])
    assert digest(live) == before


@pytest.mark.parametrize(
    ("status", "completed", "failed"),
    [
        ("SUCCEEDED", 1, 0),
        ("FAILED", 0, 1),
        ("TIMED_OUT", 0, 1),
        ("CANCELLED", 0, 0),
    ],
)
async def test_only_successes_teach_and_each_status_counts_as_it_should(
    live: Running, status: str, completed: int, failed: int
) -> None:
    await live.worker()
    lease = (await live.assign()).decision.lease_id
    value = task_pb2.OutcomeStatus.Value(f"OUTCOME_STATUS_{status}")
    result = await live.report(lease, value, duration=span(2), error_message="line 1\nline 2", error_kind="Kind")
    assert result.result == api.OUTCOME_RESULT_ACCEPTED
    assert (live.record().completed, live.record().failed) == (completed, failed)
    assert any(live.core.predictor.state()) == bool(completed)
    outcome = (await live.status()).outcome
    assert (outcome.status, outcome.error_message, outcome.error_kind) == (value, "line 1\nline 2", "Kind")
    assert live.record().occupied == 0


async def test_a_success_without_a_duration_counts_and_teaches_nothing(live: Running) -> None:
    await live.worker()
    lease = (await live.assign()).decision.lease_id
    assert (await live.report(lease)).result == api.OUTCOME_RESULT_ACCEPTED
    assert live.record().completed == 1
    assert not list(live.core.predictor.state())


async def test_a_result_of_64_kib_is_passed_on_whole(live: Running) -> None:
    await live.worker()
    lease = (await live.assign()).decision.lease_id
    result = bytes(range(256)) * 256
    assert (await live.report(lease, duration=span(1), result=result)).result == api.OUTCOME_RESULT_ACCEPTED
    assert (await live.status()).outcome.result == result
