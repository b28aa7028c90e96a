"""AdminService's questions about waiting tasks: which, in which order, and why does this one wait?

A task's place is a key that stands still while it waits, so a page goes on after the last one's key, and tasks that
come or go in between shift nothing. Every scan is done in slices; what a line says is true when it is written.
"""

from collections.abc import Callable
from heapq import nsmallest
from math import inf
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.assignment import explanation
from scheduler_server.assignment.events import Look, Submit
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.telling import shown, waiting_text
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Rejection
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import BlockingReason, Delivery, Prospects, Task
from scheduler_server.predictor.usable import usable
from scheduler_server.registry.eligibility import EligibilityClass
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.rpc import checks, decode, encode, paging, pause_view, worker_view
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.paging import Page, Position, Turn
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.worker_query import similar

_AHEAD = 10
_NEXT_SLOTS = 10
_BLOCKING = frozenset(each.value for each in BlockingReason)


class WaitingCalls:
    """Each method: check the message, look, encode the answer. What can be refused is told by exception."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._core = shell.core

    # ------------------------------------------------------------------ which

    async def ListWaiting(
        self, request: admin_service_pb2.ListWaitingRequest, context: Any
    ) -> admin_service_pb2.ListWaitingResponse:
        """Waiting tasks in the order they would run, filtered, paged."""
        checker = Checker()
        wanted = _Wanted(request, checker)
        size = paging.size(checker, request.page_size)
        checker.done()
        core = self._core
        order = core.queue.renewing.order.name
        bound_to = paging.scope(f"{core.incarnation}\0{order}", request)  # in another order no place is the same
        after = paging.read_token(bound_to, request.page_token)
        now = self.look()
        blocked = _Blocked(core.queue.prospects, now)
        page: Page[Waiter] = Page(size, after, backwards=False)
        total = 0
        turn = Turn()
        for waiter in list(core.queue.waiting.by_task.values()):
            if turn.over():
                await turn.pause()
            if not waiter.gone and wanted.matches(waiter, now) and self._fits(waiter, wanted, blocked):
                total += 1
                page.offer(self._place(waiter), waiter)
        response = admin_service_pb2.ListWaitingResponse(total_size=total, order=order)

        def add(waiter: Waiter) -> int:
            if waiter.gone:
                return 0
            message = response.tasks.add()
            self.fill(message, waiter)
            return message.ByteSize()

        response.next_page_token = paging.next_token(bound_to, await page.write(turn, add))
        encode.set_instant(response.as_of, now.wall)
        return response

    def _fits(self, waiter: Waiter, wanted: "_Wanted", blocked: "_Blocked") -> bool:
        if wanted.blocking and blocked.by(waiter).value not in wanted.blocking:
            return False
        if not wanted.worker_id:
            return True
        record = self._core.fleet.records.get(wanted.worker_id)
        return record is not None and _could_take(record, waiter.event)

    # ------------------------------------------------------------------ why

    async def ExplainWaiting(
        self, request: admin_service_pb2.ExplainWaitingRequest, context: Any
    ) -> admin_service_pb2.ExplainWaitingResponse:
        """Why a task waits, and what would let it start."""
        tenant, task_id, attempt = decode.key(request.task, request.HasField("task"))
        checker = Checker()
        most = checker.count("max_ahead", request.max_ahead, 0, checks.MAX_ITEMS)
        checker.done()
        if not request.HasField("max_ahead"):
            most = _AHEAD
        self.look()
        waiter = await self.waiter(tenant, task_id, attempt)
        ahead = await self._ahead(waiter, most)
        slots = await self._next_slots(waiter)
        under = await pause_view.waiting_under(self._core, self._core.queue.pauses.covering(waiter.event.task))
        now = self.look()
        waiter = await self.waiter(tenant, task_id, attempt)  # it may have started meanwhile
        told = self._core.queue.prospects(now, waiter)
        response = admin_service_pb2.ExplainWaitingResponse()
        self.fill(response.task, waiter, told)
        eligible = self._eligible(waiter)
        counts: tuple[tuple[Rejection, int], ...] = ()
        if eligible is not None:
            counts = explanation.rejections_but(self._core.fleet, eligible, waiter.event.excluded)
            if told.blocking is BlockingReason.NO_WORKER_COULD_EVER:
                self._fill_missing(response.refusal, waiter, eligible, counts)
        for reason, count in counts:
            message: Any = response.rejections.add(count=count)
            message.reason = reason.value
        written = 0
        turn = Turn()
        for each in ahead:
            if turn.over():
                await turn.pause()
            if not each.gone and written <= paging.MAX_PAGE_BYTES:
                line = response.ahead.add()
                self.fill(line, each)
                written += line.ByteSize()
        for _, lease in slots:
            if lease.live:
                worker_view.fill_lease(response.next_slots.add(), lease, now, self._core.remaining(lease, now))
        next_s = max(0.0, slots[0][0]) if slots else None
        waited_s = max(0.0, now.wall - waiter.since_wall)
        for scope in self._core.queue.pauses.covering(waiter.event.task):
            order = self._core.standing.orders.get(scope)
            if order is not None:
                pause_view.fill(response.pauses.add(), scope, order, under.get(scope, 0))
        response.text = waiting_text(waiter.event.task, told, waited_s, counts, next_s)
        overrides = self._core.placement.overrides
        for override_id, effect in () if overrides is None else overrides.applied(waiter.event, waits=True):
            response.overrides.add(override_id=override_id, effect=effect)
            response.text += f"\noverride {shown(override_id)}: {shown(effect)}"
        return response

    async def waiter(self, tenant: str, task_id: str, attempt: int) -> Waiter:
        """The attempt that waits, 0 for any. Raises Refused (TASK_UNKNOWN, TASK_NOT_WAITING)."""
        core = self._core
        waiter = core.queue.waiting.by_task.get((tenant, task_id))
        if waiter is not None and attempt in (0, waiter.event.task.attempt):
            return waiter
        about = [("task_id", task_id), ("attempt", str(attempt))]
        ended = core.queue.over.get((tenant, task_id))
        placed = core.task(tenant, task_id, attempt)
        if placed is not None or (ended is not None and attempt in (0, ended.task.attempt)):
            state = placed.state if placed is not None else ended.state if ended is not None else None
            told = "" if state is None else f": it is {state.name}"
            message = f"task {task_id!r} does not wait{told}; ask GetTask or GetDecision"
            raise Refused(Refusal(Reason.TASK_NOT_WAITING, message, tuple(about)))
        message = f"task {task_id!r} is not known, or no longer kept"
        others = [name for of, name in core.queue.waiting.by_task if of == tenant and name != task_id]
        alike = await similar(others, task_id)
        if waiter is not None:
            message = f"task {task_id!r} waits as attempt {waiter.event.task.attempt}; attempt {attempt} is not known"
        elif alike:
            message += "; waiting are " + ", ".join(map(repr, alike))
            about.append(("similar", ", ".join(alike)))
        raise Refused(Refusal(Reason.TASK_UNKNOWN, message, tuple(about)))

    async def _ahead(self, waiter: Waiter, most: int) -> list[Waiter]:
        """The first tasks that run before this one and could take the same slots."""
        waiting = self._core.queue.waiting
        if not most or not waiter.placeable:
            return []
        page: Page[Waiter] = Page(most, None, backwards=False)
        turn = Turn()
        for each in list(waiting.by_task.values()):
            if turn.over():
                await turn.pause()
            if each.gone or not each.placeable or waiting.turn(each) >= waiting.turn(waiter):
                continue
            if waiting.compete(waiter, each):
                page.offer(self._place(each), each)
        return [each for _, each in page.rows()]

    async def _next_slots(self, waiter: Waiter) -> list[tuple[float, TaskRecord]]:
        """Leases whose slots it could have, with the seconds until each is expected to end, the soonest first."""
        eligible = self._eligible(waiter)
        if eligible is None:
            return []
        now = self._shell.now()
        found: list[tuple[float, str, TaskRecord]] = []
        turn = Turn()
        for pool in list(eligible.pools):
            for record in list(pool.members):
                if turn.over():
                    await turn.pause()
                if record.row < 0 or record.barred or record.worker_id in waiter.event.excluded:
                    continue
                for lease in list(record.leases.values()):
                    if lease.live:
                        ends_s = self._core.remaining(lease, now).p50_ms / 1_000.0
                        found.append((ends_s, lease.lease_id, lease))
                if len(found) > 64 * _NEXT_SLOTS:
                    found = nsmallest(_NEXT_SLOTS, found)
        return [(ends_s, lease) for ends_s, _, lease in nsmallest(_NEXT_SLOTS, found)]

    def _eligible(self, waiter: Waiter) -> EligibilityClass | None:
        if waiter.placeable:
            return self._core.queue.waiting.eligible(waiter)
        event = waiter.event
        needs = self._core.queue.waiting.needs(event)
        known = self._core.fleet.eligibility.classes.get(needs)
        return known or self._core.fleet.eligibility.make(needs, self._core.fleet.pools, keep=False)

    def _fill_missing(
        self, message: Any, waiter: Waiter, eligible: EligibilityClass, counts: tuple[tuple[Rejection, int], ...]
    ) -> None:
        """Fill a PlacementRefusal: what it requires that no known worker has."""
        fleet = self._core.fleet
        refusal = explanation.nobody(waiter.event, eligible, fleet, 0.0, 1, remembered=False, counts=counts)
        message.blocking = BlockingReason.NO_WORKER_COULD_EVER.value
        for reason, count in counts:
            message.rejections.add(reason=reason.value, count=count)
        message.missing_capabilities.extend(refusal.missing_capabilities)
        message.missing_labels.extend(refusal.missing_labels)

    def _place(self, waiter: Waiter) -> Position:
        """Where a task stands in the order; those that are not due yet come last, the soonest due first."""
        number = f"{waiter.sequence:020d}"
        if not waiter.placeable:
            return Position(2, waiter.event.task.not_before or 0.0, number)
        behind, key, _ = self._core.queue.waiting.turn(waiter)
        return Position(int(behind), key, number)

    # ------------------------------------------------------------------ one line

    def fill(self, message: Any, waiter: Waiter, told: Prospects | None = None) -> None:
        """Fill a WaitingTask."""
        now = self._shell.now()
        task = waiter.event.task
        encode.task_key(message.task, task.key)
        message.task_type = task.task_type
        message.category = task.category
        message.priority = task.priority
        message.required_capabilities.extend(task.required)
        encode.waiting(message.waiting, told or self._core.queue.prospects(now, waiter))
        encode.set_instant(message.enqueued_at, waiter.since_wall)
        encode.set_span(message.waited, max(0.0, now.wall - waiter.since_wall))
        prediction = self._prediction(task)
        if prediction is not None:
            encode.prediction(message.prediction, prediction)
        message.slots = task.slots
        if task.not_before is not None:
            encode.set_instant(message.not_before, task.not_before)
        if task.start_by is not None:
            encode.set_instant(message.start_by, task.start_by)
        message.held_call = bool(waiter.tickets)

    def _prediction(self, task: Task) -> Prediction | None:
        try:
            made = self._core.predictor.predict(task)
        except Exception:  # noqa: BLE001 -- a predictor is a plug-in: then nothing is known
            return None
        return made if usable(made) and made.sample_count else None

    def look(self) -> Now:
        """The present instant, with the state brought up to it."""
        self._shell.handle(Look())
        return self._shell.now()


def _could_take(record: WorkerRecord, event: Submit) -> bool:
    """Could this worker ever take it?"""
    registration, task = record.registration, event.task
    return (
        set(task.required) <= set(registration.capabilities)
        and set(task.labels) <= set(registration.labels)
        and (registration.accepts_tasks or event.delivery is not Delivery.STREAM)
        and record.worker_id not in event.excluded
    )


class _Blocked:
    """What blocks a task, worked out once per set of needs."""

    def __init__(self, prospects: Callable[[Now, Waiter], Prospects], now: Now) -> None:
        self._prospects = prospects
        self._now = now
        self._known: dict[tuple[object, ...], BlockingReason] = {}

    def by(self, waiter: Waiter) -> BlockingReason:
        """The reason."""
        event = waiter.event
        task = event.task
        group = waiter.group.index if waiter.group is not None else -1  # overrides tell tasks of equal needs apart
        needs = (waiter.placeable, waiter.paused, group, task.required, task.labels, event.delivery, event.excluded)
        reason = self._known.get(needs)
        if reason is None:
            reason = self._known[needs] = self._prospects(self._now, waiter).blocking
        return reason


class _Wanted:
    """Which waiting tasks are asked for, as far as a task itself tells."""

    def __init__(self, request: admin_service_pb2.ListWaitingRequest, checker: Checker) -> None:
        self._tenant = request.tenant if request.HasField("tenant") else None
        self._task_type = request.task_type
        self.blocking: frozenset[int] = frozenset(request.blocking)
        self.worker_id = request.worker_id
        self._least_s = -inf
        checker.text("tenant", request.tenant)
        checker.text("task_type", request.task_type)
        checker.text("worker_id", request.worker_id)
        for at, reason in enumerate(request.blocking):
            checker.choice(f"blocking[{at}]", reason, _BLOCKING, "BlockingReason")
        if request.HasField("min_wait"):
            self._least_s = checker.span_s("min_wait", request.min_wait.seconds, request.min_wait.nanos)

    def matches(self, waiter: Waiter, now: Now) -> bool:
        """Is this one of them?"""
        task = waiter.event.task
        return (
            (self._tenant is None or task.tenant == self._tenant)
            and (not self._task_type or task.task_type == self._task_type)
            and now.wall - waiter.since_wall >= self._least_s
        )
