"""Owns the core: one event in, its effects carried out, timers armed."""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

from scheduler_server.assignment import effects
from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.events import Abandon, CloseQueue, Event, Reprioritize, Slept, Submit, Tick, Withdraw
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.queueing import Unplaced
from scheduler_server.assignment.trail import NO_TRAIL
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.model.making import make
from scheduler_server.model.refusal import Refusal
from scheduler_server.model.task import Delivery, Task, TaskState
from scheduler_server.rpc.durable import HELD_AT_MOST_S, Durable
from scheduler_server.rpc.following import Ring

_LOG = logging.getLogger(__name__)

LEASE = "lease"
"""The journal's kind of entry for a lease."""

WAITING = "task"
"""The journal's kind of entry for a task that waits."""

ORDER = "order"
"""The journal's kind of entry for an operator's standing order."""

DRAIN = "drain"
"""The journal's kind of entry for a drain."""

DRAINED = "drained"
"""The journal's kind of entry for what a drain has counted of one worker."""

EVENTS_KEPT = 10_000
"""Fleet events kept for watchers that come back; overflow: the oldest goes, and a token from before it is refused."""


class Promises(Protocol):
    """Where leases are kept: the journal writer, or what stands in for it."""

    def put(self, kind: str, id: str, value: object, *, always: bool = False) -> int:  # noqa: A002, D102 -- the journal's name
        ...

    def delete(self, kind: str, id: str) -> int:  # noqa: A002, D102 -- the journal's name
        ...

    def hurry(self) -> None:  # noqa: D102
        ...

    @property
    def persisted(self) -> int:  # noqa: D102
        ...

    @property
    def healthy(self) -> bool:  # noqa: D102
        ...

    def status(self) -> Any:  # noqa: D102
        ...


class Changes(Protocol):
    """Who is told of each change of each task."""

    def of_lease(self, record: TaskRecord) -> None:
        """It was granted, or is over."""

    def of_moved(self, record: TaskRecord, state: TaskState) -> None:
        """It was acknowledged, or started."""

    def hold(self) -> None:
        """The next change, and all after it, are to be told when `release` has been called once for it."""

    def release(self) -> None:
        """The oldest that is held may be told."""

    def of_waiting(self, waiter: Waiter) -> None:
        """It waits from now on."""

    def of_unplaced(self, ended: Unplaced) -> None:
        """It ended without having been placed."""


class Sessions(Protocol):
    """Who sends directives."""

    def send(self, effect: Any) -> None:
        """Send what this effect orders, on the session that it names."""


class Keeper(Protocol):
    """Who may keep a task back between its lease and its hand-over."""

    def keeps(self, record: TaskRecord) -> bool:
        """Is it to wait? Then `Shell.complete` is called for it later, also where its lease has ended by then."""


_SLEPT_S = 5.0
"""A timer so late is no busy loop: the core asks for one at least every second."""


def system_now() -> Now:
    """The present instant of this machine's clocks."""
    now: Now = make(Now, (time.monotonic(), time.time()))
    return now


