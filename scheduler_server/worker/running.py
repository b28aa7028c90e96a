"""The leases a worker has: which wait for a slot, which run, and what the heartbeat lists."""

import threading
from dataclasses import dataclass, field

from google.protobuf.duration_pb2 import Duration

from scheduler_api.v1.worker_pb2 import RunningLease, RunningLeases, RunTask

MAX_LISTED = 10_000  # the contract's limit of RunningLeases


@dataclass(slots=True, eq=False, kw_only=True)
class Lease:
    """One lease. Held until `started_at` is set; `run` is None when the queue service delivered the task."""

    lease_id: str
    slots: int = 1
    run: RunTask | None = None
    started_at: float | None = None
    listed: bool = True  # False once the server has said that it knows nothing of it
    span: str = ""  # the program's own, as a W3C traceparent, for the report of its end
    cancelled: threading.Event = field(default_factory=threading.Event)


class Leases:
    """Leases in the order in which they came.

    Held ones start in that order, so a task that needs many slots is not overtaken for ever by small ones.
    """

    def __init__(self, slots: int, prefetch: int = 0) -> None:
        self.slots = slots
        self.prefetch = prefetch
        self._leases: dict[str, Lease] = {}

    def __len__(self) -> int:
        """Tasks accepted and unfinished."""
        return len(self._leases)

    def __contains__(self, lease_id: str) -> bool:
        return lease_id in self._leases

    def get(self, lease_id: str) -> Lease | None:
        """The lease, or None when it has ended or never was."""
        return self._leases.get(lease_id)

    def all(self) -> list[Lease]:
        """Every lease, oldest first."""
        return list(self._leases.values())

    def held(self) -> list[Lease]:
        """Leases not started, oldest first."""
        return [lease for lease in self._leases.values() if lease.started_at is None]

    def no_room(self, slots: int) -> str | None:
        """Why a task of so many slots cannot be taken now; None when it can."""
        if slots > self.slots:
            return f"the task takes {slots} slots, this worker has {self.slots}"
        waiting = len(self.held())
        if (waiting or slots > self._free()) and waiting >= self.prefetch:
            return f"no free slot: {self.slots} slots taken, {waiting} of {self.prefetch} tasks held"
        return None

    def add(self, lease: Lease) -> None:
        """Take a lease up."""
        self._leases[lease.lease_id] = lease

    def start_next(self, now: float) -> list[Lease]:
        """Mark as started, and return, those held leases that fit into the free slots."""
        started = []
        for lease in self.held():
            if lease.slots > self._free():
                break
            lease.started_at = now
            started.append(lease)
        return started

    def remove(self, lease_id: str) -> Lease | None:
        """Forget a lease that has ended."""
        return self._leases.pop(lease_id, None)

    def listing(self, now: float) -> RunningLeases:
        """What the heartbeat says of them, with the time since each started."""
        listed = [lease for lease in self._leases.values() if lease.listed]
        return RunningLeases(leases=[_entry(lease, now) for lease in listed[:MAX_LISTED]])

    def _free(self) -> int:
        return self.slots - sum(lease.slots for lease in self._leases.values() if lease.started_at is not None)


def _entry(lease: Lease, now: float) -> RunningLease:
    entry = RunningLease(lease_id=lease.lease_id)
    if lease.started_at is not None:
        entry.elapsed.CopyFrom(duration(now - lease.started_at))
    return entry


def duration(seconds: float) -> Duration:
    """The same span on the wire; never negative."""
    span = Duration()
    span.FromNanoseconds(max(0, int(seconds * 1e9)))
    return span
