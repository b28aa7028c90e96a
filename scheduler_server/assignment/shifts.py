"""Who is on shift: workers come and go by their hours, and what they have not started goes back.

Hours are told by wall clocks, so everything here goes by wall seconds; a clock that is set is noticed at the next tick,
forwards and backwards. A change is made when its timer says so and, should that be late, when the worker is about to be
given a task or beats: timers make it prompt, they do not make it correct.

At nine o'clock everybody comes at once, and at five everybody goes. So a few workers are brought up to date per step of
the core. Of many that go at the same instant each is let go a tenth of a millisecond before the last, so that all are
gone by then; who is late all the same is marked, and looked at when it is picked.
"""

from collections import Counter, deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from scheduler_server.assignment.effects import AskBack, Effect, Published
from scheduler_server.assignment.losses import Loss, Losses
from scheduler_server.assignment.outcomes import Outcomes
from scheduler_server.assignment.standing import StandingOrders
from scheduler_server.assignment.timers import Timers
from scheduler_server.assignment.vitals import Vitals
from scheduler_server.model.calendar import Calendar
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.model.standing import About, OrderKind
from scheduler_server.model.task import Delivery, TaskState
from scheduler_server.registry import allowance
from scheduler_server.registry.agenda import TURNS
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.registry.settings import WorkerSettings
from scheduler_server.registry.timetable import ALL, OFF, Timetable

if TYPE_CHECKING:
    from scheduler_server.assignment.ledger import TaskRecord

_AT_ONCE = 16
"""Workers brought up to date in one step: about a millisecond."""

_EACH_S = 1e-4
"""How much earlier each further one goes of many that go at the same instant: longer than it takes to let one go."""

_EARLIEST_S = 5.0
"""Nobody goes earlier than this: 50,000 workers that end at once."""

_INSTANTS_KEPT = 100_000
"""Ends of shifts that are counted; when there are more, those that are over are dropped."""

_CLOCKS_DIFFER_S = 0.001
"""Timers run on the monotonic clock, hours go by the wall clock. A wall clock that goes back by more was set."""

_TIMETABLES_KEPT = 1_024
"""Calendars that workers share are read once; when there are more, all are read anew as their workers come."""

_WHY = "shift"
"""What holds a worker to the slots of its hours, among other limits."""


