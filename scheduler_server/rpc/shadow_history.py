"""Comparisons of other policies from the decision log: those from before a restart, and those no longer in memory."""

import asyncio
import contextlib
import logging
from functools import partial

import numpy as np

from scheduler_server.history.history import History, HistoryUnavailable, NoHistory
from scheduler_server.rpc.asking_history import unavailable
from scheduler_server.shadow.kept import FAILED, Rows
from scheduler_server.shadow.observing import Shadow
from scheduler_server.storage.decision_log import DecisionLog, LoggedShadow, Page, ShadowFilter, Span

_LOG = logging.getLogger(__name__)

_PAGE = 1_000
_NOTHING = Rows(np.zeros((0, 1 + len(FAILED))), [])


class ShadowHistory:
    """Asks the log beside the loop. `history` is None where none is kept; then there is nothing earlier.

    `started`: when this run began, in wall seconds; what was compared before is in the log only.
    """

    def __init__(self, shadow: Shadow, history: History | None, started: float) -> None:
        self._shadow = shadow
        self._started = started
        self._history = history if history is not None and history.kept else None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take back what the last run has compared."""
        if self._history is not None and self._shadow.names:
            self._task = asyncio.get_running_loop().create_task(self._take_back(self._history))

    async def close(self) -> None:
        """Give up what is not taken back yet."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _take_back(self, history: History) -> None:
        before = Span(None, self._started)
        try:
            await history.written()  # the writer makes the tables, or the file
            for name in self._shadow.names:
                self._shadow.put_before(name, await self._read(history, name, before, self._shadow.settings.kept))
        except HistoryUnavailable as why:
            _LOG.warning("shadow: what was compared before the start cannot be read and is left out: %s", why)

    async def earlier(self, policy: str, span: Span, most: int) -> Rows:
        """The last comparisons of a stretch, oldest first. Raises Refused: STORE_UNAVAILABLE."""
        if self._history is None:
            return _NOTHING
        try:
            return await self._read(self._history, policy, span, most)
        except HistoryUnavailable as why:
            raise unavailable(str(why)) from None

    @staticmethod
    async def _read(history: History, policy: str, span: Span, most: int) -> Rows:
        found: list[LoggedShadow] = []
        which, after = ShadowFilter(span, policy), ""
        with contextlib.suppress(NoHistory):
            while len(found) < most:
                question = partial(_page, which=which, limit=min(_PAGE, most - len(found)), after=after)
                page = await history.ask(question)
                found += page.items
                after = page.next
                if not after:
                    break
        found.reverse()
        if not found:
            return _NOTHING
        return Rows(np.array([_row(each) for each in found]), [each.row.task_type for each in found])


def _page(log: DecisionLog, *, which: ShadowFilter, limit: int, after: str) -> Page[LoggedShadow]:
    return log.shadows(which, limit=limit, after=after)


def _row(logged: LoggedShadow) -> tuple[float, ...]:
    """As `Shadow` keeps it; judged by predicted waits and the speeds at the decision: that is what the log has."""
    row = logged.row
    at = row.at / 1e6
    if row.error:
        return (at, *FAILED)
    live_wait, wait, live_lasts, lasts = (
        each / 1e3 for each in (row.live_wait_ms, row.wait_ms, row.live_duration_ms, row.duration_ms)
    )
    wait_later = finish_later = float("nan")
    if logged.took_ms is not None and live_lasts > 0.0:
        wait_later = 0.0 if row.agreed else wait - live_wait
        finish_later = 0.0 if row.agreed else wait_later + logged.took_ms / 1e3 * (lasts / live_lasts - 1.0)
    return (at, float(row.agreed), live_wait, wait, live_wait + live_lasts, wait + lasts, wait_later, finish_later)
