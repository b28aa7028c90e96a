"""The instruments of the policies that decide beside the live one: rows and readers."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from scheduler_server.scorer.strategies import SCORERS
from scheduler_server.telemetry.instrument import Instrument, Kind, Label

if TYPE_CHECKING:
    from scheduler_server.telemetry.readings import Reader
    from scheduler_server.telemetry.sources import Moment

POLICIES = ("round_robin", "random", "best_of_two", "least_loaded", *SCORERS, "caller")
FATES = ("agreed", "differed", "failed")

_ABSENT = "`shadow.policies` is empty"


class ShadowFigures(NamedTuple):
    """Decisions by policy and fate, None while there is no policy; the rest is since the start of the server."""

    compared: Mapping[str, Mapping[str, int]] | None
    dropped: int
    skipped: int
    waiting: int
    spent_s: float


NOTHING = ShadowFigures(None, 0, 0, 0, 0.0)

ROWS = (
    Instrument(
        "scheduler.shadow.decisions",
        Kind.COUNTER,
        "{decision}",
        "decisions that a policy made beside the live one: for the same worker, for another, or not at all",
        (Label("policy", POLICIES), Label("fate", FATES)),
        absent=_ABSENT,
    ),
    Instrument(
        "scheduler.shadow.dropped",
        Kind.COUNTER,
        "{decision}",
        "live decisions that no such policy has seen, because they came faster than `shadow.loop_share` allows",
        absent=_ABSENT,
    ),
    Instrument(
        "scheduler.shadow.skipped",
        Kind.COUNTER,
        "{decision}",
        "live decisions that could not be compared any more, as the worker or the labels were gone",
        absent=_ABSENT,
    ),
    Instrument(
        "scheduler.shadow.waiting",
        Kind.UP_DOWN_COUNTER,
        "{decision}",
        "live decisions that are still to be compared",
        absent=_ABSENT,
    ),
    Instrument(
        "scheduler.shadow.spent", Kind.COUNTER, "s", "time of the server that went into comparing", absent=_ABSENT
    ),
)


def _decisions(moment: "Moment") -> "Iterator[tuple[float, tuple[str, ...]]]":
    for policy, fates in (moment.sources.shadow().compared or {}).items():
        for fate in FATES:
            yield fates[fate], (policy, fate)


def _whole(read: Callable[[ShadowFigures], float]) -> "Reader":
    def reader(moment: "Moment") -> "Iterable[tuple[float, tuple[str, ...]]]":
        figures = moment.sources.shadow()
        return () if figures.compared is None else ((read(figures), ()),)

    return reader


READERS: "dict[str, Reader]" = {
    "scheduler.shadow.decisions": _decisions,
    "scheduler.shadow.dropped": _whole(lambda each: each.dropped),
    "scheduler.shadow.skipped": _whole(lambda each: each.skipped),
    "scheduler.shadow.waiting": _whole(lambda each: each.waiting),
    "scheduler.shadow.spent": _whole(lambda each: each.spent_s),
}
