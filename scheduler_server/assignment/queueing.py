"""What happens to tasks that wait: they come, are placed, give up, are asked after.

`waiting.py` knows who is next, this module what to do about it. A slot that becomes free takes the task that is next
for it; the choice among free workers is that of any other decision (`placement.py`).
"""

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import NamedTuple

from scheduler_server.assignment.effects import (
    CancelReply,
    Effect,
    Granted,
    Queued,
    Reply,
    Resolved,
    Unqueued,
)
from scheduler_server.assignment.events import Abandon, Cancel, Submit, Withdraw
from scheduler_server.assignment.expected_start import ExpectedStarts
from scheduler_server.assignment.lanes import Entry
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.order import order_of
from scheduler_server.assignment.outlook import Outlook
from scheduler_server.assignment.pauses import Pauses
from scheduler_server.assignment.placement import Placement
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.assignment.renewing import Renewing
from scheduler_server.assignment.repeats import same_body
from scheduler_server.assignment.room import no_room
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.tenants import Tenants
from scheduler_server.assignment.timers import Timers
from scheduler_server.assignment.trail import Trail
from scheduler_server.assignment.usage import Usage
from scheduler_server.assignment.waiting import Waiter, WaitingTasks
from scheduler_server.assignment.waits import Waits
from scheduler_server.model.clock import Now, Stopwatch
from scheduler_server.model.decision import without
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import Prospects, Task, TaskKey, TaskState
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.usable import usable
from scheduler_server.registry.fleet import Fleet

_AT_ONCE = 32
"""Tasks placed per event: about a millisecond. What is left is placed with the next event, which is due at once."""

_OVER_KEPT = 100_000
"""Tasks remembered that were never placed (cancelled, or too late); the oldest goes first."""

_CLOCKS_DIFFER_S = 0.001
"""Timers run on the monotonic clock, not_before is told in wall time."""

Watch = Callable[[float], None]
Moved = Callable[[Now, TaskRecord, list[Effect], int], None]


class Unplaced(NamedTuple):
    """A task that ended without having been placed."""

    task: Task
    state: TaskState
    since_wall: float
    ended_wall: float


