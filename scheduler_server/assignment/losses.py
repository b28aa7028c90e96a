"""Leases whose worker will not end them: who is placed again, who is reported, who is set aside.

What the server hands over itself (delivery STREAM) it also places again. What the queue service delivers is reported
LOST, and the queue service asks for the next attempt: only it knows whether its own delivery may be repeated.
"""

from collections import Counter
from collections.abc import Callable
from enum import Enum

from scheduler_server.assignment.effects import Effect, Published
from scheduler_server.assignment.ledger import SetAside, TaskRecord
from scheduler_server.assignment.outcomes import Outcomes
from scheduler_server.assignment.queueing import Queue
from scheduler_server.assignment.settings import AssignmentSettings
from scheduler_server.assignment.trail import Trail
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.model.task import Delivery, LossPolicy, TaskState
from scheduler_server.registry.record import WorkerRecord

Blame = Callable[[Now, WorkerRecord, TaskRecord, list[Effect]], None]


class Loss(Enum):
    """Why a lease ends without an outcome."""

    NOT_TAKEN = "its worker did not take it"
    DECLINED = "its worker declined it"
    LAPSED = "nobody accepted it in time"
    RETURNED = "its worker gave it back"
    MOVED = "its worker handed it back, to start sooner elsewhere"
    LOST_TRACK = "its worker no longer speaks of it"
    WORKER_REMOVED = "its worker was removed"
    WORKER_LOST = "its worker was lost"
    STOPPED = "the deadline of its worker's drain has passed"


_WITHOUT_A_START = frozenset({Loss.NOT_TAKEN, Loss.DECLINED, Loss.LAPSED, Loss.RETURNED, Loss.MOVED})
_HANDED_BACK = frozenset({Loss.RETURNED, Loss.MOVED})
_BY_ITS_FAULT = frozenset({Loss.WORKER_LOST, Loss.LOST_TRACK})
"""They count as failures of the worker's."""

_TOLD_ALREADY = frozenset({Loss.DECLINED, Loss.LAPSED, Loss.RETURNED, Loss.LOST_TRACK})
"""They have an event of their own, whatever follows."""


class Losses:
    """Ends leases that were lost, and decides what follows.

    Nothing that may have begun is placed again unless its loss policy says so.
    """

    def __init__(self, settings: AssignmentSettings, outcomes: Outcomes, queue: Queue, make_event: MakeEvent) -> None:
        self._settings = settings
        self._outcomes = outcomes
        self._queue = queue
        self._make_event = make_event
        self.requeued: Counter[Loss] = Counter()
        self.reported: Counter[Loss] = Counter()
        self.set_aside = 0
        self.blame: Blame  # the core's: who hears of what a worker lost by its fault

    def reconfigure(self, settings: AssignmentSettings) -> None:
        """Judge losses by these limits from now on."""
        self._settings = settings

    def lose(self, now: Now, record: TaskRecord, loss: Loss, out: list[Effect]) -> None:
        """This lease is lost: its slot is free, and its task is placed again, set aside, or reported."""
        task = record.task
        if loss in _BY_ITS_FAULT and record.worker is not None:
            self.blame(now, record.worker, record, out)
        if loss is Loss.RETURNED and record.worker is not None and record.worker.draining:
            self._outcomes.drains.returned(record, out)
        if record.delivery is not Delivery.STREAM:
            self._report(now, record, loss, out)
            return
        trail = record.trail = self._trail(now, record, loss)
        begun = loss not in _WITHOUT_A_START and (record.started_at > 0.0 or record.unsure)
        if begun and task.loss_policy is not LossPolicy.REQUEUE:
            self._report(now, record, loss, out)
        elif trail.workers_lost >= self._settings.max_workers_lost:
            self._aside(now, record, SetAside(True, f"it ran on {trail.workers_lost} workers that were lost"), out)
        elif trail.losses >= task.max_attempts:
            why = f"it was lost {trail.losses} times; the last: {loss.value}"
            self._aside(now, record, SetAside(False, why), out)
        else:
            self._again(now, record, trail, loss, out)

    def _trail(self, now: Now, record: TaskRecord, loss: Loss) -> Trail:
        before = record.trail
        began = record.started_at
        if loss is Loss.DECLINED or loss is Loss.LAPSED:
            before = before.avoiding(record.worker_id, now.wall + self._settings.avoid_decliner_s)
        return Trail(
            before.losses + (loss not in _HANDED_BACK),
            before.workers_lost + (loss is Loss.WORKER_LOST and began > 0.0),
            max(before.elapsed_s, now.monotonic - began if began else 0.0),
            before.avoid,
            before.avoid_until,
            before.asked or record.task.attempt,
            before.moves + (loss is Loss.MOVED),
            now.wall if loss is Loss.MOVED else before.moved_at,
            loss is Loss.MOVED,
        )

    def _report(self, now: Now, record: TaskRecord, loss: Loss, out: list[Effect]) -> None:
        self.reported[loss] += 1
        self._outcomes.lost(now, record, out)
        if loss not in _TOLD_ALREADY:
            self._tell(now, FleetEventKind.LEASE_LOST, record, loss.value, out)

    def _aside(self, now: Now, record: TaskRecord, aside: SetAside, out: list[Effect]) -> None:
        self.set_aside += 1
        record.aside = aside
        self._outcomes.lost(now, record, out, state=TaskState.SET_ASIDE)
        self._tell(now, FleetEventKind.TASK_SET_ASIDE, record, aside.why, out)

    def _again(self, now: Now, record: TaskRecord, trail: Trail, loss: Loss, out: list[Effect]) -> None:
        self.requeued[loss] += 1
        record.requeued = True
        self._outcomes.lost(now, record, out)
        if loss is not Loss.MOVED:  # where it goes is told once it is there
            self._tell(now, FleetEventKind.TASK_REQUEUED, record, loss.value, out)
        self._queue.put_back(now, record, trail, out)

    def _tell(self, now: Now, kind: FleetEventKind, record: TaskRecord, why: str, out: list[Effect]) -> None:
        task = record.task
        what = f"{task.task_id}, attempt {task.attempt}, lease {record.lease_id}: {why}"
        out.append(Published(self._make_event(now, kind, record.worker_id, what, subject=task.task_id)))
