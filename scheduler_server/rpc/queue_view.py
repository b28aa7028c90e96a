"""The waiting tasks as operators see them: how many, by what blocks them, since when, and how much work that is."""

from collections import Counter
from typing import Any

from scheduler_server.assignment.core import Scheduler
from scheduler_server.model.clock import Now
from scheduler_server.model.task import BlockingReason
from scheduler_server.rpc import encode
from scheduler_server.rpc.paging import Turn


async def fill_load(response: Any, core: Scheduler, now: Now) -> None:
    """Fill the queue's part of a GetLoadResponse.

    What blocks a task depends on what it needs, so it is worked out once per set of needs and counted per task, in
    slices: a task that came or went meanwhile may be missing, or be there.
    """
    queue = core.queue
    blocking: Counter[BlockingReason] = Counter()
    by_needs: dict[tuple[object, ...], BlockingReason] = {}
    oldest_s = work_s = 0.0
    turn = Turn()
    for waiter in list(queue.waiting.by_task.values()):
        if turn.over():
            await turn.pause()
        if waiter.gone:
            continue
        event = waiter.event
        task = event.task
        needs = (waiter.placeable, task.required, task.labels, event.delivery, task.excluded)
        reason = by_needs.get(needs)
        if reason is None:
            reason = by_needs[needs] = queue.prospects(now, waiter).blocking
        blocking[reason] += 1
        oldest_s = max(oldest_s, now.wall - waiter.since_wall)
        work_s += waiter.work_s
    response.queued_tasks = sum(blocking.values())
    if not blocking:
        return
    for reason in sorted(blocking):
        response.blocking.add(blocking=reason.value, count=blocking[reason])
    encode.set_span(response.oldest_wait, oldest_s)
    encode.set_span(response.queued_work, min(work_s, _LONGEST_S))


_LONGEST_S = 315_576_000_000.0
"""What a Duration holds: ten thousand years."""
