"""GetAccuracy, and how running tasks correct their own estimates, over the wire."""

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import decision_pb2
from scheduler_api.v1.admin_service_pb2_grpc import AdminServiceStub
from tests.contract.server import Running, refused, span


def admin(live: Running) -> Any:  # the generated stub's types are those of a channel that blocks
    return AdminServiceStub(live.channel)


async def run(live: Running, task_id: str, seconds: float, task_type: str = "resize") -> decision_pb2.Decision:
    decision = (await live.assign(task_id, task_type=task_type)).decision
    await live.report(decision.lease_id, duration=span(seconds))
    return decision


async def test_with_nothing_compared_the_shares_are_absent(live: Running) -> None:
    told = await admin(live).GetAccuracy(api.GetAccuracyRequest(by_task_type=True))
    assert told.overall.ListFields() == []
    assert list(told.rows) == []


async def test_each_outcome_is_held_against_what_was_predicted_for_it(live: Running) -> None:
    await live.worker()
    first = await run(live, "t1", 5.0)  # the default says 5 s
    await run(live, "t2", 60.0)
    assert first.prediction.point_ms == 5_000.0
    told = (await admin(live).GetAccuracy(api.GetAccuracyRequest())).overall
    assert told.sample_count == 2
    assert told.within_25_percent == 0.5
    assert told.p90_coverage == 0.5
    assert not told.HasField("wait_p90_coverage")


async def test_what_did_not_succeed_is_not_compared(live: Running) -> None:
    await live.worker()
    decision = (await live.assign("t1")).decision
    await live.report(decision.lease_id, status=2, duration=span(0.001))
    assert not (await admin(live).GetAccuracy(api.GetAccuracyRequest())).overall.sample_count


async def test_an_outcome_told_twice_counts_once(live: Running) -> None:
    await live.worker()
    decision = await run(live, "t1", 5.0)
    await live.report(decision.lease_id, duration=span(5.0))
    assert (await admin(live).GetAccuracy(api.GetAccuracyRequest())).overall.sample_count == 1


async def test_types_come_sorted_in_pages_and_each_once(live: Running) -> None:
    await live.worker()
    for at in range(5):
        await run(live, f"t{at}", 5.0, task_type=f"type-{4 - at}")
    names: list[str] = []
    token = ""
    while True:
        told = await admin(live).GetAccuracy(api.GetAccuracyRequest(by_task_type=True, page_size=2, page_token=token))
        names += [row.task_type for row in told.rows]
        assert all(row.accuracy.sample_count == 1 for row in told.rows)
        token = told.next_page_token
        if not token:
            break
    assert names == [f"type-{at}" for at in range(5)]


async def test_one_type_alone_can_be_asked_for(live: Running) -> None:
    await live.worker()
    await run(live, "t1", 5.0, task_type="a")
    await run(live, "t2", 60.0, task_type="b")
    told = await admin(live).GetAccuracy(api.GetAccuracyRequest(task_type="b", by_task_type=True))
    assert (told.overall.sample_count, told.overall.within_25_percent) == (1, 0.0)
    assert [row.task_type for row in told.rows] == ["b"]
    nobody = await admin(live).GetAccuracy(api.GetAccuracyRequest(task_type="never seen"))
    assert nobody.overall.ListFields() == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (api.GetAccuracyRequest(task_type="a\x00"), "task_type"),
        (api.GetAccuracyRequest(page_size=1_001), "page_size"),
        (api.GetAccuracyRequest(step=Duration(seconds=60)), "step"),
        (api.GetAccuracyRequest(by_predictor=True), "by_predictor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_malformed_question_is_told_by_field(
    live: Running, request_: api.GetAccuracyRequest, field: str
) -> None:
    problem = await refused(admin(live).GetAccuracy(request_))
    assert problem.code == "INVALID_ARGUMENT"
    assert [fault.split(":")[0] for fault in problem.fields] == [field]


async def test_without_a_log_there_is_no_history_and_it_says_so(live: Running) -> None:
    begin = Timestamp()
    begin.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    problem = await refused(admin(live).GetAccuracy(api.GetAccuracyRequest(range=api.TimeRange(start=begin))))
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "NO_HISTORY")


async def test_a_foreign_page_token_is_refused(live: Running) -> None:
    problem = await refused(admin(live).GetAccuracy(api.GetAccuracyRequest(page_token="abc")))
    assert problem.reason == "PAGE_TOKEN_INVALID"


# ---------------------------------------------------------------------- running tasks


async def test_a_task_that_overruns_moves_its_own_predicted_end(live: Running) -> None:
    await live.sdk_worker()
    await live.assign()
    placed_s = (await live.status()).placed_at.ToNanoseconds() / 1e9
    ends = []
    for _ in range(8):
        status = await live.status()
        p50, p90 = (
            field.ToNanoseconds() / 1e9 - placed_s for field in (status.predicted_end, status.predicted_end_p90)
        )
        assert p50 <= p90
        ends.append(round(p50, 3))
        live.forward(4.0)
    # Predicted: 5 s. At 8 s it has overrun; at 12, 16, ... it is taken to last as long again.
    assert ends[:2] == [5.0, pytest.approx(5.0, rel=0.05)]
    assert ends[2] > 8.0
    assert ends[3:] == pytest.approx([24.0, 32.0, 40.0, 48.0, 56.0], rel=0.01)


async def test_the_worker_says_the_same_of_its_leases_and_of_when_it_will_be_free(live: Running) -> None:
    await live.sdk_worker(slots=1)
    await live.assign()
    live.forward(16.0)
    status = await live.status()
    worker = (await admin(live).GetWorker(api.GetWorkerRequest(worker_id="w"))).worker
    assert worker.leases[0].predicted_end == status.predicted_end
    free_in = worker.estimated_available_at.ToNanoseconds() - status.predicted_end.ToNanoseconds()
    assert free_in == pytest.approx(16e9, rel=0.05)  # the mean of what is left is twice its median


async def test_a_task_that_has_ended_has_no_predicted_end(live: Running) -> None:
    await live.worker()
    await run(live, "t", 1.0)
    status = await live.status()
    assert not status.HasField("predicted_end")
    assert not status.HasField("predicted_end_p90")


async def test_a_type_with_hopeless_predictions_is_placed_by_counts_and_watchers_are_told(live: Running) -> None:
    await live.worker()
    watch = admin(live).WatchEvents(api.WatchEventsRequest(kinds=[api.EVENT_KIND_PREDICTION_UNTRUSTED]))
    assert (await watch.read()) is not grpc.aio.EOF  # the token alone: the watch has begun
    for at in range(40):
        await run(live, f"t{at}", 0.001 if at % 2 else 1_000.0)
    event = (await watch.read()).event
    assert (event.subject_id, event.before, event.after) == ("resize", "trusted", "untrusted")
    assert event.severity == api.SEVERITY_WARNING
    decision = (await live.assign("next")).decision
    assert decision.source == decision_pb2.DECISION_SOURCE_FALLBACK
    assert decision.cause == decision_pb2.DECISION_CAUSE_PREDICTION_UNTRUSTED
    assert decision.scorer == "least_busy"
    assert decision.HasField("prediction")
    assert "too poor" in decision.reasoning
    watch.cancel()
