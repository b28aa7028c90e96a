"""Can the fleet do without a worker? What may be asked before it is given no more tasks."""

from scheduler_server.model.decision import Rejection
from scheduler_server.model.worker import Health
from scheduler_server.registry.eligibility import ClassKey, bounds_of
from scheduler_server.registry.fleet import Fleet
from scheduler_server.registry.pool import Pool
from scheduler_server.registry.record import WorkerRecord

_MOST_LOOKS = 20_000
"""Kinds of needs and pools looked at for one answer, some milliseconds: beyond it, what is needed goes unnoticed."""

ABLE = (Rejection.CANDIDATE, Rejection.NO_FREE_SLOT, Rejection.OUTBOUND_FULL)
"""They take tasks, now or once some of theirs have ended."""


def needed(fleet: Fleet, record: WorkerRecord) -> str:
    """What nobody else may be given now of all that tasks have asked for; empty where there is no such thing.

    One look where another worker of its pool takes tasks, since that can do the same.
    """
    pool = record.pool
    if able(pool) > (record.status in ABLE):
        return ""
    looks = 0
    for key, known in fleet.eligibility.classes.items():
        looks += 1
        if not known.serves(pool):
            continue
        for other in known.pools:
            looks += 1
            if other is not pool and able(other):
                break
        else:
            return _nobody_else(key)
        if looks > _MOST_LOOKS:
            break
    return ""


def able(pool: Pool) -> int:
    """How many of its workers take tasks, now or once some of theirs have ended."""
    counts = pool.counts
    return sum(counts[status] for status in ABLE)


def _nobody_else(key: ClassKey) -> str:
    """Needs that only one worker meets, in words."""
    required, labels, stream = key[:3]
    parts = []
    if required:
        parts.append(f"require {', '.join(map(repr, required))}")
    if labels:
        parts.append("match " + ", ".join(f"{name}={value}" for name, value in labels))
    if stream:
        parts.append("go over the stream")
    bounds = bounds_of(key)
    if bounds is not None and bounds.pin:
        parts.append(f"are pinned by override {bounds.pin!r}")
    what = f"tasks that {' and '.join(parts)}" if parts else "tasks"
    return f"nobody else could be given {what}"


def too_many(fleet: Fleet, max_share: float) -> str:
    """Why no more workers may be ejected, beside those that are; empty where one more may."""
    present = len(fleet.records) - fleet.by_health[Health.UNHEALTHY]
    most = max(1, int(max_share * present))
    ejected = ejected_now(fleet)
    if ejected < most:
        return ""
    return f"{ejected} of {present} workers are out already, and ejection.max_share is {max_share:g}"


def ejected_now(fleet: Fleet) -> int:
    """Workers that nothing but their ejection keeps out."""
    return int(fleet.bests.counts[:, Rejection.EJECTED].sum())
