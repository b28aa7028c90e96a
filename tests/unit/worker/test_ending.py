import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from scheduler_api.v1.worker_pb2 import Goodbye, GoodbyeReason
from scheduler_server.worker.ending import DETAILS_KEY, Again, Stop, after_goodbye, after_status
from scheduler_server.worker.errors import WorkerDismissed, WorkerRefused, WorkerSuperseded

COMING_BACK = [
    GoodbyeReason.GOODBYE_REASON_SERVER_SHUTDOWN,
    GoodbyeReason.GOODBYE_REASON_FENCED,
]


@pytest.mark.parametrize("reason", COMING_BACK)
@pytest.mark.parametrize(("wait", "after_s"), [(None, 0.0), (Duration(seconds=2), 2.0)])
def test_the_worker_comes_back_after_the_time_it_was_told(
    reason: GoodbyeReason.ValueType, wait: Duration | None, after_s: float
) -> None:
    ending = after_goodbye(Goodbye(reason=reason, reconnect_after=wait))
    assert isinstance(ending, Again)
    assert (ending.after_s, ending.fault) == (after_s, False)


def test_a_removed_worker_comes_back_only_when_it_is_told_when() -> None:
    removed = GoodbyeReason.GOODBYE_REASON_REMOVED
    assert isinstance(after_goodbye(Goodbye(reason=removed, reconnect_after=Duration(seconds=1))), Again)
    ending = after_goodbye(Goodbye(reason=removed, message="retired"))
    assert isinstance(ending, Stop)
    assert isinstance(ending.error, WorkerDismissed)
    assert "retired" in str(ending.error)


def test_a_worker_that_left_ends_without_an_error() -> None:
    assert after_goodbye(Goodbye(reason=GoodbyeReason.GOODBYE_REASON_LEFT)) == Stop(None)


def test_a_superseded_worker_does_not_come_back_even_with_a_time_to_do_so() -> None:
    reason = GoodbyeReason.GOODBYE_REASON_SUPERSEDED
    ending = after_goodbye(Goodbye(reason=reason, reconnect_after=Duration(seconds=1)))
    assert isinstance(ending, Stop)
    assert isinstance(ending.error, WorkerSuperseded)


def test_a_reason_of_a_later_version_is_judged_by_the_time_to_come_back() -> None:
    later: GoodbyeReason.ValueType = 99  # type: ignore[assignment] # a newer server's
    assert after_goodbye(Goodbye(reason=later, reconnect_after=Duration(seconds=3))) == Again(3.0, why="goodbye 99")
    ending = after_goodbye(Goodbye(reason=later))
    assert isinstance(ending, Stop)
    assert isinstance(ending.error, WorkerDismissed)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
def test_a_worker_that_is_not_let_in_stops_with_the_reason(code: grpc.StatusCode) -> None:
    ending = after_status(code, "token expired")
    assert isinstance(ending, Stop)
    assert isinstance(ending.error, WorkerRefused)
    assert "token expired" in str(ending.error)


@pytest.mark.parametrize(
    ("details", "stops"),
    [
        ([], True),
        ([(DETAILS_KEY, b"..SESSION_SUPERSEDED..")], True),
        ([(DETAILS_KEY, b"..SOMETHING_ELSE..")], False),
    ],
)
def test_aborted_means_superseded_unless_its_details_give_another_reason(
    details: list[tuple[str, str | bytes]], stops: bool
) -> None:
    ending = after_status(grpc.StatusCode.ABORTED, "", details)
    assert isinstance(ending, Stop) == stops


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, True),
        (grpc.StatusCode.UNIMPLEMENTED, True),
        (grpc.StatusCode.UNAVAILABLE, False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, False),
        (grpc.StatusCode.INTERNAL, False),
        (grpc.StatusCode.CANCELLED, False),
    ],
)
def test_other_statuses_are_tried_again_and_a_fault_of_the_program_after_the_longest_wait(
    code: grpc.StatusCode, fault: bool
) -> None:
    assert after_status(code, "why") == Again(fault=fault, why=f"{code.name}: why")
