"""What workers say about their leases: reports, running lists, and silence about them."""

from collections.abc import Callable

from scheduler_server.assignment import reconcile
from scheduler_server.assignment.effects import Effect, Published
from scheduler_server.assignment.lateness import Others
from scheduler_server.assignment.ledger import Ledger, TaskRecord
from scheduler_server.assignment.losses import Loss, Losses
from scheduler_server.assignment.outcomes import Outcomes
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.model.outcome import OutcomeResult
from scheduler_server.model.refusal import Refusal
from scheduler_server.model.task import TaskState
from scheduler_server.model.worker import LeaseReport, ReportKind, RunningLease, VerdictKind
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.registry.settings import WorkerSettings


class LeaseTalk:
    """Carries what a worker says of its leases into the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        outcomes: Outcomes,
        losses: Losses,
        make_event: MakeEvent,
        lost_track_after_s: float,
    ) -> None:
        self._ledger = ledger
        self._outcomes = outcomes
        self._losses = losses
        self.unknown = 0  # leases that workers listed and the ledger did not know
        self.repairs = 0  # leases that the ledger had and their workers had not
        self.asked_back: Callable[[TaskRecord], bool] = lambda _: False  # set by rebalancing: did it ask for this?
        self.others = Others()
        self._make_event = make_event
        self._lost_track_after_s = lost_track_after_s

    def reconfigure(self, lost_track_after_s: float) -> None:
        """Give up leases that nobody speaks of by this limit from now on; no earlier than they were granted for."""
        self._lost_track_after_s = lost_track_after_s

    def reports(
        self, now: Now, record: WorkerRecord, reports: tuple[LeaseReport, ...], leaving: bool, out: list[Effect]
    ) -> tuple[tuple[str, Refusal], ...]:
        """Take in reports, in order; answers those that changed nothing, and why.

        `leaving`: the worker wants no more tasks, so what it declines it only gives back.
        """
        refused: list[tuple[str, Refusal]] = []
        self._outcomes.track(now, record, out)
        for report in reports:
            if report.kind is ReportKind.FINISHED and report.outcome is not None:
                answer = self._outcomes.report(now, report.lease_id, report.outcome, record.worker_id, out)
                if answer.result is OutcomeResult.REFUSED and answer.refusal is not None:
                    refused.append((report.lease_id, answer.refusal))
                continue
            lease = record.leases.get(report.lease_id)
            if lease is None:
                if not self._told_late(record, report):
                    refused.append((report.lease_id, reconcile.unknown(report.lease_id, record, self._ledger)))
            elif report.kind is ReportKind.STARTED:
                self._outcomes.started(now, lease)
            elif report.kind is ReportKind.ACKNOWLEDGED:
                if lease.state in _BEFORE_ACK:
                    self._outcomes.acknowledged(lease)
            elif report.kind is ReportKind.RETURNED and not (leaving or record.draining) and self.asked_back(lease):
                self._losses.lose(now, lease, Loss.MOVED, out)
            else:
                declined = report.kind is ReportKind.DECLINED
                detail = report.detail or ("declined" if declined else "given back")
                out.append(
                    Published(
                        self._make_event(
                            now,
                            FleetEventKind.TASK_DECLINED,
                            record.worker_id,
                            f"{lease.task.task_id}, attempt {lease.task.attempt}: {detail}",
                        )
                    )
                )
                # Who goes on working and gives back would get it again at once, and give it back again.
                declined = not (leaving or record.draining or record.off_shift)
                self._losses.lose(now, lease, Loss.DECLINED if declined else Loss.RETURNED, out)
        return tuple(refused)

    def _told_late(self, record: WorkerRecord, report: LeaseReport) -> bool:
        """Is this of a task whose end it has told already? Reports go again until they are acknowledged."""
        ended = self._ledger.leases.get(report.lease_id)
        return (
            ended is not None
            and ended.worker_id == record.worker_id
            and ended.state is TaskState.FINISHED
            and report.kind in _ON_THE_WAY
        )

    def settle(self, now: Now, record: WorkerRecord, listed: tuple[RunningLease, ...], out: list[Effect]) -> None:
        """Give up what an earlier session was handed and this one does not have."""
        record.unsettled_since = 0.0
        for lease, same_process in reconcile.settled(record, listed):
            self._losses.lose(now, lease, Loss.NOT_TAKEN if same_process else Loss.WORKER_LOST, out)

    def count_unknown(self, record: WorkerRecord, verdicts: tuple[reconcile.Verdict, ...]) -> None:
        """Count the leases that a worker lists and nobody here knows, each when it is first listed."""
        unknown = sum(1 for _, kind in verdicts if kind is VerdictKind.UNKNOWN) if verdicts else 0
        self.unknown += max(0, unknown - record.unknown_listed)
        record.unknown_listed = unknown

    def expire(
        self, now: Now, record: WorkerRecord, queue_depth: int, settings: WorkerSettings, out: list[Effect]
    ) -> None:
        """Leases nobody spoke of for long: their slots are held until a sample shows them free."""
        counted, surplus = reconcile.surplus(now.monotonic, record, queue_depth, settings, self.others)
        for lease in counted:
            if surplus <= 0:
                return
            if lease.expires_at <= now.monotonic:
                surplus -= 1
                record.lateness.gave_up(lease)
                self._lost_track(now, lease, f"nobody spoke of it, and the worker has {queue_depth} tasks", out)

    def repair(self, now: Now, record: WorkerRecord, lease: TaskRecord, out: list[Effect]) -> None:
        """A lease that the ledger has, and its worker's lists have not had for longer than the grace."""
        record.repairs += 1
        self.repairs += 1
        why = f"{lease.lease_id}: the worker no longer lists it"
        kind = FleetEventKind.WORKER_LEDGER_REPAIRED
        out.append(Published(self._make_event(now, kind, record.worker_id, why)))
        self._losses.lose(now, lease, Loss.LOST_TRACK, out)

    def _lost_track(self, now: Now, lease: TaskRecord, why: str, out: list[Effect]) -> None:
        """Give a lease up: its worker no longer has it, and nobody says how it ended."""
        kind = FleetEventKind.LEASE_LOST_TRACK
        out.append(Published(self._make_event(now, kind, lease.worker_id, f"{lease.lease_id}: {why}")))
        self._losses.lose(now, lease, Loss.LOST_TRACK, out)


_ON_THE_WAY = frozenset({ReportKind.ACKNOWLEDGED, ReportKind.STARTED})
_BEFORE_ACK = frozenset({TaskState.PLACED, TaskState.OFFERED})