class Shell:
    """The one owner of the core. Everything runs on the event loop's thread, and nothing here awaits.

    Invariant: a timer of the loop is armed for the core's next deadline, or earlier.
    """

    def __init__(self, core: Scheduler, journal: Promises, now: Callable[[], Now] = system_now) -> None:
        self.core = core
        self.journal = journal
        self.sessions: Sessions | None = None
        self.events: Ring[FleetEvent] = Ring(EVENTS_KEPT, core.events)
        self.event_counts: Counter[FleetEventKind] = Counter()  # since the start
        self.last_event = 0.0  # monotonic seconds
        self.changes: list[Changes] = []
        self.told_late: list[Callable[[TaskRecord], None]] = []  # who hears what was told of a lease that had ended
        self.listeners: list[Callable[[FleetEvent], None]] = []  # who hears every event
        self.keeper: Keeper | None = None
        self.drain_listeners: list[Callable[[str, str], None]] = []  # who hears that a drain is further, with whom
        self.durable = Durable(journal)
        self._tickets: dict[int, asyncio.Future[effects.Reply]] = {}
        self._last_ticket = 0
        self._enqueued = ""  # the task that `enqueue` is about, as the journal names it
        self._queued = 0  # and the journal's sequence of it
        self.ordered = 0  # the journal's sequence of the latest standing order, or of its end; 0: it had no room
        self.drained = 0  # the same of the latest drain
        self._ended = 0  # the journal's sequence of the handed over lease that ended last in this event
        self._held_acks: dict[int, int] = {}  # by session, answers that wait for the disk
        self._promised = False  # the next lease takes the place of a waiting task's entry
        # By lease, until it is on disk: sequence, and what is to be sent then. After a kill the task would wait again.
        self._unsure: dict[str, tuple[int, effects.HandOver | None]] = {}
        self._carriers: dict[type, Callable[[Any], None]] = {
            effects.Published: self._publish,
            effects.Resolved: self._resolve,
            effects.Queued: self._queue,
            effects.Unqueued: self._unqueue,
            effects.Moved: self._move,
            effects.HandOver: self._hand_over,
            effects.Recall: self._recall,
            effects.Acked: self._acknowledge,
            effects.ToldLate: self._tell_late,
            effects.Stands: self._stand,
            effects.DrainStands: self._drain,
            effects.DrainMoved: self._drain_moved,
            effects.DrainLeft: self._drain_left,
            effects.DrainForgotten: self._drain_forgotten,
        }
        self._now = now
        # What time brings about belongs to no call, whichever has set the timer: no log record may carry its trace.
        self._nobodys = Context()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = float("inf")

    def now(self) -> Now:
        """The present instant, by the clock that events are stamped with."""
        return self._now()

    def start(self) -> None:
        """Begin to keep time on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._arm(self.core.next_deadline())

    def stop(self) -> None:
        """Keep time no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop = None

    def handle(self, event: Event) -> Any:
        """Give the core one event and carry out what it says; answers the last reply among the effects, if any."""
        answer = None
        core = self.core
        now = self._now()
        self.last_event = now[0]
        if now[0] > self._armed_for + _SLEPT_S:
            self._slept(now)
        self._ended = 0  # what ended without a report of this event holds up nobody's ack
        for effect in core.handle(now, event):
            kind = type(effect)
            if kind in _REPLIES:
                answer = effect
            elif kind is effects.Granted:
                record = effect.record  # type: ignore[union-attr]
                if self._promised or record.held:
                    self._bind(record)
                    continue
                self.journal.put(LEASE, record.lease_id, record)
                for changes in self.changes:
                    changes.of_lease(record)
            elif kind is effects.Ended:
                record = effect.record  # type: ignore[union-attr]
                sequence = self.journal.delete(LEASE, record.lease_id)
                if record.delivery is Delivery.STREAM:
                    self._ended = sequence
                for changes in self.changes:
                    changes.of_lease(record)
            else:
                self._carriers.get(kind, self._send)(effect)
        due = core.next_deadline()
        if due < self._armed_for and self._loop is not None:
            self._arm(due)
        return answer

    def _slept(self, now: Now) -> None:
        """Time was not kept: the machine slept, or the process was stopped. What came meanwhile is still to be read."""
        self._armed_for = now[0]
        _LOG.warning("the server was not running for a while: no worker is lost for what was not heard meanwhile")
        self.handle(Slept())

    # ------------------------------------------------------------------ effects

    def _publish(self, effect: effects.Published) -> None:
        self.events.add(effect.event)
        self.event_counts[effect.event.kind] += 1
        for listener in self.listeners:
            listener(effect.event)

    def _tell_late(self, effect: effects.ToldLate) -> None:
        for hear in self.told_late:
            hear(effect.record)

    def _resolve(self, effect: effects.Resolved) -> None:
        waiting = self._tickets.pop(effect.ticket, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(effect.reply)

    def _queue(self, effect: effects.Queued) -> None:
        event = effect.waiter.event
        if not event.held:
            name = waiting_id(event.task)
            again = event.trail is not NO_TRAIL  # in the place of its lease
            sequence = self.journal.put(WAITING, name, effect.waiter, always=again)
            if name == self._enqueued:
                self._queued = sequence
        for changes in self.changes:
            changes.of_waiting(effect.waiter)

    def _unqueue(self, effect: effects.Unqueued) -> None:
        if not effect.waiter.event.held:
            self.journal.delete(WAITING, waiting_id(effect.waiter.event.task))
        if effect.ended is None:
            self._promised = True
            return
        for changes in self.changes:
            changes.of_unplaced(effect.ended)

    def _stand(self, effect: effects.Stands) -> None:
        name = json.dumps(effect.about)
        if effect.order is None:
            self.ordered = self.journal.delete(ORDER, name)
        else:
            self.ordered = self.journal.put(ORDER, name, effect)

    def _drain(self, effect: effects.DrainStands) -> None:
        self.drained = self.journal.put(DRAIN, effect.kept.order.drain_id, effect.kept)

    def _drain_forgotten(self, effect: effects.DrainForgotten) -> None:
        self.journal.delete(DRAIN, effect.drain_id)

    def _drain_moved(self, effect: effects.DrainMoved) -> None:
        if effect.kept is not None:  # what is counted of a lease goes with its end
            self.journal.put(DRAINED, drained_id(effect.drain_id, effect.worker_id), effect.kept, always=True)
        for hear in self.drain_listeners:
            hear(effect.drain_id, effect.worker_id)

    def _drain_left(self, effect: effects.DrainLeft) -> None:
        self.journal.delete(DRAINED, drained_id(effect.drain_id, effect.worker_id))
        for hear in self.drain_listeners:
            hear(effect.drain_id, effect.worker_id)

    def _move(self, effect: effects.Moved) -> None:
        for changes in self.changes:
            changes.of_moved(effect.record, effect.state)

    def _hand_over(self, effect: effects.HandOver) -> None:
        lease_id = effect.decision.lease_id
        if lease_id in self._unsure:
            self._unsure[lease_id] = (self._unsure[lease_id][0], effect)
        else:
            self._send(effect)

    def _recall(self, effect: effects.Recall) -> None:
        if effect.lease_id not in self._unsure:  # otherwise it was not sent, and will not be
            self._send(effect)

    def _send(self, effect: Any) -> None:
        if self.sessions is not None:
            self.sessions.send(effect)

    def _acknowledge(self, ack: effects.Acked) -> None:
        """Answer a heartbeat; what it reported must be on disk before its worker forgets it.

        After a kill in between, the worker tells of it again. Otherwise a lease would come back whose worker knows
        nothing of it, as if it had never got there, and its task would be done a second time.
        """
        ended, session = self._ended, ack.session
        held = self._held_acks.get(session, 0)
        if not ended and not held:
            self._send(ack)
            return
        self._held_acks[session] = held + 1
        self.durable.after(ended, lambda: self._let_ack_go(ack), self._loop, hurry=False)

    def _let_ack_go(self, ack: effects.Acked) -> None:
        left = self._held_acks.pop(ack.session) - 1
        if left:
            self._held_acks[ack.session] = left
        self._send(ack)

    def _bind(self, record: TaskRecord) -> None:
        """A task that was promised a place has its lease: both changes go into one batch, as they came in one turn.

        Nobody is told before that is on disk: a server that is killed in between forgets the lease and places the
        task anew, so whoever had been told would do it a second time.
        """
        self._promised = False
        if self.keeper is not None and record.held and self.keeper.keeps(record):
            self._unsure[record.lease_id] = (0, None)  # not bound yet: `complete` does, or its end
            return
        self._write_down(record, None)

    def _write_down(self, record: TaskRecord, effect: effects.HandOver | None) -> None:
        sequence = self.journal.put(LEASE, record.lease_id, record, always=True)
        self._unsure[record.lease_id] = (sequence, effect)
        for changes in self.changes:
            changes.hold()
            changes.of_lease(record)
        self.durable.after(sequence, lambda: self._sure(record), self._loop)

    def _sure(self, record: TaskRecord) -> None:
        _, held = self._unsure.pop(record.lease_id)
        for changes in self.changes:
            changes.release()
        if held is None or not record.live or record.offered_on != held.session:
            return  # it was cancelled, or its worker is gone
        if self.keeper is not None and record.held and self.keeper.keeps(record):
            self._unsure[record.lease_id] = (0, held)  # this process was stopped while the lease was written down
            return
        self._send(held)

    def complete(self, record: TaskRecord, task: Task) -> None:
        """What the keeper kept back is bound and handed over, with its task as it is now; unless it has ended."""
        _, held = self._unsure.pop(record.lease_id, (0, None))
        if not record.live:
            return
        record.task = task
        record.ack_by = self._now().monotonic
        worker = record.worker
        if held is not None and worker is not None and worker.session == held.session:
            held = held._replace(task=task)
            record.offered_on = held.session
            record.ack_by += held.ack_within_s
        self._write_down(record, held)

    async def sure(self, lease_id: str) -> None:
        """Wait until a lease may be told of."""
        unsure = self._unsure.get(lease_id)
        if unsure is not None:
            await self.durable.wait(unsure[0], HELD_AT_MOST_S)

    # ------------------------------------------------------------------ those who wait

    async def wait(self, event: Submit) -> effects.Reply:
        """Give the core a task whose call waits; the answer, whenever it comes. Cancelled: the task goes with it."""
        self._last_ticket = ticket = self._last_ticket + 1
        answer: asyncio.Future[effects.Reply] = asyncio.get_running_loop().create_future()
        self._tickets[ticket] = answer
        try:
            reply: effects.Reply = self.handle(event._replace(ticket=ticket))
            if reply.waiting is None:
                return reply
            return await answer
        finally:
            # Who is cancelled while it waits cancels what it waits for.
            if self._tickets.pop(ticket, None) is not None and (answer.cancelled() or not answer.done()):
                self.handle(Abandon(ticket))

    def end_waits(self, refusal: Refusal) -> None:
        """Answer every call that waits, and place nothing more that does: the server is going down."""
        self.handle(CloseQueue())
        for ticket, waiting in list(self._tickets.items()):
            if not waiting.done():
                waiting.set_result(effects.Reply(None, None, None, False, refusal))
                self.handle(Abandon(ticket))

    def enqueue(self, event: Submit) -> tuple[effects.Reply, int, bool]:
        """Give the core a task that is to wait without a call.

        The answer, and the journal's sequence up to which all has to be on disk before anybody is told; 0 where the
        journal had no room, below 0 where nothing is promised: it was placed or refused. And whether the promise is a
        new one, to be taken back where it cannot be kept.
        """
        self._enqueued, self._queued = waiting_id(event.task), -1
        reply: effects.Reply = self.handle(event)
        if reply.waiting is not None and self._queued < 0:  # promised before; that may not be on disk yet
            return reply, self.journal.status().sequence, False
        return reply, self._queued, True

    def reprioritize(self, event: Reprioritize) -> tuple[effects.PriorityReply, int]:
        """Give a waiting task another priority; and the journal's sequence of that, below 0 where it has no entry."""
        self._enqueued, self._queued = _named(event.tenant, event.task_id), -1
        return self.handle(event), self._queued

    def take_back(self, event: Submit) -> None:
        """A promise that could not be made durable is none: the task waits no more, unless with a call of its own."""
        task = event.task
        self.handle(Withdraw(task.tenant, task.task_id, task.attempt))
        self.journal.delete(WAITING, waiting_id(task))

    def persisted(self, sequence: int) -> None:
        """The journal says that all up to here is on disk."""
        self.durable.persisted(sequence)

    def _arm(self, due: float) -> None:
        if self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = due
        delay = max(0.0, due - self._now().monotonic)
        self._timer = self._loop.call_later(delay, self.tick, context=self._nobodys)

    def tick(self) -> None:
        """Let the core see what time it is: what the timer does."""
        now = self._now()
        if now[0] > self._armed_for + _SLEPT_S:
            self._slept(now)
        self._armed_for = float("inf")
        last = self.last_event
        self.handle(Tick())
        self.last_event = last  # a tick is nobody's request


def waiting_id(task: Task) -> str:
    """Names a waiting task in the journal: one text for tenant and id, whatever characters they have."""
    return _named(task.tenant, task.task_id)


def drained_id(drain_id: str, worker_id: str) -> str:
    """Names a worker of a drain in the journal."""
    return json.dumps((drain_id, worker_id))


def _named(tenant: str, task_id: str) -> str:
    return f"{len(tenant)}:{tenant}{task_id}"


_REPLIES = frozenset(
    {
        effects.Reply,
        effects.OutcomeReply,
        effects.CancelReply,
        effects.RemoveReply,
        effects.OrderReply,
        effects.PriorityReply,
        effects.Rebalanced,
        effects.ForgetReply,
    }
)