class Queue:
    """All that waiting tasks do and are asked. `watch` asks for a tick; the core calls `advance` then."""

    def __init__(
        self,
        settings: CoreSettings,
        fleet: Fleet,
        predictor: Predictor,
        placement: Placement,
        watch: Watch,
        stopwatch: Stopwatch,
    ) -> None:
        self._settings = settings.queue
        self._share = settings.queue.most_of_one_tenant
        self._fleet = fleet
        self._predictor = predictor
        self._placement = placement
        self.watch = watch
        self.objective = settings.assignment.objective
        order = order_of(settings.queue, self.objective)
        self.tenants = Tenants(settings.queue.tenant_weights)
        self.usage = Usage(self.tenants)
        self.waiting = WaitingTasks(fleet, order, self.tenants)
        self.fair = order.by_tenant
        self.expected = ExpectedStarts()
        self.waits = Waits()
        self.pauses = Pauses()
        self.renewing = Renewing(self, stopwatch)
        self.outlook = Outlook(fleet, self.waiting, self.expected, placement, self.pauses)
        self.over: OrderedDict[tuple[str, str], Unplaced] = OrderedDict()
        self._tickets: dict[int, Waiter] = {}
        self._timers: Timers[Waiter] = Timers(lambda at, waiter: not waiter.gone and waiter.timer_at == at)
        self._promises: Timers[Waiter] = Timers(lambda at, waiter: not waiter.gone and _promised(waiter, at))
        self.moved: Moved = _untold  # set by rebalancing: what it handed back has been placed
        self.unfilled = False  # slots are free that waiting tasks could take, and an event to come will fill them
        self.open = True  # False: the server is going down, and nothing more that waits is placed

    def reconfigure(self, now: Now, settings: QueueSettings, objective: str, predictor: Predictor) -> None:
        """Let tasks wait as these settings say from now on; in another order only where they say another one.

        What waits already moves into it with the next ticks.
        """
        self._predictor = predictor
        before, self._settings, self.objective = self._settings, settings, objective
        self._share = settings.most_of_one_tenant
        order = order_of(settings, objective)
        if order.basis != self.renewing.order.basis or (
            order.by_tenant and settings.tenant_weights != before.tenant_weights
        ):
            self.tenants.weigh(settings.tenant_weights)
            self.renewing.reorder(now, order)

    def charge_if_fair(self) -> None:
        """Charge tenants for what they run while that matters to any order that tasks wait in."""
        self.fair = any(lineup.order.by_tenant for lineup in self.waiting.lineups())
        if not self.fair:
            self.usage.forget()

    @property
    def busy(self) -> bool:
        """Does anything wait, or is anything remembered of what did?"""
        return bool(self.waiting.by_task) or bool(self.over)

    # ------------------------------------------------------------------ come

    def known(self, now: Now, event: Submit, out: list[Effect]) -> bool:
        """Answer a request for a task that waits, or has ended unplaced; False: it is neither."""
        task = event.task
        key = (task.tenant, task.task_id)
        waiter = self.waiting.by_task.get(key)
        if waiter is None:
            ended = self.over.get(key)
            if ended is None or ended.task.attempt < task.attempt:
                return False
            if self._placement.followed_up(task.key):
                task = task._replace(attempt=ended.task.attempt)
            out.append(Reply(None, None, None, False, _ended(ended, task)))
            return True
        older = waiter.event.task
        ours = self._stands_for(waiter, task.key)
        if not ours or not same_body(older, task) or waiter.event.delivery is not event.delivery:
            what = "a different body" if ours else "another attempt"
            message = f"task {task.task_id!r} waits already, as {what}"
            about = (("task_id", task.task_id), ("attempt", str(task.attempt)))
            out.append(Reply(None, None, None, False, Refusal(Reason.TASK_CONFLICT, message, about)))
            return True
        if event.enqueue and not waiter.enqueued:
            waiter.enqueued = True
            if event.held:
                waiter.event = waiter.event._replace(held=True)
            out.append(Queued(waiter))
        if event.wait_s is not None:
            self._wait(now, waiter, event)
        out.append(Reply(TaskState.WAITING, None, None, True, None, self.prospects(now, waiter)))
        return True

    def _stands_for(self, waiter: Waiter, key: TaskKey) -> bool:
        """Is it this attempt that waits, or one that the server itself has made of it?"""
        attempt, asked = waiter.event.task.attempt, key.attempt
        return attempt == asked or waiter.event.trail.covers(asked, attempt) or self._placement.followed_up(key)

    def park(self, now: Now, event: Submit, out: list[Effect]) -> None:
        """Let a task wait that cannot be placed now or is not due; or refuse it: no room."""
        task = event.task
        full = no_room(self._settings, self._share, self.waiting, event)
        if full is not None:
            self._placement.refuse(full, out)
            return
        waiter = self.waiting.new(event, now.monotonic, now.wall)
        waiter.p50_s, waiter.work_s = self._duration(task)
        self.waiting.allow(waiter, now.monotonic)
        waiter.enqueued = event.enqueue
        if event.wait_s is not None:
            waiter.tickets[event.ticket] = now.monotonic + event.wait_s
            self._tickets[event.ticket] = waiter
        prospects = self._take(now, waiter)
        if event.enqueue:
            out.append(Queued(waiter))
        out.append(Reply(TaskState.WAITING, None, None, False, None, prospects))

    def take_back(
        self, now: Now, event: Submit, since_wall: float, sequence: int, place: tuple[float, float, float]
    ) -> None:
        """A task that waited before a restart waits again, where it stood. ValueError where it waits already.

        `place`: the median and mean that it was predicted to take, and its allowance; seconds.
        """
        task = event.task
        if (task.tenant, task.task_id) in self.waiting.by_task:
            raise ValueError(f"task {task.task_id!r} of tenant {task.tenant!r} waits already")
        since = now.monotonic - max(0.0, now.wall - since_wall)
        waiter = self.waiting.new(event, since, since_wall, sequence)
        waiter.p50_s, waiter.work_s, waiter.allowance_s = place
        self.waiting.backlog.learn(waiter.work_s)
        waiter.enqueued = True
        self._take(now, waiter)

    def put_back(self, now: Now, lost: TaskRecord, trail: Trail, out: list[Effect]) -> None:
        """A task whose lease was lost waits again, as its next attempt, since it first came.

        Whatever its bounds, the queue has room: it was accepted long ago. It counts as lasting at least as long as it
        has run already.
        """
        task = lost.task._replace(attempt=lost.task.attempt + 1)
        event = Submit(task, lost.delivery, enqueue=True, held=lost.held, trail=trail)
        since_wall = lost.submitted_wall
        waiter = self.waiting.new(event, now.monotonic - max(0.0, now.wall - since_wall), since_wall)
        p50_s, work_s = self._duration(task)
        waiter.p50_s, waiter.work_s = max(p50_s, trail.elapsed_s), max(work_s, trail.elapsed_s)
        self.waiting.allow(waiter, now.monotonic)
        waiter.enqueued = True
        self._take(now, waiter)
        out.append(Queued(waiter))
        if waiter.expires_at <= now.monotonic:  # a slot that is free must not make a difference
            self._end(now, waiter, TaskState.EXPIRED, out)
        else:
            self.try_soon(waiter)

    def try_soon(self, waiter: Waiter) -> None:
        """It may find a free slot that nobody before it could use."""
        eligible = self.waiting.eligible(waiter)
        if eligible is not None:
            self._fleet.opened.extend(pool for pool in eligible.pools if pool.counts[0])

    def _duration(self, task: Task) -> tuple[float, float]:
        """Seconds that a task is predicted to take: median and mean."""
        try:
            prediction = self._predictor.predict(task)
        except Exception:  # noqa: BLE001 -- a predictor is a plug-in: whatever it raises, the task can wait
            prediction = self._placement.unknown
        if not usable(prediction):
            prediction = self._placement.unknown
        return prediction.p50_ms / 1e3, prediction.mean_ms / 1e3

    def _take(self, now: Now, waiter: Waiter) -> Prospects:
        task = waiter.event.task
        self.over.pop((task.tenant, task.task_id), None)
        self.waiting.hold(waiter)
        if task.start_by is not None:
            waiter.expires_at = now.monotonic + (task.start_by - now.wall)
        waiter.paused = self.pauses.covers(task)
        if waiter.paused or (task.not_before is not None and task.not_before > now.wall):
            prospects = self.outlook.prospects(now, waiter)
        else:
            prospects = self.release(now, waiter)
        waiter.told = prospects
        self.set_timer(now, waiter)
        return prospects

    def release(self, now: Now, waiter: Waiter, *, brief: bool = False) -> Prospects:
        """From now on it may be placed; what it is told, `brief` without a word why where it may be long."""
        not_before = waiter.event.task.not_before
        if not_before is not None and not_before > waiter.since_wall:  # it waits for a slot since it may have one
            waiter.since = now.monotonic - max(0.0, now.wall - not_before)
        self.waiting.release(waiter)
        prospects = self.outlook.promise(now, waiter, brief=brief)
        if waiter.answer is not None:
            self._promises.watch(waiter.answer.p90_at, waiter)
        return prospects

    def _wait(self, now: Now, waiter: Waiter, event: Submit) -> None:
        waiter.tickets[event.ticket] = now.monotonic + (event.wait_s or 0.0)
        self._tickets[event.ticket] = waiter
        self.set_timer(now, waiter)

    # ------------------------------------------------------------------ go

    def fill(self, now: Now, out: list[Effect], most: int = _AT_ONCE) -> None:
        """Give the slots that became free to the tasks that are next for them."""
        waiting = self.waiting
        pools = waiting.opened()
        self.unfilled = False
        placed = 0
        renewed = 0
        while (found := waiting.next(pools)) is not None:
            if placed >= most or renewed >= self.renewing.slice:
                self.unfilled = True
                self._fleet.opened.extend(pools)
                return
            entry, waiter = found
            if waiter.edition != waiting.edition:  # whether it may go, and before whom, is another than it was
                renewed += 1
                if self.renewing.renew(now, waiter):
                    self.try_soon(waiter)
            elif self._place(now, waiter, entry, out):
                placed += 1
                if len(pools) == 1 and not pools[0].counts[0]:
                    break
            elif waiter.placeable:
                waiting.block(waiter)  # those that are free are the ones that it excludes
        if renewed and self._fleet.opened:
            self.unfilled = True

    def offer(self, now: Now, waiter: Waiter, out: list[Effect]) -> TaskRecord | None:
        """Place this very task if anybody can take it now: for who has asked of those before it already."""
        if waiter.edition != self.waiting.edition:
            self.renewing.renew(now, waiter)
        tenant, lane, task = waiter.tenant, waiter.lane, waiter.event.task
        if not waiter.placeable or lane is None:
            return None
        rank = waiter.key if tenant is None or lane.tenant is None else tenant.used + lane.offset
        if not self._place(now, waiter, (rank, waiter.key, waiter.sequence, lane), out):
            return None
        return self._placement.record_of(task.tenant, task.task_id)

    def _place(self, now: Now, waiter: Waiter, entry: Entry, out: list[Effect]) -> bool:
        at = len(out)
        record = self._placement.place_waiting(now, waiter.event, waiter.since_wall, out)
        if record is None:
            return False
        record.expected = waiter.told
        self.waits.over(waiter, now.monotonic)
        if waiter.answer is not None:
            self.expected.judge(waiter.answer, now.monotonic)
        if self.fair and record.worker is not None and entry[3].tenant is not None:
            record.worker.pool.level = entry[0]
        self.waiting.remove(waiter)
        if waiter.event.trail.moving:
            self.moved(now, record, out, at)
        if waiter.enqueued:  # one promise takes the place of the other, side by side
            while type(out[at]) is not Granted:
                at += 1
            out.insert(at, Unqueued(waiter))
        if waiter.tickets:
            made = record.decision if waiter.event.explain else without(record.decision)
            self._resolve(waiter, Reply(record.state, made, None, False), out)
        return True

    def _resolve(self, waiter: Waiter, reply: Reply, out: list[Effect]) -> None:
        for ticket in waiter.tickets:
            self._tickets.pop(ticket, None)
            out.append(Resolved(ticket, reply))
        waiter.tickets = {}

    # ------------------------------------------------------------------ timers

    def next_at(self) -> float:
        """The monotonic second at which `advance` is due."""
        return min(self._timers.next_at, self.renewing.at)

    def set_timer(self, now: Now, waiter: Waiter) -> None:
        """Watch the next instant that matters to a task; one at a time."""
        at = min(waiter.expires_at, *waiter.tickets.values()) if waiter.tickets else waiter.expires_at
        not_before = waiter.event.task.not_before
        if not waiter.placeable and not waiter.paused and not_before is not None:
            at = min(at, now.monotonic + max(_CLOCKS_DIFFER_S, not_before - now.wall))
        if waiter.event.trail.avoid:
            at = min(at, now.monotonic + max(_CLOCKS_DIFFER_S, waiter.event.trail.avoid_until - now.wall))
        if at < waiter.timer_at:
            waiter.timer_at = at
            self._timers.watch(at, waiter)
            self.watch(at)

    def advance(self, now: Now, out: list[Effect]) -> None:
        """Do what is due by now."""
        while (waiter := self._timers.due(now.monotonic)) is not None:
            waiter.timer_at = inf
            self._due(now, waiter, out)
            if not waiter.gone:
                self.set_timer(now, waiter)

    def _due(self, now: Now, waiter: Waiter, out: list[Effect]) -> None:
        """A timer of this task has come: it may start, its time is over, or a call gives up."""
        if waiter.expires_at <= now.monotonic:
            self._end(now, waiter, TaskState.EXPIRED, out)
            return
        if waiter.edition != self.waiting.edition and self.renewing.renew(now, waiter):
            self.try_soon(waiter)
        not_before = waiter.event.task.not_before
        held = waiter.placeable or waiter.paused
        if not held and (not_before is None or not_before <= now.wall + _CLOCKS_DIFFER_S):
            waiter.told = self.release(now, waiter)
            self.try_soon(waiter)
        trail = waiter.event.trail
        if trail.avoid and trail.avoid_until <= now.wall + _CLOCKS_DIFFER_S:
            waiter = self._forgive(waiter)
            self.set_timer(now, waiter)
        for ticket, until in list(waiter.tickets.items()):
            if until <= now.monotonic:
                del waiter.tickets[ticket]
                self._tickets.pop(ticket, None)
                refusal = self._placement.counted(self.outlook.gave_up(now, waiter))
                out.append(Resolved(ticket, Reply(None, None, None, False, refusal)))
        if not waiter.tickets and not waiter.enqueued:
            self.waiting.remove(waiter)

    def _forgive(self, waiter: Waiter) -> Waiter:
        """It may go again to those that declined it: maybe they can by now, and nobody else has taken it."""
        event = waiter.event
        waiter = self.waiting.replace(waiter, event._replace(trail=event.trail._replace(avoid=())))
        for ticket in waiter.tickets:
            self._tickets[ticket] = waiter
        self.try_soon(waiter)
        return waiter

    def age(self, now: Now) -> None:
        """Count the answers whose P90 has passed while their tasks wait on, and what running tasks overrun."""
        while (waiter := self._promises.due(now.monotonic)) is not None:
            if waiter.answer is not None:
                self.expected.judge(waiter.answer, now.monotonic)
        if self.fair:
            self.usage.age(now.monotonic)

    # ------------------------------------------------------------------ go away

    def abandon(self, now: Now, event: Abandon, out: list[Effect]) -> None:
        """A call that waited is gone; its task goes with it, unless somebody else wants it."""
        waiter = self._tickets.pop(event.ticket, None)
        if waiter is None:
            return
        waiter.tickets.pop(event.ticket, None)
        if not waiter.tickets and not waiter.enqueued and not waiter.gone:
            self.waiting.remove(waiter)

    def withdraw(self, now: Now, event: Withdraw, out: list[Effect]) -> None:
        """Take back what could not be made durable; with a call that waits for it, it waits on."""
        waiter = self.waiting.by_task.get((event.tenant, event.task_id))
        if waiter is None or waiter.event.task.attempt != event.attempt:
            return
        waiter.enqueued = False
        if not waiter.tickets:
            self.waiting.remove(waiter)
            ended = Unplaced(waiter.event.task, TaskState.CANCELLED, waiter.since_wall, now.wall)
            out.append(Unqueued(waiter, ended))

    def close(self) -> None:
        """Place nothing more that waits."""
        self.open = False
        self.unfilled = False

    def cancel(self, now: Now, event: Cancel, out: list[Effect]) -> bool:
        """Cancel a waiting task; False: it does not wait."""
        key = (event.tenant, event.task_id)
        waiter = self.waiting.by_task.get(key)
        attempt = event.attempt or 1
        asked = TaskKey(event.tenant, event.task_id, attempt)
        if waiter is None or not self._stands_for(waiter, asked):
            ended = self.over.get(key)
            if ended is None or (ended.task.attempt != attempt and not self._placement.followed_up(asked)):
                return False
            out.append(CancelReply(ended.state, False))
            return True
        if event.lease_id:
            about = (("task_id", event.task_id), ("attempt", str(attempt)))
            message = f"lease {event.lease_id!r} is not the one of task {event.task_id!r}, which waits"
            out.append(CancelReply(None, False, Refusal(Reason.LEASE_MISMATCH, message, about)))
            return True
        self._end(now, waiter, TaskState.CANCELLED, out)
        out.append(CancelReply(TaskState.CANCELLED, False))
        return True

    def _end(self, now: Now, waiter: Waiter, state: TaskState, out: list[Effect]) -> None:
        task = waiter.event.task
        self.waiting.remove(waiter)
        ended = Unplaced(task, state, waiter.since_wall, now.wall)
        self.over[task.tenant, task.task_id] = ended
        if len(self.over) > _OVER_KEPT:
            self.over.popitem(last=False)
        out.append(Unqueued(waiter, ended))
        self._resolve(waiter, Reply(None, None, None, False, _ended(ended, task)), out)

    # ------------------------------------------------------------------ asked after

    def prospects(self, now: Now, waiter: Waiter) -> Prospects:
        """Where a waiting task stands: position, expected start, and what keeps it from starting now."""
        return self.outlook.prospects(now, waiter)


def _untold(_now: Now, _record: TaskRecord, _out: list[Effect], _since: int) -> None:
    """Nobody rebalances."""


def _promised(waiter: Waiter, at: float) -> bool:
    """Is it the P90 of the answer that the task has now, and has nobody judged it yet?"""
    answer = waiter.answer
    return answer is not None and not answer.judged and answer.p90_at == at


def _ended(ended: Unplaced, task: Task) -> Refusal:
    about = (("task_id", task.task_id), ("attempt", str(task.attempt)))
    if ended.task.attempt != task.attempt or not same_body(ended.task, task):
        message = f"task {task.task_id!r} is known as attempt {ended.task.attempt}, or with a different body"
        return Refusal(Reason.TASK_CONFLICT, message, about)
    if ended.state is TaskState.CANCELLED:
        message = f"attempt {task.attempt} of task {task.task_id!r} was cancelled while it waited"
        return Refusal(Reason.TASK_CANCELLED, message, about)
    message = f"task {task.task_id!r} was to start by {task.start_by or inf:.3f} and was not placed by then"
    return Refusal(Reason.START_BY_PASSED, message, about)
