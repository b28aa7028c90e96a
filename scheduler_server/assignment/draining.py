"""Drains: workers that are to be emptied. Taken, spread over the fleet, followed to their end, kept.

    ordered   who matches by id or labels gets no new tasks, and its worker is told; so does who comes later
    handed    what a worker has and did not start it gives back, and that is placed elsewhere (`losses.py`)
    over      what ends there is counted; with its last lease a worker is empty, with its last worker a drain complete
    deadline  what was said beforehand: nothing, stop what runs, or give it up (`drain_stops.py`)

A drain holds until it is cancelled, for workers that come back too; one that a worker began ends with its wish. What is
kept of it is written down in the turn in which it changes, with the lease that ended.
"""

from collections.abc import Callable, Iterable
from math import inf
from typing import TYPE_CHECKING

from scheduler_server.assignment.drain_jobs import CHANGED, Jobs, Step
from scheduler_server.assignment.drain_record import Drain, KeptDrain, KeptLine, Line
from scheduler_server.assignment.drain_register import Register, matches
from scheduler_server.assignment.effects import (
    DrainForgotten,
    DrainLeft,
    DrainMoved,
    DrainSent,
    DrainStands,
    Effect,
    Published,
)
from scheduler_server.assignment.events import DrainEnded, DrainOrdered
from scheduler_server.assignment.ledger import Ledger, TaskRecord
from scheduler_server.model.clock import Now
from scheduler_server.model.drain import DrainCounts, DrainOrder, DrainState
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.model.task import TaskState
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.record import WorkerRecord

if TYPE_CHECKING:
    from scheduler_server.assignment.drain_stops import DrainStops
    from scheduler_server.assignment.settings import AssignmentSettings
    from scheduler_server.assignment.vitals import Vitals

MOST_STANDING = 1_000
"""Drains that stand at once: each registration of a worker is held against those with labels."""

_GONE_KEPT = 1_000
"""Workers that are not known any more of which a drain keeps a line each: in a fleet that grows and shrinks under one
pattern there is no end to them. Of the others the counts stay."""

_CLOCKS_DIFFER_S = 0.001
"""Timers run on the monotonic clock, drains end by the wall clock."""


