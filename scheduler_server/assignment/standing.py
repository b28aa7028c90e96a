"""Operators' standing orders: taken, kept, carried out by the part concerned, ended when their time is over.

    cordon     the worker is no candidate, whenever it comes back under that id
    pause      the queue holds tasks of that scope back (`pauses.py`)
    fallback   placement does not ask predictor and scorer (`fallback/breaker.py`)
    trip       the same, by a circuit that makes no trial
    calendar   the worker has these hours, whatever it registers with (`shifts.py`)

An order is one step of the core, and so is its end. Each is also a `Stands` for the journal, since it holds after a
restart too.
"""

from collections.abc import Callable, Iterator
from math import inf
from typing import TYPE_CHECKING

import msgspec

from scheduler_server.assignment.effects import Effect, OrderReply, Published, Stands
from scheduler_server.assignment.events import Ordered, ResetBreaker
from scheduler_server.fallback.breaker import ALL
from scheduler_server.model.calendar import Calendar
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.standing import About, OrderKind, StandingOrder

if TYPE_CHECKING:
    from scheduler_server.assignment.core import Scheduler


class StandingOrders:
    """All that stand, and when the next one ends.

    Invariant: an order that stands is carried out, and `next_at` is not after the monotonic second at which one ends.
    """

    def __init__(self, watch: Callable[[float], None]) -> None:
        """`watch` asks for a tick at a monotonic second."""
        self._watch = watch
        self.orders: dict[About, StandingOrder] = {}  # oldest first
        self.counts = dict.fromkeys(OrderKind, 0)
        self.next_at = inf

    def cordoned(self, worker_id: str) -> StandingOrder | None:
        """The cordon under that id."""
        return self.orders.get(About(OrderKind.CORDON, worker_id))

    def of(self, kind: OrderKind) -> Iterator[tuple[About, StandingOrder]]:
        """Those of a kind, oldest first."""
        return ((about, order) for about, order in self.orders.items() if about.kind is kind)

    def put(self, now: Now, about: About, order: StandingOrder | None) -> None:
        """Let an order stand, the newest of all; or none under that name."""
        if self.orders.pop(about, None) is not None:
            self.counts[about.kind] -= 1
        if order is not None:
            self.orders[about] = order
            self.counts[about.kind] += 1
        self.next_at = min(
            (now.monotonic + each.until - now.wall for each in self.orders.values() if each.until is not None),
            default=inf,
        )
        self._watch(self.next_at)

    def ended(self, now: Now) -> list[About]:
        """Those whose time is over, oldest first; `next_at` is put right."""
        over = [about for about, order in self.orders.items() if order.until is not None and order.until <= now.wall]
        if not over:  # the clocks differ: look again a moment later
            self.next_at = now.monotonic + _CLOCKS_DIFFER_S
        return over


_CLOCKS_DIFFER_S = 0.001
"""Timers run on the monotonic clock, orders end by the wall clock."""


def ordered(core: "Scheduler", now: Now, event: Ordered, out: list[Effect]) -> None:
    """Carry one order out, or lift it; the last effect is an OrderReply."""
    about, order = event
    if about.kind is OrderKind.EJECTION:
        core.ejecting.stand(now, about.name, order, out)
        out += Stands(about, order), OrderReply(0)
        return
    before = core.standing.orders.get(about)
    if order == before:
        out.append(OrderReply(0))
        return
    core.standing.put(now, about, order)
    _carry_out(core, now, about, order, before, out)
    out.append(Stands(about, order))
    out.append(OrderReply(0))


def reset_breaker(core: "Scheduler", now: Now, event: ResetBreaker, out: list[Effect]) -> None:
    """Close circuits, whoever opened them; the last effect is an OrderReply with how many."""
    breaker = core.breaker
    closed = 0
    for name in dict.fromkeys([event.task_type, *(breaker.circuits() if event.all_types else ())]):
        was_open = breaker.reset(name)
        closed += was_open or name in breaker.trips
        if name in breaker.trips:
            ordered(core, now, Ordered(About(OrderKind.TRIP, name), None), out)
            out.pop()
    out.append(OrderReply(closed))


def end_those_over(core: "Scheduler", now: Now, out: list[Effect]) -> None:
    """Lift the orders whose time is over."""
    for about in core.standing.ended(now):
        before = core.standing.orders[about]
        core.standing.put(now, about, None)
        _carry_out(core, now, about, None, before, out)
        out.append(Stands(about, None))


