"""Workers go: silent for too long, by an operator's order, by their own wish. What they held is lost with them."""

from collections.abc import Callable

from scheduler_server.assignment.draining import Drains
from scheduler_server.assignment.effects import Effect, Goodbye, Published, RemoveReply
from scheduler_server.assignment.events import RemoveWorker
from scheduler_server.assignment.ledger import Ledger
from scheduler_server.assignment.losses import Loss, Losses
from scheduler_server.assignment.timers import Timers
from scheduler_server.assignment.vitals import Vitals
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.worker import GoodbyeReason, Health
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.registry.settings import HealthSettings

RECONNECT_AFTER_S = 1.0
"""When a worker is to come back after a goodbye; SDKs add their own jitter."""


class Departures:
    """Who is lost, and who is removed.

    Lost: silent for `lost_after_s`; what it held goes elsewhere, and it may come back. Removed: it is forgotten too.
    Nobody is either before `not_before`: after a restart, or after the server itself has slept, it is the server that
    has not heard.
    """

    def __init__(
        self,
        settings: HealthSettings,
        fleet: Fleet,
        ledger: Ledger,
        losses: Losses,
        vitals: Vitals,
        sessions: dict[int, WorkerRecord],
        drains: Drains,
        make_event: MakeEvent,
    ) -> None:
        self._limits(settings)
        self._drains = drains
        self._fleet = fleet
        self._ledger = ledger
        self._losses = losses
        self._vitals = vitals
        self._sessions = sessions
        self._make_event = make_event
        self._silent: Timers[WorkerRecord] = Timers(_still_silent)
        self.left: Callable[[WorkerRecord], None] = lambda _: None  # who else is to forget a worker
        self.not_before = 0.0  # monotonic seconds
        self.lost = 0  # workers, since the start

    def _limits(self, settings: HealthSettings) -> None:
        self._lost_after_s = settings.remove_after_s if settings.lost_after_s is None else settings.lost_after_s
        self._when_removed = settings.lost_after_s is None and settings.cleanup

    def reconfigure(self, settings: HealthSettings) -> None:
        """Lose workers by these limits from now on, those too that are silent already."""
        self._limits(settings)
        for record in self._fleet.records.values():
            if record.health is Health.UNHEALTHY:
                record.lost_at = 0.0  # what is watched is void; the next sweep sets it anew
                self._vitals.fell_silent.append(record)

    def spare_until(self, at: float) -> None:
        """Nobody is lost, or removed, before this monotonic second."""
        self.not_before = max(self.not_before, at)

    # ------------------------------------------------------------------ lost

    def sweep(self, now: Now, out: list[Effect]) -> None:
        """Look at those that fell silent since the last sweep, and at those that have been for long."""
        for quiet in () if self._when_removed else self._vitals.fell_silent:
            quiet.lost_at = max(quiet.last_seen + self._lost_after_s, self.not_before)
            self._silent.watch(quiet.lost_at, quiet)
        self._vitals.fell_silent.clear()
        while (record := self._silent.due(now.monotonic)) is not None:
            at = max(record.last_seen + self._lost_after_s, self.not_before)
            if at > now.monotonic:
                record.lost_at = at
                self._silent.watch(at, record)
                continue
            record.lost_at = 0.0
            self._lose(now, record, out)
        self._age_orphans(now, out)

    def _lose(self, now: Now, record: WorkerRecord, out: list[Effect]) -> None:
        leases = list(record.leases.values())
        if not leases:
            return
        why = f"nothing heard for {now.monotonic - record.last_seen:.0f} s; {len(leases)} leases lost"
        out.append(Published(self._make_event(now, FleetEventKind.WORKER_LOST, record.worker_id, why)))
        self.lost += 1
        for lease in leases:
            self._losses.lose(now, lease, Loss.WORKER_LOST, out)

    def _age_orphans(self, now: Now, out: list[Effect]) -> None:
        """Leases from before a restart whose workers did not come back are lost with them."""
        if not self._ledger.orphans or now.monotonic < self.not_before:
            return
        orphans, self._ledger.orphans = self._ledger.orphans, {}
        for worker_id in sorted(orphans):
            for record in orphans[worker_id]:
                if record.live:
                    self._losses.lose(now, record, Loss.WORKER_LOST, out)

    # ------------------------------------------------------------------ removed

    def cleanup(self, now: Now, out: list[Effect]) -> None:
        """Remove the workers that have been silent for long enough."""
        if not self._vitals.silent or now.monotonic < self.not_before:
            return
        silent, self._vitals.silent = self._vitals.silent, {}
        for record in silent.values():
            if record.row < 0:
                continue
            session = record.session
            explicit = record.registration.explicit
            self.remove(now, record, "silent for too long", Loss.WORKER_LOST, out)
            if session is None:
                continue
            if explicit:
                self._sessions.pop(session, None)
                message = "silent for too long; register again"
                out.append(Goodbye(session, GoodbyeReason.REMOVED, message, RECONNECT_AFTER_S))
            # A bare worker cannot be told. Should it beat again on this stream, it is registered again.

    def remove(self, now: Now, record: WorkerRecord, why: str, loss: Loss, out: list[Effect]) -> int:
        """Forget a worker; its leases are lost. Returns how many."""
        leases = list(record.leases.values())
        if leases and loss is Loss.WORKER_LOST:
            self.lost += 1
        for lease in leases:
            self._losses.lose(now, lease, loss, out)
        self._fleet.remove(record)
        self.left(record)
        self._vitals.silent.pop(record.worker_id, None)
        record.session = None
        detail = f"{why}; {len(leases)} leases lost" if leases else why
        out.append(Published(self._make_event(now, FleetEventKind.WORKER_REMOVED, record.worker_id, detail)))
        self._drains.removed(now, record, out)
        return len(leases)

    def remove_by_order(self, now: Now, event: RemoveWorker, out: list[Effect]) -> None:
        """An operator removes a worker."""
        record = self._fleet.records.get(event.worker_id)
        if record is None:
            message = f"worker {event.worker_id!r} is not known"
            refusal = Refusal(Reason.WORKER_UNKNOWN, message, (("worker_id", event.worker_id),))
            out.append(RemoveReply(0, refusal))
            return
        session = record.session
        why = f"by an operator: {event.reason}" if event.reason else "by an operator"
        lost = self.remove(now, record, why, Loss.WORKER_REMOVED, out)
        if session is not None:
            self._sessions.pop(session, None)
            out.append(Goodbye(session, GoodbyeReason.REMOVED, event.reason or "removed by an operator", None))
        out.append(RemoveReply(lost))


def _still_silent(at: float, record: WorkerRecord) -> bool:
    return record.lost_at == at and record.health is Health.UNHEALTHY and record.row >= 0
