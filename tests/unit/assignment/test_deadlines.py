"""Deadlines that came to nothing wake nobody, and silence about a lease is looked for once there can be any."""

from scheduler_server.assignment.events import Connect, Heartbeat, Submit, Tick
from scheduler_server.model.task import Delivery, Task, TaskState
from scheduler_server.model.worker import Epoch, LeaseReport, Registration, ReportKind
from tests.unit.assignment.rig import Rig, make_sample


def offered(rig: Rig, count: int) -> list[str]:
    """A worker that was handed so many tasks; their leases."""
    registration = Registration(slots=count, accepts_tasks=True)
    rig.core.handle(rig.now, Connect(1, "w", Epoch("boot", 1), registration, make_sample()))
    for number in range(count):
        rig.core.handle(rig.now, Submit(Task("", f"t{number}", 1, "type"), Delivery.STREAM))
    return list(rig.core.fleet.records["w"].leases)


def test_offers_that_were_acknowledged_are_no_reason_to_wake() -> None:
    rig = Rig()
    leases = offered(rig, 3)
    within = rig.core.settings.assignment.ack_within_s
    reports = tuple(LeaseReport(each, ReportKind.ACKNOWLEDGED) for each in leases)
    rig.core.handle(rig.now, Heartbeat(1, make_sample(sequence=1, reports=reports)))
    while rig.now.monotonic < rig.core.started.monotonic + within - 2.0:
        rig.go(1.0)
        rig.core.handle(rig.now, Tick())
    assert not rig.core._timers


def test_an_offer_behind_one_that_was_acknowledged_is_still_waited_for() -> None:
    rig = Rig()
    leases = offered(rig, 2)
    granted = rig.now.monotonic
    reports = (LeaseReport(leases[0], ReportKind.ACKNOWLEDGED),)
    rig.core.handle(rig.now, Heartbeat(1, make_sample(sequence=1, reports=reports)))
    within = rig.core.settings.assignment.ack_within_s
    while rig.core.fleet.records["w"].session is not None:
        assert rig.now.monotonic <= granted + within
        rig.go(max(0.0, rig.core.next_deadline() - rig.now.monotonic))
        rig.core.handle(rig.now, Tick())
    assert rig.now.monotonic >= granted + within
    assert rig.core.ledger.leases[leases[0]].state is TaskState.ACKNOWLEDGED


def test_a_lease_that_nobody_speaks_of_is_given_up_when_its_time_is_over_and_not_before() -> None:
    rig = Rig()
    (lease_id,) = offered(rig, 1)
    reports = (LeaseReport(lease_id, ReportKind.STARTED),)
    rig.core.handle(rig.now, Heartbeat(1, make_sample(sequence=1, reports=reports, queue_depth=1)))
    record = rig.core.ledger.leases[lease_id]
    sequence = 1
    for until, live in ((record.expires_at - 1.0, True), (record.expires_at, False)):
        while rig.now.monotonic < until:
            rig.go(min(5.0, until - rig.now.monotonic))
            sequence += 1
            rig.core.handle(rig.now, Heartbeat(1, make_sample(sequence=sequence, queue_depth=0)))
        assert record.live is live
