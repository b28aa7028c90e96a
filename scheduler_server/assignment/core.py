"""The state machine: which event is handled where, time, and queries."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any

from scheduler_server.assignment import reconfiguring, standing, state
from scheduler_server.assignment.accuracy import Accuracy
from scheduler_server.assignment.departures import Departures
from scheduler_server.assignment.drain_stops import DrainStops
from scheduler_server.assignment.draining import Drains
from scheduler_server.assignment.effects import Effect, ForgetReply, Published
from scheduler_server.assignment.ejecting import Ejecting
from scheduler_server.assignment.events import (
    Abandon,
    Announce,
    Cancel,
    CloseQueue,
    Configured,
    Connect,
    CreateOverride,
    Disconnect,
    DrainEnded,
    DrainOrdered,
    EndOverride,
    Event,
    Forget,
    Heartbeat,
    Look,
    Ordered,
    Publish,
    Rebalance,
    Reinstate,
    RemoveWorker,
    ReportOutcome,
    Reprioritize,
    ResetBreaker,
    Shutdown,
    Slept,
    Submit,
    Tick,
    Withdraw,
)
from scheduler_server.assignment.lease_talk import LeaseTalk
from scheduler_server.assignment.ledger import Ledger, TaskRecord
from scheduler_server.assignment.link import Link
from scheduler_server.assignment.losses import Loss, Losses
from scheduler_server.assignment.outcomes import Outcomes
from scheduler_server.assignment.overrides import Overrides
from scheduler_server.assignment.placement import Placement
from scheduler_server.assignment.probing import Probing
from scheduler_server.assignment.queueing import Queue
from scheduler_server.assignment.ramping import Ramping
from scheduler_server.assignment.rebalancing import Rebalancing
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.shifts import Shifts
from scheduler_server.assignment.steered import Steered
from scheduler_server.assignment.vitals import Vitals
from scheduler_server.fallback.breaker import ALL, BreakerState, CircuitBreaker
from scheduler_server.model.clock import Now, Stopwatch
from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.model.task import TaskState
from scheduler_server.model.worker import Health
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.drift import Drift
from scheduler_server.predictor.forgetting import forget
from scheduler_server.predictor.published import PublishedPredictor
from scheduler_server.predictor.remaining import Remaining, remaining
from scheduler_server.registry import availability, capacity
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.scorer import Scorer

_SWEEP_S = 1.0
"""How often ages are swept: a health event is at most this late. Decisions check the one worker they pick, so they are
never late."""

_TRANSITIONS = {
    BreakerState.OPEN: FleetEventKind.BREAKER_OPENED,
    BreakerState.HALF_OPEN: FleetEventKind.BREAKER_HALF_OPEN,
    BreakerState.CLOSED: FleetEventKind.BREAKER_CLOSED,
}


class Scheduler:
    """The core: give it events, do what the effects say.

    Every event comes with the instant it happened at, and instants never go back. `handle` brings the state up to that
    instant first, so timers make events prompt and never make answers correct. Constructor arguments are all it knows
    of the world: `stopwatch` measures predictor and scorer, `incarnation` names this run in ids.
    """

    def __init__(
        self,
        settings: CoreSettings,
        predictor: Predictor,
        scorer: Scorer,
        stopwatch: Stopwatch,
        incarnation: str,
        now: Now,
    ) -> None:
        self.settings = settings
        self.incarnation = incarnation
        self.started = now
        self.predictor = predictor
        self.predictors = reconfiguring.Predictors(now.wall)
        self.scorer = scorer
        self.breaker = CircuitBreaker(settings.fallback)
        self.fleet = Fleet(scorer.key)
        self.ledger = Ledger(settings.assignment)
        self.accuracy = Accuracy(settings.predictor)
        self.events = 0
        self.drifts: dict[str, int] = {}  # keys whose durations have changed, by direction
        self.latest_drift: Drift | None = None
        self.vitals = Vitals(
            settings.health, settings.worker.max_offers, self.fleet, scorer.health_score_floor, self.event
        )
        self.placement = Placement(
            settings,
            self.fleet,
            self.ledger,
            predictor,
            scorer,
            self.breaker,
            stopwatch,
            incarnation,
            age=self.vitals.age,
            watch_release=self._watch_release,
            watch_ack=self._watch_ack,
            untrusted=self.accuracy.untrusted,
        )
        self.standing = standing.StandingOrders(self._watch)
        self.queue = Queue(settings, self.fleet, predictor, self.placement, self._watch, stopwatch)
        self.placement.queue = self.queue
        self.steered = Steered(self.queue, self.event)
        self.overrides = Overrides(
            self.fleet, self.ledger, self.placement, self.queue.waiting, self.queue.renewing, self.event
        )
        self.drains = Drains(
            settings.assignment, self.fleet, self.ledger, self.vitals, self.event, self._watch, incarnation
        )
        self.outcomes = Outcomes(
            self.fleet, self.ledger, predictor, self.accuracy, self.placement, self.vitals, self.drains, self.event
        )
        self.losses = Losses(settings.assignment, self.outcomes, self.queue, self.event)
        self.talk = LeaseTalk(self.ledger, self.outcomes, self.losses, self.event, settings.worker.lost_track_after_s)
        self.ejecting = Ejecting(settings.ejection, self.fleet, self.vitals, self.event, self._watch)
        self.ramping = Ramping(settings.ramp, self.fleet, self._watch)
        self.outcomes.heed, self.losses.blame = self._heed, self._blame
        sessions: dict[int, WorkerRecord] = {}
        self.departures = Departures(
            settings.health, self.fleet, self.ledger, self.losses, self.vitals, sessions, self.drains, self.event
        )
        self.drains.stops = DrainStops(
            settings.assignment, self.fleet, self.ledger, self.drains, self.outcomes, self.losses, self.departures
        )
        self.probing = Probing(settings.worker, self.vitals, incarnation, self.event)
        self.link = Link(
            settings,
            self.fleet,
            self.ledger,
            self.outcomes,
            self.talk,
            self.departures,
            self.probing,
            self.vitals,
            sessions,
            incarnation,
            self.event,
            watch_release=self._watch_release,
            standing=self.standing,
            drains=self.drains,
        )
        self.rebalancing = Rebalancing(
            settings.rebalance,
            self.fleet,
            self.ledger,
            self.queue,
            self.placement,
            now,
            scorer=lambda: self.scorer,
            remaining=self.remaining,
            make_event=self.event,
            watch=self._watch,
        )
        self.talk.asked_back = self.rebalancing.confirmed
        self.shifts = Shifts(
            settings.worker,
            self.fleet,
            self.vitals,
            self.outcomes,
            self.losses,
            self.standing,
            self.event,
            self._watch,
        )
        self.vitals.turn, self.link.hours = self.shifts.turn, self.shifts.fit
        self.departures.left = self.shifts.forget
        waiting = self.queue.waiting
        waiting.by_length = waiting.lineup.by_length = self.placement.within is not None
        self.link.newcomers += self.ramping.registered, self.ejecting.registered
        self._handlers: dict[type, Callable[[Now, Any, list[Effect]], None]] = {
            Submit: self.placement.submit,
            ReportOutcome: self._report_outcome,
            Heartbeat: self.link.heartbeat,
            Connect: self.link.connect,
            Disconnect: self.link.disconnect,
            Abandon: self.queue.abandon,
            Withdraw: self.queue.withdraw,
            CloseQueue: lambda _now, _event, _out: self.queue.close(),
            Cancel: self._cancel,
            RemoveWorker: self.departures.remove_by_order,
            Reinstate: self.ejecting.reinstate,
            Publish: self._publish,
            Shutdown: self.link.shutdown,
            Slept: self._slept,
            Configured: self._configured,
            CreateOverride: self._create_override,
            EndOverride: self.overrides.end,
            DrainOrdered: self.drains.order,
            DrainEnded: self.drains.end,
            Announce: self._announce,
            Ordered: self._ordered,
            ResetBreaker: lambda now, event, out: standing.reset_breaker(self, now, event, out),
            Reprioritize: self.steered.reprioritize,
            Rebalance: self.rebalancing.order,
            Forget: self._forget,
            Tick: self._tick,
            Look: lambda now, _event, out: self.vitals.sweep(now, out),
        }
        # Timers: (when, tie, what it is for). A sampled worker's release and an offer's ack; both are checked against
        # their record when due, so an outdated one does nothing.
        self._timers: list[tuple[float, int, WorkerRecord | TaskRecord]] = []
        self._tie = count()
        self._sweep_at = now.monotonic + _SWEEP_S
        self._cleanup_at = now.monotonic + settings.health.cleanup_interval_s
        self._due = self._sweep_at

    # ------------------------------------------------------------------ events in, effects out

    def handle(self, now: Now, event: Event) -> list[Effect]:
        """Take in one event; answer what is to be done, in order."""
        out: list[Effect] = []
        if now[0] >= self._due:
            if type(event) is Slept:
                self._slept(now, event, out)  # before anybody is found to have been silent
            self._advance(now, out)
        self._handlers[type(event)](now, event, out)
        if self.outcomes.moved:
            self.outcomes.tell_moved(out)
        opened = self.fleet.opened
        if opened:
            if self.queue.waiting.placeable and self.queue.open:
                self.queue.fill(now, out)
                if self.queue.unfilled:
                    self._due = now[0]
            else:
                opened.clear()
        if self.breaker.transitions:
            self._tell_breaker(now, out)
        return out

    def next_deadline(self) -> float:
        """The monotonic second at which a Tick is due."""
        return self._due

    def _advance(self, now: Now, out: list[Effect]) -> None:
        monotonic = now.monotonic
        timers = self._timers
        # With every sweep too: a wall clock that was set is seen then at the latest.
        late = False
        if monotonic >= self.shifts.next_at or (self.shifts.scheduled and monotonic >= self._sweep_at):
            late = self.shifts.advance(now, out)
        while timers and timers[0][0] <= monotonic:
            at, _, subject = heappop(timers)
            if isinstance(subject, WorkerRecord):
                if at == subject.release_watched:
                    subject.release_watched = 0.0
                    self._release(now, subject, out)
            else:
                self._ack_due(now, subject, out)
        if monotonic >= self.standing.next_at:
            standing.end_those_over(self, now, out)
        if monotonic >= self.overrides.next_at:
            self.overrides.advance(now, out)
        if monotonic >= self.drains.next_at:
            self.drains.advance(now, out)
        if monotonic >= self.ejecting.next_at:
            self.ejecting.advance(now, out)
        if monotonic >= self.ramping.next_at:
            self.ramping.advance(now, out)
        self.queue.advance(now, out)
        if monotonic >= self.rebalancing.next_at:
            self.rebalancing.advance(now, out)
        if monotonic >= self._sweep_at and not late:  # it would bring all of those up to date at once
            self._sweep_at = monotonic + _SWEEP_S
            self.vitals.sweep(now, out)
            self.ledger.age(monotonic)
            self._tell_drifts(now, out)
            self.queue.age(now)
            self.ejecting.sweep(now, out)
            self.departures.sweep(now, out)
            self.drains.age(now, out)
        if monotonic >= self._cleanup_at:
            self._cleanup_at = monotonic + self.settings.health.cleanup_interval_s
            if self.settings.health.cleanup:
                self.departures.cleanup(now, out)
        self._set_due()

    def _set_due(self) -> None:
        timers = self._timers
        while timers and _idle(timers[0]):  # nearly every offer: it was acknowledged long ago
            heappop(timers)
        due = min(self._sweep_at, self._cleanup_at, self.queue.next_at(), self.standing.next_at, self.overrides.next_at)
        due = min(due, self.drains.next_at, self.ejecting.next_at, self.ramping.next_at)
        due = min(due, self.rebalancing.next_at, self.shifts.next_at)
        self._due = min(due, self._timers[0][0]) if self._timers else due

    def _watch_release(self, at: float, record: WorkerRecord) -> None:
        # One timer per worker: every heartbeat moves its release, and each would leave a timer behind.
        if record.release_watched and record.release_watched <= at:
            return
        record.release_watched = at
        heappush(self._timers, (at, next(self._tie), record))
        self._due = min(self._due, at)

    def _watch_ack(self, at: float, record: TaskRecord) -> None:
        heappush(self._timers, (at, next(self._tie), record))
        self._due = min(self._due, at)

    def _watch(self, at: float) -> None:
        self._due = min(self._due, at)

    # ------------------------------------------------------------------ timers

    def _release(self, now: Now, record: WorkerRecord, out: list[Effect]) -> None:
        """A sampled worker is taken to have finished something."""
        if record.row < 0 or not record.release_at:
            return  # gone, or tracked by now
        if record.health is Health.UNHEALTHY:
            return  # what a silent worker does is not known: its next sample tells, or its removal
        if record.release_at > now.monotonic:
            self._watch_release(record.release_at, record)
            return
        freed = capacity.release_due(record, now.monotonic, self.settings.predictor.default_ms / 1_000.0)
        if len(record.leases) > record.occupied:
            self.outcomes.presumed_over(now, record, len(record.leases) - record.occupied, out)
        if record.release_at:
            self._watch_release(record.release_at, record)
        if freed:
            self.fleet.count_background(record)
            self.fleet.refresh(record)
            self.placement.slot_freed(None)

    def _ack_due(self, now: Now, record: TaskRecord, out: list[Effect]) -> None:
        """An offer was not acknowledged: fence the session first, then give the lease up."""
        if record.state is not TaskState.OFFERED:
            return
        within = self.settings.assignment.ack_within_s
        if record.ack_by > now.monotonic:  # it was sent later than granted, or not yet
            self._watch_ack(min(record.ack_by, now.monotonic + within), record)
            return
        worker = record.worker
        if worker is not None and worker.registration.accept_within_s is not None:
            self.shifts.lapse(now, record, worker, worker.registration.accept_within_s, out)
            return
        if worker is not None and worker.session == record.offered_on:  # a session since then was never sent it
            self.link.fence(now, worker, f"lease {record.lease_id} was not acknowledged within {within:g} s", out)
        self.losses.lose(now, record, Loss.NOT_TAKEN, out)

    # ------------------------------------------------------------------ small events

    def _tick(self, now: Now, _event: Tick, _out: list[Effect]) -> None:
        if self.queue.renewing.busy:
            self.queue.renewing.step(now)

    def _heed(self, now: Now, worker: WorkerRecord, record: TaskRecord, succeeded: bool, out: list[Effect]) -> None:
        """A task has ended on its worker, well or not."""
        if succeeded and worker.slot_limits:
            self.ramping.done(now, worker)
        self.ejecting.ended(now, worker, record, not succeeded, out)

    def _blame(self, now: Now, worker: WorkerRecord, record: TaskRecord, out: list[Effect]) -> None:
        """A lease was lost by its worker's fault."""
        self.ejecting.ended(now, worker, record, True, out)

    def _cancel(self, now: Now, event: Cancel, out: list[Effect]) -> None:
        if not (self.queue.busy and self.queue.cancel(now, event, out)):
            self.outcomes.cancel(now, event, out)

    def _report_outcome(self, now: Now, event: ReportOutcome, out: list[Effect]) -> None:
        lease_id, outcome = event
        out.append(self.outcomes.report(now, lease_id, outcome, None, out))

    def _slept(self, now: Now, _event: Slept, _out: list[Effect]) -> None:
        self.departures.spare_until(now.monotonic + self.settings.health.unhealthy_after_s)

    def _publish(self, now: Now, event: Publish, out: list[Effect]) -> None:
        if isinstance(self.predictor, PublishedPredictor):
            self.predictor.publish(event.entries)

    def _configured(self, now: Now, event: Configured, out: list[Effect]) -> None:
        reconfiguring.reconfigure(self, now, event, out)
        self._cleanup_at = min(self._cleanup_at, now.monotonic + self.settings.health.cleanup_interval_s)
        self._set_due()

    def event(
        self,
        now: Now,
        kind: FleetEventKind,
        worker_id: str = "",
        detail: str = "",
        before: str = "",
        after: str = "",
        subject: str = "",
        severity: int = 0,
    ) -> FleetEvent:
        """An event that operators watch, with the next number."""
        self.events += 1
        return FleetEvent(self.events, now.wall, kind, worker_id, detail, before, after, subject, severity)

    def _announce(self, now: Now, event: Announce, out: list[Effect]) -> None:
        out.append(Published(self.event(now, *event)))

    def _create_override(self, now: Now, event: CreateOverride, out: list[Effect]) -> None:
        self.overrides.create(now, event, out)
        self._watch(self.overrides.next_at)

    def _ordered(self, now: Now, event: Ordered, out: list[Effect]) -> None:
        standing.ordered(self, now, event, out)

    def _forget(self, now: Now, event: Forget, out: list[Effect]) -> None:
        keys = forget(self.predictor, event.task_type, event.key)
        for _, predictor in self.predictors.others():
            forget(predictor, event.task_type, event.key)  # it would bring back what is to be forgotten
        if keys:
            what = event.key or (f"tasks of type {event.task_type!r}" if event.task_type else "all tasks")
            detail = ": ".join(filter(None, (f"{keys} keys of {what} are forgotten", event.reason)))
            kind, subject = FleetEventKind.PREDICTIONS_CHANGED, event.key or event.task_type
            out.append(Published(self.event(now, kind, "", detail, "", "", subject)))
        out.append(ForgetReply(keys))

    def _tell_breaker(self, now: Now, out: list[Effect]) -> None:
        for moved in self.breaker.take_transitions():
            circuit = "all task types" if moved.circuit == ALL else f"task type {moved.circuit!r}"
            how = "by an operator's order" if moved.by_hand else f"after {moved.failures} failures in a row"
            detail = f"{circuit}, {how}"
            before, after = moved.before.name.lower(), moved.after.name.lower()
            event = self.event(now, _TRANSITIONS[moved.after], "", detail, before, after)
            out.append(Published(event))

    def _tell_drifts(self, now: Now, out: list[Effect]) -> None:
        try:
            drifts = self.predictor.take_drifts()
        except Exception:  # noqa: BLE001 -- a predictor is a plug-in: nothing may depend on what it says of itself
            self.outcomes.learn_failures += 1
            return
        for key, before_ms, after_ms, direction, samples in drifts:
            self.drifts[direction] = self.drifts.get(direction, 0) + 1
            self.latest_drift = Drift(key, before_ms, after_ms, direction, samples)
            detail = f"tasks of {key} take {direction}; {samples} earlier outcomes are forgotten"
            before, after = f"{before_ms:.0f} ms", f"{after_ms:.0f} ms"
            kind = FleetEventKind.DRIFT_DETECTED
            out.append(Published(self.event(now, kind, "", detail, before, after, key)))

    # ------------------------------------------------------------------ queries: no effects

    def task(self, tenant: str, task_id: str, attempt: int) -> TaskRecord | None:
        """An attempt of a task; 0 means the latest."""
        return self.ledger.find(tenant, task_id, attempt)

    def available_in_s(self, record: WorkerRecord, now: Now) -> float:
        """Seconds until a task given to this worker now would start; infinity while it takes none."""
        if record.barred:
            return inf
        average_s = record.average_ms / 1_000.0
        residuals = [self.remaining(lease, now).mean_ms / 1_000.0 for lease in record.leases.values()]
        background = max(0, record.occupied - len(residuals))
        return availability.wait_s(record.slots, residuals, background, average_s)

    def remaining(self, lease: TaskRecord, now: Now) -> Remaining:
        """How much longer a placed task takes, corrected by how long it has run."""
        prediction = lease.decision.prediction
        if prediction is None:
            prediction = self.placement.unknown
        speed = prediction.point_ms / lease.decision.duration_ms if lease.decision.duration_ms > 0.0 else 1.0
        elapsed_s = now.monotonic - (lease.started_at or lease.granted_at)
        return remaining(prediction, speed, elapsed_s * 1_000.0)

    def snapshot(self, now: Now) -> Any:
        """What is to survive a restart, record by record; may be interleaved with events."""
        return state.records(self, now)

    def restore(self, now: Now, records: Any) -> list[str]:
        """Take a snapshot back before the first event; answers what could not be taken."""
        return state.restore(self, now, records)


def _idle(timer: tuple[float, int, WorkerRecord | TaskRecord]) -> bool:
    """Is it the deadline of an offer that has been taken, or is over?"""
    return isinstance(timer[2], TaskRecord) and timer[2].state is not TaskState.OFFERED
