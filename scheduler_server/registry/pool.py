"""Keys in blocks with block maxima: the best of any number of workers in constant time."""

from math import inf
from typing import Any, NamedTuple

import numpy as np

from scheduler_server.model.decision import Rejection
from scheduler_server.model.task import Pairs
from scheduler_server.registry.columns import Floats, elements
from scheduler_server.registry.record import WorkerRecord

BLOCK = 256
"""Rows per block. An argmax over 256 float64 costs 0.3 us, hardly more than over 64, and 100,000 rows are then 391
blocks, whose argmax costs 0.3 us too: both halves of a pick cost the same."""

_SHIFT = 8
_FIRST_CAPACITY = 8


class Profile(NamedTuple):
    """What tells pools apart: workers of one profile can do the same tasks, and do them equally well."""

    capabilities: frozenset[str]
    specializations: frozenset[str]
    accepts_tasks: bool
    labels: Pairs  # only those label keys that tasks have asked for
    marks: frozenset[str] = frozenset()  # ids of the overrides that are about these workers


STATUSES = len(Rejection)


class Bests:
    """The best key and the counts by status of every pool, side by side, for comparing many pools at once.

    `counts` has a row for each pool; `candidates` is its first column, `counts_view` all of it, row by row.
    """

    __slots__ = ("candidates", "counts", "counts_view", "keys", "keys_view")

    def __init__(self) -> None:
        self._set(np.full(64, -inf), np.zeros((64, STATUSES), dtype=np.int64))

    def _set(self, keys: "np.ndarray[Any, Any]", counts: "np.ndarray[Any, Any]") -> None:
        self.keys, self.counts, self.candidates = keys, counts, counts[:, 0]
        self.keys_view, self.counts_view = elements(keys), elements(counts.reshape(-1))

    def make_room(self, index: int) -> None:
        """Have an element for `index`."""
        size = len(self.keys)
        if index >= size:
            self._set(
                np.concatenate([self.keys, np.full(size, -inf)]),
                np.concatenate([self.counts, np.zeros((size, STATUSES), dtype=np.int64)]),
            )


