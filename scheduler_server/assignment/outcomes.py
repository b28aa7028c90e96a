"""How leases end, and what is learned from it."""

from collections.abc import Callable

from scheduler_server.assignment.accuracy import Accuracy
from scheduler_server.assignment.draining import Drains
from scheduler_server.assignment.effects import (
    CancelReply,
    Effect,
    Ended,
    Moved,
    OutcomeReply,
    Published,
    Recall,
    ToldLate,
)
from scheduler_server.assignment.events import Cancel
from scheduler_server.assignment.ledger import Ledger, TaskRecord
from scheduler_server.assignment.placement import Placement
from scheduler_server.assignment.vitals import Vitals
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Rejection
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.model.making import make
from scheduler_server.model.outcome import Outcome, OutcomeResult, OutcomeStatus
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import TaskState
from scheduler_server.model.worker import Accounting
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.dated import Dated
from scheduler_server.predictor.settings import LONGEST_MS
from scheduler_server.registry import capacity
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.registry.speed import Speeds

_SPEED_SAMPLES = 3
"""Outcomes behind a prediction before it says anything about a worker's speed: the first ones are the default's."""

Heed = Callable[[Now, WorkerRecord, TaskRecord, bool, list[Effect]], None]

_FINISHED, _OFFERED, _SUCCEEDED = TaskState.FINISHED, TaskState.OFFERED, OutcomeStatus.SUCCEEDED


