"""What is rebalanced, and what autoscalers are told: rows and readers.

The demand is that of the last look (`rpc/demand_watch.py`), so a scrape costs nothing. Its label has the names that the
configuration gives to classes of tasks, so how many series there are is the operator's choice, within a bound.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from scheduler_server.assignment.demand import Demand, NamedDemand
from scheduler_server.assignment.demand_settings import ANY, MOST_NAMED, OTHER
from scheduler_server.assignment.rebalancing import MoveEnd
from scheduler_server.telemetry.instrument import Instrument, Kind, Label, label, name_of

if TYPE_CHECKING:
    from scheduler_server.telemetry.readings import Reader
    from scheduler_server.telemetry.sources import Moment

_ABSENT = "`demand.interval_s` is 0"
_CLASS = Label("class", (ANY, OTHER), named_by="demand.classes", most_named=MOST_NAMED)

REBALANCING = (
    Instrument(
        "scheduler.rebalance.rounds", Kind.COUNTER, "{round}", "times that waiting and staged tasks were looked at"
    ),
    Instrument(
        "scheduler.rebalance.placed",
        Kind.COUNTER,
        "{task}",
        "waiting tasks for which that found a free slot; above 0, a slot was free that nobody had told of",
    ),
    Instrument(
        "scheduler.rebalance.asked", Kind.COUNTER, "{task}", "staged tasks asked back, to start sooner elsewhere"
    ),
    Instrument(
        "scheduler.rebalance.ended",
        Kind.COUNTER,
        "{task}",
        "of these, by what came of it: moved; came back to the same worker; had started or ended; its worker did not"
        " answer",
        (label("how", MoveEnd),),
    ),
)

DEMAND = (
    Instrument(
        "scheduler.demand.slots.needed",
        Kind.GAUGE,
        "{slot}",
        "slots that would serve all that waits within `demand.target_wait_s` and keep up with what comes",
        absent=_ABSENT,
    ),
    Instrument(
        "scheduler.demand.slots.present",
        Kind.GAUGE,
        "{slot}",
        "slots of workers that may be given tasks",
        absent=_ABSENT,
    ),
    Instrument(
        "scheduler.demand.class.needed",
        Kind.GAUGE,
        "{slot}",
        "the same for the tasks of one class; classes share workers, so they add up to more",
        (_CLASS,),
        absent=_ABSENT,
    ),
    Instrument(
        "scheduler.demand.class.present",
        Kind.GAUGE,
        "{slot}",
        "slots of workers that may be given tasks of the class",
        (_CLASS,),
        absent=_ABSENT,
    ),
    Instrument("scheduler.demand.class.used", Kind.GAUGE, "{slot}", "of these, taken", (_CLASS,), absent=_ABSENT),
    Instrument(
        "scheduler.demand.class.waiting",
        Kind.GAUGE,
        "{task}",
        "tasks of the class that wait",
        (_CLASS,),
        absent=_ABSENT,
    ),
    Instrument(
        "scheduler.demand.class.work",
        Kind.GAUGE,
        "s",
        "predicted work of the class that waits, in slot-seconds",
        (_CLASS,),
        absent=_ABSENT,
    ),
)


def _ends(moment: "Moment") -> "Iterator[tuple[float, tuple[str, ...]]]":
    ends = moment.core.rebalancing.ends
    for end in MoveEnd:
        yield ends[end], (name_of(end),)


def _count(read: "Callable[[Moment], float]") -> "Reader":
    return lambda moment: ((read(moment), ()),)


def _whole(read: Callable[[Demand], float]) -> "Reader":
    def reader(moment: "Moment") -> "Iterable[tuple[float, tuple[str, ...]]]":
        demand = moment.sources.demand()
        return () if demand is None else ((read(demand), ()),)

    return reader


def _classes(read: Callable[[NamedDemand], float]) -> "Reader":
    def reader(moment: "Moment") -> "Iterator[tuple[float, tuple[str, ...]]]":
        demand = moment.sources.demand()
        if demand is not None:
            for name, each in demand.named.items():
                yield read(each), (name,)

    return reader


READERS: "dict[str, Reader]" = {
    "scheduler.rebalance.rounds": _count(lambda at: at.core.rebalancing.rounds),
    "scheduler.rebalance.placed": _count(lambda at: at.core.rebalancing.placed),
    "scheduler.rebalance.asked": _count(lambda at: at.core.rebalancing.asked_back),
    "scheduler.rebalance.ended": _ends,
    "scheduler.demand.slots.needed": _whole(lambda demand: demand.needed),
    "scheduler.demand.slots.present": _whole(lambda demand: demand.present),
    "scheduler.demand.class.needed": _classes(lambda each: each.needed),
    "scheduler.demand.class.present": _classes(lambda each: each.present),
    "scheduler.demand.class.used": _classes(lambda each: each.used),
    "scheduler.demand.class.waiting": _classes(lambda each: each.waiting),
    "scheduler.demand.class.work": _classes(lambda each: each.work_s),
}
