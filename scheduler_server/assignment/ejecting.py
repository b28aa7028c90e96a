"""Workers that fail out of line are given no tasks for a while; then they are tried, and are in again or out longer.

    in ----- the test says so (registry/ejection.py) -----> out      for first_s, then growth times as long each time
    out ---- its time is over ---------------------------> on trial  one slot
    trial -- trial_tasks tasks done well ----------------> in        its ejections are remembered for forget_after_s
    trial -- a task failed that does not fail elsewhere -> out       longer

A failure is an outcome that says so, a timeout, or a lease lost by the worker's fault; what was cancelled, declined or
handed back counts for nothing. An ejection outlives the worker's registration, and is journaled: a worker that comes
back under its id, or a server that is started again, finds it as it was.

Nobody is ejected where that would leave a known kind of needs without a worker, or more than `max_share` of the workers
out; that is said once, and looked at again with its next failures. What was ejected while others could do its tasks is
let in before its time when they no longer can.
"""

from collections.abc import Callable
from enum import StrEnum
from itertools import islice
from math import inf, log

from scheduler_server.assignment import ejection_words as words
from scheduler_server.assignment import sparing
from scheduler_server.assignment.effects import Effect, OrderReply, Published, Stands
from scheduler_server.assignment.events import Reinstate
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.timers import Timers
from scheduler_server.assignment.vitals import Vitals
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Rejection
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.model.standing import About, OrderKind, StandingOrder
from scheduler_server.registry import allowance
from scheduler_server.registry.admission_settings import EjectionSettings
from scheduler_server.registry.ejection import Suspicion, Totals
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.record import WorkerRecord

_MOST_KINDS = 10_000
"""Kinds of task whose outcomes are counted; one more, and the oldest is counted anew."""

_MOST_KEPT = 10_000
"""Ejections remembered, in force or not; one more, and the oldest is forgotten."""

_AT_ONCE = 64
"""Ejections looked at in one step of the loop."""

_LOOKS = 4
"""Ejections a second of which it is asked whether the fleet can do without the worker."""

_LOOK_AGAIN_S = 1.0
"""Time after which a worker that could not be ejected is looked at again: that may look at every kind of needs."""

_FAILS_EVERYWHERE = 0.5
"""Recent share of failures of a kind from which one more failure says nothing of a worker on trial; so does a kind of
which nothing is known."""

_TRIAL = "trial"


class Stage(StrEnum):
    """Where a worker stands that was ejected."""

    OUT = "ejected"
    TRIAL = "on trial"
    BACK = "in"


class Ejection:
    """One worker's: `at` is the monotonic second at which its stage ends, or is looked at again."""

    __slots__ = ("at", "left", "order", "stage", "tried_at", "worker_id")

    def __init__(self, worker_id: str, order: StandingOrder) -> None:
        self.worker_id = worker_id
        self.order = order  # its reason, which time it is, when it is tried by the wall clock; None: it is in
        self.stage = Stage.OUT
        self.at = inf
        self.tried_at = inf  # monotonic second; what it was given before says nothing of how it is now
        self.left = 0  # tasks that it has to do well yet, on trial

    @property
    def times(self) -> int:
        """Which one it is, as far as those before are remembered."""
        return self.order.times or 1

    @property
    def until(self) -> float:
        """The wall second at which it is tried."""
        return self.order.until or 0.0


