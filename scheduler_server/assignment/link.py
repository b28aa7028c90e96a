"""Workers come, beat and change: sessions, registration, samples."""

from collections.abc import Callable
from typing import Any
from zlib import crc32

from scheduler_server.assignment import reconcile
from scheduler_server.assignment.departures import RECONNECT_AFTER_S, Departures
from scheduler_server.assignment.draining import Drains
from scheduler_server.assignment.effects import (
    Acked,
    Effect,
    Goodbye,
    Published,
    SessionRefused,
    Welcomed,
)
from scheduler_server.assignment.events import Connect, Disconnect, Heartbeat, Shutdown
from scheduler_server.assignment.lease_talk import LeaseTalk
from scheduler_server.assignment.ledger import Ledger
from scheduler_server.assignment.losses import Loss
from scheduler_server.assignment.outcomes import Outcomes
from scheduler_server.assignment.probing import Probing
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.standing import StandingOrders
from scheduler_server.assignment.vitals import Vitals
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Rejection
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.worker import (
    Accounting,
    Epoch,
    GoodbyeReason,
    Intent,
    Registration,
    Sample,
)
from scheduler_server.registry import allowance, capacity
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.health import load_of
from scheduler_server.registry.record import WorkerRecord

_BOOTS_KEPT = 4
"""Superseded boot ids remembered per worker: enough for a restart loop to be told apart from two rivals."""

_OLDER_IN_A_ROW = 3
"""Samples older than the last after which the worker's clock is taken to have been set back."""

_INTERVAL_CHANGE = 0.2
"""Relative change of the heartbeat interval that is worth telling a worker."""

_JITTER = 0.1
"""Share by which intervals are spread, so that a fleet that started together does not beat together."""

WatchRelease = Callable[[float, WorkerRecord], None]
Hours = Callable[[Now, WorkerRecord, list[Effect]], None]


