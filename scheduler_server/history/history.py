"""The decision log of a running server: opened, followed, asked, closed."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeVar

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.history import afterwards
from scheduler_server.history.busy import Busy
from scheduler_server.history.hour import Hour
from scheduler_server.history.learned import Learned
from scheduler_server.history.learning import PAGE, LearningInProgress, Teacher, newest
from scheduler_server.history.opening import open_log, why_none
from scheduler_server.history.recorder import Recorder
from scheduler_server.history.sampler import Sampler
from scheduler_server.history.settings import HistorySettings
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEvent
from scheduler_server.storage.decision_log import (
    DecisionLog,
    HistoryFilter,
    Lesson,
    LogError,
    LogStatus,
    LogWriter,
    Page,
    Size,
    Span,
)
from scheduler_server.storage.one_thread import OneThread

T = TypeVar("T")

_LOG = logging.getLogger(__name__)

_MOST_QUESTIONS = 32
"""Questions that may wait for one another, each for as long as `history.timeout_s`: enough for every operator there is,
few enough that the last one is not asked for somebody who has long gone."""

_FLUSH_S = 2.0
"""How long a question waits for what was handed over just before: eight times the interval of the default."""

_GLANCE_S = 0.02
_RETRY_S = 10.0
_SIZE_EVERY_S = 60.0


class NoHistory(Exception):
    """No log is kept; why."""


class HistoryUnavailable(Exception):
    """The log cannot be read now; why, without any secret."""


class Followed(Protocol):
    """What the shell offers to whoever follows it."""

    core: Scheduler
    changes: list[Any]
    told_late: list[Callable[[TaskRecord], None]]
    listeners: list[Callable[[FleetEvent], None]]

    def now(self) -> Now:
        """The present instant."""


class History:
    """What happened, live and from the log. Everything is for the loop's thread.

    `log` and `writer` are None where none is kept; the last hour is known all the same.
    """

    def __init__(
        self,
        shell: Followed,
        settings: HistorySettings,
        folder: Path | None,
        *,
        learned: Learned,
        severity: Callable[[FleetEvent], str],
        random: Random,
    ) -> None:
        self.settings = settings
        self._shell = shell
        core = shell.core
        busy = Busy()
        self.hour = Hour(shell.now().wall)
        self.sampler = Sampler(
            core, busy, self.hour, shell.now, interval_s=settings.sample_interval_s, workers=settings.sampled_workers
        )
        self.recorder = Recorder(core, busy, self.hour, now=shell.now, severity=severity)
        self.teacher = Teacher(core, learned, shell.now)
        self.learned_at_start: float | None = None  # when the last outcome was that a cold start has learned
        self.log: DecisionLog | None = open_log(settings, folder)
        self.writer: LogWriter | None = None
        self.warnings: list[str] = []
        self.size = Size(0, 0)  # as it was a minute ago
        self._mark = afterwards.Mark(folder)
        self._questions: OneThread | None = None
        self._waiting = 0
        self._tasks: list[asyncio.Task[None]] = []
        if self.log is not None:
            self._mark.set(core.incarnation)
            self._questions = OneThread("history-questions")
            self.writer = LogWriter(
                self.log,
                incarnation=core.incarnation,
                flush_interval_s=settings.flush_interval_s,
                max_pending=settings.max_pending,
                held=self._mark.held,
                random=random.random,
            )
            self.recorder.put = self.writer.put
            self.sampler.sample = self.writer.sample
        shell.changes.append(self.recorder)
        shell.told_late.append(self.recorder.told_late)
        shell.listeners.append(self.recorder.of_event)

    # ------------------------------------------------------------------ while the server runs

    def reconfigure(self, settings: HistorySettings) -> None:
        """Go by these from now on; where the log is, and what it keeps, is the same in them."""
        self.settings = settings
        self.sampler.reconfigure(settings.sample_interval_s, settings.sampled_workers)
        if self.writer is not None:
            self.writer.reconfigure(settings.flush_interval_s, settings.max_pending)

    def start(self) -> None:
        """Begin to sample, and to look after what a kill has cost."""
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self.sampler.run()))
        if self.log is not None:
            self._tasks.append(loop.create_task(self._measure()))
        if self._mark.found and self.log is not None:
            leases = sorted(self._from_before(), key=_newest_first)
            self._tasks.append(loop.create_task(self._after_a_kill(leases)))

    def _from_before(self) -> list[TaskRecord]:
        core = self._shell.core
        return [each for each in core.ledger.leases.values() if each.decision.incarnation != core.incarnation]

    async def _measure(self) -> None:
        await self.written()  # the writer makes the tables, or the file
        while True:
            with contextlib.suppress(HistoryUnavailable):
                self.size = await self.ask(lambda log: log.size())
            await asyncio.sleep(_SIZE_EVERY_S if self.size.size_bytes else _RETRY_S)

    async def _after_a_kill(self, leases: list[TaskRecord]) -> None:
        await self.written()
        await self._mark.alone()
        while True:
            try:
                lacking = await self.ask(lambda log: afterwards.missing(log, leases))
            except HistoryUnavailable:
                await asyncio.sleep(_RETRY_S)
                continue
            told = afterwards.record_anew(lacking, self.recorder.decided, self.settings.flush_interval_s)
            _LOG.warning("decision log: %s", told)
            self.warnings.append(told)
            return

    async def close(self, within_s: float) -> None:
        """Write what waits, in bounded time, and give the log free."""
        for task in self._tasks:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                _LOG.error("a part of the history had failed", exc_info=ended)
        self.recorder.put = self.sampler.sample = None
        if self.writer is not None:
            if await self.writer.close(within_s):
                self._mark.clear()
            else:
                status = self.writer.status()
                left = status.abandoned + status.pending
                _LOG.warning(
                    "decision log %s: %d entries were not written within %g s", status.location, left, within_s
                )
        self._mark.close()
        if self._questions is not None and self.log is not None:
            self._questions.submit(self.log.close_reading)
            self._questions.close()

    # ------------------------------------------------------------------ learned from

    async def lessons(self, which: HistoryFilter, after: str) -> Page[Lesson]:
        """A page of what can be learned."""
        return await self.ask(lambda log: log.lessons(which, limit=PAGE, after=after))

    def learn_at_start(self) -> None:
        """There is no snapshot: learn from the log, beside all else, in bounded time."""
        if self.log is not None and self.settings.learn_at_start:
            self._tasks.append(asyncio.get_running_loop().create_task(self._learn_at_start()))

    async def _learn_at_start(self) -> None:
        settings, teacher, now = self.settings, self.teacher, self._shell.now().wall
        why = "there was no snapshot"
        try:
            async with asyncio.timeout(settings.learn_at_start_s):
                await self.written()
                most = settings.learn_at_start_most
                since = await self.ask(lambda log: newest(log, most, now, settings.keep_days))
                await teacher.learn(self.lessons, Span(since), most=most)
        except TimeoutError:
            why += f", and {settings.learn_at_start_s:g} s were over"
        except (HistoryUnavailable, LearningInProgress) as error:
            why += f", and the log could not be read: {error}"
        if teacher.read or "could not" in why:
            told = f"learned from {teacher.learned} of {teacher.read} outcomes of the log, since {why}"
            _LOG.info("decision log: %s", told)
            self.warnings.append(told)
        self.learned_at_start = teacher.last_at

    # ------------------------------------------------------------------ asked

    @property
    def kept(self) -> bool:
        """Is there a log?"""
        return self.log is not None

    @property
    def why_none(self) -> str:
        """Why there is none."""
        return why_none(self.settings)

    def now(self) -> Now:
        """The present instant."""
        return self._shell.now()

    def status(self) -> LogStatus | None:
        """How the log is; None where none is kept."""
        return None if self.writer is None else self.writer.status()

    async def ask(self, question: Callable[[DecisionLog], T]) -> T:
        """Ask the log, beside the loop. Raises NoHistory, HistoryUnavailable, PageTokenInvalid."""
        log, questions = self.log, self._questions
        if log is None or questions is None:
            raise NoHistory(self.why_none)
        if self._waiting >= _MOST_QUESTIONS:
            raise HistoryUnavailable(f"{self._waiting} questions wait for an answer of the decision log already")
        self._waiting += 1
        try:
            return await questions.run(question, log)
        except LogError as error:
            raise HistoryUnavailable(str(error)) from None
        finally:
            self._waiting -= 1

    async def written(self) -> bool:
        """Wait shortly until what has happened by now can be read; False: some of it cannot be."""
        if self.writer is None:
            return True
        status = self.writer.status()
        until = time.monotonic() + _FLUSH_S
        while status.last_success_at is None and status.healthy and time.monotonic() < until:
            await asyncio.sleep(_GLANCE_S)  # a server that has just started: the tables are being made
            status = self.writer.status()
        if not status.pending:
            return True
        # A log that fails is tried again at its own pace: nobody waits for that.
        return await self.writer.flushed(_FLUSH_S if status.healthy else 0.0)


def _newest_first(record: TaskRecord) -> tuple[float, str]:
    return -record.decision.decided_at, record.lease_id
