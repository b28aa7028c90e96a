"""The rules by which tasks wait have changed: each of them is looked at anew, a few at a time.

That is another order, a pause or its end, an override. A hundred thousand tasks take seconds, and the server decides
and answers in between. What holds at every moment of that time:

    a pause, an override   for every task that is placed: one whose turn it is and that was not looked at yet, is then
    another order          tasks that have moved to it go first, then the others in the order before (`waiting.py`)
    the end of a pause     tasks go on as they are reached, the oldest first
    positions              tell who goes first as things are, and that they are being worked out anew

At the end each stands as if it had come under the rules in force, and none waits beside a slot that it could use. A
change in the midst begins a new round. Of orders that follow each other within a round only the last takes over; it
does when the round is over, since there are never more than two line-ups.
"""

from math import inf
from typing import TYPE_CHECKING

from scheduler_server.assignment.order import Order
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.clock import Now, Stopwatch

if TYPE_CHECKING:
    from scheduler_server.assignment.queueing import Queue

SLICE = 32
"""Tasks looked at per tick, at most: each takes 10 to 40 us, and as many are placed at once as become free."""

_SLICE_S = 0.001
"""Time after which a tick looks at no more."""

_LOOKS = 8
"""Tasks between two looks at the stopwatch."""

_REST_S = 1 / 1_024  # instants that are exact stay exact on both clocks
"""Between two ticks, or as long as the one before took: half of the loop's time is for others, whatever it costs."""


class Renewing:
    """The rounds.

    Invariant: while a round is under way, each waiting task of an edition before the one in force is among `_left` from
    `_at` on, or among the latecomers; and `at` is the monotonic second at which the next tick is asked for.
    """

    def __init__(self, queue: "Queue", stopwatch: Stopwatch) -> None:
        self._queue = queue
        self._stopwatch = stopwatch
        self.slice = SLICE
        self._left: list[Waiter] = []
        self._at = 0
        self._wanted: Order | None = None
        self.at = inf

    @property
    def busy(self) -> bool:
        """Is a round under way?"""
        return self.at < inf

    @property
    def order(self) -> Order:
        """The order that tasks will wait in at the end."""
        return self._wanted or self._queue.waiting.order

    # ------------------------------------------------------------------ begun

    def begin(self, now: Now) -> None:
        """The rules have changed: look at the first of all that wait, and ask for a tick where there are more."""
        waiting = self._queue.waiting
        waiting.edition += 1
        self._left, self._at = list(waiting.by_task.values()), 0  # 3 ms for 100,000, the longest of all steps
        waiting.latecomers = []
        self.at = now.monotonic
        self.step(now)

    def reorder(self, now: Now, order: Order) -> None:
        """Let what waits move into this order."""
        waiting = self._queue.waiting
        if waiting.older is not None:
            self._wanted = order
            return
        self._wanted = None
        waiting.take_over(order)
        self._queue.charge_if_fair()
        self.begin(now)

    def refile(self, now: Now) -> None:
        """Who may take tasks, or their priority, is another than before.

        Where tenants have turns, each takes its place behind those that came before: in a line-up made anew.
        """
        waiting = self._queue.waiting
        if waiting.order.by_tenant:
            if waiting.older is None:
                self.reorder(now, waiting.order)
                return
            self._wanted = self._wanted or waiting.order
        self.begin(now)

    # ------------------------------------------------------------------ carried on

    def step(self, now: Now) -> None:
        """Look at some more."""
        waiting = self._queue.waiting
        edition = waiting.edition
        freed: dict[int, Waiter] = {}
        began = self._stopwatch()
        for looked in range(1, self.slice + 1):
            waiter = self._next()
            if waiter is None:
                self._over(now)
                break
            if not waiter.gone and waiter.edition != edition and self.renew(now, waiter):
                freed[id(waiter.group)] = waiter
            if not looked % _LOOKS and self._stopwatch() - began > _SLICE_S:
                break
        for waiter in freed.values():  # one of each group: they can use the same slots
            self._queue.try_soon(waiter)
        if self.busy:
            took_s = self._stopwatch() - began
            self.at = now.monotonic + took_s + max(took_s, _REST_S)
            self._queue.watch(self.at)

    def finish(self, now: Now) -> None:
        """Look at all that is left, however long it takes: for a start, and for what must not be interleaved."""
        while self.busy:
            self.step(now)

    def _next(self) -> Waiter | None:
        left = self._left
        if self._at == len(left):
            waiting = self._queue.waiting
            if not waiting.latecomers:
                return None
            # From here on nobody joins the older line-up, so that this comes to an end however many come.
            waiting.closing = True
            self._left = left = waiting.latecomers
            self._at, waiting.latecomers = 0, []
        self._at += 1
        return left[self._at - 1]

    def _over(self, now: Now) -> None:
        queue = self._queue
        queue.waiting.older = None
        self._left, self._at, self.at = [], 0, inf
        queue.charge_if_fair()
        if self._wanted is not None:
            self.reorder(now, self._wanted)

    # ------------------------------------------------------------------ one task

    def renew(self, now: Now, waiter: Waiter) -> bool:
        """Let a task stand as the rules in force say. True where it may now use slots that it could not before."""
        queue, task = self._queue, waiter.event.task
        waiting = queue.waiting
        waiter.edition = waiting.edition
        if queue.pauses.scopes and queue.pauses.covers(task):
            if not waiter.paused:
                waiter.paused = True
                waiter.answer = None  # what it was told does not count against those who told it
                waiting.withdraw(waiter)
                waiter.told = queue.outlook.prospects(now, waiter)
            return False
        if waiter.paused:
            waiter.paused = False
            not_before = task.not_before
            if not_before is not None and not_before > now.wall:
                waiter.told = queue.outlook.prospects(now, waiter)
                queue.set_timer(now, waiter)
                return False
            waiter.told = queue.release(now, waiter, brief=True)
            return True
        if not waiter.placeable or not waiting.misplaced(waiter):
            return False
        needs = waiter.group.needs if waiter.group is not None else None
        waiting.withdraw(waiter)
        waiting.release(waiter)
        return waiter.group is not None and waiter.group.needs != needs
