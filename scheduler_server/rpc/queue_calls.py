"""AdminService's steering of the queue: priorities, and what is not to start for now."""

from collections.abc import Callable
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.assignment.effects import PriorityReply
from scheduler_server.assignment.events import Reprioritize
from scheduler_server.assignment.standing import scope_text
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.standing import About, OrderKind, StandingOrder
from scheduler_server.rpc import decode, paging, pause_view
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.durable import HELD_AT_MOST_S
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.paging import Page, Position
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.steering import Steering, expiry_of, not_kept, reason_of
from scheduler_server.rpc.waiting_calls import WaitingCalls

_NAMED = 5
"""Pauses in force that a refusal names."""


class QueueCalls:
    """Each method: check the message, order, encode the answer. What can be refused is told by exception."""

    def __init__(
        self, shell: Shell, steering: Steering, waiting: WaitingCalls, refuse_when_draining: Callable[[], None]
    ) -> None:
        self._shell = shell
        self._core = shell.core
        self._steering = steering
        self._waiting = waiting
        self._refuse_when_draining = refuse_when_draining

    # ------------------------------------------------------------------ priorities

    async def ReprioritizeTask(
        self, request: admin_service_pb2.ReprioritizeTaskRequest, context: Any
    ) -> admin_service_pb2.ReprioritizeTaskResponse:
        """Change the priority of a waiting task."""
        tenant, task_id, attempt = decode.key(request.task, request.HasField("task"))
        checker = Checker()
        priority = checker.share("priority", request.priority)
        if not request.HasField("priority"):
            checker.fault("priority", "is required: 0 is a value")
        reason = reason_of(checker, request)
        checker.done()
        self._refuse_when_draining()
        shell = self._shell
        async with self._steering.changing:
            waiter = await self._waiting.waiter(tenant, task_id, attempt or 1)
            before = waiter.event.task.priority
            event = Reprioritize(tenant, task_id, waiter.event.task.attempt, priority, reason)
            reply, sequence = shell.reprioritize(event)
            if sequence >= 0 and not (sequence and await shell.durable.wait(sequence, HELD_AT_MOST_S)):
                shell.reprioritize(event._replace(priority=before))
                raise not_kept()
        response = admin_service_pb2.ReprioritizeTaskResponse(previous_position=_position(reply))
        self._waiting.fill(response.task, waiter)
        return response

    # ------------------------------------------------------------------ pauses

    async def PauseQueue(
        self, request: admin_service_pb2.PauseQueueRequest, context: Any
    ) -> admin_service_pb2.PauseQueueResponse:
        """Start no more waiting tasks of a scope."""
        checker = Checker()
        about = _scope(checker, request)
        expires_s = expiry_of(checker, request)
        reason = reason_of(checker, request)
        checker.done()
        self._refuse_when_draining()
        async with self._steering.changing:
            order = self._steering.order(reason, expires_s)
            await self._steering.stand(about, order)
        concerned = await pause_view.waiting_in(self._core, about)
        response = admin_service_pb2.PauseQueueResponse()
        pause_view.fill(response.pause, about, order, concerned)
        return response

    async def ResumeQueue(
        self, request: admin_service_pb2.ResumeQueueRequest, context: Any
    ) -> admin_service_pb2.ResumeQueueResponse:
        """End the pause of exactly this scope."""
        checker = Checker()
        about = _scope(checker, request)
        reason_of(checker, request)
        checker.done()
        self._refuse_when_draining()
        async with self._steering.changing:
            if about not in self._core.standing.orders:
                raise self._not_paused(about)
            released = await pause_view.waiting_in(self._core, about)
            await self._steering.stand(about, None)
        return admin_service_pb2.ResumeQueueResponse(released_tasks=released)

    def _not_paused(self, about: About) -> Refused:
        message = f"the queue is not paused for {scope_text(about)}"
        paused = [scope_text(each) for each, _ in self._core.standing.of(OrderKind.PAUSE)]
        message += f"; it is for {', '.join(paused[-_NAMED:])}" if paused else "; nothing is paused"
        metadata = [("task_type", about.name)]
        if about.tenant is not None:
            metadata.append(("tenant", about.tenant))
        return Refused(Refusal(Reason.PAUSE_UNKNOWN, message, tuple(metadata)))

    async def ListPauses(
        self, request: admin_service_pb2.ListPausesRequest, context: Any
    ) -> admin_service_pb2.ListPausesResponse:
        """The pauses in force, newest first."""
        checker = Checker()
        size = paging.size(checker, request.page_size)
        checker.done()
        bound_to = paging.scope(self._core.incarnation, request)
        after = paging.read_token(bound_to, request.page_token)
        self._waiting.look()
        page: Page[tuple[About, StandingOrder]] = Page(size, after, backwards=True)
        for about, order in list(self._core.standing.of(OrderKind.PAUSE)):
            page.offer(Position(0, order.since, repr(about)), (about, order))
        rows = page.rows()
        counts = await pause_view.waiting_under(self._core, [about for _, (about, _) in rows])
        response = admin_service_pb2.ListPausesResponse()
        for _, (about, order) in rows:
            pause_view.fill(response.pauses.add(), about, order, counts[about])
        if page.more and rows:
            response.next_page_token = paging.write_token(bound_to, rows[-1][0])
        return response


def _scope(checker: Checker, request: Any) -> About:
    scope = request.scope
    for field in ("task_type", "tenant"):
        checker.text(f"scope.{field}", getattr(scope, field))
    return About(OrderKind.PAUSE, scope.task_type, scope.tenant if scope.HasField("tenant") else None)


def _position(reply: PriorityReply) -> int:
    return reply.previous_position or 0