class Link:
    """The workers' side of the core.

    Invariants: `sessions` has one entry per live stream, and the record it names has that stream's number as its
    `session`, unless the worker was removed (row < 0) and has not been heard since.
    """

    def __init__(
        self,
        settings: CoreSettings,
        fleet: Fleet,
        ledger: Ledger,
        outcomes: Outcomes,
        talk: LeaseTalk,
        departures: Departures,
        probing: Probing,
        vitals: Vitals,
        sessions: dict[int, WorkerRecord],
        incarnation: str,
        make_event: MakeEvent,
        *,
        watch_release: WatchRelease,
        standing: StandingOrders,
        drains: Drains,
    ) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._outcomes = outcomes
        self._vitals = vitals
        self._talk = talk
        self._departures = departures
        self._probing = probing
        self._incarnation = incarnation
        self._make_event = make_event
        self._watch_release = watch_release
        self._standing = standing
        self._drains = drains
        self._ids = 0
        self.sessions = sessions
        self.memories: dict[str, dict[str, Any]] = {}  # what a snapshot knew of workers that are not back yet
        self.newcomers: list[Callable[[Now, WorkerRecord, list[Effect]], None]] = []  # who meets those that register
        self.hours: Hours = _no_hours  # lets a worker have the hours that it is to have
        self._limits(settings)

    def _limits(self, settings: CoreSettings) -> None:
        self._health = settings.health
        self._worker = settings.worker
        self._prior_s = settings.predictor.default_ms / 1_000.0

    def reconfigure(self, now: Now, settings: CoreSettings, out: list[Effect]) -> None:
        """Go by these from now on; workers that do not say themselves what they are become what is said of them now."""
        before = self._worker
        self._limits(settings)
        if (before.default_slots, before.default_prefetch, before.type_specializations) != (
            self._worker.default_slots,
            self._worker.default_prefetch,
            self._worker.type_specializations,
        ):
            for record in list(self._fleet.records.values()):
                self._fit(now, record, record.registration, out)

    # ------------------------------------------------------------------ sessions

    def connect(self, now: Now, event: Connect, out: list[Effect]) -> None:
        """A stream's first heartbeat: refuse it, or welcome the worker."""
        worker_id = event.worker_id or self._new_id()
        record = self._fleet.records.get(worker_id)
        if record is None:
            if len(self._fleet) >= self._worker.max_workers:
                message = f"worker.max_workers ({self._worker.max_workers}) workers are known already"
                refusal = Refusal(Reason.TOO_MANY_WORKERS, message, (("worker_id", worker_id),))
                out.append(SessionRefused(event.session, refusal))
                return
            record = self._register(now, worker_id, event.registration, out)
        else:
            late = self._late(record, event.epoch)
            if late:
                refusal = Refusal(Reason.SESSION_SUPERSEDED, late, (("worker_id", worker_id),))
                out.append(SessionRefused(event.session, refusal))
                return
            self._supersede(now, record, event, out)
            if event.registration is not None:
                self._change(now, record, event.registration, out)
        record.epoch = event.epoch or Epoch("", record.epoch.connection + 1)
        record.session = event.session
        record.sequence = 0
        record.timestamp_ms = 0
        record.heartbeat_interval_s = self._interval(worker_id)
        self.sessions[event.session] = record
        record.connected = True
        record.unsettled_since = now.monotonic if record.leases else 0.0
        self._probing.connected(now, record)
        out.append(Published(self._make_event(now, FleetEventKind.WORKER_CONNECTED, worker_id)))
        # The welcome goes out before anything that the first sample causes; its verdicts are known only afterwards.
        at = len(out)
        verdicts, _ = self._take(now, record, event.sample, out)
        if record.draining:
            self._drains.connected(now, record, wishes=record.intent is Intent.DRAIN, out=out)
        out.insert(
            at,
            Welcomed(
                event.session,
                worker_id,
                record.epoch.boot_id,
                record.epoch.connection,
                record.heartbeat_interval_s,
                verdicts,
            ),
        )

    def _new_id(self) -> str:
        while True:
            self._ids += 1
            made = f"worker-{self._incarnation}-{self._ids}"
            if made not in self._fleet.records:
                return made

    @staticmethod
    def _late(record: WorkerRecord, epoch: Epoch | None) -> str:
        """Why a new session of a known worker is older than the one it has; empty when it is newer."""
        if epoch is None:
            return ""
        if epoch.boot_id in record.boots:
            return f"worker {record.worker_id!r} is run by a newer process"
        if epoch.boot_id == record.epoch.boot_id and epoch.connection <= record.epoch.connection:
            return (
                f"worker {record.worker_id!r} has connected as number {record.epoch.connection};"
                f" this is number {epoch.connection}"
            )
        return ""

    def _supersede(self, now: Now, record: WorkerRecord, event: Connect, out: list[Effect]) -> None:
        boot = record.epoch.boot_id
        if event.epoch is not None and boot and event.epoch.boot_id != boot:
            record.boots = (*record.boots[-_BOOTS_KEPT + 1 :], boot)
        if record.session is None:
            return
        self.sessions.pop(record.session, None)
        message = "a newer session of this worker has taken over"
        out.append(Goodbye(record.session, GoodbyeReason.SUPERSEDED, message, None))
        out.append(Published(self._make_event(now, FleetEventKind.WORKER_SUPERSEDED, record.worker_id, message)))
        record.session = None

    def disconnect(self, now: Now, event: Disconnect, out: list[Effect]) -> None:
        """A stream ended: its worker gets nothing more, at once; its leases stay."""
        record = self.sessions.pop(event.session, None)
        if record is None or record.session != event.session:
            return
        record.session = None
        record.connected = False
        if record.row < 0:
            return
        out.append(Published(self._make_event(now, FleetEventKind.WORKER_DISCONNECTED, record.worker_id)))
        self._vitals.age(record, now, out)
        if record.draining:
            self._drains.changed(record, out)

    def fence(self, now: Now, record: WorkerRecord, message: str, out: list[Effect]) -> None:
        """End a session whose worker does not receive what it is sent."""
        session = record.session
        if session is None:
            return
        self.sessions.pop(session, None)
        record.session = None
        record.connected = False
        out.append(Goodbye(session, GoodbyeReason.FENCED, message, RECONNECT_AFTER_S))
        out.append(Published(self._make_event(now, FleetEventKind.WORKER_FENCED, record.worker_id, message)))
        self._vitals.age(record, now, out)
        if record.draining:
            self._drains.changed(record, out)

    def shutdown(self, now: Now, event: Shutdown, out: list[Effect]) -> None:
        """Say goodbye to every worker; they keep what runs, and come back."""
        message = "the server is going down"
        out.extend(Goodbye(session, event.reason, message, RECONNECT_AFTER_S) for session in self.sessions)

    # ------------------------------------------------------------------ registration

    def _register(self, now: Now, worker_id: str, registration: Registration | None, out: list[Effect]) -> WorkerRecord:
        registration = registration or Registration(explicit=False)
        record = WorkerRecord(worker_id, registration, registration.slots or self._worker.default_slots)
        record.prefetch = record.full_prefetch = self._prefetch(registration)
        record.specializations = self._specializations(registration)
        record.registered_at = now.wall
        record.barred = record.status = Rejection.DISCONNECTED
        record.cordoned = self._standing.cordoned(worker_id) is not None
        memory = self.memories.pop(worker_id, None)
        if memory is not None:
            reconcile.remember(record, memory)
        self._fleet.add(record)
        for lease in self._ledger.orphans.pop(worker_id, ()):
            lease.worker = record
            record.leases[lease.lease_id] = lease
            record.pool.began(lease.ends_at - lease.granted_at)
        if record.leases:
            capacity.become_tracked(record)
        for meet in self.newcomers:
            meet(now, record, out)
        out.append(
            Published(
                self._make_event(
                    now,
                    FleetEventKind.WORKER_REGISTERED,
                    worker_id,
                    f"{record.full_slots} slots"
                    if registration.explicit
                    else f"by heartbeat, {record.full_slots} slots",
                )
            )
        )
        self._drains.met(now, record, out)
        self.hours(now, record, out)
        return record

    def _prefetch(self, registration: Registration) -> int:
        if not registration.accepts_tasks:
            return 0  # what it is to stage it has to be handed
        return self._worker.default_prefetch if registration.prefetch is None else registration.prefetch

    def _specializations(self, registration: Registration) -> frozenset[str]:
        return frozenset(
            registration.specializations or self._worker.type_specializations.get(registration.worker_type, ())
        )

    def _change(self, now: Now, record: WorkerRecord, registration: Registration, out: list[Effect]) -> None:
        """A new registration replaces the former whole."""
        if registration == record.registration:
            return
        self._fit(now, record, registration, out)
        out.append(Published(self._make_event(now, FleetEventKind.WORKER_CHANGED, record.worker_id)))
        self.hours(now, record, out)

    def _fit(self, now: Now, record: WorkerRecord, registration: Registration, out: list[Effect]) -> None:
        """Let a worker be what its registration says, and the settings where it says nothing."""
        slots = registration.slots or self._worker.default_slots
        if slots != record.full_slots:
            out.append(
                Published(
                    self._make_event(
                        now,
                        FleetEventKind.WORKER_CAPACITY_CHANGED,
                        record.worker_id,
                        before=f"{record.full_slots} slots",
                        after=f"{slots} slots",
                    )
                )
            )
        before = record.registration
        record.registration = registration
        record.full_slots, record.full_prefetch = slots, self._prefetch(registration)
        self._fleet.stages(record)
        allowance.fit(self._fleet, record)
        record.specializations = self._specializations(registration)
        self._fleet.refresh(record)
        self._fleet.reprofile(record, before)
        if before.labels != registration.labels:
            self._drains.relabelled(now, record, out)

    # ------------------------------------------------------------------ heartbeats

    def heartbeat(self, now: Now, event: Heartbeat, out: list[Effect]) -> None:
        """A later heartbeat: take it in, and answer with an ack."""
        record = self.sessions.get(event.session)
        if record is None:
            return  # the session was superseded or fenced; its stream is being ended
        if record.row < 0:  # removed after a long silence, on a stream that never broke
            if record.worker_id in self._fleet.records:  # and another stream has come in its name since
                del self.sessions[event.session]
                message = "a newer session of this worker has taken over"
                out.append(Goodbye(event.session, GoodbyeReason.SUPERSEDED, message, None))
                return
            record = self._returned(now, record, event, out)
        if event.registration is not None:
            self._change(now, record, event.registration, out)
        sample = event.sample
        verdicts, refused = self._take(now, record, sample, out)
        if record.session is None:
            return  # it left
        self._probing.heard(now, record, sample.probe_nonce, out)
        interval = self._interval(record.worker_id)
        changed = None
        if not -_INTERVAL_CHANGE <= interval / record.heartbeat_interval_s - 1.0 <= _INTERVAL_CHANGE:
            record.heartbeat_interval_s = changed = interval
        out.append(Acked(event.session, sample.sequence, sample.timestamp_ms, changed, verdicts, refused))

    def _returned(self, now: Now, gone: WorkerRecord, event: Heartbeat, out: list[Effect]) -> WorkerRecord:
        """A bare worker that was removed beats again: it is registered again, as at first sight."""
        record = self._register(now, gone.worker_id, event.registration or gone.registration, out)
        record.epoch, record.session, record.connected = gone.epoch, event.session, True
        record.heartbeat_interval_s = gone.heartbeat_interval_s
        self.sessions[event.session] = record
        return record

    def _interval(self, worker_id: str) -> float:
        health = self._health
        wanted = len(self._fleet) / health.heartbeats_per_s
        interval = max(health.heartbeat_min_s, min(health.heartbeat_max_s, wanted))
        return interval * (1.0 + _JITTER * (crc32(worker_id.encode()) / 0xFFFFFFFF * 2.0 - 1.0))

    def _take(
        self, now: Now, record: WorkerRecord, sample: Sample, out: list[Effect]
    ) -> tuple[tuple[reconcile.Verdict, ...], tuple[tuple[str, Refusal], ...]]:
        """Take in one sample: what it reports, what it lists, what it measures."""
        monotonic = now.monotonic
        record.heartbeats += 1
        record.last_seen = monotonic
        record.last_seen_wall = now.wall
        late = self._out_of_order(record, sample)
        if sample.intent is Intent.DRAIN and record.intent is not Intent.DRAIN and not late:
            self._intend(now, record, sample.intent, out)  # what it gives back with the same message belongs to it
        leaving = sample.intent is not Intent.WORK
        refused = self._talk.reports(now, record, sample.reports, leaving, out) if sample.reports else ()
        if late:
            self._vitals.heard(now, record, out)
            return (), refused
        if sample.drain_id:
            self._drains.echoed(record, sample.drain_id, out)
        record.cpu, record.memory = sample.cpu, sample.memory
        load = load_of(self._health, sample.cpu, sample.memory)
        verdicts: tuple[reconcile.Verdict, ...] = ()
        listed: int | None = None
        if sample.running is not None:
            self._outcomes.track(now, record, out)
            verdicts, listed, missing = reconcile.running(
                now,
                record,
                self._ledger,
                self._outcomes.started,
                self._outcomes.acknowledged,
                sample.running,
                self._worker,
                self._talk.others,
            )
            self._talk.count_unknown(record, verdicts)
            for lease in missing:
                self._talk.repair(now, record, lease, out)
            since = record.unsettled_since
            if since and (not sample.reports or monotonic - since > self._worker.reconcile_grace_s):
                self._talk.settle(now, record, sample.running, out)
        elif record.registration.accepts_tasks or record.registration.reports_outcomes:
            self._outcomes.track(now, record, out)
        if record.accounting is Accounting.TRACKED:
            capacity.tracked(record, listed, sample.queue_depth)
            if listed is None and record.occupied > sample.queue_depth:
                self._talk.expire(now, record, sample.queue_depth, self._worker, out)
        else:
            capacity.sampled(record, sample, monotonic, self._worker.hand_over_s, self._prior_s)
            if record.release_at:
                self._watch_release(record.release_at, record)
            # Leases beyond what the worker still has are over.
            if len(record.leases) > record.occupied:
                self._outcomes.presumed_over(now, record, len(record.leases) - record.occupied, out)
        if record.occupied - len(record.leases) != record.counted_background:
            self._fleet.count_background(record)
        record.queue_depth = sample.queue_depth
        load = load if record.lateness is None else reconcile.usual_load(monotonic, record, load, self._worker)
        self._vitals.loaded(now, record, load, out)
        if sample.intent is not record.intent:
            self._intend(now, record, sample.intent, out)
            if sample.intent is Intent.LEAVE:
                return verdicts, refused
        self._vitals.heard(now, record, out)
        return verdicts, refused

    def _out_of_order(self, record: WorkerRecord, sample: Sample) -> bool:
        """Is this sample older than the last? Several in a row mean that the worker's clock was set back."""
        older = (
            sample.sequence <= record.sequence
            if sample.sequence and record.sequence
            else bool(sample.timestamp_ms) and sample.timestamp_ms < record.timestamp_ms
        )
        if older:
            record.dropped += 1
            record.older_in_a_row += 1
            if record.older_in_a_row < _OLDER_IN_A_ROW:
                return True
        record.older_in_a_row = 0
        record.timestamp_ms = sample.timestamp_ms
        record.sequence = sample.sequence
        return False

    def _intend(self, now: Now, record: WorkerRecord, intent: Intent, out: list[Effect]) -> None:
        record.intent = intent
        if intent is Intent.LEAVE:
            session = record.session
            self._departures.remove(now, record, "it left", Loss.WORKER_REMOVED, out)
            if session is not None:
                self.sessions.pop(session, None)
                out.append(Goodbye(session, GoodbyeReason.LEFT, "unregistered", None))
            return
        self._drains.wishes(now, record, intent is Intent.DRAIN, out)


def _no_hours(_now: Now, _record: WorkerRecord, _out: list[Effect]) -> None:
    """Everybody works always."""
