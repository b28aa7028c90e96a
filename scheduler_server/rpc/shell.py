"""Owns the core: one event in, its effects carried out, timers armed."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Protocol

from scheduler_server.assignment import effects
from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.effects import Effect
from scheduler_server.assignment.events import Event, Tick
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.model.making import make

LEASE = "lease"
"""The journal's kind of entry for a lease."""

EVENTS_KEPT = 10_000
"""Fleet events kept for watchers that come back; overflow: the oldest goes, and a token from before it is refused."""


class Promises(Protocol):
    """Where leases are kept: the journal writer, or what stands in for it."""

    def put(self, kind: str, id: str, value: object) -> int:  # noqa: A002, D102 -- the journal's name
        ...

    def delete(self, kind: str, id: str) -> int:  # noqa: A002, D102
        ...


class Sessions(Protocol):
    """Who sends directives."""

    def send(self, effect: Any) -> None:
        """Send what this effect orders, on the session that it names."""


def system_now() -> Now:
    """The present instant of this machine's clocks."""
    now: Now = make(Now, (time.monotonic(), time.time()))
    return now


class Shell:
    """The one owner of the core. Everything runs on the event loop's thread, and nothing here awaits.

    Invariant: a timer of the loop is armed for the core's next deadline, or earlier.
    """

    def __init__(self, core: Scheduler, journal: Promises, now: Callable[[], Now] = system_now) -> None:
        self.core = core
        self.journal = journal
        self.sessions: Sessions | None = None
        self.events: deque[FleetEvent] = deque(maxlen=EVENTS_KEPT)
        self.event_arrived = asyncio.Event()
        self.event_counts: Counter[FleetEventKind] = Counter()  # since the start
        self.last_event = 0.0  # monotonic seconds
        self._now = now
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = float("inf")

    def now(self) -> Now:
        """The present instant, by the clock that events are stamped with."""
        return self._now()

    def start(self) -> None:
        """Begin to keep time on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._arm(self.core.next_deadline())

    def stop(self) -> None:
        """Keep time no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop = None

    def handle(self, event: Event) -> Any:
        """Give the core one event and carry out what it says; answers the last reply among the effects, if any."""
        answer = None
        core = self.core
        now = self._now()
        self.last_event = now[0]
        for effect in core.handle(now, event):
            kind = type(effect)
            if kind in _REPLIES:
                answer = effect
            elif kind is effects.Granted:
                record = effect.record  # type: ignore[union-attr]
                self.journal.put(LEASE, record.lease_id, record)
            elif kind is effects.Ended:
                self.journal.delete(LEASE, effect.record.lease_id)  # type: ignore[union-attr]
            else:
                self._carry_out(effect)
        due = core.next_deadline()
        if due < self._armed_for and self._loop is not None:
            self._arm(due)
        return answer

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, effects.Published):
            self.events.append(effect.event)
            self.event_counts[effect.event.kind] += 1
            self.event_arrived.set()
            self.event_arrived = asyncio.Event()
        elif self.sessions is not None:
            self.sessions.send(effect)

    def _arm(self, due: float) -> None:
        if self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = due
        delay = max(0.0, due - self._now().monotonic)
        self._timer = self._loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._armed_for = float("inf")
        last = self.last_event
        self.handle(Tick())
        self.last_event = last  # a tick is nobody's request


_REPLIES = frozenset({effects.Reply, effects.OutcomeReply, effects.CancelReply, effects.RemoveReply})
