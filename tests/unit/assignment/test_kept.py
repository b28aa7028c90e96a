"""What the journal keeps of leases and waiting tasks, as this version and as an older one wrote it."""

import msgspec
import pytest

from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.state import lease_to_bytes, restore_lease, restore_waiting, waiting_to_bytes
from scheduler_server.assignment.trail import NO_TRAIL
from scheduler_server.model.task import Delivery, LossPolicy, Task, TaskState
from scheduler_server.model.worker import LeaseReport, ReportKind, RunningLease
from tests.unit.assignment.rig import Rig

STREAM = Delivery.STREAM


def older(kept: bytes, fields: int) -> bytes:
    """The same entry with only its first fields."""
    return msgspec.msgpack.encode(msgspec.msgpack.decode(kept)[:fields])


def with_a_lease() -> Rig:
    """A task that waited for 30 s and has been handed to a worker."""
    rig = Rig()
    rig.give(Submit(Task("", "t1", 1, "type", loss_policy=LossPolicy.REQUEUE), STREAM, enqueue=True))
    rig.tick_for(30)
    rig.connect("w1", slots=1, accepts_tasks=True, epoch=("boot", 1))
    return rig


def test_a_lease_comes_back_with_its_process_and_since_when_its_task_waits() -> None:
    rig = with_a_lease()
    was = rig.core.ledger.tasks["", "t1"]
    again = Rig(start_s=rig.t + 1, incarnation="j")
    restore_lease(again.core, rig.now, lease_to_bytes(was))
    record = again.core.ledger.tasks["", "t1"]
    assert (record.boot_id, record.trail, record.unsure) == ("boot", NO_TRAIL, True)
    assert record.submitted_wall == was.submitted_wall == pytest.approx(was.placed_wall - 30)


def test_a_lease_of_an_older_version_comes_back_as_one_of_a_process_that_is_not_known() -> None:
    rig = with_a_lease()
    again = Rig(start_s=rig.t + 1, incarnation="j")
    restore_lease(again.core, rig.now, older(lease_to_bytes(rig.core.ledger.tasks["", "t1"]), 3))
    record = again.core.ledger.tasks["", "t1"]
    assert (record.boot_id, record.trail) == ("", NO_TRAIL)
    assert record.submitted_wall == record.placed_wall
    again.connect("w1", slots=1, accepts_tasks=True, epoch=("boot", 2))
    again.beat("w1", running=())
    assert record.state is TaskState.LOST  # nobody knows whether it had begun: its policy says again
    assert again.core.ledger.tasks["", "t1"].task.attempt == 2


def test_a_waiting_task_of_an_older_version_waits_again() -> None:
    rig = Rig()
    rig.give(Submit(Task("", "t1", 1, "type"), STREAM, enqueue=True))
    kept = waiting_to_bytes(rig.core.queue.waiting.by_task["", "t1"])
    again = Rig(incarnation="j")
    restore_waiting(again.core, again.now, older(kept, 7))
    waiter = again.core.queue.waiting.by_task["", "t1"]
    assert waiter.event.trail == NO_TRAIL
    assert waiter.since_wall == rig.core.queue.waiting.by_task["", "t1"].since_wall


@pytest.mark.parametrize("fields", [0, 2])
def test_an_entry_with_less_than_any_version_wrote_is_none(fields: int) -> None:
    rig = with_a_lease()
    with pytest.raises(ValueError, match="not a lease"):
        restore_lease(Rig().core, rig.now, older(lease_to_bytes(rig.core.ledger.tasks["", "t1"]), fields))


def test_a_task_that_is_lost_after_a_restart_waits_since_it_first_came() -> None:
    rig = with_a_lease()
    was = rig.core.ledger.tasks["", "t1"]
    report = LeaseReport(was.lease_id, ReportKind.STARTED)
    rig.beat("w1", reports=(report,), running=(RunningLease(was.lease_id, 1.0),))
    again = Rig(start_s=rig.t + 1, incarnation="j")
    restore_lease(again.core, rig.now, lease_to_bytes(was))
    again.connect("w1", slots=1, accepts_tasks=False, epoch=("another", 1))
    again.beat("w1", running=())
    waiter = again.core.queue.waiting.by_task["", "t1"]
    assert waiter.since_wall == was.submitted_wall
