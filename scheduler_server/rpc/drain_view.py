"""Drains as messages. Messages are `Any`: our enums have the numbers of theirs.

Totals are of one instant. Workers of a large drain are written in slices, so each line is true when it is written.
"""

from typing import Any

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.drain_record import Drain, Line
from scheduler_server.model.clock import Now
from scheduler_server.model.task import Delivery
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.rpc import encode
from scheduler_server.rpc.durable import HELD_AT_MOST_S
from scheduler_server.rpc.paging import Page, Position, Turn
from scheduler_server.rpc.shell import Shell

MOST_WORKERS = 1_000


def fill_totals(message: Any, drain: Drain) -> None:
    """Fill a DrainStatus, apart from its workers and its expected end."""
    order = drain.order
    message.drain_id = order.drain_id
    message.state = drain.state.value
    message.worker_ids.extend(order.worker_ids)
    message.match_labels.update(order.labels)
    if order.deadline is not None:
        encode.set_instant(message.deadline, order.deadline)
    message.at_deadline = order.at_deadline.value
    message.reason, message.author = order.reason, order.author
    encode.set_instant(message.created_at, order.created)
    if drain.ended is not None:
        encode.set_instant(message.ended_at, drain.ended)
    message.worker_count = drain.workers
    message.acknowledged_workers = drain.acknowledged
    message.empty_workers = 0 if drain.cancelled else drain.workers - drain.holding
    message.remaining_leases = drain.left
    message.returned_tasks, message.finished_tasks, message.stopped_tasks = drain.counts


def fill_line(message: Any, core: Scheduler, line: Line, now: Now) -> float | None:
    """Fill a DrainWorkerStatus; when its last task will end, in wall seconds, where anything is known of that."""
    record = core.fleet.records.get(line.worker_id)
    message.worker_id = line.worker_id
    message.acknowledged = line.acknowledged
    message.connected = record is not None and record.connected
    message.remaining_leases = line.left
    if record is not None and _is_asked(record, line):
        message.pending_returns = pending(record)
    message.returned_tasks, message.finished_tasks, _ = line.counts
    end = end_of(core, line, now)
    if end is not None:
        encode.set_instant(message.expected_end, end)
    return end


def _is_asked(record: WorkerRecord, line: Line) -> bool:
    """Has it been told, on the session that it has, to hand back what it did not start? Or does so by itself?"""
    if record.session is None or not record.registration.accepts_tasks:
        return False
    return line.drain.order.own or line.told_on == record.session


def pending(record: WorkerRecord) -> int:
    """Tasks that a worker holds, as far as we know, and has not started."""
    leases = record.leases.values()
    return sum(
        lease.delivery is Delivery.STREAM and not lease.started_at and not lease.unsure and lease.stop_asked is None
        for lease in leases
    )


def end_of(core: Scheduler, line: Line, now: Now) -> float | None:
    """When the last of its tasks will end that it does not hand back, in wall seconds; None: nothing is known."""
    record = core.fleet.records.get(line.worker_id)
    if record is None or not line.left:
        return None
    ends = [
        core.remaining(lease, now).p50_ms
        for lease in record.leases.values()
        if lease.decision.prediction is not None and (lease.started_at or lease.delivery is not Delivery.STREAM)
    ]
    return now.wall + max(ends) / 1_000.0 if ends else None


async def kept(shell: Shell) -> None:
    """Wait until all that was seen is on disk, so that no restart takes back what was told; not for a disk that fails.

    What a worker reported and the journal lacks when the server is killed is reported again, but until then a task that
    was told as finished would be told as running.
    """
    await shell.durable.wait(shell.journal.status().sequence, HELD_AT_MOST_S)


class View:
    """One drain, looked at again and again: remembers when each of its workers will be empty."""

    def __init__(self, shell: Shell, drain: Drain) -> None:
        self._shell = shell
        self._core = shell.core
        self.drain = drain
        self._ends: dict[str, float] = {}

    async def whole(self, message: Any, *, workers: bool = True) -> None:
        """Fill a DrainStatus, those of its workers first that still hold something."""
        self._ends.clear()
        page: Page[Line] = Page(MOST_WORKERS, None, backwards=False)
        turn = Turn()
        for line in list(self.drain.lines.values()):
            if turn.over():
                await turn.pause()
            if not workers and line.left:
                self._note(line, end_of(self._core, line, self._shell.now()))
            elif workers:
                page.offer(Position(not line.left, 0.0, line.worker_id), line)
                if line.left:
                    self._note(line, end_of(self._core, line, self._shell.now()))
        for _, line in page.rows():
            if turn.over():
                await turn.pause()
            self._line(message, line)
        self._totals(message)

    def some(self, message: Any, names: list[str]) -> None:
        """Fill a DrainStatus with only these of its workers."""
        for name in names:
            line = self.drain.lines.get(name)
            if line is not None:
                self._line(message, line)
            else:
                self._ends.pop(name, None)
        self._totals(message)

    def _line(self, message: Any, line: Line) -> None:
        self._note(line, fill_line(message.workers.add(), self._core, line, self._shell.now()))

    def _note(self, line: Line, end: float | None) -> None:
        if end is None:
            self._ends.pop(line.worker_id, None)
        else:
            self._ends[line.worker_id] = end

    def _totals(self, message: Any) -> None:
        fill_totals(message, self.drain)
        if self._ends and not self.drain.over:
            encode.set_instant(message.expected_end, max(self._ends.values()))
