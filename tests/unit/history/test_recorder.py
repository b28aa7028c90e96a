"""From changes to entries: what is handed over, and what is counted beside."""

from types import SimpleNamespace
from typing import Any

import pytest

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.history.busy import Busy, Stretch
from scheduler_server.history.hour import Hour
from scheduler_server.history.recorder import Recorder
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Rejection
from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import BlockingReason, Delivery, Prospects, Task, TaskState
from scheduler_server.model.trace import Trace
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.storage.decision_log import Decided, Finished, Happened
from tests.decision_rows import START, decision

WAITED = Prospects(3, START, START + 9.0, BlockingReason.NO_FREE_SLOT, "all taken", START - 5.0, 10, 0.9)


def leased(number: int = 1, *, payload: bytes = b"", trace: Trace | None = None, **changes: Any) -> TaskRecord:
    """A lease granted at the monotonic second 100."""
    made = decision(number, **changes)
    task = Task(*made.task, made.task_type, "feature", 0.7, payload=payload, caller_choice="w-9", trace=trace)
    return TaskRecord(task, made, None, Delivery.CALLER, 100.0, 200.0)


def end(record: TaskRecord, outcome: Outcome | None, at: float = 103.0) -> TaskRecord:
    """It is over."""
    record.live = False
    record.state = TaskState.FINISHED
    record.outcome = outcome
    record.ended_at, record.ended_wall = at, START + at - 100.0
    return record


class House:
    """A recorder, what it hands over, and what it counts."""

    def __init__(self) -> None:
        self.workers: dict[str, Any] = {}
        core: Any = SimpleNamespace(fleet=SimpleNamespace(records=self.workers), incarnation="run1")
        self.busy = Busy()
        self.hour = Hour(START)
        self.now = Now(110.0, START + 10.0)
        self.recorder = Recorder(
            core, self.busy, self.hour, now=lambda: self.now, severity=lambda event: event.kind.name.lower()
        )
        self.entries: list[Any] = []
        self.recorder.put = self._put

    def _put(self, entry: Any) -> bool:
        self.entries.append(entry)
        return True

    def worker(self, worker_id: str = "w-1", **about: Any) -> WorkerRecord:
        about = {"completed": 0, "failed": 0, "barred": Rejection.CANDIDATE, "leases": {}, "occupied": 0} | about
        made: Any = SimpleNamespace(worker_id=worker_id, slots=2, speed=2.0, **about)
        self.workers[worker_id] = made
        return made  # type: ignore[no-any-return]


@pytest.fixture
def house() -> House:
    return House()


def test_a_decision_is_handed_over_as_the_entry_that_the_log_knows(house: House) -> None:
    record = leased(trace=Trace("00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"))
    house.recorder.of_lease(record)
    assert house.entries == [Decided(record.decision, "feature", 0.7, "w-9", None, None, "ab" * 16, ())]
    assert type(house.entries[0]) is Decided


def test_a_task_that_waited_says_since_when_and_what_it_was_told(house: House) -> None:
    record = leased()
    record.submitted_wall = record.placed_wall - 2.5
    record.expected = WAITED
    house.recorder.of_lease(record)
    (entry,) = house.entries
    assert (entry.enqueued_at, entry.expected) == (record.placed_wall - 2.5, WAITED)
    assert house.hour.current.waited_ms == pytest.approx(2_500.0)


def test_an_end_says_how_with_the_speed_of_its_worker_and_without_its_payload(house: House) -> None:
    house.worker()
    record = leased(payload=b"large")
    record.started_wall = START + 1.0
    house.recorder.of_lease(end(record, Outcome(OutcomeStatus.FAILED, 250.0, "no disk", "IO", b"result")))
    (entry,) = house.entries
    assert entry == Finished(
        record.decision, record.task._replace(payload=b""), OutcomeStatus.FAILED, 250.0, "IO", "no disk",
        START + 1.0, START + 3.0, 2.0,
    )  # fmt: skip


def test_an_end_that_nobody_told_of_says_so(house: House) -> None:
    house.recorder.of_lease(end(leased(), None))
    (entry,) = house.entries
    assert (entry.status, entry.duration_ms, entry.started_at, entry.speed) == (None, None, None, 1.0)


def test_what_is_told_late_is_recorded_at_the_instant_that_it_is_told(house: House) -> None:
    record = end(leased(), Outcome(OutcomeStatus.SUCCEEDED, 5.0))
    house.recorder.told_late(record)
    (entry,) = house.entries
    assert (entry.status, entry.ended_at) == (OutcomeStatus.SUCCEEDED, START + 10.0)


def test_a_kept_back_lease_that_ends_before_anybody_was_told_of_it_has_its_decision_recorded_too(house: House) -> None:
    record = leased()
    record.held = True
    house.recorder.of_lease(end(record, Outcome(OutcomeStatus.LOST)))
    assert [type(each) for each in house.entries] == [Decided, Finished]


