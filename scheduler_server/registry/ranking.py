"""More than the best: the few best of any number of workers, and the key that a worker would have.

For explanations and questions, never for a decision: those need one worker and have it already (`Fleet.best`).
"""

from math import inf, isfinite
from typing import Any

import numpy as np

from scheduler_server.model.decision import Rejection
from scheduler_server.registry.columns import Floats
from scheduler_server.registry.eligibility import EligibilityClass
from scheduler_server.registry.fleet import KEY_PER_SCORE, Fleet, KeyFunction, key_from
from scheduler_server.registry.pool import STATUSES, Pool
from scheduler_server.registry.record import WorkerRecord

_FEW_POOLS = 64
"""Pools up to which a loop over their counts is faster than a sum over columns (20 us)."""

Ranked = list[tuple[float, WorkerRecord]]
Counts = tuple[tuple[Rejection, int], ...]


def leading(fleet: Fleet, eligible: EligibilityClass, category: str, bonus: float, most: int) -> Ranked:
    """The candidates with the greatest keys, best first, at most `most`, in the order in which they would be chosen.

    The best n workers are in the n pools whose best are best, so no more pools than that are looked at.
    """
    pools = eligible.pools
    tops = fleet.bests.keys.take(eligible.positions)
    bonuses = np.zeros(len(pools))
    if bonus and category:
        for at, pool in enumerate(pools):
            if category in pool.profile.specializations:
                bonuses[at] = bonus * KEY_PER_SCORE
        tops = tops + bonuses
    found: Ranked = []
    for at in _greatest(tops, most):
        pool, more = pools[at], float(bonuses[at])
        keys = pool.keys[: len(pool.members)]
        found += [(float(keys[pos]) + more, pool.members[pos]) for pos in _greatest(keys, most)]
    found.sort(key=lambda each: -each[0])  # stable: of equals the one that comes first, as for a decision
    return found[:most]


def _greatest(keys: Floats, most: int) -> list[int]:
    """Positions of the greatest finite keys, greatest first; of equals the first ones."""
    if len(keys) > most:
        least = np.partition(keys, len(keys) - most)[len(keys) - most]
        above = np.flatnonzero(keys > least)
        chosen = np.concatenate([above, np.flatnonzero(keys == least)[: most - len(above)]])
        chosen.sort()
    else:
        chosen = np.arange(len(keys))
    order = chosen[np.argsort(-keys[chosen], kind="stable")]
    return [at for at in order.tolist() if isfinite(keys[at])]


def rejections(fleet: Fleet, eligible: EligibilityClass) -> Counts:
    """Workers that are no candidates, counted by the first reason that applies. Looks at pools, not at workers."""
    if len(fleet.pools) <= _FEW_POOLS:
        counts = [0] * STATUSES
        for pool in fleet.pools:
            lacking = eligible.lacking(pool)
            if lacking:
                counts[lacking] += len(pool.members)
            else:
                for status, count in enumerate(pool.counts):
                    counts[status] += count
    else:
        table = fleet.bests.counts
        lacks = eligible.lacks(fleet.pools)
        columns: np.ndarray[Any, np.dtype[np.int64]] = table.take(eligible.positions, axis=0).sum(axis=0)
        others = np.flatnonzero(lacks)
        members = table.take(others, axis=0).sum(axis=1)
        columns = columns + np.bincount(lacks.take(others), members, STATUSES).astype(np.int64)
        counts = columns.tolist()
    return tuple((Rejection(at), count) for at, count in enumerate(counts) if count and at)


class Supposed:
    """A worker as it is, apart from what is supposed of it. As good as a record to a scorer."""

    def __init__(self, record: WorkerRecord, **supposed: Any) -> None:
        self._record = record
        self.__dict__.update(supposed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)


def admitted(record: WorkerRecord, *, slots: int = 0) -> Supposed:
    """The worker as a candidate, with so many slots more, and the load that it then has."""
    has = record.slots + slots
    more = record.occupied - record.occupied_at_sample
    load = min(1.0, record.load + more / has) if more > 0 else record.load
    free = has - record.occupied
    return Supposed(record, slots=has, free=free, load_now=load, barred=Rejection.CANDIDATE)


def key_of(fleet: Fleet, worker: Any, key_function: KeyFunction, *, healthy: bool | None = None) -> float:
    """The key of a worker with a free slot, or of one that only stages; minus infinity where the scorer has none.

    `healthy`: suppose that it is, or is not.
    """
    try:
        score = key_function(worker)
        if not isfinite(score):
            return -inf
    except Exception:  # noqa: BLE001 -- a scorer is a plug-in: what it cannot score is ranked nowhere
        return -inf
    if healthy is None:
        healthy = worker.leads
    free = worker.slots - worker.occupied
    staging = free <= 0
    slots = worker.prefetch if staging else worker.slots
    if staging:
        free += worker.prefetch
    return key_from(fleet, score, healthy, staging, free, slots, worker.last_used)


def kept_out(pool: Pool, status: Rejection, most: int) -> list[WorkerRecord]:
    """Some members with this status, at most `most`; of a few times as many looked at."""
    if not pool.counts[status]:
        return []
    found: list[WorkerRecord] = []
    closed = np.flatnonzero(pool.open_flags[: len(pool.members)] == 0)
    for pos in closed.tolist()[: most * 4]:
        record = pool.members[pos]
        if record.status is status:
            found.append(record)
            if len(found) == most:
                break
    return found
