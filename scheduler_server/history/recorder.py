"""From the shell's changes to the log's entries: see `Changes` in rpc/shell.py, which this is one of."""

from collections.abc import Callable

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.queueing import Unplaced
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.history.busy import Busy
from scheduler_server.history.hour import Hour
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.model.making import make
from scheduler_server.model.task import TaskState
from scheduler_server.storage.decision_log import Decided, Entry, Finished, Happened, without_payload

Put = Callable[[Entry], bool]


class Recorder:
    """Hears of every lease and event in its turn; what it makes of one costs about a microsecond.

    A decision is recorded when it is made, whether or not its lease is on disk yet: after a kill in between, the log
    has both the decision that was forgotten and the one that took its place, which is what happened.

    Invariant: `_held` has the leases of tasks that somebody else keeps, whose decision was handed over and that no
    worker has taken yet.
    """

    def __init__(
        self,
        core: Scheduler,
        busy: Busy,
        hour: Hour,
        *,
        now: Callable[[], Now],
        severity: Callable[[FleetEvent], str],
    ) -> None:
        self._workers = core.fleet.records
        self._incarnation = core.incarnation
        self._busy = busy
        self._hour = hour
        self._now = now
        self._severity = severity
        self.put: Put | None = None  # None: there is no log
        self._held: set[str] = set()

    # ------------------------------------------------------------------ leases

    def of_lease(self, record: TaskRecord) -> None:
        """It was granted, or is over."""
        if record.live:
            since, placed = record.submitted_wall, record.placed_wall
            if since < placed:
                self._hour.minutes[-1].waited(placed - since)
            if self.put is not None:
                if record.held:
                    self._held.add(record.lease_id)
                self.decided(record)
            return
        self._busy.ended(record)
        if self.put is not None:
            if record.held and record.decision.incarnation == self._incarnation:
                self._never_told(record)
            self._finished(record, record.ended_wall)

    def _never_told(self, record: TaskRecord) -> None:
        """A lease may end while its task is kept back; then nobody has said that it was granted."""
        if record.lease_id in self._held:
            self._held.discard(record.lease_id)
        else:
            self.decided(record)

    def decided(self, record: TaskRecord) -> None:
        """Hand over its decision."""
        put = self.put
        if put is None:
            return
        task = record.task
        since = record.submitted_wall
        waited = since < record.placed_wall
        trace = task.trace
        put(
            make(
                Decided,
                (
                    record.decision,
                    task.category,
                    task.priority,
                    task.caller_choice,
                    since if waited else None,
                    record.expected if waited else None,
                    "" if trace is None else trace.trace_id,
                    record.applied,
                ),
            )
        )

    def told_late(self, record: TaskRecord) -> None:
        """Somebody said how it had ended, after it had."""
        if self.put is not None:
            self._finished(record, self._now()[1])

    def _finished(self, record: TaskRecord, ended_wall: float) -> None:
        outcome = record.outcome
        worker = self._workers.get(record.worker_id)
        if outcome is None:
            told: tuple[object, ...] = (None, None, "", "")
        else:
            told = (outcome.status, outcome.duration_ms, outcome.error_kind, outcome.error_message)
        self.put(  # type: ignore[misc] # whoever calls has looked
            make(
                Finished,
                (
                    record.decision,
                    without_payload(record.task),
                    *told,
                    record.started_wall or None,
                    ended_wall,
                    1.0 if worker is None else worker.speed,
                ),
            )
        )

    def of_moved(self, record: TaskRecord, state: TaskState) -> None:
        """It was acknowledged, or started: told with its end."""
        if self._held:
            self._held.discard(record.lease_id)

    # ------------------------------------------------------------------ the rest

    def of_waiting(self, waiter: Waiter) -> None:
        """What it was told of its start comes with its decision."""

    def of_unplaced(self, ended: Unplaced) -> None:
        """There was no decision."""

    def hold(self) -> None:
        """See above: a decision is recorded when it is made."""

    def release(self) -> None:
        """Likewise."""

    def of_event(self, event: FleetEvent) -> None:
        """Something happened that operators are told."""
        if (
            event.kind is FleetEventKind.WORKER_REGISTERED
            and (worker := self._workers.get(event.worker_id)) is not None
        ):
            self._busy.meet(worker, self._now())
        if self.put is not None:
            self.put(make(Happened, (event, self._severity(event), "", "", "", "", "")))
