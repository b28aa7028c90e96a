"""What the instruments read: the core itself, and what the server around it keeps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from scheduler_server.assignment.accuracy import Figures
from scheduler_server.assignment.core import Scheduler
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind


class StoreFigures(NamedTuple):
    """How one store is, as GetStatus tells it. Counts are since the start; None where there is nothing to tell."""

    name: str
    state: str
    pending: int = 0
    written: int = 0
    dropped: int = 0
    consecutive_failures: int = 0
    age_s: float | None = None
    records: int | None = None
    size_bytes: int | None = None


class DispatchFigures(NamedTuple):
    """How the task streams are: entries by what was met, what was set aside by reason, and what is held now.

    `unread` is None where Redis cannot tell.
    """

    met: Mapping[str, int]
    dead: Mapping[str, int]
    held: int
    unread: int | None
    unheard: int
    unpublished: int


def _no_streams() -> DispatchFigures | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where figures come from. Everything here is for the event loop's thread, costs microseconds and changes nothing.

    `streams` answers the open streams by kind, `overflows` how many workers' streams were ended because what they were
    sent was not read.
    """

    core: Scheduler
    now: Callable[[], Now]
    draining: Callable[[], bool]
    event_counts: Mapping[FleetEventKind, int]
    streams: Callable[[], Mapping[str, int]]
    overflows: Callable[[], int]
    stores: Callable[[], Sequence[StoreFigures]]
    dispatch: Callable[[], DispatchFigures | None] = _no_streams


class Moment:
    """The sources while one answer is made of them: what takes work is worked out once, when it is first asked for."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.core = sources.core

    @cached_property
    def now(self) -> Now:
        """When that is."""
        return self.sources.now()

    @cached_property
    def accuracy(self) -> Figures:
        """How good the last predictions were. About 0.4 ms: a median of a thousand."""
        return self.core.accuracy.overall()

    @cached_property
    def stores(self) -> Sequence[StoreFigures]:
        """How every store is."""
        return self.sources.stores()

    @cached_property
    def dispatch(self) -> DispatchFigures | None:
        """How the task streams are; None where tasks come by Assign only."""
        return self.sources.dispatch()
