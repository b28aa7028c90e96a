"""The decision log of a server as a workload: what came when, and how long it took at speed 1."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from scheduler_server.history.learning import newest
from scheduler_server.history.opening import FILE
from scheduler_server.history.settings import HistorySettings
from scheduler_server.simulation.pieces import KEPT, Piece
from scheduler_server.simulation.trace_file import UnusableTrace
from scheduler_server.storage.decision_log import (
    DecisionFilter,
    DecisionLog,
    HistoryFilter,
    Lesson,
    LogError,
    Span,
    SqliteLog,
)

MOST = KEPT
"""Tasks taken from a log, the newest: they have to be put in order of their coming, and are in memory for it."""

_PAGE = 2_000
_TIMEOUT_S = 60.0
_CLICKHOUSE = ("clickhouse://", "clickhouses://")


def read_log(where: str) -> list[Piece]:
    """The newest tasks of a log that succeeded and were timed, in the order in which they came.

    `where` is a file, a server's state folder, or the URL of a ClickHouse. Raises UnusableTrace.
    """
    log = _opened(where)
    try:
        return _pieces(log)
    except LogError as error:
        raise UnusableTrace(str(error)) from None
    finally:
        log.close()


def _opened(where: str) -> DecisionLog:
    if where.startswith(_CLICKHOUSE):
        from scheduler_server.storage.decision_log.clickhouse_log import ClickHouseLog  # noqa: PLC0415 -- a driver that few need
        from scheduler_server.storage.decision_log.clickhouse_url import parse  # noqa: PLC0415

        try:
            return ClickHouseLog(parse(where), timeout_s=_TIMEOUT_S)
        except ValueError as error:
            raise UnusableTrace(str(error)) from None
    path = Path(where)
    if path.is_dir():
        path /= FILE
    if not path.is_file():
        raise UnusableTrace(f"there is no file {path}: a decision log is {FILE} in a server's state folder")
    return SqliteLog(path, timeout_s=_TIMEOUT_S)


def _pieces(log: DecisionLog) -> list[Piece]:
    since = newest(log, MOST, time.time(), HistorySettings().keep_days)
    lessons = {each.decision_id: each for each in islice(_lessons(log, since), MOST)}
    if not lessons:
        raise UnusableTrace("has no task that succeeded and was timed")
    found = []
    for decision_id, came_at in _came(log):
        lesson = lessons.pop(decision_id, None)
        if lesson is not None:
            found.append(Piece(came_at, lesson.duration_ms / 1_000.0, lesson.task))
            if not lessons:
                break
    if not found:
        raise UnusableTrace("has outcomes, and none of the decisions that they are of")
    found.sort(key=lambda piece: (piece.at_s, piece.task.task_id))
    return found


def _lessons(log: DecisionLog, since: float | None) -> Iterator[Lesson]:
    after = ""
    while True:
        page = log.lessons(HistoryFilter(Span(since)), limit=_PAGE, after=after)
        yield from page.items
        after = page.next
        if not after:
            return


def _came(log: DecisionLog) -> Iterator[tuple[str, float]]:
    """When the task of each decision came, newest decision first."""
    after = ""
    while True:
        page = log.decisions(DecisionFilter(), limit=_PAGE, after=after)
        for each in page.items:
            yield each.decision.decision_id, each.enqueued_at or each.decision.decided_at
        after = page.next
        if not after:
            return
