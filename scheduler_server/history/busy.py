"""Slot time that was busy, worker by worker, exactly: summed up as leases end, and what runs added when it is asked."""

from typing import Any, NamedTuple

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Rejection
from scheduler_server.registry.record import WorkerRecord


class Stretch(NamedTuple):
    """A worker since it was last asked about: how long that is, and slot seconds that were busy and present.

    Present are the slots of a worker that could be given tasks if it had a free one; of others, nothing counts.
    """

    covers_s: float
    busy_s: float
    present_s: float
    completed: int
    failed: int


class Busy:
    """Invariant: `_ended` has, by worker, the time that ended leases held a slot since the worker's entry in `_seen`.

    `_seen` has the monotonic second of the last look, and what the worker had completed and failed by then.
    """

    def __init__(self) -> None:
        self._ended: dict[str, float] = {}
        self._seen: dict[str, tuple[float, int, int]] = {}

    def ended(self, record: TaskRecord) -> None:
        """A lease ended. That of a worker that is not there was no time of a slot of ours."""
        worker_id = record.worker_id
        seen = self._seen.get(worker_id)
        if seen is None:
            return
        since = seen[0]
        granted = record.granted_at
        held = record.ended_at - (granted if granted > since else since)  # noqa: FURB136 -- max() costs 0.1 us
        if held > 0.0:
            self._ended[worker_id] = self._ended.get(worker_id, 0.0) + held

    def meet(self, record: WorkerRecord, now: Now) -> None:
        """It has just come: what it completes from now on counts."""
        self._seen.setdefault(record.worker_id, (now.monotonic, record.completed, record.failed))

    def take(self, record: WorkerRecord, now: Now) -> Stretch:
        """What a worker did since it was last asked about, or came."""
        worker_id, monotonic = record.worker_id, now.monotonic
        since, completed, failed = self._seen.get(worker_id, (monotonic, record.completed, record.failed))
        self._seen[worker_id] = (monotonic, record.completed, record.failed)
        busy_s = self._ended.pop(worker_id, 0.0)
        covers_s = max(0.0, monotonic - since)
        done = (max(0, record.completed - completed), max(0, record.failed - failed))
        if record.barred is not Rejection.CANDIDATE:
            return Stretch(covers_s, 0.0, 0.0, *done)
        leases: Any = record.leases
        for lease in leases.values():
            granted = lease.granted_at
            busy_s += monotonic - (granted if granted > since else since)  # noqa: FURB136 -- likewise
        others = record.occupied - len(leases)  # of sampled workers, and what they do beside our tasks: as it is now
        if others > 0:
            busy_s += others * covers_s
        return Stretch(covers_s, busy_s, record.slots * covers_s, *done)

    def known(self) -> list[str]:
        """Workers that were asked about."""
        return list(self._seen)

    def forget(self, worker_id: str) -> None:
        """It is gone."""
        self._seen.pop(worker_id, None)
        self._ended.pop(worker_id, None)