class Shifts:
    """Everybody who has hours.

    Invariant: of each in `scheduled`, `off_shift`, `leaves_at` and its slots are what its timetable said at the last
    change before `shift_at`, and a timer is set for `shift_at`.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        fleet: Fleet,
        vitals: Vitals,
        outcomes: Outcomes,
        losses: Losses,
        standing: StandingOrders,
        make_event: MakeEvent,
        watch: Callable[[float], None],
    ) -> None:
        self._hands_over = settings.hand_over_at_shift_end
        self._fleet = fleet
        self._vitals = vitals
        self._outcomes = outcomes
        self._losses = losses
        self._standing = standing
        self._make_event = make_event
        self._watch = watch
        self.scheduled: dict[str, WorkerRecord] = {}
        self.handed_over = 0  # tasks that went back, or were asked back, at the end of a shift
        self.lapsed = 0  # offers that nobody accepted in time
        self.off = 0  # workers that are off shift
        self.next_at = inf  # monotonic seconds
        self._timers: Timers[WorkerRecord] = Timers(_valid)
        self._going: Counter[float] = Counter()  # workers whose shift ends, or shrinks, at this wall second
        self._review: deque[WorkerRecord] = deque()  # the clock was set back: all are to be looked at
        self._latest = -inf
        self._timetables: dict[Calendar, Timetable] = {}

    def reconfigure(self, settings: WorkerSettings) -> None:
        """Hand over, or not, from now on."""
        self._hands_over = settings.hand_over_at_shift_end

    # ------------------------------------------------------------------ whose hours

    def calendar_of(self, record: WorkerRecord) -> tuple[Calendar | None, bool]:
        """A worker's calendar, and whether an operator has set it."""
        order = self._standing.orders.get(About(OrderKind.CALENDAR, record.worker_id))
        return (record.registration.calendar, False) if order is None else (order.calendar, True)

    def fit(self, now: Now, record: WorkerRecord, out: list[Effect], *, by_order: bool = False) -> None:
        """Let a worker have the hours that it is to have by now. By order, what it holds is not touched."""
        calendar, _ = self.calendar_of(record)
        before = record.timetable
        if calendar is None:
            if before is not None:
                self._always(now, record, out)
        elif before is None or before.calendar != calendar:
            self._let_be(record)
            record.timetable = self._timetable(calendar)
            self.scheduled[record.worker_id] = record
            self._bring(now, record, out, by_clock=not by_order)
        else:
            self.scheduled[record.worker_id] = record
            return
        if record.connected:
            self._vitals.age(record, now, out)

    def _timetable(self, calendar: Calendar) -> Timetable:
        found = self._timetables.get(calendar)
        if found is None:
            if len(self._timetables) >= _TIMETABLES_KEPT:
                self._timetables.clear()
            found = self._timetables[calendar] = Timetable(calendar)
        return found

    def _always(self, now: Now, record: WorkerRecord, out: list[Effect]) -> None:
        """It has no hours any more."""
        self.scheduled.pop(record.worker_id, None)
        was_off = record.off_shift
        self.off -= was_off
        self._let_be(record)
        record.timetable, record.off_shift, record.shift_over = None, False, False
        record.leaves_at = inf
        self._fleet.agenda.forget(record.row)
        self._vitals.bar(record)
        self._limit(now, record, ALL, out)
        if was_off:
            self._tell(now, record, "it has no hours any more", out)

    def forget(self, record: WorkerRecord) -> None:
        """A worker is gone."""
        if self.scheduled.pop(record.worker_id, None) is not None:
            self.off -= record.off_shift
            self._let_be(record)

    # ------------------------------------------------------------------ time

    def advance(self, now: Now, out: list[Effect]) -> bool:
        """Bring some of those up to date whose hours have changed by now; True: there are more."""
        wall = now.wall
        if wall < self._latest - _CLOCKS_DIFFER_S:
            self._review = deque(self.scheduled.values())
        self._latest = max(wall, self._latest) if not self._review else wall
        for _ in range(_AT_ONCE):
            if self._review:
                record = self._review.popleft()
                self._let_be(record)
                record.shift_at = wall
            else:
                due = self._timers.due(wall)
                if due is None:
                    break
                record = due
                self._going.pop(record.change_at, None)
            if record.row >= 0 and record.timetable is not None:
                self._vitals.age(record, now, out)
        more = bool(self._review) or self._timers.next_at <= wall
        if more:
            self._mark(wall)
        self._plan(now, more)
        return more

    def _mark(self, wall: float) -> None:
        """Whoever is late is looked at before being given anything."""
        fleet = self._fleet
        rows = fleet.agenda.overdue(wall)
        if len(rows):
            fleet.band_ends[rows] = -np.inf
            fleet.nobody_ages_before = -inf

    def _plan(self, now: Now, more: bool) -> None:
        if more:
            self.next_at = now.monotonic
        else:
            left_s = self._timers.next_at - now.wall
            self.next_at = now.monotonic + max(_CLOCKS_DIFFER_S, left_s)
        self._watch(self.next_at)

    def turn(self, now: Now, record: WorkerRecord, out: list[Effect]) -> None:
        """Bring one worker's shift up to now; its health follows. Cheap where nothing changes."""
        if record.shift_at <= now.wall and record.timetable is not None:
            self._bring(now, record, out, by_clock=True)
        if record.shift_over and record.leases:
            self._hand_over(now, record, out)

    def _bring(self, now: Now, record: WorkerRecord, out: list[Effect], *, by_clock: bool) -> None:
        timetable = record.timetable
        if timetable is None:
            return
        self._latest = max(self._latest, now.wall)
        # Looked at a moment early, it is to be as it will be then.
        wall = max(now.wall, record.change_at) if by_clock and record.change_at < inf else now.wall
        self._let_be(record)
        slots = timetable.slots_at(wall)
        was_off, record.off_shift = record.off_shift, slots == OFF
        self.off += record.off_shift - was_off
        turns = timetable.turns(wall, TURNS)
        record.leaves_at = -inf if record.off_shift else turns[0] if turns else inf
        record.shift_over = record.off_shift and (record.shift_over if was_off else by_clock)
        self._look_again(now, record, timetable, slots, timetable.next_change(wall))
        self._fleet.agenda.note(record, turns)
        self._vitals.bar(record)
        if not record.off_shift:
            self._limit(now, record, slots, out)
        if record.off_shift != was_off:
            self._tell(now, record, _until(record, timetable, turns), out)

    def _look_again(self, now: Now, record: WorkerRecord, timetable: Timetable, slots: int, change_at: float) -> None:
        """Have the next change made in time; that of many who go at once a little before it."""
        if change_at == inf:
            return
        early_s = 0.0
        after = timetable.slots_at(change_at)
        if slots == ALL or (after != ALL and after < slots):
            if len(self._going) > _INSTANTS_KEPT:
                self._going = Counter({at: count for at, count in self._going.items() if at > now.wall})
            ahead = self._going[change_at]
            self._going[change_at] = ahead + 1
            early_s = min(max(0, ahead - _AT_ONCE) * _EACH_S, _EARLIEST_S)
        record.change_at, record.shift_at = change_at, change_at - early_s
        self._timers.watch(record.shift_at, record)
        self.next_at = min(self.next_at, now.monotonic + max(_CLOCKS_DIFFER_S, record.shift_at - now.wall))
        self._watch(self.next_at)

    @staticmethod
    def _let_be(record: WorkerRecord) -> None:
        """Its next change is not watched any more."""
        record.change_at = record.shift_at = inf

    def _limit(self, now: Now, record: WorkerRecord, slots: int, out: list[Effect]) -> None:
        """Hold it to the slots of its hours."""
        before = record.slots
        allowance.limit(self._fleet, record, _WHY, None if slots == ALL else slots)
        self._fleet.refresh(record)
        if record.slots != before:
            kind, told = FleetEventKind.WORKER_CAPACITY_CHANGED, (f"{before} slots", f"{record.slots} slots")
            out.append(Published(self._make_event(now, kind, record.worker_id, "by its hours", *told)))

    def _tell(self, now: Now, record: WorkerRecord, detail: str, out: list[Effect]) -> None:
        off = record.off_shift
        kind = FleetEventKind.WORKER_OFF_SHIFT if off else FleetEventKind.WORKER_ON_SHIFT
        states = ("on", "off") if off else ("off", "on")
        out.append(Published(self._make_event(now, kind, record.worker_id, detail, *states)))

    # ------------------------------------------------------------------ what it holds

    def _hand_over(self, now: Now, record: WorkerRecord, out: list[Effect]) -> None:
        """Let what it has not started go to others: offers at once, what it has taken once it has given that back."""
        if not self._hands_over:
            return
        for lease in list(record.leases.values()):
            if lease.delivery is not Delivery.STREAM or lease.started_at or lease.unsure:
                continue
            if lease.state is TaskState.OFFERED:
                if record.registration.accept_within_s is not None:
                    self.handed_over += 1
                    self._outcomes.recall(lease, "its worker's shift is over", out)
                    self._losses.lose(now, lease, Loss.RETURNED, out)
            elif lease.state is TaskState.ACKNOWLEDGED and record.session not in (None, lease.asked_back):
                self.handed_over += lease.asked_back is None
                lease.asked_back = record.session
                out.append(AskBack(record.session or 0, lease.lease_id, "the shift is over"))

    def lapse(self, now: Now, lease: "TaskRecord", worker: WorkerRecord, within_s: float, out: list[Effect]) -> None:
        """Nobody has accepted this offer in time: it goes to somebody else, and the worker is told."""
        self.lapsed += 1
        self._outcomes.recall(lease, f"it was not accepted within {within_s:g} s", out)
        detail = f"{lease.task.task_id}, attempt {lease.task.attempt}: not accepted within {within_s:g} s"
        out.append(Published(self._make_event(now, FleetEventKind.TASK_DECLINED, worker.worker_id, detail)))
        self._losses.lose(now, lease, Loss.LAPSED, out)


def _valid(at: float, record: WorkerRecord) -> bool:
    return record.shift_at == at and record.row >= 0


def _until(record: WorkerRecord, timetable: Timetable, turns: list[float]) -> str:
    """What comes next, for people."""
    what = "the next shift begins" if record.off_shift else "it ends"
    return f"{what} at {timetable.clock(turns[0])}" if turns else "for good"
