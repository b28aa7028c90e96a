"""The answer to a heartbeat waits for the disk where it would let a worker forget how a task ended."""

from typing import Any

from scheduler_server.assignment.effects import Acked, HandOver
from scheduler_server.assignment.events import Cancel, Connect, Event, Heartbeat, Submit
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import Delivery, Task
from scheduler_server.model.worker import Epoch, LeaseReport, Registration, ReportKind
from scheduler_server.rpc.shell import Shell
from tests.unit.assignment.rig import Rig, make_sample


class Journal:
    """Takes everything, and has on disk what it is told to have."""

    healthy = True

    def __init__(self) -> None:
        self.sequence = self.persisted = self.hurried = 0

    def status(self) -> "Journal":
        return self

    def hurry(self) -> None:
        self.hurried += 1

    def put(self, *_about: object, **_how: object) -> int:
        self.sequence += 1
        return self.sequence

    def delete(self, *_about: object) -> int:
        return self.put()


class Sent:
    """What goes to the workers."""

    def __init__(self) -> None:
        self.effects: list[Any] = []

    def send(self, effect: Any) -> None:
        self.effects.append(effect)

    def acks(self) -> list[tuple[int, int]]:
        """Session and sequence of each ack, in order."""
        return [(effect.session, effect.sequence) for effect in self.effects if isinstance(effect, Acked)]


class House:
    """A shell with two workers on streams 1 and 2."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.journal = Journal()
        self.shell = Shell(self.rig.core, self.journal, lambda: self.rig.now)
        self.sent = Sent()
        self.shell.sessions = self.sent
        self.shell.start()
        self._sequence = 0
        for session in (1, 2):
            registration = Registration(slots=2, accepts_tasks=True)
            self.give(Connect(session, f"w{session}", Epoch("boot", session), registration, make_sample()))

    def give(self, event: Event) -> None:
        self.shell.handle(event)

    def beat(self, session: int, *reports: LeaseReport) -> int:
        self._sequence += 1
        self.give(Heartbeat(session, make_sample(sequence=self._sequence, reports=reports)))
        return self._sequence

    def place(self, task_id: str, **of_task: Any) -> HandOver:
        self.give(Submit(Task("", task_id, 1, "type", **of_task), Delivery.STREAM))
        handed = self.sent.effects[-1]
        assert isinstance(handed, HandOver)
        return handed

    def persist(self) -> None:
        self.journal.persisted = self.journal.sequence
        self.shell.persisted(self.journal.persisted)


def finished(lease_id: str) -> LeaseReport:
    """It is done."""
    return LeaseReport(lease_id, ReportKind.FINISHED, Outcome(OutcomeStatus.SUCCEEDED, 1.0))


async def test_the_ack_of_an_end_is_sent_once_that_is_on_disk_and_without_hurry() -> None:
    house = House()
    handed = house.place("t")
    hurried = house.journal.hurried
    sequence = house.beat(handed.session, finished(handed.decision.lease_id))
    assert house.sent.acks() == []
    assert house.journal.hurried == hurried
    house.persist()
    assert house.sent.acks() == [(handed.session, sequence)]


async def test_later_acks_of_the_stream_come_after_it_and_those_of_others_do_not_wait() -> None:
    house = House()
    handed = house.place("t")
    mine, other = handed.session, 3 - handed.session
    first = house.beat(mine, finished(handed.decision.lease_id))
    second = house.beat(mine)
    beside = house.beat(other)
    assert house.sent.acks() == [(other, beside)]
    house.persist()
    assert house.sent.acks() == [(other, beside), (mine, first), (mine, second)]
    last = house.beat(mine)
    assert house.sent.acks()[-1] == (mine, last), "nothing is held any more"


async def test_what_ends_without_a_report_holds_up_nobodys_ack() -> None:
    house = House()
    handed = house.place("t")
    house.give(Cancel("", "t", 1))
    sequence = house.beat(3 - handed.session)
    assert house.sent.acks() == [(3 - handed.session, sequence)]


async def test_the_end_of_what_the_queue_service_delivered_needs_no_disk() -> None:
    house = House()
    house.give(Submit(Task("", "t", 1, "type"), Delivery.CALLER))
    record = house.rig.core.ledger.tasks["", "t"]
    session = int(record.worker_id.removeprefix("w"))
    sequence = house.beat(session, finished(record.lease_id))
    assert house.sent.acks() == [(session, sequence)]
