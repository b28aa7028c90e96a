"""What the instruments read: the core itself, and what the server around it keeps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from scheduler_server.alerts.rule import AlertState
from scheduler_server.assignment.accuracy import Figures
from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.demand import Demand
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.telemetry.calls import Calls
from scheduler_server.telemetry.history_instruments import NOTHING, HistoryFigures
from scheduler_server.telemetry.shadow_instruments import NOTHING as NO_SHADOW
from scheduler_server.telemetry.shadow_instruments import ShadowFigures


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


def _no_alerts() -> Mapping[tuple[str, AlertState], int]:
    return {}


def _no_history() -> HistoryFigures:
    return NOTHING


def _no_push() -> Mapping[str, int] | None:
    return None


def _no_demand() -> Demand | None:
    return None


def _no_shadow() -> ShadowFigures:
    return NO_SHADOW


def _none_denied() -> Mapping[str, int]:
    return {}


def _untold() -> int:
    return -1


def _no_messages() -> Mapping[tuple[str, str], int]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where figures come from. Everything here is for the event loop's thread, costs microseconds and changes nothing.

    `streams` answers the open streams by kind, `overflows` how many workers' streams were ended because what they were
    sent was not read, `messages` how many went over streams by kind and direction. `pushes` and `spans` are what became
    of what was sent to a collector, None where nothing is sent.
    """

    core: Scheduler
    now: Callable[[], Now]
    draining: Callable[[], bool]
    event_counts: Mapping[FleetEventKind, int]
    streams: Callable[[], Mapping[str, int]]
    overflows: Callable[[], int]
    stores: Callable[[], Sequence[StoreFigures]]
    dispatch: Callable[[], DispatchFigures | None] = _no_streams
    calls: Calls = field(default_factory=Calls)
    messages: Callable[[], Mapping[tuple[str, str], int]] = _no_messages
    pushes: Callable[[], Mapping[str, int] | None] = _no_push
    spans: Callable[[], Mapping[str, int] | None] = _no_push
    alerts: Callable[[], Mapping[tuple[str, AlertState], int]] = _no_alerts
    history: Callable[[], HistoryFigures] = _no_history
    demand: Callable[[], Demand | None] = _no_demand
    shadow: Callable[[], ShadowFigures] = _no_shadow
    denied: Callable[[], Mapping[str, int]] = _none_denied
    limits_hit: Callable[[], Mapping[str, int]] = _none_denied
    connections: Callable[[], int] = _untold


class Moment:
    """The sources while one answer is made of them: what takes work is worked out once, when it is first asked for."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.core: Scheduler = sources.core

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
