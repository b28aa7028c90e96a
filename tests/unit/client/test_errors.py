"""How errors are read from items, what they say, and that nothing malformed breaks the reading."""

import pickle
from datetime import timedelta

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from scheduler_api.v1 import decision_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server import client as sdk
from scheduler_server.client import SchedulerError, error_from_item

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
INFO = error_details_pb2.ErrorInfo(reason="NO_FREE_SLOT", domain="scheduler-server", metadata={"slots": "8"})


def item(code: int, *details: Message) -> api.ItemError:
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    return api.ItemError(code=code, message="no", details=packed)


def test_each_detail_is_read_whatever_the_order() -> None:
    refusal = decision_pb2.PlacementRefusal(missing_labels=["zone=a"])
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2))
    bad = error_details_pb2.BadRequest(field_violations=[{"field": "task.slots", "description": "above 8"}])
    details = [INFO, refusal, retry, bad]
    first, second = (
        error_from_item(item(EXHAUSTED, *details)),
        error_from_item(item(EXHAUSTED, *details[::-1])),
    )
    assert first.args == second.args
    assert type(first) is sdk.NoFreeSlot
    assert first.metadata == {"slots": "8"}
    assert first.refusal == refusal
    assert first.retry_after == timedelta(seconds=2)
    assert first.field_violations == (sdk.FieldViolation(field="task.slots", description="above 8"),)


def test_the_first_reason_of_ours_counts() -> None:
    foreign = error_details_pb2.ErrorInfo(reason="QUOTA", domain="proxy.example")
    second = error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="scheduler-server")
    assert error_from_item(item(EXHAUSTED, foreign, INFO, second)).reason == "NO_FREE_SLOT"


def test_a_detail_that_does_not_parse_leaves_the_others() -> None:
    broken = item(EXHAUSTED, INFO)
    for name in ("google.rpc.RetryInfo", "google.rpc.BadRequest", "scheduler_api.v1.PlacementRefusal"):
        broken.details.add(type_url=f"type.googleapis.com/{name}", value=b"\xff\xff")
    error = error_from_item(broken)
    assert type(error) is sdk.NoFreeSlot
    assert (error.retry_after, error.refusal, error.field_violations) == (None, None, ())


@given(st.lists(st.tuples(st.sampled_from(["ErrorInfo", "RetryInfo", "BadRequest", "Unknown"]), st.binary())))
def test_no_bytes_in_the_details_break_the_reading(details: list[tuple[str, bytes]]) -> None:
    broken = item(EXHAUSTED)
    for name, value in details:
        broken.details.add(type_url=f"type.googleapis.com/google.rpc.{name}", value=value)
    assert error_from_item(broken).code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("code", [0, -1, 17, 2**31 - 1])
def test_a_code_that_is_no_errors_code_is_a_fault_of_the_server(code: int) -> None:
    error = error_from_item(item(code))
    assert type(error) is sdk.ServerFault
    assert error.code is grpc.StatusCode.UNKNOWN


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, timedelta()), (0, timedelta()), (5, timedelta(seconds=5)), (2**62, None)],
)
def test_a_retry_delay_is_a_span_from_zero_up_or_unknown(seconds: int, expected: timedelta | None) -> None:
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds))
    assert error_from_item(item(EXHAUSTED, INFO, retry)).retry_after == expected


def test_what_the_server_says_goes_before_what_the_caller_named() -> None:
    error = error_from_item(item(EXHAUSTED, INFO), {"slots": "1", "task_id": "t1"})
    assert error.metadata == {"slots": "8", "task_id": "t1"}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"next_attempt": "4", "attempt": "1"}, 4),
        ({"attempt": "1"}, 2),
        ({"next_attempt": "soon", "attempt": "1"}, 2),
        ({}, None),
    ],
)
def test_the_next_attempt_is_told_or_counted(metadata: dict[str, str], expected: int | None) -> None:
    error = sdk.AttemptLost(grpc.StatusCode.ABORTED, "ATTEMPT_LOST", metadata=metadata)
    assert error.next_attempt == expected


def test_an_error_says_code_reason_message_and_fields() -> None:
    fault = sdk.FieldViolation(field="task.priority", description="above 1")
    error = sdk.InvalidTask(grpc.StatusCode.INVALID_ARGUMENT, "OUT_OF_RANGE", "1 field", None, (fault,))
    assert str(error) == "INVALID_ARGUMENT OUT_OF_RANGE: 1 field [task.priority: above 1]"
    assert str(SchedulerError(grpc.StatusCode.ABORTED, message="gone")) == "ABORTED: gone"


def test_errors_travel_between_processes() -> None:
    refusal = decision_pb2.PlacementRefusal(missing_labels=["zone=a"])
    error = error_from_item(item(EXHAUSTED, INFO, refusal), {"task_id": "t1"})
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own bytes
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)


def test_every_leaf_is_exported_and_of_the_one_tree() -> None:
    leaves = SchedulerError.__subclasses__()
    assert len(leaves) == 17
    assert {leaf.__name__ for leaf in leaves} <= set(sdk.__all__)
