"""What operators order of tasks that wait: held back by a pause, let go on, given another priority."""

from scheduler_server.assignment.effects import Effect, PriorityReply, Published, Queued
from scheduler_server.assignment.events import Reprioritize
from scheduler_server.assignment.queueing import Queue
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.model.standing import About


class Steered:
    """The queue as operators steer it."""

    def __init__(self, queue: Queue, make_event: MakeEvent) -> None:
        self._queue = queue
        self._make_event = make_event

    def pause(self, now: Now, scope: About, *, on: bool) -> None:
        """Hold back what waits of a scope, and what comes; or let it go on.

        That holds at once for whatever is placed from now on. The tasks that it is about are looked at in slices.
        """
        queue = self._queue
        if on:
            queue.pauses.add(scope)
        else:
            queue.pauses.discard(scope)
        queue.renewing.begin(now)

    def reprioritize(self, now: Now, event: Reprioritize, out: list[Effect]) -> None:
        """Give a waiting task another priority, and the place that goes with it."""
        queue = self._queue
        waiter = queue.waiting.by_task.get((event.tenant, event.task_id))
        if waiter is None or waiter.event.task.attempt != event.attempt:
            out.append(PriorityReply(None))
            return
        if waiter.edition != queue.waiting.edition and queue.renewing.renew(now, waiter):
            queue.try_soon(waiter)
        position = queue.prospects(now, waiter).position
        task = waiter.event.task
        if task.priority != event.priority:
            asked = task.priority if task.asked_priority is None else task.asked_priority
            changed = task._replace(priority=event.priority, asked_priority=asked)
            waiter.event = waiter.event._replace(task=changed)
            if waiter.placeable:
                queue.waiting.withdraw(waiter)
                waiter.told = queue.release(now, waiter)
                queue.try_soon(waiter)
            if waiter.enqueued:
                out.append(Queued(waiter))
            told = f"{task.priority:g}", f"{event.priority:g}", event.task_id
            kind = FleetEventKind.TASK_REPRIORITIZED
            out.append(Published(self._make_event(now, kind, "", event.reason, *told)))
        out.append(PriorityReply(position))
