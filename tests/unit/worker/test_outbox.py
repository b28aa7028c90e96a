import logging

import pytest

from scheduler_api.v1.task_pb2 import Outcome
from scheduler_api.v1.worker_pb2 import LeaseReport, LeaseStarted
from scheduler_server.worker.outbox import BYTES_PER_MESSAGE, REPORTS_PER_MESSAGE, Outbox


def outbox_of(*names: str) -> Outbox:
    outbox = Outbox()
    for name in names:
        outbox.add(LeaseReport(lease_id=name))
    return outbox


def taken(outbox: Outbox, sequence: int) -> list[str]:
    return [report.lease_id for report in outbox.take(sequence)]


def test_a_report_goes_with_one_message_and_then_rests() -> None:
    outbox = outbox_of("a", "b")
    assert taken(outbox, 1) == ["a", "b"]
    assert taken(outbox, 2) == []
    assert not outbox.has_news
    assert len(outbox) == 2


def test_an_acknowledged_report_never_goes_again() -> None:
    outbox = outbox_of("a")
    outbox.take(1)
    outbox.acknowledge(1)
    outbox.repeat()
    outbox.restart()
    assert taken(outbox, 2) == []
    assert len(outbox) == 0


def test_an_ack_of_another_message_removes_nothing() -> None:
    outbox = outbox_of("a")
    outbox.take(5)
    outbox.acknowledge(4)
    assert len(outbox) == 1


@pytest.mark.parametrize("second", [["b"], []])
def test_an_ack_stands_for_every_message_before_it(second: list[str]) -> None:
    outbox = outbox_of("a")
    outbox.take(1)
    for name in second:
        outbox.add(LeaseReport(lease_id=name))
    assert taken(outbox, 2) == second
    outbox.add(LeaseReport(lease_id="c"))
    assert taken(outbox, 3) == ["c"]
    outbox.acknowledge(2)
    assert len(outbox) == 1
    assert taken(outbox, 4) == []
    outbox.repeat()
    assert taken(outbox, 5) == ["c"]


def test_a_report_that_went_with_two_messages_counts_once_when_an_ack_stands_for_both() -> None:
    outbox = outbox_of("a")
    outbox.take(1)
    outbox.repeat()
    outbox.add(LeaseReport(lease_id="b"))
    outbox.take(2)
    outbox.repeat()
    outbox.acknowledge(2)
    assert len(outbox) == 0
    assert taken(outbox, 3) == []


def test_a_repeated_report_is_removed_by_the_ack_of_either_message() -> None:
    outbox = outbox_of("a")
    outbox.take(1)
    outbox.repeat()
    outbox.take(2)
    outbox.acknowledge(1)
    assert len(outbox) == 0
    outbox.acknowledge(2)
    assert len(outbox) == 0


def test_an_ack_while_the_repetition_still_waits_takes_it_back() -> None:
    outbox = outbox_of("a", "b")
    outbox.take(1)
    outbox.repeat()
    outbox.add(LeaseReport(lease_id="c"))
    outbox.acknowledge(1)
    assert taken(outbox, 2) == ["c"]
    assert len(outbox) == 1


def test_a_new_session_repeats_everything_in_order_and_forgets_old_numbers() -> None:
    outbox = outbox_of("a")
    outbox.take(1)
    outbox.add(LeaseReport(lease_id="b"))
    outbox.take(2)
    outbox.add(LeaseReport(lease_id="c"))
    outbox.restart()
    outbox.acknowledge(1)
    assert taken(outbox, 1) == ["a", "b", "c"]


@pytest.mark.parametrize("count", [REPORTS_PER_MESSAGE - 1, REPORTS_PER_MESSAGE, REPORTS_PER_MESSAGE + 1])
def test_a_message_carries_at_most_a_thousand_reports(count: int) -> None:
    outbox = outbox_of(*(str(number) for number in range(count)))
    assert len(taken(outbox, 1)) == min(count, REPORTS_PER_MESSAGE)
    assert len(taken(outbox, 2)) == max(0, count - REPORTS_PER_MESSAGE)


def test_a_message_stays_within_its_bytes_and_an_oversized_report_goes_alone() -> None:
    outbox = Outbox()
    for name, size in (
        ("large", BYTES_PER_MESSAGE + 1),
        ("a", BYTES_PER_MESSAGE // 2),
        ("b", BYTES_PER_MESSAGE // 2),
    ):
        outbox.add(LeaseReport(lease_id=name, finished=Outcome(result=bytes(size))))
    assert [taken(outbox, number) for number in (1, 2, 3, 4)] == [["large"], ["a"], ["b"], []]


def test_beyond_its_limit_the_oldest_waiting_report_is_dropped_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox = Outbox(max_reports=2)
    with caplog.at_level(logging.WARNING):
        for name in ("a", "b"):
            outbox.add(LeaseReport(lease_id=name))
        assert caplog.messages == []
        outbox.add(LeaseReport(lease_id="c"))
    assert "lease a dropped" in caplog.text
    assert len(outbox) == 2
    assert taken(outbox, 1) == ["b", "c"]


def test_only_a_start_that_still_waits_is_withdrawn() -> None:
    outbox = Outbox()
    outbox.add(LeaseReport(lease_id="a", started=LeaseStarted()))
    outbox.take(1)
    outbox.add(LeaseReport(lease_id="b", started=LeaseStarted()))
    outbox.withdraw_start("a")
    outbox.withdraw_start("b")
    assert len(outbox) == 1
    assert taken(outbox, 2) == []