def test_a_kept_back_lease_that_was_told_of_has_one_decision(house: House) -> None:
    record = leased()
    record.held = True
    house.recorder.of_lease(record)
    house.recorder.of_lease(end(record, Outcome(OutcomeStatus.LOST)))
    assert [type(each) for each in house.entries] == [Decided, Finished]


def test_a_lease_from_before_a_restart_has_only_its_end_recorded(house: House) -> None:
    record = leased(incarnation="run0")
    record.held = True
    house.recorder.of_lease(end(record, Outcome(OutcomeStatus.LOST)))
    assert [type(each) for each in house.entries] == [Finished]


def test_what_a_worker_has_taken_is_remembered_no_longer(house: House) -> None:
    record = leased()
    record.held = True
    house.recorder.of_lease(record)
    house.recorder.of_moved(record, TaskState.STARTED)
    assert not house.recorder._held


def test_events_go_along_with_their_severity(house: House) -> None:
    event = FleetEvent(7, START, FleetEventKind.WORKER_LOST, "w-1")
    house.recorder.of_event(event)
    assert house.entries == [Happened(event, "worker_lost")]


def test_without_a_log_only_what_is_kept_in_memory_is_counted(house: House) -> None:
    house.recorder.put = None
    record = leased()
    record.submitted_wall -= 1.0
    house.recorder.of_lease(record)
    house.recorder.of_event(FleetEvent(1, START, FleetEventKind.DRIFT_DETECTED))
    house.recorder.of_lease(end(record, None))
    house.recorder.told_late(record)
    assert house.entries == []
    assert sum(house.hour.current.waits.values()) == 1


# ------------------------------------------------------------------ busy


def test_busy_time_is_what_leases_took_since_the_last_look(house: House) -> None:
    worker = house.worker()
    house.busy.meet(worker, Now(95.0, 0.0))
    house.recorder.of_lease(end(leased(), Outcome(OutcomeStatus.SUCCEEDED, 3_000.0), at=103.0))
    worker.leases["l"] = SimpleNamespace(granted_at=104.0)
    worker.occupied = 1
    worker.completed = 1
    assert house.busy.take(worker, Now(110.0, 0.0)) == Stretch(15.0, 3.0 + 6.0, 30.0, 1, 0)
    assert house.busy.take(worker, Now(120.0, 0.0)) == Stretch(10.0, 10.0, 20.0, 0, 0)


def test_a_lease_that_began_before_the_last_look_counts_from_there(house: House) -> None:
    worker = house.worker()
    house.busy.meet(worker, Now(101.0, 0.0))
    house.recorder.of_lease(end(leased(), None, at=104.0))
    assert house.busy.take(worker, Now(111.0, 0.0)).busy_s == 3.0


def test_what_a_worker_does_beside_our_tasks_counts_as_it_is_now(house: House) -> None:
    worker = house.worker(occupied=2)
    house.busy.meet(worker, Now(100.0, 0.0))
    assert house.busy.take(worker, Now(110.0, 0.0)) == Stretch(10.0, 20.0, 20.0, 0, 0)


def test_of_a_worker_that_can_take_nothing_no_slot_is_present(house: House) -> None:
    worker = house.worker(barred=Rejection.DRAINING, occupied=2, failed=1)
    house.busy.meet(worker, Now(100.0, 0.0))
    worker.failed = 2
    assert house.busy.take(worker, Now(110.0, 0.0)) == Stretch(10.0, 0.0, 0.0, 0, 1)


def test_a_worker_that_is_not_known_yet_begins_now_and_one_that_is_forgotten_begins_anew(house: House) -> None:
    worker = house.worker(completed=5)
    assert house.busy.take(worker, Now(110.0, 0.0)) == Stretch(0.0, 0.0, 0.0, 0, 0)
    house.busy.forget("w-1")
    assert house.busy.known() == []
    worker.completed = 9
    assert house.busy.take(worker, Now(120.0, 0.0)).completed == 0


def test_registering_begins_the_count(house: House) -> None:
    worker = house.worker(completed=5)
    house.recorder.of_event(FleetEvent(1, START, FleetEventKind.WORKER_REGISTERED, "w-1"))
    worker.completed = 7
    assert house.busy.take(worker, Now(120.0, 0.0)) == Stretch(10.0, 0.0, 20.0, 2, 0)


def test_what_a_lease_held_of_a_worker_that_is_not_there_is_not_counted_when_it_comes(house: House) -> None:
    house.recorder.of_lease(end(leased(), None, at=104.0))  # a lease from before a restart, say
    worker = house.worker()
    house.busy.meet(worker, Now(110.0, 0.0))
    assert house.busy.take(worker, Now(111.0, 0.0)) == Stretch(1.0, 0.0, 2.0, 0, 0)
