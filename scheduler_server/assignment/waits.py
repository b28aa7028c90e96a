"""How long tasks waited for their slots, and how far that was from what they were told."""

from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.histogram import Histogram

WAITS_S = (0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0)
"""Bounds in seconds: a slot that frees in the same turn, to a backlog of days."""


class Waits:
    """Of tasks that waited and were placed. Those that were placed at once did not wait and are not counted.

    `later` and `earlier` are the distances of the start from the median that the task was told when it took its place;
    a task that could not be told one is in neither.
    """

    def __init__(self) -> None:
        self.waited = Histogram(WAITS_S)
        self.later = Histogram(WAITS_S)
        self.earlier = Histogram(WAITS_S)

    def over(self, waiter: Waiter, now: float) -> None:
        """Its wait is over: it is placed, at this monotonic second."""
        self.waited.observe(max(0.0, now - waiter.since))
        if waiter.answer is not None:
            off = now - waiter.answer.p50_at
            (self.later if off > 0.0 else self.earlier).observe(abs(off))
