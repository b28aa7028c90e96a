"""What happens to tasks that wait: they come, are placed, give up, are asked after.

`waiting.py` knows who is next, this module what to do about it. A slot that becomes free takes the task that is next
for it; the choice among free workers is that of any other decision (`placement.py`).
"""

from collections import OrderedDict
from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from scheduler_server.assignment import explanation
from scheduler_server.assignment.effects import CancelReply, Effect, Queued, Reply, Resolved, Unqueued
from scheduler_server.assignment.events import Abandon, Cancel, Submit
from scheduler_server.assignment.expected_start import ExpectedStarts
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.order import ORDERS
from scheduler_server.assignment.placement import Placement
from scheduler_server.assignment.queue_settings import OBJECTIVES
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.tenants import Tenants
from scheduler_server.assignment.waiting import Waiter, WaitingTasks
from scheduler_server.model.clock import Now
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import BlockingReason, Prospects, Task, TaskState
from scheduler_server.predictor import Predictor
from scheduler_server.registry.fleet import Fleet

_AT_ONCE = 32
"""Tasks placed per event: about a millisecond. What is left is placed with the next event, which is due at once."""

_LEAST_RESIDUAL = 0.1
"""Of a mean duration: what is left of running tasks on average, when they have run longer than predicted."""

_OVER_KEPT = 100_000
"""Tasks remembered that were never placed (cancelled, or too late); the oldest goes first."""

Watch = Callable[[float, Waiter], None]


class Unplaced(NamedTuple):
    """A task that ended without having been placed."""

    task: Task
    state: TaskState
    since_wall: float
    ended_wall: float


