"""Reports have a quick way of their own: it reads what the careful way reads, and leaves to it all that is unusual."""

from typing import Any

import pytest

from scheduler_api.v1 import task_pb2, worker_pb2
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.model.worker import LeaseReport
from scheduler_server.rpc import checks, decode_beat
from scheduler_server.rpc.checks import Checker, Faults

WALL = 1_700_000_000.0
SUCCEEDED, FAILED = task_pb2.OUTCOME_STATUS_SUCCEEDED, task_pb2.OUTCOME_STATUS_FAILED


def report(fact: str, lease_id: str = "l-1", **of_outcome: Any) -> worker_pb2.LeaseReport:
    """A report of one fact; `duration` in nanoseconds."""
    made = worker_pb2.LeaseReport(lease_id=lease_id)
    message: Any = getattr(made, fact)
    message.SetInParent()
    nanos = of_outcome.pop("duration", None)
    if nanos is not None:
        message.duration.nanos = nanos
    for name, value in of_outcome.items():
        setattr(message, name, value)
    return made


def carefully(message: worker_pb2.LeaseReport) -> tuple[LeaseReport, list[checks.Fault]]:
    checker = Checker()
    return decode_beat._report(message, "reports[0]", checker), checker.faults


USUAL = [
    report("acknowledged"),
    report("started", "l" * checks.MAX_TEXT),
    report("finished", status=SUCCEEDED),
    report("finished", status=SUCCEEDED, duration=checks.MAX_NANOS),
    report("finished", status=SUCCEEDED, duration=0, result=b"x" * checks.MAX_PAYLOAD_BYTES),
]
UNUSUAL = [
    report("declined"),
    report("returned"),
    report("finished", status=FAILED),
    report("finished"),
    report("finished", status=SUCCEEDED, error_kind="k"),
    report("finished", status=SUCCEEDED, error_message="m"),
    report("finished", status=SUCCEEDED, duration=-1),
    report("finished", status=SUCCEEDED, duration=checks.MAX_NANOS + 1),
    report("finished", status=SUCCEEDED, result=b"x" * (checks.MAX_PAYLOAD_BYTES + 1)),
    report("acknowledged", ""),
    report("acknowledged", "l" * (checks.MAX_TEXT + 1)),
    report("acknowledged", "l\n"),
    worker_pb2.LeaseReport(lease_id="l"),
]


@pytest.mark.parametrize("message", USUAL, ids=range(len(USUAL)))
def test_what_is_usual_is_read_as_carefully(message: worker_pb2.LeaseReport) -> None:
    quick = decode_beat._usual([message])
    assert quick is not None
    assert (quick[0], []) == carefully(message)


@pytest.mark.parametrize("message", UNUSUAL, ids=range(len(UNUSUAL)))
def test_what_is_not_is_left_to_the_careful_way(message: worker_pb2.LeaseReport) -> None:
    assert decode_beat._usual([USUAL[0], message]) is None


def test_a_span_of_a_year_and_more_reports_than_allowed_are_left_to_it_too() -> None:
    message = report("finished", status=SUCCEEDED)
    message.finished.duration.seconds = int(checks.MAX_SPAN_S)
    assert decode_beat._usual([message]) is None
    message.finished.duration.seconds -= 1
    assert decode_beat._usual([message]) is not None
    assert decode_beat._usual([USUAL[0]] * checks.MAX_ITEMS) is not None
    assert decode_beat._usual([USUAL[0]] * (checks.MAX_ITEMS + 1)) is None


def test_a_heartbeat_with_reports_is_read_whole_or_refused_whole() -> None:
    beat = worker_pb2.WorkerHeartbeat(worker_id="w", cpu_usage=0.5, sequence=3, reports=USUAL[:3])
    read = decode_beat.heartbeat(beat, 1, "w", WALL)
    assert [each.kind.name for each in read.sample.reports] == ["ACKNOWLEDGED", "STARTED", "FINISHED"]
    outcome = read.sample.reports[2].outcome
    assert outcome is not None
    assert outcome.status is OutcomeStatus.SUCCEEDED
    assert outcome.duration_ms is None
    beat.reports.append(report("acknowledged", ""))
    with pytest.raises(Faults, match=r"reports\[3\]\.lease_id: is required"):
        decode_beat.heartbeat(beat, 1, "w", WALL)
