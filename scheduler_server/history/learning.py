"""Teach the predictor from the log: oldest first, in slices, so that no decision is held up."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from scheduler_server.assignment.core import Scheduler
from scheduler_server.history.learned import Learned
from scheduler_server.model.clock import Now
from scheduler_server.predictor.dated import Dated
from scheduler_server.predictor.forgetting import Forgets
from scheduler_server.predictor.settings import LONGEST_MS
from scheduler_server.storage.decision_log import AccuracyQuery, DecisionLog, HistoryFilter, Lesson, Page, Span

Read = Callable[[HistoryFilter, str], Awaitable[Page[Lesson]]]
"""A page of lessons, after the place that the page before ended at."""

PAGE = 1_000
_SLICE_S = 0.001
_REST_S = 0.001
"""Half of the loop's time, while it learns, is for others: what comes meanwhile is answered a millisecond later."""

_TICK_S = 1e-6  # of the log's instants
_HOUR_S = 3_600
_DAY_S = 86_400.0
_HOURS = 1_000  # read at once


class LearningInProgress(Exception):
    """Another one is under way."""


class Teacher:
    """One lesson after another, one run of them at a time.

    `read`, `learned`, `keys` and `last_at` are of the last run.
    """

    def __init__(self, core: Scheduler, known: Learned, now: Callable[[], Now]) -> None:
        self._core = core
        self._known = known
        self._now = now
        self.busy = False
        self._begin()

    @property
    def keys(self) -> int:
        """Keys that tasks of these outcomes are predicted by."""
        return len(self._keys)

    async def learn(
        self, read: Read, span: Span, task_type: str = "", *, forget_first: bool = False, most: int | None = None
    ) -> None:
        """Learn the successes of this time and type that are not known yet; at most so many.

        What was learned when it is cancelled, or when `read` fails, stays learned and counts once. Nothing is forgotten
        before the first page was read.

        Raises:
            LearningInProgress: see there.
            Exception: whatever `read` raises.
        """
        if self.busy:
            raise LearningInProgress
        self.busy = True
        self._begin()
        now = self._now().wall + _TICK_S  # the end of a span is not in it
        wanted = HistoryFilter(span._replace(end=now if span.end is None else span.end), task_type)
        try:
            page = await read(wanted, "")
            if forget_first:
                self._forget(task_type)
            while await self._teach(page, most) and page.next:
                page = await read(wanted, page.next)
        finally:
            self.busy = False
            if self.last_at is not None:
                self._known.was_read(span.start or 0.0, self.last_at, task_type, self._now().wall)

    def _begin(self) -> None:
        self.read = self.learned = 0
        self.last_at: float | None = None
        self._keys: set[str] = set()

    def _forget(self, task_type: str) -> None:
        predictor = self._core.predictor
        if isinstance(predictor, Forgets):
            predictor.forget(task_type)
            self._known.forget(task_type, self._now().wall)

    async def _teach(self, page: Page[Lesson], most: int | None) -> bool:
        """Teach a page; False once there were enough."""
        predictor, outcomes = self._core.predictor, self._core.outcomes
        until = time.monotonic() + _SLICE_S
        for lesson in page.items:
            if time.monotonic() > until:
                await asyncio.sleep(_REST_S)
                until = time.monotonic() + _SLICE_S
            if most is not None and self.read >= most:
                return False
            self.read += 1
            known = self._known.knows(lesson)
            self.last_at = lesson.at
            if known or not 0.0 < lesson.duration_ms <= LONGEST_MS:
                continue
            if isinstance(predictor, Dated):
                predictor.wall = lesson.at
            try:
                predictor.observe(lesson.task, lesson.duration_ms)
                self._keys.add(predictor.predict(lesson.task).key)
            except Exception:  # noqa: BLE001 -- a predictor is a plug-in: this outcome teaches nothing, the next may
                outcomes.learn_failures += 1
            else:
                self.learned += 1
        return True


def newest(log: DecisionLog, most: int, now: float, keep_days: float) -> float | None:
    """Since when there were about so many successes, in hours; None: since the begin. May block; raises LogError."""
    query = AccuracyQuery(Span(now - keep_days * _DAY_S, None), _HOUR_S)
    hours: list[tuple[float, int]] = []
    after = ""
    while True:
        page = log.accuracy(query, limit=_HOURS, after=after)
        hours += [(each.span.start or 0.0, each.sample_count) for each in page.items]
        after = page.next
        if not after:
            break
    total = 0
    for start, count in reversed(hours):
        if total + count > most:
            return start if not total else start + _HOUR_S
        total += count
    return None