def _carry_out(
    core: "Scheduler",
    now: Now,
    about: About,
    order: StandingOrder | None,
    before: StandingOrder | None,
    out: list[Effect],
) -> None:
    """Let the part concerned know."""
    if about.kind is OrderKind.CORDON:
        record = core.fleet.records.get(about.name)
        if record is not None:
            record.cordoned = order is not None
            core.vitals.age(record, now, out)
    elif about.kind is OrderKind.CALENDAR:
        record = core.fleet.records.get(about.name)
        if record is not None:
            core.shifts.fit(now, record, out, by_order=True)
    elif about.kind is OrderKind.PAUSE:
        core.steered.pause(now, about, on=order is not None)
    elif about.kind is OrderKind.FALLBACK:
        core.breaker.force(about.name, on=order is not None)
    elif order is not None:
        core.breaker.trip(about.name, _monotonic(now, order.since), _monotonic(now, order.until))
    else:
        core.breaker.untrip(about.name)
    kind = _STARTED[about.kind] if order is not None else _ENDED[about.kind]
    if kind is not None:
        why = order.reason if order is not None else "its time is over" if _over(now, before) else ""
        of_worker = about.kind in (OrderKind.CORDON, OrderKind.CALENDAR)
        worker_id = about.name if of_worker else ""
        told = scope_text(about) if not of_worker else ""
        if about.kind is OrderKind.CALENDAR:
            told = "its own hours again" if order is None else "hours set by an operator"
        detail = ": ".join(filter(None, (told, why)))
        states = ("off", "forced") if about.kind is OrderKind.FALLBACK else ("", "")
        if order is None:
            states = states[::-1]
        subject = "" if worker_id else about.name
        out.append(Published(core.event(now, kind, worker_id, detail, *states, subject)))


def _over(now: Now, before: StandingOrder | None) -> bool:
    return before is not None and before.until is not None and before.until <= now.wall


def _monotonic(now: Now, wall: float | None) -> float:
    return inf if wall is None else now.monotonic + (wall - now.wall)


def scope_text(about: About) -> str:
    """Which tasks an order is about, for people."""
    what = "all tasks" if about.name == ALL else f"tasks of type {about.name!r}"
    if about.tenant is None:
        return what
    return f"{what} of tenant {about.tenant!r}" if about.tenant else f"{what} of the nameless tenant"


_STARTED: dict[OrderKind, FleetEventKind | None] = {
    OrderKind.CORDON: FleetEventKind.WORKER_CORDONED,
    OrderKind.CALENDAR: FleetEventKind.WORKER_CHANGED,
    OrderKind.PAUSE: FleetEventKind.QUEUE_PAUSED,
    OrderKind.FALLBACK: FleetEventKind.FALLBACK_FORCED,
    OrderKind.TRIP: None,  # the breaker tells of itself
}
_ENDED: dict[OrderKind, FleetEventKind | None] = {
    OrderKind.CORDON: FleetEventKind.WORKER_UNCORDONED,
    OrderKind.CALENDAR: FleetEventKind.WORKER_CHANGED,
    OrderKind.PAUSE: FleetEventKind.QUEUE_RESUMED,
    OrderKind.FALLBACK: FleetEventKind.FALLBACK_FORCED,
    OrderKind.TRIP: None,
}

# ------------------------------------------------------------------ what the journal keeps

_ENCODE = msgspec.msgpack.Encoder()
_DECODE = msgspec.msgpack.Decoder(tuple[About, StandingOrder])


def order_to_bytes(about: About, order: StandingOrder) -> bytes:
    """An order as the journal keeps it."""
    return _ENCODE.encode((about, order))


def restore_order(
    core: "Scheduler", now: Now, kept: bytes, renewed: Callable[[Calendar, float], Calendar] | None = None
) -> None:
    """Let an order stand again, before any worker or waiting task is there. ValueError where it makes no sense.

    `renewed` answers a calendar with the rules of its time zone as they are now, at this wall second.
    """
    try:
        about, order = _DECODE.decode(kept)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a standing order: {error}") from error
    if renewed is not None and order.calendar is not None:
        order = order._replace(calendar=renewed(order.calendar, now.wall))
    if about.kind is OrderKind.EJECTION:
        core.ejecting.stand(now, about.name, order, [])
        return
    core.standing.put(now, about, order)  # one whose time is over ends at the first tick, as any other
    _carry_out(core, now, about, order, None, [])
    core.breaker.take_transitions()
