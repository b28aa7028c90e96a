"""The real dispatcher on a real core and shell, without Redis: entries come by hand, and nothing is sent."""

from random import Random
from typing import Any

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.events import Connect, Heartbeat
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.state import lease_to_bytes, restore_lease, restore_waiting, waiting_to_bytes
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.dispatch.dispatcher import Dispatcher
from scheduler_server.dispatch.entries import Delivered, Source
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.worker import Epoch, LeaseReport, Registration, ReportKind, RunningLease
from scheduler_server.rpc.entry import Entries
from scheduler_server.rpc.shell import LEASE, WAITING, Shell
from tests.unit.assignment.rig import Rig, make_sample

STREAM = "{scheduler-server}:tasks"


class Journal:
    """Keeps what it is given, at once."""

    healthy = True

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Any] = {}
        self.always: set[tuple[str, str]] = set()  # what there was to be room for
        self.sequence = 0

    @property
    def persisted(self) -> int:
        return self.sequence

    def status(self) -> "Journal":
        return self

    def hurry(self) -> None:
        return

    def put(self, kind: str, name: str, value: object, *, always: bool = False) -> int:
        self.entries[kind, name] = value
        if always:
            self.always.add((kind, name))
        self.sequence += 1
        return self.sequence

    def delete(self, kind: str, name: str) -> int:
        self.entries.pop((kind, name), None)
        self.sequence += 1
        return self.sequence


def lease_again(core: Scheduler, now: Now, record: TaskRecord) -> None:
    """A lease, as the journal would have kept it."""
    restore_lease(core, now, lease_to_bytes(record))


def waiting_again(core: Scheduler, now: Now, waiter: Waiter) -> None:
    """A task that waits, as the journal would have kept it."""
    restore_waiting(core, now, waiting_to_bytes(waiter))


class House:
    """One server, the entries that it was given, and its workers."""

    def __init__(self, settings: CoreSettings | None = None, *, kept: Journal | None = None, **dispatch: Any) -> None:
        self.rig = Rig(settings, incarnation="i" if kept is None else "j")
        self.core = self.rig.core
        self.journal = kept or Journal()
        for kind, take_back in ((LEASE, lease_again), (WAITING, waiting_again)):
            for (of_kind, _), value in self.journal.entries.items():
                if of_kind == kind:
                    take_back(self.core, self.rig.now, value)
        self.shell = Shell(self.core, self.journal, lambda: self.rig.now)
        given = DispatchSettings(url="redis://127.0.0.1:1", **dispatch)
        self.dispatcher = Dispatcher(self.shell, Entries(), given, "me", random=Random(1))
        self.dispatcher._ready.set()  # as if Redis had answered
        self.holdings, self.outbox = self.dispatcher.holdings, self.dispatcher.outbox
        self._entries = self._sessions = 0
        self._session_of: dict[str, int] = {}

    @classmethod
    def after(cls, before: "House") -> "House":
        """A server that comes back after a kill, at once, with what the journal had."""
        return cls(before.core.settings, kept=before.journal)

    # ------------------------------------------------------------------ entries

    def entry(self, task_id: str = "t", *, source: Source | None = None, **fields: Any) -> Source:
        """An entry comes; once more, where its source is told."""
        if source is None:
            self._entries += 1
            source = Source(STREAM, f"{self._entries}-0")
        told = {"task_id": task_id, "task_type": "type"} | fields
        entry = {name.encode(): str(value).encode() for name, value in told.items()}
        self.dispatcher.intake.take(Delivered(source, entry))
        return source

    def heard(self) -> None:
        """Redis has heard all that it was to be told."""
        for name in list(self.outbox.settled):
            self.dispatcher._writer._done(name)

    def fetched(self, record: TaskRecord, payload: bytes) -> None:
        """The payload of a task that was kept back for it has come."""
        self.dispatcher.keeper._kept.remove(record)
        self.holdings.by_task["", record.task.task_id].payload_left = False
        self.shell.complete(record, record.task._replace(payload=payload))

    def settled(self, source: Source) -> str:
        """What Redis is to be told of an entry: nothing, "acknowledged", or why it is set aside."""
        found = self.outbox.settled.get(str(source))
        if found is None:
            return ""
        return "acknowledged" if found.dead is None else str(found.dead["reason"])

    # ------------------------------------------------------------------ workers

    def worker(
        self,
        name: str = "w",
        *,
        slots: int = 1,
        boot: str = "boot",
        accepts_tasks: bool = True,
        reports_outcomes: bool = True,
    ) -> None:
        """A worker comes."""
        self._sessions += 1
        self._session_of[name] = self._sessions
        registration = Registration(slots=slots, accepts_tasks=accepts_tasks, reports_outcomes=reports_outcomes)
        epoch = Epoch(boot, self._sessions)
        sample = make_sample(running=() if reports_outcomes else None)
        self.shell.handle(Connect(self._sessions, name, epoch, registration, sample))

    def tell(self, name: str, *reports: LeaseReport, running: tuple[str, ...] = ()) -> None:
        """A heartbeat with reports."""
        listed = tuple(RunningLease(each, 1.0) for each in running)
        sample = make_sample(reports=reports, running=listed, queue_depth=len(listed))
        self.shell.handle(Heartbeat(self._session_of[name], sample))

    def acknowledged(self, name: str = "w", task_id: str = "t") -> str:
        """The worker says that it has the task; its lease."""
        lease_id = self.lease(task_id).lease_id
        self.tell(name, LeaseReport(lease_id, ReportKind.ACKNOWLEDGED), running=())
        return lease_id

    def lease(self, task_id: str = "t") -> TaskRecord:
        """The newest attempt of a task that has a lease, or had one."""
        return self.core.ledger.tasks["", task_id]

    def waits(self, task_id: str = "t") -> bool:
        return ("", task_id) in self.core.queue.waiting.by_task
