"""Ids to records, records to pools, and the one place where a worker's key is computed."""

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf, isfinite

import numpy as np

from scheduler_server.model.decision import Rejection
from scheduler_server.model.worker import Health, Registration, WorkerView
from scheduler_server.registry.agenda import Agenda
from scheduler_server.registry.columns import elements
from scheduler_server.registry.eligibility import ClassKey, Eligibility, EligibilityClass
from scheduler_server.registry.pool import Bests, Pool, Profile
from scheduler_server.registry.record import WorkerRecord

FEW_POOLS = 16
"""Up to here a loop over pools (60 ns each) is faster than the vectorised comparison (about 1.5 us)."""

MAX_LABEL_KEYS = 64
"""Label keys, of those that workers carry, that tasks may match on. Each makes pools finer; asking for a new one sorts
the fleet anew, once (3 us a worker). With one that is different on every worker, such as a host's name, a decision is a
vectorised pass over as many pools as workers."""

_EMPTY_POOLS = 64
"""Pools beyond two per worker after which the empty ones are dropped: a rebuild costs a look at every worker, so it
must be rare."""

# A key is an integer in a float64, exact up to 2**53: from the left, the tier (who leads, being healthy and not far
# slower than the fleet, above the degraded and the slow; both above those that only have room to stage a task), the
# score in steps of 2**-18 (finer than the 1e-6 that the wire keeps of a load), the free share (ties), and how long ago
# the worker was last used (ties again: the least recently used wins, so that an idle fleet is used evenly).
_SCORE_STEPS = 1 << 18
_SCORE_LIMIT = 8.0 - 1 / _SCORE_STEPS
_HEALTHY = 8 << 18
_STAGING = 16 << 18  # below all that have a free slot
_SHARE_BITS, _LRU_BITS = 7, 22
_SHARE_MAX = (1 << _SHARE_BITS) - 1
_LRU_MAX = (1 << _LRU_BITS) - 1
_LRU_HALF = 1 << (_LRU_BITS - 1)
_TIE_BITS = _SHARE_BITS + _LRU_BITS
KEY_PER_SCORE = float(_SCORE_STEPS << _TIE_BITS)
"""What one unit of score adds to a key."""

KeyFunction = Callable[[WorkerView], float]


