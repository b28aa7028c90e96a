"""What operators have ordered beside the configuration: overrides and standing orders.

Kept as orders come and go, and read when somebody asks.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from scheduler_server.model.override import Action
from scheduler_server.model.standing import OrderKind
from scheduler_server.telemetry.instrument import Instrument, Kind, label, name_of

if TYPE_CHECKING:
    from scheduler_server.telemetry.readings import Reader
    from scheduler_server.telemetry.sources import Moment

_ORDERS = tuple(kind for kind in OrderKind if kind is not OrderKind.EJECTION)  # that is the server's own

ROWS = (
    Instrument(
        "scheduler.overrides", Kind.UP_DOWN_COUNTER, "{override}", "overrides in force", (label("kind", Action),)
    ),
    Instrument(
        "scheduler.overrides.applied",
        Kind.COUNTER,
        "{decision}",
        "how often overrides had a part in a decision; of two in one decision each counts",
        (label("kind", Action),),
    ),
    Instrument(
        "scheduler.standing_orders",
        Kind.UP_DOWN_COUNTER,
        "{order}",
        "orders of operators that stand: cordons, pauses, forced fallbacks, tripped circuits, workers' hours",
        (label("kind", _ORDERS),),
    ),
)


def _by_kind(kinds: Iterable[Enum], counts: Callable[["Moment"], Mapping[Any, int]]) -> "Reader":
    return lambda moment: ((counts(moment)[kind], (name_of(kind),)) for kind in kinds)


READERS: "dict[str, Reader]" = {
    "scheduler.overrides": _by_kind(Action, lambda at: at.core.overrides.counts),
    "scheduler.overrides.applied": _by_kind(Action, lambda at: at.core.overrides.applied_by_kind),
    "scheduler.standing_orders": _by_kind(_ORDERS, lambda at: at.core.standing.counts),
}
