"""What operators order of tasks that wait: held back by a pause, let go on, given another priority."""

from scheduler_server.assignment.effects import Effect, PriorityReply, Published, Queued
from scheduler_server.assignment.events import Reprioritize
from scheduler_server.assignment.pauses import within
from scheduler_server.assignment.queueing import Queue
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.model.standing import About


class Steered:
    """The queue as operators steer it."""

    def __init__(self, queue: Queue, make_event: MakeEvent) -> None:
        self._queue = queue
        self._make_event = make_event

    def pause(self, now: Now, scope: About, *, on: bool) -> int:
        """Hold back what waits of a scope, and what comes; or let it go on. How many tasks of it wait.

        Takes as long as all of these coming anew, as another order does.
        """
        queue = self._queue
        if on:
            queue.pauses.add(scope)
        else:
            queue.pauses.discard(scope)
        concerned = [waiter for waiter in queue.waiting.by_task.values() if within(scope, waiter.event.task)]
        for waiter in concerned:
            if on and not waiter.paused:
                waiter.paused = True
                waiter.answer = None  # what it was told does not count against those who told it
                queue.waiting.withdraw(waiter)
                waiter.told = queue.outlook.prospects(now, waiter)
        if not on:
            self._resume(now, [each for each in concerned if not queue.pauses.covers(each.event.task)])
        return len(concerned)

    def _resume(self, now: Now, waiters: list[Waiter]) -> None:
        queue = self._queue
        for waiter in waiters:
            waiter.paused = False
            not_before = waiter.event.task.not_before
            if not_before is None or not_before <= now.wall:
                waiter.told = queue.release(now, waiter)
            else:
                waiter.told = queue.outlook.prospects(now, waiter)
                queue.set_timer(now, waiter)
        for waiter in {waiter.group: waiter for waiter in waiters if waiter.placeable}.values():
            queue.try_soon(waiter)  # one of each group: they can use the same slots

    def reprioritize(self, now: Now, event: Reprioritize, out: list[Effect]) -> None:
        """Give a waiting task another priority, and the place that goes with it."""
        queue = self._queue
        waiter = queue.waiting.by_task.get((event.tenant, event.task_id))
        if waiter is None or waiter.event.task.attempt != event.attempt:
            out.append(PriorityReply(None))
            return
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
