"""A core with tasks that wait, watched by a plain second version of who may use which slot, and in which order.

It loops over everybody, shares no code with the index of waiting tasks, and looks at workers by their own fields only:
what they registered with, what they hold, when they were heard.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest

from scheduler_server.assignment.effects import (
    CancelReply,
    Effect,
    Granted,
    Queued,
    Reply,
    Resolved,
    Unqueued,
)
from scheduler_server.assignment.events import Abandon, Cancel, Event, Ordered, Submit, Tick
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.standing import order_to_bytes, restore_order
from scheduler_server.assignment.state import lease_to_bytes, restore_lease, restore_waiting, waiting_to_bytes
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.standing import About, OrderKind, StandingOrder
from scheduler_server.model.task import BlockingReason, Delivery, Task, TaskState
from scheduler_server.model.worker import Accounting
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.registry.record import WorkerRecord
from tests.unit.assignment.rig import Rig


@dataclass
class Waits:
    """One task that waits, as the plain version knows it."""

    task: Task
    stream: bool
    number: int
    since: float
    mean_s: float
    allowance_s: float
    enqueued: bool
    tickets: dict[int, float] = field(default_factory=dict)
    due: bool = True


class Moody:
    """A predictor that can be told to fail."""

    def __init__(self, behind: EmaPredictor) -> None:
        self.behind = behind
        self.fails = False

    def predict(self, task: Task) -> Prediction:
        if self.fails:
            raise RuntimeError("not in the mood")
        return self.behind.predict(task)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


class WaitingRig(Rig):
    """The rig, and after every event a look at everything."""

    def __init__(self, settings: CoreSettings, **more: Any) -> None:
        super().__init__(settings, predictor=Moody(EmaPredictor(settings.predictor)), **more)
        self.waits: dict[str, Waits] = {}
        self.paused: dict[tuple[str, str | None], float | None] = {}  # until when, by task type and tenant
        self.placed: list[str] = []
        self.ended: list[str] = []
        self.answers: dict[int, Reply] = {}
        self._numbers = 0
        self.last_ticket = 0
        self.hurried = True  # are changes of the rules carried to their end before anything else happens?

    # ------------------------------------------------------------------ the plain version

    def key(self, waits: Waits) -> float:
        settings = self.settings.queue
        name = self.core.queue.waiting.order.name
        if name == "fifo":
            return waits.since
        worth = settings.priority_worth_s * waits.task.priority
        if name == "shortest":
            objective = self.core.queue.objective
            longer_s = settings.patience_for(objective) * waits.mean_s
            return waits.since + longer_s + settings.backlog_patience_for(objective) * waits.allowance_s - worth
        return waits.since - worth

    def serves(self, record: WorkerRecord, waits: Waits) -> bool:
        """Could this worker ever take the task, whoever it excludes?"""
        registration = record.registration
        return (
            set(waits.task.required) <= set(registration.capabilities)
            and set(waits.task.labels) <= set(registration.labels)
            and (registration.accepts_tasks or not waits.stream)
        )

    def usable(self, record: WorkerRecord) -> bool:
        """Has this worker a slot for anybody now?"""
        occupied = record.occupied
        if record.accounting is Accounting.TRACKED:
            occupied = len(record.leases) + record.background
        silent = self.t - record.last_seen > self.settings.health.healthy_within_s
        barred = not record.connected or record.draining or record.cordoned or silent
        return occupied < record.slots and not barred

    def could_use(self, record: WorkerRecord, waits: Waits) -> bool:
        return self.ready(waits) and self.serves(record, waits) and record.worker_id not in waits.task.excluded

    def ready(self, waits: Waits) -> bool:
        """Might it start as far as it is concerned: it is due, and nobody has paused it?"""
        return waits.due and not self.held(waits.task)

    def held(self, task: Task) -> bool:
        """Has somebody paused it?"""
        return any(kind in ("", task.task_type) and tenant in (None, task.tenant) for kind, tenant in self.paused)

    def pause(self, kind: str, tenant: str | None, seconds: float | None) -> None:
        until = None if seconds is None else self.now.wall + seconds
        self.paused[kind, tenant] = until
        self.give(Ordered(About(OrderKind.PAUSE, kind, tenant), StandingOrder(self.now.wall, until)))

    def resume(self, scope: tuple[str, str | None]) -> None:
        del self.paused[scope]
        self.give(Ordered(About(OrderKind.PAUSE, *scope)))

    def plain_position(self, waits: Waits) -> int:
        mine = (self.key(waits), waits.number)
        servers = [record for record in self.core.fleet.records.values() if self.serves(record, waits)]
        same = _needs(waits)
        return sum(
            self.ready(other)
            and (self.key(other), other.number) < mine
            and (_needs(other) == same or any(self.serves(record, other) for record in servers))
            for other in self.waits.values()
        )

    # ------------------------------------------------------------------ events, each looked at

    def give(self, event: Event) -> list[Effect]:
        self._due_by_now()
        out = super().give(event)
        self._follow(event, out)
        while self.core.queue.unfilled or (self.hurried and self.core.queue.renewing.busy):
            more = super().give(Tick())
            self._follow(Tick(), more)
            out = out + more
        self.out = out
        self.check()
        return out

    def _due_by_now(self) -> None:
        for scope, until in list(self.paused.items()):
            if until is not None and until <= self.now.wall:
                del self.paused[scope]
        for waits in self.waits.values():
            not_before = waits.task.not_before
            if not waits.due and not_before is not None and not_before <= self.now.wall:
                waits.due = True
                waits.since = self.t - (self.now.wall - not_before)

    def _follow(self, event: Event, out: list[Effect]) -> None:
        told = [effect for effect in out if isinstance(effect, (Unqueued, Resolved, Granted, Reply, Queued))]
        for effect in told:
            if isinstance(effect, Granted):
                self._granted(effect)
            elif isinstance(effect, Unqueued) and effect.ended is not None:
                self._gone(effect.ended.task)
            elif isinstance(effect, Resolved):
                self._resolved(effect)
            elif isinstance(effect, Queued) and effect.waiter.event.task.attempt > 1:
                self._put_back(effect.waiter)
        if isinstance(event, Submit):
            self._submitted(event, next(effect for effect in out if isinstance(effect, Reply)))
        elif isinstance(event, Abandon):
            self._abandoned(event.ticket)
        elif isinstance(event, Cancel):
            reply = next(effect for effect in out if isinstance(effect, CancelReply))
            if reply.state is TaskState.CANCELLED and event.task_id in self.waits:
                self._gone(self.waits[event.task_id].task)

    def _granted(self, effect: Granted) -> None:
        record = effect.record
        worker = record.worker
        assert worker is not None
        task_id = record.task.task_id
        mine = self.waits.get(task_id)
        for other in self.waits.values() if not self.core.queue.renewing.busy else ():
            if other is mine or not self.could_use(worker, other):
                continue
            assert mine is not None, f"{task_id} barged past {other} on {worker.worker_id}"
            if not self.core.queue.fair:
                first = (self.key(mine), mine.number)
                assert first < (self.key(other), other.number), f"{mine} went before {other} on {worker.worker_id}"
        if mine is not None:
            assert self.could_use(worker, mine)
            assert task_id not in self.placed
            self.placed.append(task_id)
            del self.waits[task_id]

    def _put_back(self, waiter: Waiter) -> None:
        """The core places a task again whose lease was lost: it waits since it first came."""
        event = waiter.event
        if event.task.task_id in self.waits:
            return  # a call has joined it, and this is the promise that it made
        self._numbers += 1
        before = self.core.ledger.tasks["", event.task.task_id]
        assert before.requeued
        came = max(before.submitted_wall, event.task.not_before or 0.0)
        assert waiter.since == pytest.approx(self.t - (self.now.wall - came))
        if event.task.task_id in self.placed:  # not every task waited before it was placed
            self.placed.remove(event.task.task_id)
        self.waits[event.task.task_id] = Waits(
            event.task, event.delivery is Delivery.STREAM, self._numbers, waiter.since, waiter.work_s,
            waiter.allowance_s, True, due=True,
        )  # fmt: skip

    def _gone(self, task: Task) -> None:
        if self.waits.pop(task.task_id, None) is not None:
            self.ended.append(task.task_id)

    def _resolved(self, effect: Resolved) -> None:
        assert effect.ticket not in self.answers, "a call was answered twice"
        self.answers[effect.ticket] = effect.reply
        for waits in list(self.waits.values()):
            if waits.tickets.pop(effect.ticket, None) is not None and not waits.tickets and not waits.enqueued:
                self._gone(waits.task)

    def _abandoned(self, ticket: int) -> None:
        for waits in list(self.waits.values()):
            if waits.tickets.pop(ticket, None) is not None and not waits.tickets and not waits.enqueued:
                self._gone(waits.task)

    def _submitted(self, event: Submit, reply: Reply) -> None:
        if reply.waiting is None:
            return
        waits = self.waits.get(event.task.task_id)
        if waits is None:
            self._numbers += 1
            predictor: Any = self.core.predictor
            prediction = self.core.placement.unknown if predictor.fails else predictor.predict(event.task)
            not_before = event.task.not_before
            waiter = self.core.queue.waiting.by_task["", event.task.task_id]
            waits = self.waits[event.task.task_id] = Waits(
                event.task, event.delivery is Delivery.STREAM, self._numbers, self.t, prediction.mean_ms / 1e3,
                waiter.allowance_s, event.enqueue, due=not_before is None or not_before <= self.now.wall,
            )  # fmt: skip
        waits.enqueued |= event.enqueue
        if event.wait_s is not None:
            waits.tickets[event.ticket] = self.t + event.wait_s

    # ------------------------------------------------------------------ what must hold between events

    def check(self) -> None:
        queue = self.core.queue
        known = {waiter.event.task.task_id: waiter for waiter in queue.waiting.by_task.values()}
        assert known.keys() == self.waits.keys()
        if queue.renewing.busy:
            self._check_in_the_midst(known)
            return
        assert queue.waiting.older is None
        assert queue.waiting.group_count == len({_needs(waits) for waits in self.waits.values() if self.ready(waits)})
        assert self.core.rebalancing.placed == 0, "a round of rebalancing found what nobody had told of"
        usable = [record for record in self.core.fleet.records.values() if self.usable(record)]
        for task_id, waits in self.waits.items():
            waiter = known[task_id]
            assert waiter.placeable == self.ready(waits)
            assert waiter.enqueued == waits.enqueued
            assert waiter.tickets.keys() == waits.tickets.keys()
            assert waits.enqueued or waits.tickets
            start_by = waits.task.start_by
            assert start_by is None or start_by > self.now.wall - 1e-6
            assert not any(until < self.t for until in waits.tickets.values())
            for record in usable:
                assert not self.could_use(record, waits), f"{waits} waits while {record.worker_id} has a free slot"
        for task_id, waits in self.waits.items():
            self._check_position(waits, known[task_id])
        assert queue.waiting.payload_bytes == sum(len(waits.task.payload) for waits in self.waits.values())
        running = sum(pool.running for pool in self.core.fleet.pools)
        assert running == sum(len(record.leases) for record in self.core.fleet.records.values())

    def _check_in_the_midst(self, known: dict[str, Waiter]) -> None:
        """The rules have changed, and not every task stands by them yet; what one is told is true all the same."""
        queue = self.core.queue
        standing = [(known[name], waits) for name, waits in self.waits.items() if known[name].placeable]
        assert queue.waiting.placeable == len(standing) == sum(each.count for each in queue.waiting.lineups())
        for task_id, waits in self.waits.items():
            told = queue.prospects(self.now, known[task_id])
            if self.held(waits.task):
                assert told.blocking is BlockingReason.PAUSED
            else:
                assert told.blocking is not BlockingReason.PAUSED or "within moments" in told.detail
        for waiter, waits in standing:
            if not self.ready(waits):
                continue
            servers = [record for record in self.core.fleet.records.values() if self.serves(record, waits)]
            same, turn = _needs(waits), queue.waiting.turn(waiter)
            told = queue.prospects(self.now, waiter)
            assert told.position == sum(
                queue.waiting.turn(other) < turn
                and (_needs(others) == same or any(self.serves(record, others) for record in servers))
                for other, others in standing
            )

    def _check_position(self, waits: Waits, waiter: Waiter) -> None:
        if self.ready(waits) and not self.core.queue.fair:
            assert self.core.queue.prospects(self.now, waiter).position == self.plain_position(waits)

    # ------------------------------------------------------------------ a restart

    def restarted(self) -> "WaitingRig":
        """A new core from what the journal and the snapshot hold of this one."""
        kept = list(self.core.snapshot(self.now))
        leases = [lease_to_bytes(record) for record in self.core.ledger.leases.values() if record.live]
        journal = [waiting_to_bytes(each) for each in self.core.queue.waiting.by_task.values() if each.enqueued]
        new = WaitingRig(self.settings, start_s=self.t + 3.0, incarnation=self.core.incarnation + "i")
        new._start_s = self._start_s
        new._sessions, new._tasks, new.last_ticket = self._sessions, self._tasks, self.last_ticket
        assert new.core.restore(new.now, kept) == []
        new.paused = self.paused
        for about, order in self.core.standing.orders.items():
            restore_order(new.core, new.now, order_to_bytes(about, order))
        for body in leases:
            restore_lease(new.core, new.now, body)
        for body in reversed(journal):  # in whatever order the journal gives them
            restore_waiting(new.core, new.now, body)
        new.waits = {name: waits for name, waits in self.waits.items() if waits.enqueued}
        new.placed, new.ended, new.answers = self.placed, self.ended, self.answers
        new._numbers = self._numbers
        for waits in new.waits.values():
            waits.tickets = {}
        new.hurried, new.core.queue.renewing.slice = self.hurried, self.core.queue.renewing.slice
        new.give(Tick())
        return new


def _needs(waits: Waits) -> tuple[object, object, bool]:
    return waits.task.required, waits.task.labels, waits.stream
