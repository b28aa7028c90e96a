"""The workers as they stood when a live decision was made.

The shadow looks a few milliseconds later. Leases granted since then are taken out again, that of the decision itself
first of all; what has ended or was heard in between is not put back, so a worker may look a little freer than it was.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.model.decision import Rejection
from scheduler_server.registry import availability
from scheduler_server.registry.pool import Pool
from scheduler_server.registry.ranking import Supposed
from scheduler_server.registry.record import WorkerRecord

MOST_SEATS = 128
"""Workers looked at for one decision. Where more could do it, so many are drawn: the best of 128 is among the best
2 % of all with a certainty of 92 %, and looking at all of a large fleet takes longer than one decision is worth."""

_OUTBOUND_FULL = Rejection.OUTBOUND_FULL


class Seat:
    """A worker that could have had the task.

    `unfinished` is all that it was busy with: leases, and work that is not ours. `index` orders equals: the one that
    was given work longest ago first. `worker` is as good as its record to a scorer.
    """

    __slots__ = ("_later", "index", "record", "slots", "unfinished", "worker")

    def __init__(self, record: WorkerRecord, live: TaskRecord) -> None:
        since, its_own = live.granted_at, live.live and record.worker_id == live.worker_id
        later = 0
        for lease in reversed(record.leases.values()):  # oldest first; several may have been granted at one instant
            if lease.granted_at < since or (lease.granted_at == since and not its_own):
                break
            later += 1
            if lease is live:
                break
        self.record = record
        self.slots = record.slots
        self.unfinished = record.occupied - later
        # What the live choice was used for last before is not known any more: the least recently used comes first
        # among equals, and it was the first.
        self.index = record.last_used if not later else 0 if record.worker_id == live.worker_id else 1
        self.worker = record if not later else _without(record, later, self.index)
        self._later = later

    @property
    def ahead(self) -> list[TaskRecord]:
        """The leases it held."""
        leases = self.record.leases
        return list(islice(leases.values(), len(leases) - self._later))

    @property
    def room(self) -> int:
        """Tasks that it would have taken, staged ones included."""
        return self.slots - self.unfinished + self.record.prefetch

    @property
    def free(self) -> bool:
        """Had it a free slot?"""
        return self.unfinished < self.slots

    def wait_s(self, now: float, ahead: Sequence[TaskRecord]) -> float:
        """Predicted seconds until the task would have started behind these, from the decision at `now` on."""
        residuals = []
        for lease in ahead:
            lasts_s = lease.decision.duration_ms / 1_000.0
            if lease.started_at or not lease.decision.wait_ms:
                lasts_s = max(0.0, (lease.started_at or lease.granted_at) + lasts_s - now)
            residuals.append(lasts_s)
        return availability.wait_s(self.slots, residuals, self.others, self.average_s)

    @property
    def others(self) -> int:
        """Tasks on it that are not ours."""
        return max(0, self.unfinished - len(self.record.leases) + self._later)

    @property
    def average_s(self) -> float:
        """How long those take each, as far as anybody knows."""
        return self.record.average_ms / 1_000.0


def _without(record: WorkerRecord, later: int, last_used: int) -> Supposed:
    """The worker before its last leases."""
    occupied = record.occupied - later
    more = occupied - record.occupied_at_sample
    load = min(1.0, record.load + more / record.slots) if more > 0 else record.load
    return Supposed(record, occupied=occupied, free=max(0, record.slots - occupied), load_now=load, last_used=last_used)


def stands(record: WorkerRecord, live: TaskRecord) -> Rejection:
    """Why the worker could not have had the task whatever its slots; CANDIDATE: it could."""
    if record.worker_id in live.task.excluded:
        return Rejection.EXCLUDED
    barred = record.barred
    if barred is _OUTBOUND_FULL:  # perhaps only since it was sent this very task
        return Rejection.CANDIDATE
    return barred


class Able:
    """Whoever could do the live decision's task: members of these pools, by a position that runs through all."""

    def __init__(self, pools: Sequence[Pool], live: TaskRecord) -> None:
        self._pools = [pool for pool in pools if pool.members]
        self._live = live
        self.count = sum(len(pool.members) for pool in self._pools)

    def at(self, position: int) -> WorkerRecord:
        """The member there, from 0 to below `count`."""
        for pool in self._pools:
            members = pool.members
            if position < len(members):
                return members[position]
            position -= len(members)
        raise IndexError(position)

    def next_up(self, turn: int) -> tuple[WorkerRecord | None, int]:
        """The first from `turn` on that could have it, and the turn after it; None where none of the next is up."""
        count = self.count
        for step in range(min(count, MOST_SEATS)):
            record = self.at((turn + step) % count)
            if not stands(record, self._live):
                return record, (turn + step + 1) % count
        return None, turn

    def seats(self, chosen: WorkerRecord, draw: Callable[[], float]) -> list[Seat]:
        """All that could have it, or as many as are looked at, the live choice among them."""
        live = self._live
        return [Seat(record, live) for record in self._looked_at(chosen, draw) if not stands(record, live)]

    def _looked_at(self, chosen: WorkerRecord, draw: Callable[[], float]) -> Iterator[WorkerRecord]:
        count = self.count
        if count <= MOST_SEATS:
            for pool in self._pools:
                yield from pool.members
            return
        positions = dict.fromkeys(int(draw() * count) for _ in range(MOST_SEATS - 1))
        yield chosen
        for position in positions:
            record = self.at(position)
            if record is not chosen:
                yield record
