"""The instruments of the decision log, and of how evenly the fleet was busy over the last hour."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from scheduler_server.telemetry.instrument import Instrument, Kind, label

TABLES = ("decisions", "candidates", "outcomes", "heartbeats", "events", "shadow_decisions", "audit")
"""Of the log, without candidates: an entry is counted by its main table, and those have none of their own."""
_COUNTED = tuple(each for each in TABLES if each != "candidates")

_NO_LOG = "no history is kept"
_NOBODY = "no worker was there, or was busy, in the last hour"


class HistoryFigures(NamedTuple):
    """How the log is, counts by table since the start, and how busy the fleet was over the last hour.

    `written` is None where no log is kept. Shares are None where there is nothing to say.
    """

    written: Mapping[str, int] | None
    lost: Mapping[str, int]
    failures: int
    oldest_pending_s: float
    utilization: float | None
    spread: float | None
    max_over_mean: float | None


NOTHING = HistoryFigures(None, {}, 0, 0.0, None, None, None)

LOG = (
    Instrument(
        "scheduler.history.written",
        Kind.COUNTER,
        "{entry}",
        "entries in the decision log since the start, by table",
        (label("table", _COUNTED),),
        absent=_NO_LOG,
    ),
    Instrument(
        "scheduler.history.dropped",
        Kind.COUNTER,
        "{entry}",
        "entries that are not in the decision log and will not be, by table: no room, refused, or left at the end",
        (label("table", _COUNTED),),
        absent=_NO_LOG,
    ),
    Instrument(
        "scheduler.history.failures",
        Kind.COUNTER,
        "{failure}",
        "times that the decision log could not be opened, written or tidied",
        absent=_NO_LOG,
    ),
    Instrument(
        "scheduler.history.oldest_pending",
        Kind.GAUGE,
        "s",
        "how long the oldest entry has waited to be written to the decision log",
        absent=_NO_LOG,
    ),
)

LAST_HOUR = (
    Instrument(
        "scheduler.workers.utilization",
        Kind.GAUGE,
        "1",
        "busy over present slots of the active workers, over the last hour",
        absent=_NOBODY,
    ),
    Instrument(
        "scheduler.workers.spread",
        Kind.GAUGE,
        "1",
        "standard deviation over mean of the workers' busy shares of their slots, over the last hour",
        absent=f"{_NOBODY}, or only one",
    ),
    Instrument(
        "scheduler.workers.max_over_mean",
        Kind.GAUGE,
        "1",
        "the busiest worker's busy share over the mean one, over the last hour",
        absent=f"{_NOBODY}, or only one",
    ),
)

_Read = Callable[[HistoryFigures], float | None]
_Series = tuple[float, tuple[str, ...]]


def _one(read: _Read, *, of_log: bool = False) -> Callable[[Any], Iterable[_Series]]:
    def reader(moment: Any) -> Iterable[_Series]:
        figures: HistoryFigures = moment.sources.history()
        value = None if of_log and figures.written is None else read(figures)
        return () if value is None else ((value, ()),)

    return reader


def _by_table(read: Callable[[HistoryFigures], Mapping[str, int] | None]) -> Callable[[Any], Iterator[_Series]]:
    def reader(moment: Any) -> Iterator[_Series]:
        figures: HistoryFigures = moment.sources.history()
        counts = read(figures)
        if figures.written is not None and counts is not None:
            for table in _COUNTED:
                yield counts.get(table, 0), (table,)

    return reader


READERS: dict[str, Callable[[Any], Iterable[_Series]]] = {
    "scheduler.history.written": _by_table(lambda found: found.written),
    "scheduler.history.dropped": _by_table(lambda found: found.lost),
    "scheduler.history.failures": _one(lambda found: found.failures, of_log=True),
    "scheduler.history.oldest_pending": _one(lambda found: found.oldest_pending_s, of_log=True),
    "scheduler.workers.utilization": _one(lambda found: found.utilization),
    "scheduler.workers.spread": _one(lambda found: found.spread),
    "scheduler.workers.max_over_mean": _one(lambda found: found.max_over_mean),
}
"""By the name of the instrument."""
