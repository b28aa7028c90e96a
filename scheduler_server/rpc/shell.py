"""Owns the core: one event in, its effects carried out, timers armed."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from scheduler_server.assignment import effects
from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.effects import Effect
from scheduler_server.assignment.events import Abandon, CloseQueue, Event, Submit, Tick, Withdraw
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.queueing import Unplaced
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.model.making import make
from scheduler_server.model.refusal import Refusal
from scheduler_server.model.task import Task, TaskState
from scheduler_server.rpc.durable import HELD_AT_MOST_S, Durable
from scheduler_server.rpc.following import Ring

LEASE = "lease"
"""The journal's kind of entry for a lease."""

WAITING = "task"
"""The journal's kind of entry for a task that waits."""

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
        self.durable = Durable(journal)
        self._tickets: dict[int, asyncio.Future[effects.Reply]] = {}
        self._last_ticket = 0
        self._queued = 0  # the journal's sequence of the task queued last
        self._promised = False  # the next lease takes the place of a waiting task's entry
        # By lease, until it is on disk: sequence, and what is to be sent then. After a kill the task would wait again.
        self._unsure: dict[str, tuple[int, effects.HandOver | None]] = {}
        self._now = now
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
                self.journal.delete(LEASE, record.lease_id)
                for changes in self.changes:
                    changes.of_lease(record)
            else:
                self._carry_out(effect)
        due = core.next_deadline()
        if due < self._armed_for and self._loop is not None:
            self._arm(due)
        return answer

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, effects.Published):
            self.events.add(effect.event)
            self.event_counts[effect.event.kind] += 1
        elif isinstance(effect, effects.Resolved):
            waiting = self._tickets.pop(effect.ticket, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(effect.reply)
        elif isinstance(effect, effects.Queued):
            if not effect.waiter.event.held:
                self._queued = self.journal.put(WAITING, waiting_id(effect.waiter.event.task), effect.waiter)
            for changes in self.changes:
                changes.of_waiting(effect.waiter)
        elif isinstance(effect, effects.Unqueued):
            if not effect.waiter.event.held:
                self.journal.delete(WAITING, waiting_id(effect.waiter.event.task))
            if effect.ended is None:
                self._promised = True
            else:
                for changes in self.changes:
                    changes.of_unplaced(effect.ended)
        elif isinstance(effect, effects.Moved):
            for changes in self.changes:
                changes.of_moved(effect.record, effect.state)
        elif isinstance(effect, effects.HandOver) and effect.decision.lease_id in self._unsure:
            lease_id = effect.decision.lease_id
            self._unsure[lease_id] = (self._unsure[lease_id][0], effect)
        elif isinstance(effect, effects.Recall) and effect.lease_id in self._unsure:
            return  # it was not sent, and will not be
        elif self.sessions is not None:
            self.sessions.send(effect)

    def _bind(self, record: TaskRecord) -> None:
        """A task that was promised a place has its lease: both changes go into one batch, as they came in one turn.

        Nobody is told before that is on disk: a server that is killed in between forgets the lease and places the
        task anew, so whoever had been told would do it a second time.
        """
        self._promised = False
        sequence = self.journal.put(LEASE, record.lease_id, record, always=True)
        self._unsure[record.lease_id] = (sequence, None)
        for changes in self.changes:
            changes.hold()
            changes.of_lease(record)
        self.durable.after(sequence, lambda: self._sure(record), self._loop)

    def _sure(self, record: TaskRecord) -> None:
        _, held = self._unsure.pop(record.lease_id)
        for changes in self.changes:
            changes.release()
        if held is not None and self.sessions is not None and record.live and record.offered_on == held.session:
            self.sessions.send(held)  # otherwise it was cancelled, or its worker is gone

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
        self._queued = -1
        reply: effects.Reply = self.handle(event)
        if reply.waiting is not None and self._queued < 0:  # promised before; that may not be on disk yet
            return reply, self.journal.status().sequence, False
        return reply, self._queued, True

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
        self._timer = self._loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._armed_for = float("inf")
        last = self.last_event
        self.handle(Tick())
        self.last_event = last  # a tick is nobody's request


def waiting_id(task: Task) -> str:
    """Names a waiting task in the journal: one text for tenant and id, whatever characters they have."""
    return f"{len(task.tenant)}:{task.tenant}{task.task_id}"


_REPLIES = frozenset({effects.Reply, effects.OutcomeReply, effects.CancelReply, effects.RemoveReply})
