"""Pauses as messages, with how many tasks wait under each."""

from collections.abc import Iterable
from typing import Any

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.pauses import within
from scheduler_server.model.standing import About, StandingOrder
from scheduler_server.rpc import encode
from scheduler_server.rpc.paging import Turn


async def waiting_in(core: Scheduler, scope: About) -> int:
    """Tasks of a scope that wait, counted in slices."""
    count = 0
    turn = Turn()
    for waiter in list(core.queue.waiting.by_task.values()):
        if turn.over():
            await turn.pause()
        count += not waiter.gone and within(scope, waiter.event.task)
    return count


async def waiting_under(core: Scheduler, scopes: Iterable[About]) -> dict[About, int]:
    """Tasks that wait under each of these pauses, counted in slices."""
    counts = dict.fromkeys(scopes, 0)
    turn = Turn()
    for waiter in list(core.queue.waiting.by_task.values()) if counts else ():
        if turn.over():
            await turn.pause()
        if not waiter.gone:
            for scope in counts:
                counts[scope] += within(scope, waiter.event.task)
    return counts


def fill(message: Any, about: About, order: StandingOrder, waiting: int) -> None:
    """Fill a QueuePause."""
    message.scope.SetInParent()
    message.scope.task_type = about.name
    if about.tenant is not None:
        message.scope.tenant = about.tenant
    encode.set_instant(message.since, order.since)
    if order.until is not None:
        encode.set_instant(message.expires_at, order.until)
    message.author = order.author
    message.reason = order.reason
    message.waiting_tasks = waiting
