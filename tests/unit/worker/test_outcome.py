import pytest
from google.protobuf.duration_pb2 import Duration

from scheduler_api.v1.task_pb2 import Outcome, OutcomeStatus
from scheduler_server.worker import outcome as outcomes
from scheduler_server.worker.outcome import MAX_MESSAGE_CHARS, MAX_RESULT_BYTES


def test_nothing_and_bytes_of_any_kind_are_results() -> None:
    assert outcomes.succeeded(None, 1.0).result == b""
    for result in (b"ab", bytearray(b"ab"), memoryview(b"ab")):
        outcome = outcomes.succeeded(result, 1.5)
        assert (outcome.status, outcome.result) == (OutcomeStatus.OUTCOME_STATUS_SUCCEEDED, b"ab")
        assert outcome.duration.ToNanoseconds() == 1_500_000_000


def test_a_result_of_another_type_is_a_failure_that_names_it() -> None:
    outcome = outcomes.succeeded("text", 1.0)
    assert (outcome.status, outcome.error_kind) == (OutcomeStatus.OUTCOME_STATUS_FAILED, "ResultNotBytes")
    assert "str" in outcome.error_message


@pytest.mark.parametrize(
    ("size", "kind"),
    [(MAX_RESULT_BYTES - 1, ""), (MAX_RESULT_BYTES, ""), (MAX_RESULT_BYTES + 1, "ResultTooLarge")],
)
def test_a_result_has_at_most_64_kib(size: int, kind: str) -> None:
    outcome = outcomes.succeeded(bytes(size), 1.0)
    assert outcome.error_kind == kind
    assert len(outcome.result) == (0 if kind else size)


@pytest.mark.parametrize("size", [MAX_MESSAGE_CHARS - 1, MAX_MESSAGE_CHARS, MAX_MESSAGE_CHARS + 1])
def test_an_error_message_has_at_most_4096_characters(size: int) -> None:
    outcome = outcomes.raised(ValueError("é" * size), 1.0)
    assert outcome.error_message == "é" * min(size, MAX_MESSAGE_CHARS)
    assert outcome.error_kind == "ValueError"


def test_an_error_kind_has_at_most_256_characters() -> None:
    assert len(outcomes.raised(type("E" * 257, (Exception,), {})(), 1.0).error_kind) == 256


def test_a_subclass_of_timeout_error_is_timed_out_under_its_own_name() -> None:
    outcome = outcomes.raised(type("TooSlow", (TimeoutError,), {})("x"), 1.0)
    assert (outcome.status, outcome.error_kind) == (OutcomeStatus.OUTCOME_STATUS_TIMED_OUT, "TooSlow")


def test_text_without_utf_8_and_errors_that_cannot_be_printed_do_not_spoil_the_report() -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert outcomes.raised(OSError("bad name \udcff"), 1.0).error_message == "bad name ?"
    assert "Unprintable" in outcomes.raised(Unprintable(), 1.0).error_message


@pytest.mark.parametrize("seconds", [365 * 86_400.0, 365 * 86_400.0 + 1])
def test_a_duration_is_at_most_a_year(seconds: float) -> None:
    assert outcomes.succeeded(None, seconds).duration.ToSeconds() == 365 * 86_400


def test_what_was_cancelled_before_it_started_has_no_duration() -> None:
    assert not outcomes.cancelled().HasField("duration")
    assert outcomes.cancelled(0.0).HasField("duration")


@pytest.mark.parametrize(
    ("outcome", "sound"),
    [
        (Outcome(status=OutcomeStatus.OUTCOME_STATUS_TIMED_OUT), True),
        (Outcome(), False),
        (Outcome(status=OutcomeStatus.OUTCOME_STATUS_LOST), False),
        (outcomes.failure("k" * 256, "m" * 4_096, 0.0), True),
        (Outcome(status=OutcomeStatus.OUTCOME_STATUS_FAILED, error_kind="k" * 257), False),
        (Outcome(status=OutcomeStatus.OUTCOME_STATUS_FAILED, error_message="m" * 4_097), False),
        (outcomes.succeeded(bytes(MAX_RESULT_BYTES), 365 * 86_400.0), True),
        (Outcome(status=OutcomeStatus.OUTCOME_STATUS_SUCCEEDED, result=bytes(MAX_RESULT_BYTES + 1)), False),
        (Outcome(status=OutcomeStatus.OUTCOME_STATUS_SUCCEEDED, duration=Duration(seconds=-1)), False),
        (
            Outcome(status=OutcomeStatus.OUTCOME_STATUS_SUCCEEDED, duration=Duration(seconds=365 * 86_400 + 1)),
            False,
        ),
    ],
)
def test_an_outcome_made_by_the_program_is_checked_before_it_is_sent(outcome: Outcome, sound: bool) -> None:
    if sound:
        outcomes.check(outcome)
        return
    with pytest.raises(ValueError, match=r"^outcome"):
        outcomes.check(outcome)
