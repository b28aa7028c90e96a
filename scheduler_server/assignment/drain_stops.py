"""A drain's deadline: what was said beforehand is done with what still runs.

    LEAVE   nothing; the drain is overdue
    CANCEL  workers are told to stop; what has not ended some time after that is given up
    LOSE    it is given up at once: each task's loss policy says what follows

After a restart the workers first have the time that they have anyway to come back and to tell what has ended.
"""

from itertools import islice

from scheduler_server.assignment.departures import Departures
from scheduler_server.assignment.drain_jobs import CHANGED
from scheduler_server.assignment.drain_record import Drain, Line
from scheduler_server.assignment.draining import Drains
from scheduler_server.assignment.effects import DrainMoved, Effect
from scheduler_server.assignment.ledger import Ledger, TaskRecord
from scheduler_server.assignment.losses import Loss, Losses
from scheduler_server.assignment.outcomes import Outcomes
from scheduler_server.assignment.settings import AssignmentSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.drain import AtDeadline, DrainCounts
from scheduler_server.model.task import TaskState
from scheduler_server.registry.fleet import Fleet

_REASON = "the deadline of a drain has passed"


class DrainStops:
    """Carries deadlines out, worker by worker: a step answers what it cost, and whether the worker is done with."""

    def __init__(
        self,
        settings: AssignmentSettings,
        fleet: Fleet,
        ledger: Ledger,
        drains: Drains,
        outcomes: Outcomes,
        losses: Losses,
        departures: Departures,
    ) -> None:
        self.reconfigure(settings)
        self._fleet = fleet
        self._ledger = ledger
        self._drains = drains
        self._outcomes = outcomes
        self._losses = losses
        self._departures = departures

    def reconfigure(self, settings: AssignmentSettings) -> None:
        """Give workers so long to stop from the next deadline on."""
        self._within_s = settings.drain_stop_within_s

    def due(self, now: Now, drain: Drain, out: list[Effect]) -> None:
        """See whether its deadline has come, or the time is over for what was told to stop."""
        deadline = drain.order.deadline
        if drain.overdue:
            if drain.stop_by is not None and now.monotonic >= drain.stop_by:
                drain.stop_by = None
                self._drains.do(drain, list(drain.lines), self._give_up)
        elif deadline is not None and deadline <= now.wall and not drain.covering:
            drain.overdue = True
            out.append(DrainMoved(drain.order.drain_id, ""))
            if drain.holding and drain.order.at_deadline is not AtDeadline.LEAVE:
                self._begin(now, drain, list(drain.lines))

    def late(self, now: Now, line: Line) -> None:
        """After the deadline a worker is there that holds leases: it came back, or is covered only now."""
        if line.drain.order.at_deadline is not AtDeadline.LEAVE:
            self._begin(now, line.drain, [line.worker_id])

    def _begin(self, now: Now, drain: Drain, names: list[str]) -> None:
        spared_until = self._departures.not_before
        if drain.order.at_deadline is AtDeadline.CANCEL:
            drain.stop_by = max(drain.stop_by or 0.0, now.monotonic + self._within_s, spared_until)
            self._drains.do(drain, names, self._stop)
        else:
            if now.monotonic < spared_until:
                drain.stop_by = spared_until
            self._drains.do(drain, names, self._give_up)

    def _stop(self, now: Now, drain: Drain, worker_id: str, most: int, out: list[Effect]) -> tuple[int, bool]:
        """Tell a worker to stop what runs. What it did not start it is to give back, as it was told before."""
        record = self._fleet.records.get(worker_id)
        if record is None or record.session is None or worker_id not in drain.lines:
            return 1, True  # it is told when it comes back
        asked = 0
        for lease in record.leases.values():
            if lease.stop_asked == record.session or not _may_run(lease):
                continue
            if asked == most:
                return asked, False
            asked += 1
            lease.stop_asked = record.session
            self._outcomes.recall(lease, _REASON, out)
        return 1 + asked, True

    def _give_up(self, now: Now, drain: Drain, worker_id: str, most: int, out: list[Effect]) -> tuple[int, bool]:
        """Let what a worker holds be lost."""
        if worker_id not in drain.lines:
            return 1, True
        record = self._fleet.records.get(worker_id)
        if record is None and now.monotonic < self._departures.not_before:
            return 1, True
        leases = record.leases.values() if record is not None else self._ledger.orphans.get(worker_id, ())
        now_at_most = max(1, most // CHANGED)
        some = list(islice(leases, now_at_most))
        for lease in some:
            self._drains.count(worker_id, _STOPPED, out)
            self._outcomes.stop(lease, _REASON, out)
            self._losses.lose(now, lease, Loss.STOPPED, out)
        return 1 + CHANGED * len(some), len(some) < now_at_most


def _may_run(lease: TaskRecord) -> bool:
    """May its worker be at work on it? A task that its queue service delivers is, for all that we know."""
    return lease.unsure or lease.state in (TaskState.STARTED, TaskState.PLACED)


_STOPPED = DrainCounts(stopped=1)