class Pool:
    """The workers of one profile and their keys.

    Invariants: `members`, keys and open flags are dense (positions 0 to len-1); every block maximum equals the greatest
    key of its block, `best` the greatest of all (-inf when no member is a candidate with a finite key); `counts[r]` is
    the number of members whose status is r.
    """

    __slots__ = (
        "_begin", "_best_block", "_bests", "_blocks", "_capacity", "_keys", "_tops", "_winners", "best", "counts",
        "index", "keys", "level", "members", "open", "open_flags", "profile", "rows", "running", "slots", "tops",
        "work",
    )  # fmt: skip

    def __init__(self, profile: Profile, index: int, bests: Bests) -> None:
        self.profile = profile
        self.index = index
        self._bests = bests
        self._begin = index * STATUSES  # of its row in their counts
        bests.make_room(index)
        self.members: list[WorkerRecord] = []
        self.slots = 0  # of all members
        self.work = 0.0  # seconds that all leases of all members were predicted to take when they were granted
        self.running = 0  # how many leases those are
        self.level = 0.0  # where the order of waiting tasks goes by tenant: the rank of the one placed here last
        self.counts = [0] * len(Rejection)
        self.best = -inf
        self._best_block = 0  # the block that it is in
        self._winners: list[int] = []  # by block, the position of its maximum
        self.keys: Floats = np.zeros(0)
        self.open_flags: np.ndarray[Any, np.dtype[np.uint8]] = np.zeros(0, dtype=np.uint8)
        self.rows: np.ndarray[Any, np.dtype[np.intp]] = np.zeros(0, dtype=np.intp)  # of the fleet, by position
        self._capacity = 0
        self._grow(_FIRST_CAPACITY)

    def _grow(self, capacity: int) -> None:
        keys = np.full(capacity, -inf)
        flags = np.zeros(capacity, dtype=np.uint8)
        rows = np.zeros(capacity, dtype=np.intp)
        if self._capacity:
            keys[: self._capacity] = self.keys
            flags[: self._capacity] = self.open_flags
            rows[: self._capacity] = self.rows
        tops = np.full((capacity + BLOCK - 1) // BLOCK, -inf)
        self._blocks = [keys[at : at + BLOCK] for at in range(0, capacity, BLOCK)]
        self._winners = [(block << _SHIFT) + int(view.argmax()) for block, view in enumerate(self._blocks)]
        for block, winner in enumerate(self._winners):
            tops[block] = keys[winner]
        self.keys, self.tops, self.open_flags, self.rows = keys, tops, flags, rows
        self._capacity = capacity
        self._keys = elements(keys)
        self._tops = elements(tops)
        self.open = elements(flags)

    def add(self, record: WorkerRecord) -> None:
        """Take in a worker with no key yet; its status is counted as it stands."""
        pos = len(self.members)
        if pos == self._capacity:
            self._grow(pos * 2)
        self.members.append(record)
        self.slots += record.slots
        for lease in record.leases.values():
            self.began(lease.ends_at - lease.granted_at)
        record.pool, record.pos = self, pos
        self.rows[pos] = record.row
        self._count(record.status, 1)
        self.open[pos] = record.status == Rejection.CANDIDATE

    def remove(self, record: WorkerRecord) -> None:
        """Let a worker go; the last one takes its place."""
        pos, last = record.pos, len(self.members) - 1
        self.set_key(pos, -inf)
        self.open[pos] = 0
        self._count(record.status, -1)
        self.slots -= record.slots
        for lease in record.leases.values():
            self.ended(lease.ends_at - lease.granted_at)
        mover = self.members.pop()
        if pos != last:
            key = self._keys[last]
            self.set_key(last, -inf)
            self.members[pos] = mover
            mover.pos = pos
            self.rows[pos] = mover.row
            self.set_key(pos, key)
            self.open[pos] = self.open[last]
            self.open[last] = 0
        record.pos = -1

    def _count(self, status: Rejection, more: int) -> None:
        self.counts[status] += more
        self._bests.counts_view[self._begin + status] = self.counts[status]

    def began(self, lasts_s: float) -> None:
        """A member was given a lease that is predicted to take so long."""
        self.work += lasts_s
        self.running += 1

    def ended(self, lasts_s: float) -> None:
        """A member's lease is over that was predicted to take so long."""
        self.running -= 1
        self.work = self.work - lasts_s if self.running else 0.0  # rounding must not add up for ever

    def set_key(self, pos: int, key: float) -> None:
        """Set one member's key; keeps its block's maximum and `best` true."""
        keys = self._keys
        old = keys[pos]
        if old == key:
            return
        keys[pos] = key
        block = pos >> _SHIFT
        tops = self._tops
        top = tops[block]
        if key > top:
            tops[block] = key
            self._winners[block] = pos
            if key > self.best:
                self.best = key
                self._best_block = block
                self._bests.keys_view[self.index] = key
        elif self._winners[block] == pos:
            self._winners[block] = winner = (block << _SHIFT) + int(self._blocks[block].argmax())
            tops[block] = keys[winner]
            if self._best_block == block:
                self._best_block = found = int(self.tops.argmax()) if len(tops) > 1 else 0
                self.best = best = tops[found]
                self._bests.keys_view[self.index] = best

    def top(self) -> WorkerRecord:
        """The member with the greatest key. Only when `best` is finite."""
        return self.members[self._winners[self._best_block]]  # kept: an argmax between two calls costs 4 us

    def set_status(self, record: WorkerRecord, status: Rejection) -> None:
        """Count a member under its new status."""
        counts, before, begin, view = self.counts, record.status, self._begin, self._bests.counts_view
        counts[before] = view[begin + before] = counts[before] - 1
        counts[status] = view[begin + status] = counts[status] + 1
        record.status = status
        self.open[record.pos] = 0 if status else 1

    def next_open(self, after: int) -> int:
        """The next position from `after` on that holds a candidate, or -1: what a round robin needs."""
        rest = self.open_flags[after : len(self.members)]
        if not len(rest):
            return -1
        found = int(rest.argmax())
        return after + found if rest[found] else -1
