"""How answers are read: what is there, what is absent, and what no server should send."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_api.v1 import decision_pb2, task_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.client import (
    BlockingReason,
    DecisionCause,
    Outcome,
    OutcomeStatus,
    Placement,
    TaskState,
    TaskStatus,
    Waiting,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def instant(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def test_a_waiting_task_has_prospects_and_no_predictions() -> None:
    waiting = task_pb2.Waiting(
        position=3,
        expected_start_p50=instant(NOON),
        blocking=task_pb2.BLOCKING_REASON_PAUSED,
        blocking_detail="paused by ann",
    )
    placement = Placement.from_proto(api.AssignResponse(state=task_pb2.TASK_STATE_WAITING, waiting=waiting))
    assert placement.state is TaskState.WAITING
    assert (placement.worker_id, placement.lease_id) == ("", "")
    assert (placement.predicted_wait, placement.predicted_duration, placement.score) == (None, None, None)
    assert placement.waiting == Waiting(
        position=3,
        expected_start_p50=NOON,
        expected_start_p90=None,
        blocking=BlockingReason.PAUSED,
        blocking_detail="paused by ann",
    )


def test_a_finished_task_has_its_outcome() -> None:
    outcome = Outcome(
        status=OutcomeStatus.TIMED_OUT,
        duration=timedelta(seconds=3),
        error_message="too long",
        error_kind="Timeout",
        result=b"x",
    )
    message = api.AssignResponse(state=task_pb2.TASK_STATE_FINISHED, outcome=outcome.to_proto(), replayed=True)
    placement = Placement.from_proto(message)
    assert placement.outcome == outcome
    assert placement.replayed
    assert placement.waiting is None


def test_an_outcome_without_duration_says_none() -> None:
    outcome = Outcome(status=OutcomeStatus.SUCCEEDED)
    assert not outcome.to_proto().HasField("duration")
    assert Outcome.from_proto(outcome.to_proto()) == outcome


def test_a_duration_of_zero_is_a_fact() -> None:
    outcome = Outcome(status=OutcomeStatus.SUCCEEDED, duration=timedelta())
    assert outcome.to_proto().HasField("duration")
    assert Outcome.from_proto(outcome.to_proto()) == outcome


def test_the_explanation_is_there_only_where_it_was_sent() -> None:
    explained = decision_pb2.Decision(explanation=decision_pb2.Explanation(candidate_count=4))
    with_it = Placement.from_proto(api.AssignResponse(decision=explained))
    without = Placement.from_proto(api.AssignResponse(decision=decision_pb2.Decision()))
    assert with_it.explanation is not None
    assert with_it.explanation.candidate_count == 4
    assert without.explanation is None


def test_a_number_of_a_newer_server_reads_as_unspecified() -> None:
    decision = decision_pb2.Decision()
    decision.ParseFromString(b"\x50\x63")  # field 10, `cause`: 99
    placement = Placement.from_proto(api.AssignResponse(decision=decision))
    assert placement.cause is DecisionCause.UNSPECIFIED
    assert placement.response.decision.cause == 99


@pytest.mark.parametrize("milliseconds", [math.inf, math.nan, 1e300])
def test_predictions_that_are_no_span_do_not_break_the_answer(milliseconds: float) -> None:
    decision = decision_pb2.Decision(worker_id="w1", predicted_wait_ms=milliseconds)
    placement = Placement.from_proto(api.AssignResponse(decision=decision))
    assert (placement.worker_id, placement.predicted_wait) == ("w1", timedelta.max)


def test_instants_and_durations_that_nothing_can_hold_read_as_none() -> None:
    outcome = task_pb2.Outcome(duration=Duration(seconds=2**62))
    status = TaskStatus.from_proto(api.TaskStatus(submitted_at=Timestamp(seconds=2**62), outcome=outcome))
    assert status.submitted_at is None
    assert status.outcome is not None
    assert status.outcome.duration is None


def test_a_status_tells_what_happened_and_when() -> None:
    status = TaskStatus.from_proto(
        api.TaskStatus(
            task=task_pb2.TaskKey(task_id="t1", tenant="acme", attempt=2),
            state=task_pb2.TASK_STATE_STARTED,
            task_type="resize",
            decision=decision_pb2.Decision(worker_id="w1", lease_id="l1"),
            submitted_at=instant(NOON),
            placed_at=instant(NOON + timedelta(seconds=1)),
            started_at=instant(NOON + timedelta(seconds=2)),
        )
    )
    assert (status.task_id, status.tenant, status.attempt, status.task_type) == ("t1", "acme", 2, "resize")
    assert (status.state, status.worker_id, status.lease_id) == (TaskState.STARTED, "w1", "l1")
    assert status.submitted_at == NOON
    assert status.placed_at == NOON + timedelta(seconds=1)
    assert status.started_at == NOON + timedelta(seconds=2)
    assert (status.ended_at, status.waiting, status.outcome) == (None, None, None)