class Drains:
    """All drains.

    Invariants: `by_worker` has a line of each drain that covers a worker, and a worker that is known is `draining`
    exactly while it has one there. Who is draining is given nothing, so leases of its only end.
    """

    def __init__(
        self,
        settings: "AssignmentSettings",
        fleet: Fleet,
        ledger: Ledger,
        vitals: "Vitals",
        make_event: MakeEvent,
        watch: Callable[[float], None],
        incarnation: str,
    ) -> None:
        """`watch` asks for a tick at a monotonic second."""
        self._fleet = fleet
        self._ledger = ledger
        self._vitals = vitals
        self._make_event = make_event
        self._watch = watch
        self._prefix = f"drain-{incarnation}-w"
        self._own_made = 0
        self._told = 0
        self.stops: DrainStops  # the core's; it ends leases through us
        self._register = Register(settings.drains_kept_s)
        self.drains = self._register.drains  # oldest first
        self.by_worker: dict[str, dict[str, Line]] = {}
        self.counts = DrainCounts()  # since the start, each task once
        self.draining = 0  # workers
        self._jobs = Jobs()
        self._restored_until = 0.0  # monotonic second at which workers that began to drain before a restart are back
        self._deadline_at = inf
        self.next_at = inf

    def reconfigure(self, settings: "AssignmentSettings") -> None:
        """Keep ended drains for so long from now on."""
        self._register.kept_s = settings.drains_kept_s
        self.stops.reconfigure(settings)

    # ------------------------------------------------------------------ ordered

    def order(self, now: Now, event: DrainOrdered, out: list[Effect]) -> None:
        """Begin a drain; one of that id which was cancelled goes on."""
        order = event.order
        drain = self.drains.get(order.drain_id)
        if drain is not None and not drain.cancelled:
            return
        if drain is None:
            drain = Drain(order)
        else:
            drain.cancelled = drain.over = False
            drain.ended, drain.past = None, 0
        drain.covering = True
        self._register.stand(drain)
        out.append(DrainStands(drain.kept()))
        known, orphans = self._fleet.records, self._ledger.orphans
        # By labels everybody may match; who is named and not there, not even with a lease, is met when it comes.
        names = list(known) if order.labels else [name for name in order.worker_ids if name in known]
        names += [name for name in order.worker_ids if name in orphans]
        self.do(drain, names, self._cover_one)
        self.work(now, out)

    def end(self, now: Now, event: DrainEnded, out: list[Effect]) -> None:
        """Call a drain off; `forget`: as if it had never been."""
        drain = self.drains.get(event.drain_id)
        if drain is None or drain.over:
            return
        drain.cancelled = True
        self._end(now, drain, out)
        if event.forget:
            self._register.forget(drain)
            out.append(DrainForgotten(event.drain_id))
        self.work(now, out)

    def _end(self, now: Now, drain: Drain, out: list[Effect]) -> None:
        """It covers nobody from now on."""
        self._register.end(drain)
        drain.over, drain.covering, drain.stop_by = True, False, None
        if drain.ended is None or drain.cancelled:
            drain.ended = now.wall
        out.append(DrainStands(drain.kept()))
        out.append(DrainMoved(drain.order.drain_id, ""))
        self.do(drain, list(drain.lines), self._uncover_one)
        self._trim(now, out)

    # ------------------------------------------------------------------ in slices

    def do(self, drain: Drain, names: list[str], step: Step) -> None:
        """Do something to these of its workers, from the next slice on."""
        self._jobs.add(drain, names, step)

    def busy(self, drain: Drain) -> bool:
        """Is there still something to be done to its workers?"""
        return self._jobs.busy(drain)

    def work(self, now: Now, out: list[Effect]) -> None:
        """One slice of what is to be done."""
        for drain in self._jobs.slice(now, out):
            if drain.covering:
                drain.covering = False
                self._settle(now, drain, out)
                self._set_deadline(now)
        self._set_next(now)

    def _set_next(self, now: Now) -> None:
        self.next_at = now.monotonic if self._jobs else self._deadline_at
        self._watch(self.next_at)

    def _cover_one(self, now: Now, drain: Drain, worker_id: str, _most: int, out: list[Effect]) -> tuple[int, bool]:
        if drain.over:
            return 1, True
        record = self._fleet.records.get(worker_id)
        if record is not None:
            if not matches(drain, record):
                return 1, True
            self._cover(now, drain, record, out)
        elif worker_id in self._ledger.orphans and worker_id not in drain.lines:
            self._line(drain, worker_id, out)
        return CHANGED, True

    def _uncover_one(self, now: Now, drain: Drain, worker_id: str, _most: int, out: list[Effect]) -> tuple[int, bool]:
        line = drain.lines.get(worker_id)
        if line is not None and drain.over:
            self._uncover(now, line, out)
        return CHANGED, True

    # ------------------------------------------------------------------ workers covered

    def _left(self, worker_id: str) -> int:
        record = self._fleet.records.get(worker_id)
        return len(record.leases) if record is not None else len(self._ledger.orphans.get(worker_id, ()))

    def _line(self, drain: Drain, worker_id: str, out: list[Effect]) -> Line:
        line = Line(drain, worker_id, self._left(worker_id))
        line.acknowledged = drain.order.own
        drain.add(line)
        self.by_worker.setdefault(worker_id, {})[drain.order.drain_id] = line
        out.append(DrainMoved(drain.order.drain_id, worker_id, line.kept()))
        return line

    def _cover(self, now: Now, drain: Drain, record: WorkerRecord, out: list[Effect], *, aged: bool = True) -> None:
        """Give a worker nothing more; `aged` is False while it is being registered."""
        worker_id = record.worker_id
        line = drain.lines.get(worker_id)
        if line is None:
            line = self._line(drain, worker_id, out)
            if line.left:
                self._reopen(drain, out)
        drain.gone.pop(worker_id, None)
        if not record.draining:
            record.draining = True
            self.draining += 1
            if aged:
                self._vitals.age(record, now, out)
            order = drain.order
            why = "by its own wish" if order.own else ": ".join(filter(None, (order.drain_id, order.reason)))
            kind = FleetEventKind.WORKER_DRAINING
            out.append(Published(self._make_event(now, kind, worker_id, why, subject=order.drain_id)))
            if not line.left:
                self._empty(now, worker_id, out)
        self._tell(drain, line, record, out)
        if drain.overdue and line.left:
            self._late(now, line)

    def _late(self, now: Now, line: Line) -> None:
        """A worker of a drain whose deadline has passed is there, and holds leases."""
        self.stops.late(now, line)
        self._set_deadline(now)
        self._set_next(now)

    def _uncover(self, now: Now, line: Line, out: list[Effect]) -> None:
        """Let a worker go from one drain; it takes tasks again unless another covers it."""
        drain, worker_id = line.drain, line.worker_id
        drain.drop(line)
        out.append(DrainLeft(drain.order.drain_id, worker_id))
        lines = self.by_worker[worker_id]
        del lines[drain.order.drain_id]
        if not lines:
            del self.by_worker[worker_id]
        record = self._fleet.records.get(worker_id)
        if record is None:
            return
        if not lines and record.draining:
            record.draining = False
            self.draining -= 1
            self._vitals.age(record, now, out)
        if line.told_on is not None and line.told_on == record.session:
            others = [each for each in lines.values() if each.told_on == record.session]
            if others:  # what it echoes is to be a drain that holds
                newest = max(others, key=lambda each: each.told_as)
                self._tell(newest.drain, newest, record, out)
            else:
                out.append(DrainSent(line.told_on, "", None, ""))

    def _let_go(self, now: Now, line: Line, out: list[Effect]) -> None:
        """A worker matches no more what a drain is for."""
        self._uncover(now, line, out)
        out.append(DrainStands(line.drain.kept()))
        self._settle(now, line.drain, out)

    def _tell(self, drain: Drain, line: Line, record: WorkerRecord, out: list[Effect]) -> None:
        """Tell a worker that reads of a drain. Who began it itself knows."""
        order = drain.order
        if order.own or record.session is None or not record.registration.explicit:
            return
        self._told += 1
        line.told_on, line.told_as = record.session, self._told
        out.append(DrainSent(record.session, order.drain_id, order.deadline, order.reason))

    def _empty(self, now: Now, worker_id: str, out: list[Effect]) -> None:
        drain_id = next(iter(self.by_worker[worker_id]))
        out.append(Published(self._make_event(now, FleetEventKind.WORKER_DRAINED, worker_id, subject=drain_id)))

    # ------------------------------------------------------------------ workers come, speak and go

    def met(self, now: Now, record: WorkerRecord, out: list[Effect]) -> None:
        """A worker registers: the drains that it matches cover it, before it can be given anything."""
        worker_id = record.worker_id
        for line in list(self.by_worker.get(worker_id, {}).values()):
            if matches(line.drain, record):
                self._cover(now, line.drain, record, out, aged=False)
            else:  # it comes back with other labels
                self._let_go(now, line, out)
        for drain in self._register.of(record):
            self._cover(now, drain, record, out, aged=False)

    def relabelled(self, now: Now, record: WorkerRecord, out: list[Effect]) -> None:
        """A worker that is known has other labels."""
        for drain in list(self._register.patterned.values()):
            line = drain.lines.get(record.worker_id)
            if (line is not None) == matches(drain, record):
                continue
            if line is None:
                self._cover(now, drain, record, out)
            else:
                self._let_go(now, line, out)

    def connected(self, now: Now, record: WorkerRecord, *, wishes: bool, out: list[Effect]) -> None:
        """A worker has a new session, and its first sample was taken in: it is told of its drains (again)."""
        lines = self.by_worker.get(record.worker_id)
        if lines is None:
            return
        own = self._register.own.get(record.worker_id)
        if own is not None and not wishes:  # another process, or another wish than before a restart
            self._withdrawn(now, own, out)
        for line in list(lines.values()):
            drain = line.drain
            if not drain.order.own and line.told_on != record.session:
                drain.notes(line, False)
                self._tell(drain, line, record, out)
            out.append(DrainMoved(drain.order.drain_id, record.worker_id))
            if drain.overdue and line.left:
                self._late(now, line)

    def changed(self, record: WorkerRecord, out: list[Effect]) -> None:
        """What is shown of a draining worker is other than before: its stream ended, or it started something."""
        out.extend(DrainMoved(drain_id, record.worker_id) for drain_id in self.by_worker.get(record.worker_id, ()))

    def echoed(self, record: WorkerRecord, drain_id: str, out: list[Effect]) -> None:
        """A worker says which drain it has taken note of; what it was told before on this session it has read too."""
        lines = self.by_worker.get(record.worker_id)
        line = None if lines is None else lines.get(drain_id)
        if lines is None or line is None or line.told_on != record.session or line.acknowledged:
            return
        for each in lines.values():
            if each.told_on == record.session and each.told_as <= line.told_as and not each.acknowledged:
                each.drain.notes(each, True)
                out.append(DrainMoved(each.drain.order.drain_id, record.worker_id))

    def wishes(self, now: Now, record: WorkerRecord, drains: bool, out: list[Effect]) -> None:
        """A worker wants to drain, or not any more."""
        own = self._register.own.get(record.worker_id)
        if drains and own is None:
            self._own_made += 1
            worker_id = record.worker_id
            drain_id = f"{self._prefix}{self._own_made}"
            order = DrainOrder(drain_id, (worker_id,), author=worker_id, created=now.wall, own=True)
            drain = Drain(order)
            self._register.stand(drain)
            out.append(DrainStands(drain.kept()))
            self._cover(now, drain, record, out)
            self._settle(now, drain, out)
        elif own is not None and not drains:
            self._withdrawn(now, own, out)

    def _withdrawn(self, now: Now, own: Drain, out: list[Effect]) -> None:
        """A worker drains no more by its own wish: that is called off, unless it was done."""
        own.cancelled = own.state is not DrainState.COMPLETE
        self._end(now, own, out)
        self.work(now, out)

    def removed(self, now: Now, record: WorkerRecord, out: list[Effect]) -> None:
        """A worker is not known any more, and what it held has ended."""
        if not record.draining:
            return
        record.draining = False
        self.draining -= 1
        worker_id = record.worker_id
        own = self._register.own.get(worker_id)
        if own is not None:
            self._end(now, own, out)
            self.work(now, out)
        for drain_id, line in list(self.by_worker.get(worker_id, {}).items()):
            drain = line.drain
            out.append(DrainMoved(drain_id, worker_id))
            drain.gone[worker_id] = None
            if len(drain.gone) > _GONE_KEPT:
                self._uncover(now, drain.lines[next(iter(drain.gone))], out)
                out.append(DrainStands(drain.kept()))

    # ------------------------------------------------------------------ leases end

    def returned(self, lease: TaskRecord, out: list[Effect]) -> None:
        """A draining worker gives back what it did not start; the lease is about to end."""
        self.count(lease.worker_id, DrainCounts(returned=1), out)

    def count(self, worker_id: str, more: DrainCounts, out: list[Effect]) -> None:
        """Tasks of a worker are over, or about to be; its drains count them."""
        lines = self.by_worker.get(worker_id)
        if lines is None:
            return
        self.counts = self.counts.plus(more)
        for drain_id, line in lines.items():
            line.drain.count(line, more)
            out.append(DrainMoved(drain_id, worker_id, line.kept()))

    def ended(self, now: Now, lease: TaskRecord, out: list[Effect]) -> None:
        """A lease of a worker that drains, or did before a restart, is over: it is not among its leases any more."""
        worker_id = lease.worker_id
        lines = self.by_worker.get(worker_id)
        if lines is None:
            return
        if lease.state is TaskState.FINISHED:
            self.count(worker_id, _FINISHED, out)
        elif lease.state is TaskState.CANCELLED and lease.stop_asked is not None:
            self.count(worker_id, _STOPPED, out)
        left, emptied = self._left(worker_id), False
        for drain_id, line in lines.items():
            emptied = emptied or (line.left > 0 and not left)
            line.drain.holds(line, left)
            out.append(DrainMoved(drain_id, worker_id))
        if emptied:
            self._empty(now, worker_id, out)
        if not left:
            for line in list(lines.values()):
                self._settle(now, line.drain, out)

    def _settle(self, now: Now, drain: Drain, out: list[Effect]) -> None:
        """Note that it is complete, or that it is not any more."""
        if drain.over:
            return
        complete = drain.state is DrainState.COMPLETE
        if complete == (drain.ended is not None):
            return
        drain.ended = now.wall if complete else None
        out.append(DrainStands(drain.kept()))
        out.append(DrainMoved(drain.order.drain_id, ""))

    def _reopen(self, drain: Drain, out: list[Effect]) -> None:
        """One that was complete covers a worker with leases."""
        if drain.ended is not None and not drain.over:
            drain.ended = None
            out.append(DrainStands(drain.kept()))

    # ------------------------------------------------------------------ time

    def advance(self, now: Now, out: list[Effect]) -> None:
        """Do what is due: a slice of what is under way, and what was said to be done at deadlines."""
        if now.monotonic >= self._deadline_at:
            for drain in self._register.with_deadline():
                self.stops.due(now, drain, out)
            self._set_deadline(now)
        self.work(now, out)

    def _set_deadline(self, now: Now) -> None:
        """Look again at the next deadline, or when what was told to stop has had its time."""
        at = inf
        for drain in self._register.with_deadline():
            deadline = drain.order.deadline
            if not drain.overdue and not drain.covering and deadline is not None:
                at = min(at, now.monotonic + max(_CLOCKS_DIFFER_S, deadline - now.wall))
            elif drain.stop_by is not None:
                at = min(at, max(drain.stop_by, now.monotonic + _CLOCKS_DIFFER_S))
        self._deadline_at = at

    def age(self, now: Now, out: list[Effect]) -> None:
        """Forget what has been over for long enough; from time to time."""
        if self._restored_until and now.monotonic >= self._restored_until:
            self._restored_until = 0.0
            for worker_id, own in list(self._register.own.items()):
                if worker_id not in self._fleet.records:  # it went while the server was down
                    self._end(now, own, out)
            self.work(now, out)
        self._trim(now, out)

    def _trim(self, now: Now, out: list[Effect]) -> None:
        out.extend(DrainForgotten(drain.order.drain_id) for drain in self._register.outdated(now))

    # ------------------------------------------------------------------ queries, and the last run's

    @property
    def standing(self) -> int:
        """Drains that operators ordered and that are not over."""
        return self._register.standing

    def covering(self, worker_id: str) -> Iterable[str]:
        """The drains that cover a worker, oldest first."""
        return self.by_worker.get(worker_id, ())

    def restore(self, kept: KeptDrain) -> None:
        """Let a drain of the last run stand again, before any worker is there; its lines come after the leases."""
        self._register.restore(kept)

    def restore_line(self, kept: KeptLine) -> bool:
        """Likewise one of its workers. False: it is of a drain that is over, and has no meaning."""
        drain = self.drains.get(kept.drain_id)
        if drain is None or drain.over:
            return False
        line = Line(drain, kept.worker_id, self._left(kept.worker_id))
        line.counts = kept.counts
        line.acknowledged = drain.order.own
        drain.add(line)
        self.by_worker.setdefault(kept.worker_id, {})[kept.drain_id] = line
        return True

    def restored(self, now: Now, wait_until: float) -> None:
        """All of it is back; workers have until this monotonic second to say that they still wish to drain."""
        self._register.restored()
        self._restored_until = max(wait_until, now.monotonic + _CLOCKS_DIFFER_S)
        self._set_deadline(now)
        self._set_next(now)


_FINISHED, _STOPPED = DrainCounts(finished=1), DrainCounts(stopped=1)