class Ejecting:
    """Who is out, and who is under suspicion.

    Invariants: a worker's `ejected` is true exactly while its ejection is OUT, and it is held to one slot exactly
    while it is TRIAL; every ejection has a timer.
    """

    def __init__(
        self,
        settings: EjectionSettings,
        fleet: Fleet,
        vitals: Vitals,
        make_event: MakeEvent,
        watch: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._vitals = vitals
        self._make_event = make_event
        self._watch = watch
        self._limit = log(settings.certainty)
        self._kinds: dict[object, Totals] = {}
        self._timers: Timers[Ejection] = Timers(self._stands)
        self.kept: dict[str, Ejection] = {}  # by worker, oldest first
        self.spared: dict[str, str] = {}  # why workers that fail out of line are not out, by worker
        self._round: list[Ejection] = []  # who is out, and was not looked at in this round
        self.out = 0  # of `kept`
        self.times = 0  # ejections since the start
        self.times_spared = 0

    def _stands(self, at: float, entry: Ejection) -> bool:
        return entry.at == at and self.kept.get(entry.worker_id) is entry

    @property
    def next_at(self) -> float:
        """The monotonic second at which something is to be done."""
        return self._timers.next_at

    def reconfigure(self, now: Now, settings: EjectionSettings, out: list[Effect]) -> None:
        """Judge by these from now on; switched off, everybody is in."""
        self._settings = settings
        self._limit = log(settings.certainty)
        if settings.enabled:
            return
        for entry in list(self.kept.values()):
            self._forget(now, entry, "ejection.enabled is false", out)
        for worker_id in list(self.spared):
            self._clear(self._fleet.records.get(worker_id), worker_id)
        for record in self._fleet.records.values():
            record.suspicion = None

    # ------------------------------------------------------------------ outcomes

    def ended(self, now: Now, worker: WorkerRecord, task: TaskRecord, failed: bool, out: list[Effect]) -> None:
        """A worker's task has ended, well or not. Constant time."""
        if not self._settings.enabled:
            return
        asked = task.task
        kind = (asked.task_type, asked.required, asked.labels) if asked.required or asked.labels else asked.task_type
        totals = self._kinds.get(kind)
        if totals is None:
            if len(self._kinds) >= _MOST_KINDS:
                del self._kinds[next(iter(self._kinds))]
            self._kinds[kind] = totals = Totals()
        suspicion = worker.suspicion
        if failed or suspicion is not None or worker.slot_limits:
            self._suspect(now, worker, task, kind, totals, failed, out)
        totals.add(failed)

    def _suspect(
        self,
        now: Now,
        worker: WorkerRecord,
        task: TaskRecord,
        kind: object,
        totals: Totals,
        failed: bool,
        out: list[Effect],
    ) -> None:
        entry = self.kept.get(worker.worker_id)
        if entry is not None and entry.stage is not Stage.BACK:
            if entry.stage is Stage.TRIAL and task.granted_at >= entry.tried_at:
                self._tried(now, worker, entry, kind, totals, failed, out)
            return
        suspicion = worker.suspicion
        if suspicion is None:
            if not failed:
                return
            suspicion = worker.suspicion = Suspicion()
        if suspicion.took(kind, totals, failed, self._settings.tolerated, self._limit) >= self._limit:
            if failed and now.monotonic >= suspicion.looked_at:
                self._out_of_line(now, worker, suspicion, out)
        elif suspicion.over:
            self._clear(worker, worker.worker_id)

    def _clear(self, worker: WorkerRecord | None, worker_id: str) -> None:
        if worker is not None:
            worker.suspicion = None
        self.spared.pop(worker_id, None)

    def _out_of_line(self, now: Now, worker: WorkerRecord, suspicion: Suspicion, out: list[Effect]) -> None:
        why = words.why(suspicion)
        spare = sparing.needed(self._fleet, worker) or sparing.too_many(self._fleet, self._settings.max_share)
        if not spare:
            self._eject(now, worker, why, out)
            return
        suspicion.looked_at = now.monotonic + _LOOK_AGAIN_S
        if worker.worker_id not in self.spared:
            self.times_spared += 1
            kind = FleetEventKind.WORKER_EJECTION_CAPPED
            out.append(Published(self._make_event(now, kind, worker.worker_id, f"{why}; it stays in: {spare}")))
        self.spared[worker.worker_id] = f"{why}; it stays in: {spare}"

    # ------------------------------------------------------------------ out

    def _eject(self, now: Now, worker: WorkerRecord, why: str, out: list[Effect]) -> None:
        settings, before = self._settings, self.kept.get(worker.worker_id)
        times = 1 + (0 if before is None else before.times)
        try:
            lasts_s = min(settings.longest_s, settings.first_s * settings.growth ** (times - 1))
        except OverflowError:
            lasts_s = settings.longest_s
        order = StandingOrder(now.wall, now.wall + lasts_s, reason=why, times=times)
        self.times += 1
        self._clear(worker, worker.worker_id)
        if len(self.kept) >= _MOST_KEPT:
            self._forget(now, next(iter(self.kept.values())), "too many are remembered", out)
        self._put(now, worker.worker_id, order)
        self._meet(now, worker, out)
        out.append(Stands(_about(worker.worker_id), order))
        detail = f"{why}; out for {words.span(lasts_s)}, the {words.nth(times)} time"
        kind = FleetEventKind.WORKER_EJECTED
        out.append(Published(self._make_event(now, kind, worker.worker_id, detail, before="in", after=Stage.OUT.value)))

    def _put(self, now: Now, worker_id: str, order: StandingOrder) -> Ejection:
        """Let an ejection stand, as of its beginning."""
        old = self.kept.pop(worker_id, None)
        if old is not None:
            self._leave(old)
        entry = self.kept[worker_id] = Ejection(worker_id, order)
        self.out += 1
        self._at(entry, now.monotonic + max(0.0, entry.until - now.wall))
        return entry

    def _leave(self, entry: Ejection) -> None:
        self.out -= entry.stage is Stage.OUT

    def _at(self, entry: Ejection, at: float) -> None:
        entry.at = at
        self._timers.watch(at, entry)
        self._watch(self.next_at)

    def registered(self, now: Now, record: WorkerRecord, out: list[Effect]) -> None:
        """A worker has come (back): what stands against its id holds."""
        if record.worker_id in self.kept:
            self._meet(now, record, out)

    def _meet(self, now: Now, record: WorkerRecord | None, out: list[Effect]) -> None:
        """Make a worker's state follow from its ejection."""
        if record is None:
            return
        entry = self.kept.get(record.worker_id)
        record.ejected = entry is not None and entry.stage is Stage.OUT
        on_trial = entry is not None and entry.stage is Stage.TRIAL
        allowance.limit(self._fleet, record, _TRIAL, 1 if on_trial else None)
        if record.connected:
            self._vitals.age(record, now, out)

    # ------------------------------------------------------------------ on trial, and in again

    def advance(self, now: Now, out: list[Effect]) -> None:
        """Do what is due, a bounded part of it."""
        for _ in range(_AT_ONCE):
            entry = self._timers.due(now.monotonic)
            if entry is None:
                return
            if entry.stage is Stage.OUT:
                if entry.until > now.wall:  # the wall clock was set back, or runs slower
                    self._at(entry, now.monotonic + max(0.001, entry.until - now.wall))
                    continue
                self._try(now, entry, out)
            elif entry.stage is Stage.TRIAL and entry.worker_id in self._fleet.records:
                self._at(entry, now.monotonic + self._settings.forget_after_s)  # nothing was there for it to do
            else:
                self._forget(now, entry, "", out)

    def _try(self, now: Now, entry: Ejection, out: list[Effect]) -> None:
        self._leave(entry)
        entry.stage, entry.left, entry.tried_at = Stage.TRIAL, self._settings.trial_tasks, now.monotonic
        self._at(entry, now.monotonic + self._settings.forget_after_s)
        record = self._fleet.records.get(entry.worker_id)
        if record is None:
            return
        self._meet(now, record, out)
        tasks = f"{entry.left} tasks" if entry.left > 1 else "a task"
        detail = f"its time is over; one task at a time until it has done {tasks} well"
        self._tell_in(now, entry.worker_id, detail, Stage.OUT, Stage.TRIAL, out)

    def _tried(
        self,
        now: Now,
        worker: WorkerRecord,
        entry: Ejection,
        kind: object,
        totals: Totals,
        failed: bool,
        out: list[Effect],
    ) -> None:
        if failed:
            if not totals.ended or totals.recent >= _FAILS_EVERYWHERE:
                return
            spare = sparing.needed(self._fleet, worker)
            why = f"on trial, it failed a task {words.of_kind(kind)}, of which {totals.recent:.0%} failed of late"
            if spare:
                self._back(now, entry, f"{why}; it is in all the same: {spare}", out)
                self._spare(worker, f"{why}; it stays in: {spare}")
            else:
                self._eject(now, worker, why, out)
            return
        entry.left -= 1
        if entry.left <= 0:
            self._back(now, entry, f"it did {self._settings.trial_tasks} tasks well, one after the other", out)

    def _back(self, now: Now, entry: Ejection, why: str, out: list[Effect]) -> None:
        """In again; the next ejection is longer until this one is forgotten."""
        before = entry.stage
        self._remember(now, entry, entry.order._replace(since=now.wall, until=None))
        out.append(Stands(_about(entry.worker_id), entry.order))
        self._meet(now, self._fleet.records.get(entry.worker_id), out)
        self._tell_in(now, entry.worker_id, why, before, Stage.BACK, out)

    def _remember(self, now: Now, entry: Ejection, order: StandingOrder) -> None:
        self._leave(entry)
        entry.stage, entry.order = Stage.BACK, order
        self._at(entry, now.monotonic + max(0.0, order.since + self._settings.forget_after_s - now.wall))

    def _forget(self, now: Now, entry: Ejection, why: str, out: list[Effect]) -> None:
        before = entry.stage
        self._leave(entry)
        entry.stage = Stage.BACK
        self.kept.pop(entry.worker_id, None)
        self._meet(now, self._fleet.records.get(entry.worker_id), out)
        out.append(Stands(_about(entry.worker_id), None))
        if before is not Stage.BACK and why:
            self._tell_in(now, entry.worker_id, why, before, Stage.BACK, out)

    def _tell_in(self, now: Now, worker_id: str, why: str, before: Stage, after: Stage, out: list[Effect]) -> None:
        kind = FleetEventKind.WORKER_REINSTATED
        event = self._make_event(now, kind, worker_id, why, before=before.value, after=after.value)
        out.append(Published(event))

    def reinstate(self, now: Now, event: Reinstate, out: list[Effect]) -> None:
        """An operator lets a worker in at once, and has what was held against it forgotten. One OrderReply."""
        entry = self.kept.get(event.worker_id)
        self._clear(self._fleet.records.get(event.worker_id), event.worker_id)
        if entry is not None:
            why = f"by an operator: {event.reason}" if event.reason else "by an operator"
            self._forget(now, entry, why, out)
        out.append(OrderReply(0))

    def stand(self, now: Now, worker_id: str, order: StandingOrder | None, out: list[Effect]) -> None:
        """Let what was journaled be so again: at a start, or where a change of it could not be kept."""
        if order is None or not self._settings.enabled:
            entry = self.kept.get(worker_id)
            if entry is not None:
                self._forget(now, entry, "", out)
            return
        if not order.times or order.times < 1:
            raise ValueError(f"not an ejection: {order!r}")
        entry = self._put(now, worker_id, order)
        if order.until is None:
            self._remember(now, entry, order)
        self._meet(now, self._fleet.records.get(worker_id), out)

    # ------------------------------------------------------------------ who cannot be spared

    def sweep(self, now: Now, out: list[Effect]) -> None:
        """Let in, before their time, those without whom some needs are met by nobody; a few are looked at."""
        for worker_id in list(islice(self.spared, _AT_ONCE)):
            if worker_id not in self._fleet.records:
                del self.spared[worker_id]
        if not self.out:
            self._round.clear()
            return
        if not self._round:
            self._round = [entry for entry in self.kept.values() if entry.stage is Stage.OUT]
        for entry in [self._round.pop() for _ in range(min(len(self._round), _LOOKS))]:
            record = self._fleet.records.get(entry.worker_id)
            if record is None or record.barred is not Rejection.EJECTED or self.kept.get(entry.worker_id) is not entry:
                continue
            why = sparing.needed(self._fleet, record)
            if why:
                self._back(now, entry, f"before its time: {why}", out)
                self._spare(record, f"{entry.order.reason}; it is in before its time: {why}")

    def _spare(self, record: WorkerRecord, why: str) -> None:
        """It is in although it may fail as before: until it has done well, or can be ejected again."""
        record.suspicion = Suspicion(self._limit)
        self.spared[record.worker_id] = why


def _about(worker_id: str) -> About:
    return About(OrderKind.EJECTION, worker_id)