class Outcomes:
    """Ends leases: by outcome, cancel, loss, or lost track. Each lease ends once; each end may be told again."""

    def __init__(
        self,
        fleet: Fleet,
        ledger: Ledger,
        predictor: Predictor,
        accuracy: Accuracy,
        placement: Placement,
        vitals: Vitals,
        drains: Drains,
        make_event: MakeEvent,
    ) -> None:
        self._fleet = fleet
        self.drains = drains
        self._ledger = ledger
        self.reconfigure(predictor)
        self._accuracy = accuracy
        self._placement = placement
        self._vitals = vitals
        self._make_event = make_event
        self.heed: Heed  # the core's: who hears how each worker's tasks ended, well (True) or not
        self._speeds = Speeds()
        self.learn_failures = 0
        self.moved: list[Moved] = []  # acknowledged or started, and not told yet
        self._ended_as = [0] * (max(OutcomeStatus) + 1)

    def reconfigure(self, predictor: Predictor) -> None:
        """Teach this one from now on."""
        self._predictor = predictor
        self._dated = predictor if isinstance(predictor, Dated) else None

    # ------------------------------------------------------------------ told

    def report(
        self, now: Now, lease_id: str, outcome: Outcome, worker_id: str | None, out: list[Effect]
    ) -> OutcomeReply:
        """A worker (`worker_id`) or the queue service (None) says how a task ended."""
        record = self._ledger.leases.get(lease_id)
        if record is None:
            return _refused(Reason.LEASE_UNKNOWN, f"lease {lease_id!r} is not known, or no longer kept", lease_id)
        if worker_id is not None and worker_id != record.worker_id:
            return _refused(
                Reason.LEASE_OF_ANOTHER_WORKER, f"lease {lease_id!r} is not of worker {worker_id!r}", lease_id
            )
        worker = record.worker
        if record.live:
            if worker is not None and worker.accounting is Accounting.SAMPLED:
                self._track(now, worker, out)
            if worker_id is not None and not record.started_at:
                self.started(now, record)
            record.reported = True
            stopped = outcome.status is OutcomeStatus.CANCELLED and record.stop_asked is not None
            self._end(now, record, TaskState.CANCELLED if stopped else _FINISHED, outcome, out)
            return _ACCEPTED
        if record.reported:
            return _DUPLICATE
        record.reported = True  # a late outcome teaches, and releases nothing
        late = self._fleet.records.get(record.worker_id)
        if late is not None and late.accounting is Accounting.SAMPLED:
            self._track(now, late, out)
        if outcome.status is _SUCCEEDED:
            self._learn(now, record, outcome, late, out)
            if late is not None:
                self._fleet.refresh(late)  # its average and speed may have moved
        record.outcome = outcome
        out.append(ToldLate(record))
        return _LATE

    def _track(self, now: Now, worker: WorkerRecord, out: list[Effect]) -> None:
        if capacity.become_tracked(worker):
            self._fleet.count_background(worker)
            self._fleet.refresh(worker)
            out.append(
                Published(
                    self._make_event(
                        now,
                        FleetEventKind.WORKER_ACCOUNTING_CHANGED,
                        worker.worker_id,
                        "its outcomes are reported, so its slots are counted exactly",
                        before="sampled",
                        after="tracked",
                    )
                )
            )

    def track(self, now: Now, worker: WorkerRecord, out: list[Effect]) -> None:
        """Count a worker's slots exactly from now on."""
        self._track(now, worker, out)

    def acknowledged(self, record: TaskRecord) -> None:
        """A worker has a task and has not started it."""
        self._taken(record)
        record.state = TaskState.ACKNOWLEDGED
        self.moved.append(Moved(record, TaskState.ACKNOWLEDGED))

    def started(self, now: Now, record: TaskRecord, elapsed_ms: float = 0.0) -> None:
        """A worker says that a task runs."""
        if not record.started_at:
            record.started_at = max(record.granted_at, now.monotonic - elapsed_ms / 1_000.0)
            record.started_wall = now.wall - (now.monotonic - record.started_at)
        if record.live and record.state is not TaskState.STARTED:
            self._taken(record)
            record.state = TaskState.STARTED
            self.moved.append(Moved(record, TaskState.STARTED))

    def _taken(self, record: TaskRecord) -> None:
        """Its worker has it."""
        record.held = record.unsure = False
        if record.state is _OFFERED:
            self._unoffered(record)

    def _unoffered(self, record: TaskRecord) -> None:
        """One hand-over less is under way to its worker."""
        worker = record.worker
        if worker is not None and worker.row >= 0:
            worker.offers -= 1
            if worker.barred is Rejection.OUTBOUND_FULL:
                self._vitals.bar(worker)
                self._fleet.refresh(worker)

    def tell_moved(self, out: list[Effect]) -> None:
        """Tell what moved: before anything ends, and at the latest with the end of the event."""
        out += self.moved
        self.moved.clear()

    # ------------------------------------------------------------------ ended

    def cancel(self, now: Now, event: Cancel, out: list[Effect]) -> None:
        """Answer one Cancel."""
        record = self._ledger.current(event.tenant, event.task_id, event.attempt or 1)
        about = (("task_id", event.task_id), ("attempt", str(event.attempt or 1)))
        if record is None:
            refusal = Refusal(Reason.TASK_UNKNOWN, f"task {event.task_id!r} is not known, or no longer kept", about)
            out.append(CancelReply(None, False, refusal))
        elif event.lease_id and event.lease_id != record.lease_id:
            refusal = Refusal(
                Reason.LEASE_MISMATCH,
                f"lease {event.lease_id!r} is not the one of task {event.task_id!r}",
                about,
            )
            out.append(CancelReply(None, False, refusal))
        elif record.state is TaskState.FINISHED:
            refusal = Refusal(Reason.TASK_FINISHED, f"task {event.task_id!r} has finished", about)
            out.append(CancelReply(None, False, refusal))
        elif record.live:
            told = not event.unsent and self.stop(record, event.reason or "cancelled", out)
            self._end(now, record, TaskState.CANCELLED, Outcome(OutcomeStatus.CANCELLED), out)
            out.append(CancelReply(TaskState.CANCELLED, told))
        else:  # cancelled before, or lost: nothing runs, nothing to do
            out.append(CancelReply(record.state, False))

    def recall(self, record: TaskRecord, reason: str, out: list[Effect]) -> bool:
        """Tell its worker to stop a task; False where it cannot be told."""
        worker = record.worker
        if worker is None or worker.session is None or not worker.registration.explicit:
            return False
        out.append(Recall(worker.session, record.lease_id, reason))
        return True

    def stop(self, record: TaskRecord, reason: str, out: list[Effect]) -> bool:
        """The same for one that is about to be ended by others: until its worker has stopped it, it takes a slot."""
        told = self.recall(record, reason, out)
        worker = record.worker
        # What was never heard of by its worker may never come to it: the caller delivers it, or does not.
        had = worker is not None and record.state is not TaskState.PLACED
        if told and had and worker is not None and worker.accounting is Accounting.TRACKED:
            capacity.stopping(worker)
            self._fleet.count_background(worker)
        return told

    def lost(self, now: Now, record: TaskRecord, out: list[Effect], *, state: TaskState = TaskState.LOST) -> None:
        """Its worker will not end it; `losses.py` knows why, and what follows."""
        self._end(now, record, state, Outcome(OutcomeStatus.LOST), out)

    def presumed_over(self, now: Now, worker: WorkerRecord, slots: int, out: list[Effect]) -> None:
        """A sampled worker is taken to have finished this many of its oldest tasks; nobody says how."""
        for _ in range(min(slots, len(worker.leases))):
            record = worker.leases[next(iter(worker.leases))]
            del worker.leases[record.lease_id]
            self._close(now, record, TaskState.FINISHED, None, out)
            if worker.draining:
                self.drains.ended(now, record, out)

    def _end(self, now: Now, record: TaskRecord, state: TaskState, outcome: Outcome, out: list[Effect]) -> None:
        worker = record.worker
        self._close(now, record, state, outcome, out)
        succeeded = outcome.status is _SUCCEEDED
        if worker is not None:
            worker.leases.pop(record.lease_id, None)
            if worker.occupied > 0:
                worker.occupied -= 1
            if succeeded:
                worker.completed += 1
                self._learn(now, record, outcome, worker, out)
            elif state is _FINISHED and outcome.status is not OutcomeStatus.CANCELLED:
                worker.failed += 1
            self._fleet.refresh(worker)
            if worker.draining:
                self.drains.ended(now, record, out)
            if succeeded or (state is _FINISHED and outcome.status is not OutcomeStatus.CANCELLED):
                self.heed(now, worker, record, succeeded, out)
        else:
            if succeeded:
                self._learn(now, record, outcome, None, out)
            self._forget_orphan(record)
            self.drains.ended(now, record, out)
        self._placement.slot_freed(outcome.duration_ms)

    def _close(
        self, now: Now, record: TaskRecord, state: TaskState, outcome: Outcome | None, out: list[Effect]
    ) -> None:
        if self.moved:
            self.tell_moved(out)
        if record.state is _OFFERED:
            self._unoffered(record)
        record.state = state
        record.live = False
        worker = record.worker
        if worker is not None and worker.row >= 0:
            worker.pool.ended(record.ends_at - record.granted_at)
        record.outcome = outcome
        record.ended_at, record.ended_wall = now
        if self._placement.queue.fair:
            self._placement.queue.usage.ended(record)
        if record.capped and self._placement.overrides is not None:
            self._placement.overrides.over(record)
        record.worker = None
        if outcome is not None:
            self._ended_as[outcome.status] += 1
        self._ledger.ended(record, record.ended_at)
        out.append(make(Ended, (record,)))

    def _forget_orphan(self, record: TaskRecord) -> None:
        waiting = self._ledger.orphans.get(record.worker_id)
        if waiting and record in waiting:
            waiting.remove(record)

    # ------------------------------------------------------------------ learned

    def _learn(
        self, now: Now, record: TaskRecord, success: Outcome, worker: WorkerRecord | None, out: list[Effect]
    ) -> None:
        """Judge the prediction, and teach average, predictor and speed, once, from a success that somebody timed."""
        duration_ms = success.duration_ms
        if duration_ms is None or record.taught or not 0.0 < duration_ms <= LONGEST_MS:
            return
        record.taught = True
        prediction = record.decision.prediction
        actual_ms = duration_ms
        if worker is not None:
            # Successes that nobody measured count as completed, so the first measured one sets the average.
            share = 1.0 / max(worker.completed, 1) if worker.average else 1.0
            worker.average += (duration_ms - worker.average) * share
            actual_ms = min(LONGEST_MS, duration_ms * worker.speed)
            known = prediction is not None and prediction.sample_count >= _SPEED_SAMPLES
            if known and prediction is not None and self._speeds.learn(worker, prediction.point_ms, duration_ms):
                self._vitals.lead(worker)
                self._fleet.agenda.learn_speed(worker)
        if prediction is not None:
            moved = self._accuracy.judge(record.task.task_type, prediction, actual_ms)
            if moved is not None:
                self._tell_trust(now, record.task.task_type, moved, out)
        record.taught_ms = actual_ms
        if self._dated is not None:
            self._dated.wall = now.wall
        try:
            self._predictor.observe(record.task, actual_ms)
        except Exception:  # noqa: BLE001 -- a predictor is a plug-in: an outcome counts even where it teaches nothing
            self.learn_failures += 1

    def _tell_trust(self, now: Now, task_type: str, share: float, out: list[Effect]) -> None:
        lost = task_type in self._accuracy.untrusted
        kind = FleetEventKind.PREDICTION_UNTRUSTED if lost else FleetEventKind.PREDICTION_TRUSTED
        detail = f"{share:.0%} of the last predictions for task type {task_type!r} were within a factor of two"
        before, after = ("trusted", "untrusted") if lost else ("untrusted", "trusted")
        out.append(Published(self._make_event(now, kind, "", detail, before, after, task_type)))

    @property
    def by_status(self) -> dict[OutcomeStatus, int]:
        """Tasks ended, by how."""
        return {status: self._ended_as[status] for status in OutcomeStatus if self._ended_as[status]}


def _refused(reason: Reason, message: str, lease_id: str) -> OutcomeReply:
    return OutcomeReply(OutcomeResult.REFUSED, Refusal(reason, message, (("lease_id", lease_id),)))


_ACCEPTED = OutcomeReply(OutcomeResult.ACCEPTED)
_DUPLICATE = OutcomeReply(OutcomeResult.DUPLICATE)
_LATE = OutcomeReply(OutcomeResult.LATE)
