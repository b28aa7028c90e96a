"""Leases and tasks: who holds a slot, and what became of whom."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from scheduler_server.assignment.override_rules import Rule
from scheduler_server.assignment.settings import AssignmentSettings
from scheduler_server.assignment.trail import NO_TRAIL
from scheduler_server.model.decision import Decision
from scheduler_server.model.outcome import Outcome
from scheduler_server.model.task import Delivery, Prospects, Task, TaskState
from scheduler_server.registry.record import WorkerRecord

_FORGOTTEN_AT_ONCE = 4
"""Ended tasks forgotten per one that ends: more than one, so that what is kept shrinks to its limits."""


class SetAside(NamedTuple):
    """Why a task that was lost is not placed again. `poisonous`: too many workers were lost while they ran it."""

    poisonous: bool
    why: str


class TaskRecord:
    """One attempt of one task, and its lease.

    Invariants: it is in `Ledger.leases` from the grant until it is forgotten; while `live` it is also in its worker's
    `leases` (or among the orphans, after a restart). It ends once; what is told later changes no slot.
    `*_at` without a suffix are monotonic seconds, `*_wall` wall seconds; 0 means not yet.
    """

    __slots__ = (
        "ack_by", "applied", "aside", "asked_back", "boot_id", "capped", "decision", "delivery", "ended_at",
        "ended_wall", "ends_at", "expected", "expires_at", "granted_at", "held", "lease_id", "live", "missing_since",
        "offered_on", "outcome", "placed_wall", "previous", "reported", "requeued", "started_at", "started_wall",
        "state", "stop_asked", "submitted_wall", "task", "taught", "taught_ms", "trail", "unsure", "worker",
        "worker_id",
    )  # fmt: skip

    def __init__(
        self,
        task: Task,
        decision: Decision,
        worker: WorkerRecord | None,
        delivery: Delivery,
        granted_at: float,
        expires_at: float,
    ) -> None:
        self.task = task
        self.decision = decision
        self.lease_id = decision.lease_id
        self.worker = worker  # None for an orphan, and once the worker is forgotten
        self.worker_id = decision.worker_id
        self.delivery = delivery
        self.state = TaskState.OFFERED if delivery is Delivery.STREAM else TaskState.PLACED
        self.granted_at = granted_at
        self.expires_at = expires_at
        self.submitted_wall = self.placed_wall = decision.decided_at
        self.expected: Prospects | None = None  # what it was told of its start when it began to wait
        self.started_at = 0.0
        self.started_wall = 0.0
        self.ended_at = 0.0
        self.ended_wall = 0.0
        self.ends_at = granted_at + decision.duration_ms / 1_000.0  # as predicted when it was granted
        self.live = True  # does it hold a slot?
        self.missing_since = 0.0
        self.offered_on: int | None = None  # the session that was sent it
        self.ack_by = 0.0  # until then it need not be acknowledged, however long ago it was granted
        self.held = False  # does somebody else keep the task until its worker has acknowledged it? see Submit
        self.boot_id = worker.epoch.boot_id if worker is not None else ""  # of the worker's process that got it
        self.unsure = False  # was it restored, so that nobody knows whether it was handed over, or began?
        self.stop_asked: int | None = None  # the session that a drain's deadline has told to stop it
        self.asked_back: int | None = None  # the session that was asked for it at the end of a shift
        self.trail = NO_TRAIL
        self.aside: SetAside | None = None  # it is over, and its task goes no further
        self.requeued = False  # it is over, and the server itself follows it up with the next attempt
        self.outcome: Outcome | None = None
        self.reported = False  # has somebody said how it ended?
        self.taught = False
        self.taught_ms = 0.0  # what the predictor was told, at speed 1
        self.previous: TaskRecord | None = None  # the attempt before
        self.applied: tuple[tuple[str, str], ...] = ()  # overrides that had a part in the decision: id and effect
        self.capped: tuple[Rule, ...] = ()  # caps that count it

    def covers(self, attempt: int) -> bool:
        """Has the server itself made this one of that attempt?"""
        return self.trail.covers(attempt, self.task.attempt)

    def __repr__(self) -> str:
        return f"<{self.lease_id} {self.task.key!r} on {self.worker_id} {self.state.name}>"


class Ledger:
    """Every attempt the server knows, by task and by lease; ended ones are kept for a while.

    Invariant: `tasks[(tenant, task_id)]` is the latest attempt seen, and `previous` leads to the older ones.
    """

    def __init__(self, settings: AssignmentSettings) -> None:
        self.reconfigure(settings)
        self.tasks: dict[tuple[str, str], TaskRecord] = {}
        self.leases: dict[str, TaskRecord] = {}
        self.orphans: dict[str, list[TaskRecord]] = {}  # restored leases by worker id, until it comes back
        self._ended: deque[TaskRecord] = deque()

    def reconfigure(self, settings: AssignmentSettings) -> None:
        """Keep so much of what has ended from now on; what is too much goes a few at a time."""
        self._kept = settings.ended_kept
        self._kept_s = settings.ended_kept_s

    @property
    def live(self) -> int:
        """Leases that hold a slot, those without their worker included."""
        return len(self.leases) - len(self._ended)

    @property
    def remembered(self) -> int:
        """Attempts that have ended and are still known."""
        return len(self._ended)

    def latest(self) -> Iterator[TaskRecord]:
        """Attempts that have ended and are still known, the latest end first."""
        return reversed(self._ended)

    def add(self, record: TaskRecord, older: TaskRecord | None) -> None:
        """Take in a new attempt; `older` is the one it follows."""
        record.previous = older
        task = record.task
        self.tasks[task.tenant, task.task_id] = record
        self.leases[record.lease_id] = record

    def find(self, tenant: str, task_id: str, attempt: int) -> TaskRecord | None:
        """An attempt by its number; 0 means the latest."""
        record = self.tasks.get((tenant, task_id))
        while record is not None and attempt and record.task.attempt != attempt:
            record = record.previous
        return record

    def current(self, tenant: str, task_id: str, attempt: int) -> TaskRecord | None:
        """An attempt by its number, or the one that the server itself has made of it since."""
        record = self.find(tenant, task_id, attempt)
        latest = self.tasks.get((tenant, task_id))
        if latest is not None and (record.requeued if record is not None else latest.covers(attempt)):
            return latest
        return record

    def ended(self, record: TaskRecord, now: float) -> None:
        """Keep an ended attempt for a while, and forget those kept long enough."""
        ended = self._ended
        ended.append(record)
        # A few at a time: after a burst and a long rest, all of it at once would stall the loop.
        for _ in range(_FORGOTTEN_AT_ONCE):
            if not ended or (len(ended) <= self._kept and now - ended[0].ended_at <= self._kept_s):
                return
            self._forget(ended.popleft())

    def age(self, now: float) -> None:
        """Forget what has been kept for long enough, a bounded number at a time."""
        ended = self._ended
        for _ in range(1_000):
            if not ended or now - ended[0].ended_at <= self._kept_s:
                return
            self._forget(ended.popleft())

    def _forget(self, record: TaskRecord) -> None:
        self.leases.pop(record.lease_id, None)
        key = (record.task.tenant, record.task.task_id)
        latest = self.tasks.get(key)
        if latest is record:
            if record.previous is None:
                del self.tasks[key]
            else:
                self.tasks[key] = record.previous
            return
        while latest is not None:  # an older attempt: unlink it
            if latest.previous is record:
                latest.previous = record.previous
                return
            latest = latest.previous
