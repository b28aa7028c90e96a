"""AdminService's drains: begun, shown, followed, called off."""

import logging
from asyncio import sleep
from collections.abc import Callable
from itertools import count
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.access.caller import CALLER
from scheduler_server.assignment.drain_record import Drain, Line
from scheduler_server.assignment.draining import MOST_STANDING
from scheduler_server.assignment.events import DrainEnded, DrainOrdered, Look, Tick
from scheduler_server.model.drain import AtDeadline, DrainOrder, labels_like
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc import checks, paging
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.drain_view import View, kept
from scheduler_server.rpc.drain_watch import DrainWatches
from scheduler_server.rpc.durable import HELD_AT_MOST_S
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.paging import Page, Position, Turn
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.steering import Steering, not_kept, reason_of
from scheduler_server.rpc.worker_query import similar

_LOG = logging.getLogger(__name__)

_STATES = frozenset(admin_service_pb2.DrainState.values()) - {0}
_ACTIONS = frozenset(each.value for each in AtDeadline)
_UNKNOWN_TOLD = 10


class DrainCalls:
    """Each method: check the message, look at the fleet in slices, carry out, encode the answer."""

    def __init__(self, shell: Shell, steering: Steering, refuse_when_draining: Callable[[], None]) -> None:
        self._shell = shell
        self._core = shell.core
        self._steering = steering
        self._refuse_when_draining = refuse_when_draining
        self._made = count(1)
        self.watches = DrainWatches(shell)

    # ------------------------------------------------------------------ begun

    async def DrainWorkers(
        self, request: admin_service_pb2.DrainWorkersRequest, context: Any
    ) -> admin_service_pb2.DrainWorkersResponse:
        """A new drain; one that repeats another by its id is answered with it as it is."""
        self._shell.handle(Look())
        order = self._decoded(request)
        self._refuse_when_draining()
        async with self._steering.changing:
            drain = self._repeated(order)
            if drain is None:
                self._refuse_late(order)
                tried = await self._matched(order, request)
                drain = tried if request.dry_run else await self._begin(order)
            return await self._answer(drain)

    def _decoded(self, request: admin_service_pb2.DrainWorkersRequest) -> DrainOrder:
        checker = Checker()
        reason = reason_of(checker, request)
        checker.text("drain_id", request.drain_id)
        if len(request.worker_ids) > checks.MAX_ITEMS:
            checker.fault(
                "worker_ids", f"has {len(request.worker_ids):,} entries; the limit is {checks.MAX_ITEMS:,}: use labels"
            )
        worker_ids = tuple(dict.fromkeys(request.worker_ids[: checks.MAX_ITEMS]))
        for at, worker_id in enumerate(worker_ids):
            checker.text(f"worker_ids[{at}]", worker_id, required=True)
        labels = checker.pairs("match_labels", request.match_labels.items())
        if not worker_ids and not labels:
            checker.fault("worker_ids", "nobody is named: set worker_ids, match_labels or both")
        deadline = None
        if request.HasField("deadline"):
            deadline = checker.instant_s("deadline", request.deadline.seconds, request.deadline.nanos)
        action = request.at_deadline or AtDeadline.LEAVE
        checker.choice("at_deadline", action, _ACTIONS, "DrainDeadlineAction")
        if deadline is None and action != AtDeadline.LEAVE:
            checker.fault("at_deadline", "goes with a deadline: set one, or leave this out")
        checker.done()
        now, author = self._shell.now().wall, CALLER.get().identity
        return DrainOrder(request.drain_id, worker_ids, labels, deadline, AtDeadline(action), reason, author, now)

    def _repeated(self, order: DrainOrder) -> Drain | None:
        """The drain of this id, where it is the one that is asked for."""
        drain = self._core.drains.drains.get(order.drain_id) if order.drain_id else None
        if drain is None:
            return None
        known = drain.order
        if known == order._replace(reason=known.reason, author=known.author, created=known.created):
            return drain
        message = f"drain_id: {order.drain_id!r} is another drain's: choose another or none"
        raise Refused(Refusal(Reason.DRAIN_CONFLICT, message, (("drain_id", order.drain_id),)))

    def _refuse_late(self, order: DrainOrder) -> None:
        """A deadline that has passed is no deadline; that of a repeated call may have."""
        now = self._shell.now().wall
        if order.deadline is not None and order.deadline <= now:
            checker = Checker()
            ago = f"{now - order.deadline:.0f} s ago by the server's clock"
            checker.fault("deadline", f"passed {ago}; it must be ahead")
            checker.done()

    async def _matched(self, order: DrainOrder, request: admin_service_pb2.DrainWorkersRequest) -> Drain:
        """The drain as it would begin. Raises Refused where it may not."""
        records, orphans = self._core.fleet.records, self._core.ledger.orphans
        drains = self._core.drains
        if drains.standing >= MOST_STANDING:
            message = f"{MOST_STANDING:,} drains stand, which is the most: cancel those that are done"
            raise Refused(Refusal(Reason.TOO_MANY_DRAINS, message, (("limit", str(MOST_STANDING)),)))
        unknown = [name for name in order.worker_ids if name not in records and name not in orphans]
        if unknown and not request.allow_unknown:
            raise Refused(await self._unknown(unknown))
        ids = frozenset(order.worker_ids)
        tried = Drain(order)
        total = 0
        turn = Turn()
        for record in list(records.values()):
            if turn.over():
                await turn.pause()
            if record.row < 0:
                continue
            total += 1
            if record.worker_id in ids or (order.labels and labels_like(order.labels, record.registration.labels)):
                line = Line(tried, record.worker_id, len(record.leases))
                line.told_on = record.session  # it would be
                tried.add(line)
        if total and len(tried.lines) == total and not request.force:
            message = f"it matches every worker ({total:,}): narrow it, or send force if nobody is to be given tasks"
            raise Refused(Refusal(Reason.MATCHES_WHOLE_FLEET, message, (("workers", str(total)),)))
        return tried

    async def _unknown(self, unknown: list[str]) -> Refusal:
        named = ", ".join(map(repr, unknown[:_UNKNOWN_TOLD]))
        more = f" and {len(unknown) - _UNKNOWN_TOLD} more" if len(unknown) > _UNKNOWN_TOLD else ""
        message = f"not known: {named}{more}; allow_unknown takes ids of workers that are still to come"
        about = [("worker_id", unknown[0])]
        alike = await similar(self._core.fleet.records, unknown[0])
        if alike:
            message += "; known are " + ", ".join(map(repr, alike))
            about.append(("similar", ", ".join(alike)))
        return Refusal(Reason.WORKER_UNKNOWN, message, tuple(about))

    async def _begin(self, order: DrainOrder) -> Drain:
        """Let it stand, cover everybody who matches, and have it on disk before it is answered.

        The drain itself, that is: its workers' lines follow. A server that is killed in between finds those who match
        when they come back.
        """
        shell, drains = self._shell, self._core.drains
        drain_id = order.drain_id or self._new_id()
        shell.drained = -1
        shell.handle(DrainOrdered(order._replace(drain_id=drain_id)))
        room = shell.drained
        drain = drains.drains[drain_id]
        while drains.busy(drain):
            await sleep(0)
            shell.handle(Tick())
        if not (room and await shell.durable.wait(room, HELD_AT_MOST_S)):
            shell.handle(DrainEnded(drain_id, forget=True))
            raise not_kept()
        _LOG.info("drain %s by %s: %d workers, %d leases (%s)", drain_id, order.author, drain.workers, drain.left,
                  order.reason or "no reason given")  # fmt: skip
        return drain

    def _new_id(self) -> str:
        while True:
            made = f"drain-{self._core.incarnation}-{next(self._made)}"
            if made not in self._core.drains.drains:
                return made

    async def _answer(self, drain: Drain) -> admin_service_pb2.DrainWorkersResponse:
        response = admin_service_pb2.DrainWorkersResponse()
        await View(self._shell, drain).whole(response.drain)
        if drain.order.drain_id not in self._core.drains.drains:  # tried, and not begun
            response.drain.ClearField("drain_id")
        await kept(self._shell)
        return response

    # ------------------------------------------------------------------ shown

    def _find(self, drain_id: str, checker: Checker) -> Drain:
        checker.text("drain_id", drain_id, required=True)
        checker.done()
        self._shell.handle(Look())
        drain = self._core.drains.drains.get(drain_id)
        if drain is None:
            message = f"drain {drain_id!r} is not known, or ended longer ago than ended ones are kept"
            raise Refused(Refusal(Reason.DRAIN_UNKNOWN, message, (("drain_id", drain_id),)))
        return drain

    async def GetDrain(
        self, request: admin_service_pb2.GetDrainRequest, context: Any
    ) -> admin_service_pb2.GetDrainResponse:
        """How far one is."""
        response = admin_service_pb2.GetDrainResponse()
        await View(self._shell, self._find(request.drain_id, Checker())).whole(response.drain)
        await kept(self._shell)
        return response

    async def ListDrains(
        self, request: admin_service_pb2.ListDrainsRequest, context: Any
    ) -> admin_service_pb2.ListDrainsResponse:
        """All of them, newest first."""
        checker = Checker()
        for number, state in enumerate(request.states):
            checker.choice(f"states[{number}]", state, _STATES, "DrainState")
        checker.text("worker_id", request.worker_id)
        size = paging.size(checker, request.page_size)
        checker.done()
        self._shell.handle(Look())
        bound_to = paging.scope(self._core.incarnation, request)
        page: Page[Drain] = Page(size, paging.read_token(bound_to, request.page_token), backwards=True)
        states, worker_id = frozenset(request.states), request.worker_id
        turn = Turn()
        for drain in list(self._core.drains.drains.values()):
            if turn.over():
                await turn.pause()
            if (states and drain.state.value not in states) or (worker_id and worker_id not in drain.lines):
                continue
            page.offer(Position(0, drain.order.created, drain.order.drain_id), drain)
        response = admin_service_pb2.ListDrainsResponse()
        last = None
        for at, drain in page.rows():
            if response.ByteSize() > paging.MAX_PAGE_BYTES:
                break
            last = at
            await View(self._shell, drain).whole(response.drains.add(), workers=False)
        more = page.more or len(response.drains) < len(page.rows())
        response.next_page_token = paging.next_token(bound_to, last if more else None)
        await kept(self._shell)
        return response

    async def WatchDrain(self, request: admin_service_pb2.WatchDrainRequest, context: Any) -> None:
        """Follow one to its end."""
        await self.watches.watch(self._find(request.drain_id, Checker()), context)

    # ------------------------------------------------------------------ called off

    async def CancelDrain(
        self, request: admin_service_pb2.CancelDrainRequest, context: Any
    ) -> admin_service_pb2.CancelDrainResponse:
        """End one; asked for again it is answered as it is."""
        checker = Checker()
        reason = reason_of(checker, request)
        drain = self._find(request.drain_id, checker)
        self._refuse_when_draining()
        async with self._steering.changing:
            if drain.order.own and not drain.over:
                message = (
                    f"worker {drain.order.author!r} drains by its own wish, which only it can take back: it takes tasks"
                    " again when its heartbeats say so, or its next process registers"
                )
                about = (("drain_id", request.drain_id), ("worker_id", drain.order.author))
                raise Refused(Refusal(Reason.DRAIN_OF_WORKER, message, about))
            if not drain.over:
                await self._cancel(drain, reason)
        response = admin_service_pb2.CancelDrainResponse()
        await View(self._shell, drain).whole(response.drain)
        await kept(self._shell)
        return response

    async def _cancel(self, drain: Drain, reason: str) -> None:
        shell, order = self._shell, drain.order
        shell.drained = -1
        shell.handle(DrainEnded(order.drain_id))
        room = shell.drained
        while self._core.drains.busy(drain):
            await sleep(0)
            shell.handle(Tick())
        if not (room and await shell.durable.wait(room, HELD_AT_MOST_S)):
            shell.handle(DrainOrdered(order))
            raise not_kept()
        why = reason or "no reason given"
        _LOG.info("drain %s is called off by %s: %s", order.drain_id, CALLER.get().identity, why)