class Queue:
    """All that waiting tasks do and are asked. `watch` asks for a timer; the core calls `due` then."""

    def __init__(
        self, settings: CoreSettings, fleet: Fleet, predictor: Predictor, placement: Placement, watch: Watch
    ) -> None:
        self._settings = settings.queue
        self._fleet = fleet
        self._predictor = predictor
        self._placement = placement
        self._watch = watch
        self.objective = settings.assignment.objective
        name = settings.queue.order or OBJECTIVES[self.objective][0]
        self.tenants = Tenants(settings.queue.tenant_weights)
        self.waiting = WaitingTasks(fleet, ORDERS[name](settings.queue), self.tenants)
        self.fair = self.waiting.order.by_tenant
        self.expected = ExpectedStarts()
        self.over: OrderedDict[tuple[str, str], Unplaced] = OrderedDict()
        self._tickets: dict[int, Waiter] = {}
        self._promises: list[tuple[float, int, Waiter]] = []  # by the instant their P90 passes
        self._charged: dict[str, float] = {}  # slot-seconds by lease, where the order goes by tenant
        self._overruns: list[tuple[float, str, TaskRecord]] = []  # by the instant at which more is to be charged
        self.refused = 0
        self.unfilled = False  # slots are free that waiting tasks could take, and an event to come will fill them

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
            out.append(Reply(None, None, None, False, _ended(ended, task)))
            return True
        older = waiter.event.task
        if older.attempt != task.attempt or older != task or waiter.event.delivery is not event.delivery:
            what = "another attempt" if older.attempt != task.attempt else "a different body"
            message = f"task {task.task_id!r} waits already, as {what}"
            about = (("task_id", task.task_id), ("attempt", str(task.attempt)))
            out.append(Reply(None, None, None, False, Refusal(Reason.TASK_CONFLICT, message, about)))
            return True
        if event.enqueue and not waiter.enqueued:
            waiter.enqueued = True
            out.append(Queued(waiter))
        if event.wait_s is not None:
            self._wait(now, waiter, event)
        out.append(Reply(TaskState.WAITING, None, None, True, None, self.prospects(now, waiter)))
        return True

    def park(self, now: Now, event: Submit, refusal: Refusal | None, out: list[Effect]) -> None:
        """Let a task wait that cannot be placed now (`refusal` says why) or is not due; or refuse it: no room."""
        task = event.task
        full = self._no_room(task)
        if full is not None:
            self.refused += 1
            out.append(Reply(None, None, None, False, full))
            return
        waiter = self.waiting.new(event, now.monotonic, now.wall)
        self._take(now, waiter)
        waiter.enqueued = event.enqueue
        if event.enqueue:
            out.append(Queued(waiter))
        if event.wait_s is not None:
            self._wait(now, waiter, event)
        out.append(Reply(TaskState.WAITING, None, None, False, None, self.prospects(now, waiter)))

    def take_back(self, now: Now, event: Submit, since_wall: float) -> None:
        """A task that waited before a restart waits again, where it stood."""
        waiter = self.waiting.new(event, now.monotonic - max(0.0, now.wall - since_wall), since_wall)
        waiter.enqueued = True
        self._take(now, waiter)

    def _take(self, now: Now, waiter: Waiter) -> None:
        task = waiter.event.task
        try:
            waiter.prediction = self._predictor.predict(task)
        except Exception:  # noqa: BLE001 -- a predictor is a plug-in: without it a task waits as one of no duration
            waiter.prediction = None
        self.over.pop((task.tenant, task.task_id), None)
        self.waiting.hold(waiter)
        if task.start_by is not None:
            waiter.expires_at = now.monotonic + (task.start_by - now.wall)
            self._watch(waiter.expires_at, waiter)
        if task.not_before is not None and task.not_before > now.wall:
            self._watch(now.monotonic + (task.not_before - now.wall), waiter)
        else:
            self._release(now, waiter)

    def _release(self, now: Now, waiter: Waiter) -> None:
        self.waiting.release(waiter)
        group = waiter.group
        if group is None:
            return
        slots, residual, work = self._load(now, waiter)
        if slots:
            expected, size = self.expected.expect(group.index, work, residual, slots)
            waiter.answer = self.expected.promise(now.monotonic, group.index, size, expected)
            heappush(self._promises, (waiter.answer.p90_at, waiter.sequence, waiter))

    def _no_room(self, task: Task) -> Refusal | None:
        settings, waiting = self._settings, self.waiting
        about = (("task_id", task.task_id), ("tenant", task.tenant))
        blocking = BlockingReason.NO_FREE_SLOT
        if len(waiting) >= settings.max_length:
            message = f"the queue is full: {len(waiting):,} tasks wait; queue.max_length is {settings.max_length:,}"
            return Refusal(Reason.QUEUE_FULL, message, about, blocking, retry_after_s=1.0)
        share = max(1, int(settings.max_length * settings.tenant_share))
        if self.tenants.waiting(task.tenant) >= share:
            message = (
                f"tenant {task.tenant!r} has {share:,} tasks waiting, as many as queue.tenant_share,"
                f" {settings.tenant_share:g}, allows"
            )
            return Refusal(Reason.QUEUE_FULL, message, about, BlockingReason.OVER_TENANT_SHARE, retry_after_s=1.0)
        if waiting.payload_bytes + len(task.payload) > settings.max_payload_bytes:
            message = (
                f"the queue is full: {waiting.payload_bytes:,} bytes of payload wait; queue.max_payload_bytes is"
                f" {settings.max_payload_bytes:,}"
            )
            return Refusal(Reason.QUEUE_FULL, message, about, blocking, retry_after_s=1.0)
        return None

    def _wait(self, now: Now, waiter: Waiter, event: Submit) -> None:
        until = now.monotonic + (event.wait_s or 0.0)
        waiter.tickets[event.ticket] = until
        self._tickets[event.ticket] = waiter
        self._watch(until, waiter)

    # ------------------------------------------------------------------ go

    def fill(self, now: Now, out: list[Effect], most: int = _AT_ONCE) -> None:
        """Give free slots to the tasks that are next for them."""
        waiting = self.waiting
        skipped: set[int] = set()
        self.unfilled = False
        placed = 0
        while True:
            waiter = waiting.next(skipped)
            if waiter is None:
                return
            if placed >= most:
                self.unfilled = True
                return
            if self._place(now, waiter, out):
                placed += 1
            elif waiter.group is not None:
                skipped.add(waiter.group.index)  # those that are free are the ones that it excludes

    def _place(self, now: Now, waiter: Waiter, out: list[Effect]) -> bool:
        record = self._placement.place_waiting(now, waiter.event, waiter.since_wall, out)
        if record is None:
            return False
        self._started(now, waiter)
        self.waiting.remove(waiter)
        if waiter.enqueued:
            out.append(Unqueued(waiter))
        reply = Reply(record.state, record.decision, None, False)
        self._resolve(waiter, reply, out)
        return True

    def _started(self, now: Now, waiter: Waiter) -> None:
        if waiter.answer is not None:
            self.expected.judge(waiter.answer, now.monotonic)
        if waiter.tenant is not None:
            self.tenants.served(waiter.tenant)

    def _resolve(self, waiter: Waiter, reply: Reply, out: list[Effect]) -> None:
        for ticket in waiter.tickets:
            self._tickets.pop(ticket, None)
            out.append(Resolved(ticket, reply))
        waiter.tickets = {}

    def due(self, now: Now, waiter: Waiter, out: list[Effect]) -> None:
        """A timer of this task has come: it may start, its time is over, or a call gives up."""
        if waiter.gone:
            return
        if waiter.expires_at <= now.monotonic:
            self._end(now, waiter, TaskState.EXPIRED, out)
            return
        task = waiter.event.task
        if not waiter.placeable and (task.not_before is None or task.not_before <= now.wall + _CLOCKS_DIFFER_S):
            self._release(now, waiter)
        for ticket, until in list(waiter.tickets.items()):
            if until <= now.monotonic:
                del waiter.tickets[ticket]
                self._tickets.pop(ticket, None)
                out.append(Resolved(ticket, Reply(None, None, None, False, self._gave_up(now, waiter))))
        if not waiter.tickets and not waiter.enqueued:
            self.waiting.remove(waiter)

    def abandon(self, now: Now, event: Abandon, out: list[Effect]) -> None:
        """A call that waited is gone; its task goes with it, unless somebody else wants it."""
        waiter = self._tickets.pop(event.ticket, None)
        if waiter is None:
            return
        waiter.tickets.pop(event.ticket, None)
        if not waiter.tickets and not waiter.enqueued and not waiter.gone:
            self.waiting.remove(waiter)

    def cancel(self, now: Now, event: Cancel, out: list[Effect]) -> bool:
        """Cancel a waiting task; False: it does not wait."""
        key = (event.tenant, event.task_id)
        waiter = self.waiting.by_task.get(key)
        attempt = event.attempt or 1
        if waiter is None or waiter.event.task.attempt != attempt:
            ended = self.over.get(key)
            if ended is None or ended.task.attempt != attempt:
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
        if waiter.enqueued:
            out.append(Unqueued(waiter, ended))
        self._resolve(waiter, Reply(None, None, None, False, _ended(ended, task)), out)

    def age(self, now: Now) -> None:
        """Count the answers whose P90 has passed while their tasks wait on."""
        promises = self._promises
        while promises and promises[0][0] < now.monotonic:
            waiter = heappop(promises)[2]
            if not waiter.gone and waiter.answer is not None:
                self.expected.judge(waiter.answer, now.monotonic)

        overruns = self._overruns
        while overruns and overruns[0][0] <= now.monotonic:
            _, lease_id, record = heappop(overruns)
            charged = self._charged.get(lease_id)
            if charged is not None:  # it runs on: as long again, as far as anybody knows
                more = max(charged, 1.0)
                self._charged[lease_id] = charged + more
                self.tenants.charge(self.tenants.get(record.task.tenant), more)
                heappush(overruns, (now.monotonic + more, lease_id, record))

    # ------------------------------------------------------------------ who has had how much

    def granted(self, record: TaskRecord) -> None:
        """A task starts: its tenant is charged what it is predicted to take."""
        slot_s = record.ends_at - record.granted_at
        self._charged[record.lease_id] = slot_s
        self.tenants.charge(self.tenants.get(record.task.tenant), slot_s)
        heappush(self._overruns, (record.ends_at, record.lease_id, record))

    def ended(self, record: TaskRecord) -> None:
        """It is over: its tenant has had what it took."""
        charged = self._charged.pop(record.lease_id, None)
        if charged is not None:
            took = record.ended_at - (record.started_at or record.granted_at)
            self.tenants.charge(self.tenants.get(record.task.tenant), took - charged)

    # ------------------------------------------------------------------ asked after

    def prospects(self, now: Now, waiter: Waiter) -> Prospects:
        """Where a waiting task stands: position, expected start, and what keeps it from starting now."""
        task = waiter.event.task
        if not waiter.placeable:
            due = task.not_before or now.wall
            detail = f"its not_before, {due:.3f}, has not come"
            return Prospects(0, due, due, BlockingReason.NOT_YET_DUE, detail, now.wall, 0, None)
        position, _ = self.waiting.ahead(waiter)
        blocking, detail = self._blocking(now, waiter)
        slots, residual, work = self._load(now, waiter)
        group = waiter.group
        if not slots or group is None:
            return Prospects(position, None, None, blocking, detail, now.wall, 0, None)
        expected, _ = self.expected.expect(group.index, work, residual, slots)
        return Prospects(
            position, now.wall + expected.p50_s, now.wall + expected.p90_s, blocking, detail, now.wall,
            expected.sample_count, expected.coverage,
        )  # fmt: skip

    def _blocking(self, now: Now, waiter: Waiter) -> tuple[BlockingReason, str]:
        group = waiter.group
        eligible = group.eligible if group is not None else None
        if eligible is not None and not any(pool.counts[_EXCLUDED] or pool.members for pool in eligible.pools):
            eligible_now = False
        else:
            eligible_now = True
        slots = self.waiting.slots(waiter)[0]
        if eligible is None or not eligible_now:
            return BlockingReason.NO_WORKER_COULD_EVER, explanation.never(waiter.event, eligible, self._fleet)
        if not slots:
            return BlockingReason.NO_ELIGIBLE_WORKER_NOW, "no worker that could take it may be used now"
        return BlockingReason.NO_FREE_SLOT, f"all {slots:.0f} slots that could take it are taken"

    def _load(self, now: Now, waiter: Waiter) -> tuple[float, float, float]:
        """Slots that could take it, seconds that a running task there has left on average, seconds of work ahead."""
        slots, ends, running = self.waiting.slots(waiter)
        _, work = self.waiting.ahead(waiter)
        mean_s = self._placement.mean_ms / 1e3
        residual = mean_s
        if running:
            residual = max(_LEAST_RESIDUAL * mean_s, ends / running - now.monotonic)
        return slots, residual, work

    def _gave_up(self, now: Now, waiter: Waiter) -> Refusal:
        where = self.prospects(now, waiter)
        task = waiter.event.task
        about = [("task_id", task.task_id), ("position", str(where.position))]
        retry_s = None
        message = f"task {task.task_id!r} was not placed while its call waited: {where.detail}; {where.position} ahead"
        if where.start_p50 is not None:
            retry_s = max(0.0, where.start_p50 - now.wall)
            about.append(("expected_start", f"{where.start_p50:.3f}"))
        return Refusal(Reason.WAIT_OVER, message, tuple(about), where.blocking, retry_after_s=retry_s)


def _ended(ended: Unplaced, task: Task) -> Refusal:
    about = (("task_id", task.task_id), ("attempt", str(task.attempt)))
    if ended.task != task:
        message = f"task {task.task_id!r} is known as attempt {ended.task.attempt}, or with a different body"
        return Refusal(Reason.TASK_CONFLICT, message, about)
    if ended.state is TaskState.CANCELLED:
        message = f"attempt {task.attempt} of task {task.task_id!r} was cancelled while it waited"
        return Refusal(Reason.TASK_CANCELLED, message, about)
    message = f"task {task.task_id!r} was to start by {task.start_by or inf:.3f} and was not placed by then"
    return Refusal(Reason.START_BY_PASSED, message, about)


_EXCLUDED = 3
_CLOCKS_DIFFER_S = 0.001
"""Timers run on the monotonic clock, not_before is told in wall time."""
