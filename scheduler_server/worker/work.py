"""What a worker has to do and to say, whatever becomes of its streams. No I/O, no clock, no lock of its own.

Facts come in through methods. What they cause on the wire goes into `outbox` at once; what they cause in the
process (handlers to start and to stop) waits in `effects` for the caller, who applies it after letting go of
the lock.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from scheduler_api.v1.task_pb2 import Outcome
from scheduler_api.v1.worker_pb2 import (
    LeaseAcknowledged,
    LeaseDeclined,
    LeaseReport,
    LeaseReturned,
    LeaseStarted,
    LeaseVerdict,
    LeaseVerdictKind,
    RefusedReport,
    RunTask,
    WorkerIntent,
)
from scheduler_server.worker import outcome as outcomes
from scheduler_server.worker.outbox import Outbox
from scheduler_server.worker.running import Lease, Leases

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Effects:
    """Handlers to start and to stop, and offers to be told of, in order."""

    start: list[Lease] = field(default_factory=list)
    stop: list[Lease] = field(default_factory=list)
    offer: list[Lease] = field(default_factory=list)


class Work:
    """Leases and unacknowledged reports.

    Every lease that was handed over ends in exactly one last report (finished, declined or returned), unless
    the server no longer knows it or the worker leaves before its handler is done.
    """

    def __init__(self, leases: Leases, handles: Callable[[str], bool], *, asks: bool = False) -> None:
        """`asks`: somebody decides about each task before it is acknowledged."""
        self.leases = leases
        self.offered: dict[str, Lease] = {}  # neither accepted nor declined
        self._asks = asks
        self.outbox = Outbox()
        self.effects = Effects()
        self.intent: WorkerIntent.ValueType = WorkerIntent.WORKER_INTENT_WORK
        self.drain_id = ""  # the server's drain; it holds for the session in which the server said it
        self._handles = handles
        self._abandoned = False

    def take_effects(self) -> Effects:
        """What the process has to do now; the next call does not return it again."""
        effects, self.effects = self.effects, Effects()
        return effects

    def hand_over(self, run: RunTask, now: float) -> None:
        """The server hands a task over: acknowledge or decline at once, and start it when there is a slot."""
        if run.lease_id not in self.leases:
            slots = max(1, run.task.slots)
            if self.draining:  # it was on its way
                self.outbox.add(LeaseReport(lease_id=run.lease_id, returned=LeaseReturned()))
                return
            reason = self._refusal(run.task.task_type, slots)
            if reason:
                log.info("lease %s declined: %s", run.lease_id, reason)
                declined = LeaseDeclined(reason=outcomes.bounded(reason))
                self.outbox.add(LeaseReport(lease_id=run.lease_id, declined=declined))
                return
            lease = Lease(lease_id=run.lease_id, slots=slots, run=run)
            if self._asks:
                if run.lease_id not in self.offered:
                    self.offered[run.lease_id] = lease
                    self.effects.offer.append(lease)
                return
            self.leases.add(lease)
        self.outbox.add(LeaseReport(lease_id=run.lease_id, acknowledged=LeaseAcknowledged()))
        self._start_next(now)

    def accept(self, lease_id: str, now: float) -> bool:
        """Somebody takes what was offered; False where it is not on offer any more."""
        lease = self.offered.pop(lease_id, None)
        if lease is None:
            return False
        self.leases.add(lease)
        self.outbox.add(LeaseReport(lease_id=lease_id, acknowledged=LeaseAcknowledged()))
        self._start_next(now)
        return True

    def decline_offer(self, lease_id: str, reason: str) -> bool:
        """Somebody leaves it to others; False where it is not on offer any more."""
        if self.offered.pop(lease_id, None) is None:
            return False
        declined = LeaseDeclined(reason=outcomes.bounded(reason))
        self.outbox.add(LeaseReport(lease_id=lease_id, declined=declined))
        return True

    def withdraw(self, lease_id: str = "") -> bool:
        """An offer, or all of them, can not be accepted any more."""
        gone = [lease_id] if lease_id in self.offered else [] if lease_id else list(self.offered)
        for each in gone:
            self.offered.pop(each).cancelled.set()
        return bool(gone)

    def began(self, lease_id: str, now: float) -> Lease:
        """The program itself runs a task that its queue service delivered.

        Raises:
            ValueError: this lease is running already.
        """
        if lease_id in self.leases:
            raise ValueError(f"lease {lease_id} is running already")
        lease = Lease(lease_id=lease_id, started_at=now)
        self.leases.add(lease)
        self.outbox.add(LeaseReport(lease_id=lease_id, started=LeaseStarted()))
        return lease

    def finished(self, lease_id: str, outcome: Outcome, now: float) -> None:
        """A task ended; its slot goes to the next one."""
        lease = self.leases.get(lease_id)
        if self._end(lease_id):
            report = LeaseReport(lease_id=lease_id, finished=outcome)
            if lease is not None and lease.span:
                report.trace.traceparent = lease.span
            self.outbox.add(report)
        self._start_next(now)

    def declined(self, lease_id: str, reason: str, now: float) -> None:
        """A handler gave its task back before doing anything."""
        if self._end(lease_id):
            self.outbox.withdraw_start(lease_id)
            declined = LeaseDeclined(reason=outcomes.bounded(reason))
            self.outbox.add(LeaseReport(lease_id=lease_id, declined=declined))
        self._start_next(now)

    def cancel(self, lease_id: str, now: float) -> None:
        """Stop a task: one that runs ends when its handler does, one that is held ends here."""
        if self.withdraw(lease_id):
            return  # it was never taken, so there is nothing to say
        lease = self.leases.get(lease_id)
        if lease is None or lease.cancelled.is_set():  # twice: a handler that cleans up is left in peace
            return
        lease.cancelled.set()
        if lease.started_at is None:
            self.finished(lease_id, outcomes.cancelled(), now)
        else:
            self.effects.stop.append(lease)

    def judge(self, verdicts: Iterable[LeaseVerdict], now: float) -> None:
        """What the server says of leases that it was told of."""
        for verdict in verdicts:
            lease = self.leases.get(verdict.lease_id)
            if lease is None:
                continue
            if verdict.verdict == LeaseVerdictKind.LEASE_VERDICT_KIND_STOP:
                self.cancel(verdict.lease_id, now)
            elif verdict.verdict == LeaseVerdictKind.LEASE_VERDICT_KIND_UNKNOWN:
                log.warning("the server knows nothing of lease %s; its outcome will go nowhere", lease.lease_id)
                lease.listed = False

    def handled(self, sequence: int, refused: Iterable[RefusedReport]) -> None:
        """The server has handled a message's reports, and refused some of them."""
        for report in refused:
            log.warning("report of lease %s refused: %s %s", report.lease_id, report.reason, report.message)
        self.outbox.acknowledge(sequence)

    def drain(self, drain_id: str | None = None) -> None:
        """Take no more, give back what is held, finish what runs. With an id it was the server's wish; "" ends that."""
        if drain_id is None:
            self.intent = WorkerIntent.WORKER_INTENT_DRAIN
        else:
            self.drain_id = drain_id
            if not drain_id:
                return
        for lease_id in self.offered:
            self.outbox.add(LeaseReport(lease_id=lease_id, returned=LeaseReturned()))
        self.withdraw()
        for lease in self.leases.held():
            self.leases.remove(lease.lease_id)
            if lease.listed:
                self.outbox.add(LeaseReport(lease_id=lease.lease_id, returned=LeaseReturned()))

    def give_back(self, lease_id: str) -> None:
        """The server wants a task back for another worker: what is held goes, what has started stays."""
        lease = self.leases.get(lease_id)
        if lease is None or lease.started_at is not None:
            return
        self.leases.remove(lease_id)
        if lease.listed:
            self.outbox.add(LeaseReport(lease_id=lease_id, returned=LeaseReturned()))

    def resize(self, slots: int, now: float) -> None:
        """More or fewer slots from now on."""
        self.leases.slots = slots
        self._start_next(now)

    def leave(self) -> None:
        """Unregister with the next message."""
        self.intent = WorkerIntent.WORKER_INTENT_LEAVE

    def abandon(self) -> list[str]:
        """Stop what still runs and say no more about it; returns whose outcome nobody will hear."""
        self._abandoned = True
        self.withdraw()
        for lease in self.leases.all():
            lease.cancelled.set()
            self.effects.stop.append(lease)
        return [lease.lease_id for lease in self.leases.all()]

    @property
    def draining(self) -> bool:
        """True while it takes nothing more, by its own wish or the server's."""
        return self.intent != WorkerIntent.WORKER_INTENT_WORK or bool(self.drain_id)

    def _refusal(self, task_type: str, slots: int) -> str | None:
        if not self._handles(task_type):
            return f"this worker has no handler for task type {task_type!r}"
        return self.leases.no_room(slots)

    def _end(self, lease_id: str) -> bool:
        """Forget the lease; True when its end is to be reported."""
        if self._abandoned:
            return False
        lease = self.leases.remove(lease_id)
        return lease is not None and lease.listed

    def _start_next(self, now: float) -> None:
        for lease in self.leases.start_next(now):
            self.outbox.add(LeaseReport(lease_id=lease.lease_id, started=LeaseStarted()))
            self.effects.start.append(lease)