class Fleet:
    """All workers, found by id, and by key within what can serve a task.

    Invariants: `records[id].row` is an index into the columns, unique and recycled; each record is in exactly the pool
    of its profile; after `refresh` its key says what its fields say.
    """

    def __init__(self, key_function: KeyFunction) -> None:
        self.records: dict[str, WorkerRecord] = {}
        self.pools: list[Pool] = []
        self.eligibility = Eligibility()
        self.grants = 0  # leases granted in all: the clock of "least recently used"
        self.scorer_failures = 0
        self.by_health = dict.fromkeys(Health, 0)  # workers
        self.slots = 0  # of all workers
        self.background = 0  # slots taken by what is no lease of ours; see `count_background`
        self.nobody_ages_before = inf  # a lower bound of all band ends, made exact by `aged`
        self.band_ends = np.full(64, inf)  # monotonic second at which the age band changes next, by row
        self.band_ends_view = elements(self.band_ends)
        self.opened: list[Pool] = []  # where a worker became a candidate since those who wait were last looked at
        self.shape = 0  # moves when a pool comes, all are made anew, or a label key is carried that nobody carried
        self.moves = 0  # moves when a worker comes, goes, or has other slots
        self.staging: dict[str, WorkerRecord] = {}  # those that are told tasks beyond their slots, by id
        self.agenda = Agenda()  # who comes and goes when
        self._rows: list[WorkerRecord | None] = []
        self._free_rows: list[int] = []
        self.bests = Bests()  # of the pools, by their index
        self._by_profile: dict[Profile, Pool] = {}
        self._carried: Counter[str] = Counter()  # label keys, by how many workers carry them
        self.lru_top = _LRU_MAX  # the grant at which "how long unused" is 0
        self.marker: Callable[[WorkerRecord], frozenset[str]] | None = None  # which overrides are about a worker
        self.key_function = key_function  # after a change of it, `refresh_all`

    def __len__(self) -> int:
        return len(self.records)

    # ------------------------------------------------------------------ who is there

    def add(self, record: WorkerRecord) -> None:
        """Take in a worker that is not known."""
        if self._free_rows:
            row = self._free_rows.pop()
            self._rows[row] = record
        else:
            row = len(self._rows)
            self._rows.append(record)
            if row == len(self.band_ends):
                self.band_ends = np.concatenate([self.band_ends, np.full(row, inf)])
                self.band_ends_view = elements(self.band_ends)
        record.row = row
        record.last_used = self.lru_top - _LRU_MAX
        self.records[record.worker_id] = record
        self.stages(record)
        self.by_health[record.health] += 1
        self.slots += record.slots
        self._carry(record.registration)
        self._join(self._pool_of(record), record)

    def _carry(self, registration: Registration) -> None:
        for name, _ in registration.labels:
            if not self._carried[name]:
                self.shape += 1
            self._carried[name] += 1

    def carries(self, name: str) -> bool:
        """Does any worker have a label of this name?"""
        return self._carried[name] > 0

    def _join(self, pool: Pool, record: WorkerRecord) -> None:
        pool.add(record)
        self.moves += 1
        if not record.status:
            self.opened.append(pool)

    def remove(self, record: WorkerRecord) -> None:
        """Forget a worker; its row is used again."""
        del self.records[record.worker_id]
        self.staging.pop(record.worker_id, None)
        self._carried.subtract(name for name, _ in record.registration.labels)
        record.pool.remove(record)
        self.moves += 1
        self._rows[record.row] = None
        self.agenda.forget(record.row)
        self.band_ends_view[record.row] = inf
        self._free_rows.append(record.row)
        record.row = -1
        self.by_health[record.health] -= 1
        self.slots -= record.slots
        self.background -= record.counted_background
        record.counted_background = 0
        self._forget_empty_pools()

    def stages(self, record: WorkerRecord) -> None:
        """Note whether a worker is told tasks beyond its slots, after that may have changed."""
        if record.full_prefetch:
            self.staging[record.worker_id] = record
        else:
            self.staging.pop(record.worker_id, None)

    def resize(self, record: WorkerRecord, slots: int) -> None:
        """Give a worker other slots; it is to be refreshed afterwards."""
        more = slots - record.slots
        record.pool.slots += more
        self.slots += more
        record.slots = slots
        self.moves += 1

    def count_background(self, record: WorkerRecord) -> None:
        """Keep `background` true after a worker's occupancy changed by anything but a lease granted or ended.

        Leases change both by one, so placing and ending need not count: slots in use are the leases plus this.
        """
        beyond = record.occupied - len(record.leases)
        self.background += beyond - record.counted_background
        record.counted_background = beyond

    @property
    def candidates(self) -> int:
        """Workers that could be given a task now."""
        return int(self.bests.candidates.sum())

    def reprofile(self, record: WorkerRecord, before: Registration) -> None:
        """Move a worker to the pool of what it now can do; `before` is what it was registered with."""
        self._carry(record.registration)
        self._carried.subtract(name for name, _ in before.labels)
        pool = self._pool_of(record)
        if pool is not record.pool:
            record.pool.remove(record)
            self._join(pool, record)
            self.refresh(record)
            self._forget_empty_pools()

    def remark(self, record: WorkerRecord) -> None:
        """Move a worker to the pool of the overrides that are now about it."""
        level = record.pool.level
        self.reprofile(record, record.registration)
        record.pool.level = max(record.pool.level, level)

    def _forget_empty_pools(self) -> None:
        """Fleets whose workers come and go with capabilities of their own would leave a pool behind for each."""
        if len(self.pools) > 2 * len(self.records) + _EMPTY_POOLS:
            self._rebuild()

    def _profile(self, record: WorkerRecord) -> Profile:
        registration = record.registration
        keys = self.eligibility.label_keys
        labels = tuple(pair for pair in registration.labels if pair[0] in keys) if keys else ()
        marks = _UNMARKED if self.marker is None else self.marker(record)
        capabilities = frozenset(registration.capabilities)
        return Profile(capabilities, record.specializations, registration.accepts_tasks, labels, marks)

    def _pool_of(self, record: WorkerRecord) -> Pool:
        profile = self._profile(record)
        pool = self._by_profile.get(profile)
        if pool is None:
            pool = Pool(profile, len(self.pools), self.bests)
            self._by_profile[profile] = pool
            self.pools.append(pool)
            self.eligibility.pool_added(pool)
            self.shape += 1
        return pool

    # ------------------------------------------------------------------ what a task requires

    def eligible(self, needs: ClassKey) -> EligibilityClass | None:
        """The class of tasks with these needs; None where they ask for more label keys than the index can hold."""
        found = self.eligibility.classes.get(needs)
        if found is None:
            names = [name for name, _ in needs[1]]
            carried = all(self._carried[name] for name in names)
            # A key that nobody carries is not worth sorting by, and the class is not kept: somebody may come with it.
            if names and carried and not self._index_labels(names):
                return None
            found = self.eligibility.make(needs, self.pools, keep=carried)
        return found

    def _index_labels(self, names: list[str]) -> bool:
        wanted = self.eligibility.label_keys.union(names)
        if len(wanted) > MAX_LABEL_KEYS:
            return False
        if wanted != self.eligibility.label_keys:
            self.eligibility.label_keys = wanted
            self._rebuild()
        return True

    def _rebuild(self) -> None:
        self.pools, self._by_profile, self.bests = [], {}, Bests()
        self.shape += 1
        self.opened.clear()
        for record in self.records.values():
            pool = self._pool_of(record)
            pool.level = max(pool.level, record.pool.level)
            self._join(pool, record)
        self.eligibility.rebuilt(self.pools)
        self.refresh_all()

    # ------------------------------------------------------------------ keys

    def refresh_all(self) -> None:
        """Compute every key anew."""
        for record in self.records.values():
            self.refresh(record)

    def refresh(self, record: WorkerRecord) -> None:
        """Make status, current load and key say what the record's fields say. Call after every change of them."""
        slots, occupied = record.slots, record.occupied
        record.free = free = slots - occupied
        pool = record.pool
        staging = False
        if free <= 0 or record.barred:
            staging = not record.barred and record.prefetch + free > 0  # no slot, but room to hold a task until then
            if not staging:
                status = record.barred or _NO_FREE_SLOT
                if status != record.status:
                    pool.set_status(record, status)
                pool.set_key(record.pos, -inf)
                return
            record.free = 0
        if record.status:
            if record.status is not _EXCLUDED:  # who was set aside for one task was a candidate for all others
                self.opened.append(pool)
            pool.set_status(record, _CANDIDATE)
        load = record.load
        more = occupied - record.occupied_at_sample
        if more > 0:  # never less than the sample: a correction that goes negative draws all work to one worker
            load += more / slots
            load = min(load, 1.0)
        record.load_now = load
        try:
            score = self.key_function(record)
            # NaN fails every comparison, so it takes the branch of the failures
            if not 0.0 <= score < _SCORE_LIMIT:
                score = self._clipped(score)
            steps = int(score * _SCORE_STEPS)
        except Exception:  # noqa: BLE001 -- a scorer is a plug-in: whatever it raises, the worker stays placeable
            self.scorer_failures += 1
            pool.set_key(record.pos, -inf)
            return
        if record.leads:
            steps += _HEALTHY
        if staging:
            steps -= _STAGING
            free = record.prefetch - (occupied - slots)
            slots = record.prefetch
        unused = self.lru_top - record.last_used
        if unused > _LRU_MAX:
            unused = _LRU_MAX
        elif unused < 0:
            unused = 0
        ranked = steps * (_SHARE_MAX + 1) + free * _SHARE_MAX // slots
        pool.set_key(record.pos, float(ranked * (_LRU_MAX + 1) + unused))

    @staticmethod
    def _clipped(score: float) -> float:
        """A score outside the range of keys; ValueError where it is none."""
        if not isfinite(score):
            raise ValueError("not a score")
        return 0.0 if score < 0.0 else _SCORE_LIMIT

    def used(self, record: WorkerRecord) -> None:
        """Count a grant to this worker, for ties."""
        self.grants = record.last_used = grants = self.grants + 1
        if grants > self.lru_top:
            # Keys that are not refreshed before they meet such a tie look more recently used than they are, until
            # their next heartbeat: a tie may go to another worker, nothing else.
            self.lru_top += _LRU_HALF

    # ------------------------------------------------------------------ picking

    def best(self, eligible: EligibilityClass, category: str, bonus: float) -> tuple[WorkerRecord | None, int]:
        """The candidate with the greatest key, and how many candidates there are.

        `bonus` (score units) goes to pools whose specializations name `category`. The record is None when nobody has a
        finite key: no candidates, or none that the scorer could score.
        """
        pools = eligible.pools
        if len(pools) > FEW_POOLS:
            return self._best_of_many(eligible, category, bonus)
        count = 0
        found: Pool | None = None
        top = -inf
        if bonus and category:
            for pool in pools:
                count += pool.counts[0]
                key = pool.best
                if category in pool.profile.specializations:
                    key += bonus * KEY_PER_SCORE
                if key > top:
                    top, found = key, pool
        else:
            for pool in pools:
                count += pool.counts[0]
                if pool.best > top:
                    top, found = pool.best, pool
        return (found.top() if found is not None else None), count

    def _best_of_many(self, eligible: EligibilityClass, category: str, bonus: float) -> tuple[WorkerRecord | None, int]:
        positions = eligible.positions
        keys = self.bests.keys.take(positions)
        count = int(self.bests.candidates.take(positions).sum())
        if bonus and category:
            for at, pool in enumerate(eligible.pools):
                if category in pool.profile.specializations:
                    keys[at] += bonus * KEY_PER_SCORE
        at = int(keys.argmax())
        if keys[at] == -inf:
            return None, count
        return eligible.pools[at].top(), count

    # ------------------------------------------------------------------ for those who wait

    @staticmethod
    def capacity_of(pools: Sequence[Pool]) -> tuple[float, float, int]:
        """Slots of the members that take tasks, free or not; and what runs there.

        That is: the seconds that all leases were predicted to take, and how many leases.
        """
        slots = work = 0.0
        running = 0
        for pool in pools:
            able = pool.counts[_CANDIDATE] + pool.counts[_NO_FREE_SLOT]
            if able:
                slots += pool.slots * able / len(pool.members)
                work += pool.work
                running += pool.running
        return slots, work, running

    def set_aside(self, record: WorkerRecord) -> None:
        """Take a worker out of the running until its next `refresh`."""
        record.pool.set_key(record.pos, -inf)

    # ------------------------------------------------------------------ ageing

    def band_changes_at(self, record: WorkerRecord, at: float) -> None:
        """Note the monotonic second after which this worker's age band is another."""
        self.band_ends_view[record.row] = at
        self.nobody_ages_before = min(self.nobody_ages_before, at)

    def band_over(self, record: WorkerRecord, now: float) -> bool:
        """Has this worker left the age band that its key was computed in?"""
        over: bool = self.band_ends_view[record.row] < now
        return over

    def aged(self, now: float) -> list[WorkerRecord]:
        """The workers whose age band has changed by now, by row."""
        ends = self.band_ends[: len(self._rows)]
        rows = np.flatnonzero(ends < now)
        later = ends[ends >= now]
        self.nobody_ages_before = float(later.min()) if len(later) else inf
        return [record for row in rows.tolist() if (record := self._rows[row]) is not None]


def key_from(
    fleet: Fleet,
    score: float,
    healthy: bool,
    staging: bool,
    free: int,
    slots: int,
    last_used: int,
) -> float:
    """A key from what it is made of, as `Fleet.refresh` makes it; for workers as they might be."""
    steps = int(min(max(score, 0.0), _SCORE_LIMIT) * _SCORE_STEPS)
    steps += _HEALTHY * healthy - _STAGING * staging
    ranked = steps * (_SHARE_MAX + 1) + free * _SHARE_MAX // max(slots, 1)
    return float(ranked * (_LRU_MAX + 1) + min(max(fleet.lru_top - last_used, 0), _LRU_MAX))


_CANDIDATE, _NO_FREE_SLOT, _EXCLUDED = Rejection.CANDIDATE, Rejection.NO_FREE_SLOT, Rejection.EXCLUDED
_UNMARKED: frozenset[str] = frozenset()
