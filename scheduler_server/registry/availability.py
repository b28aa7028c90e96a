"""When a busy worker will be free."""

from collections.abc import Sequence
from heapq import heapify, heapreplace

from scheduler_server.registry.record import WorkerRecord


def wait_s(slots: int, residuals_s: Sequence[float], background: int, average_s: float) -> float:
    """Seconds until a task given to the worker now would start.

    `residuals_s` are the predicted rests of its leases, `background` further tasks of `average_s` each. The
    specification's `queue_depth * average` is the case of one slot and no leases; with more slots the work is spread
    over them, first come, first served.
    """
    work = [*residuals_s, *([average_s] * background)]
    if len(work) < slots:
        return 0.0
    free_at = sorted(work[:slots])
    heapify(free_at)
    for span in work[slots:]:
        heapreplace(free_at, free_at[0] + span)
    return max(0.0, free_at[0])


def of_leases(record: WorkerRecord, now: float) -> float:
    """The same of one worker, by what its leases were predicted to take when they were granted."""
    residuals = []
    for lease in record.leases.values():
        lasts_s = lease.decision.duration_ms / 1_000.0
        if lease.started_at or not lease.decision.wait_ms:  # otherwise it stands behind the others, with all of it
            lasts_s = max(0.0, (lease.started_at or lease.granted_at) + lasts_s - now)
        residuals.append(lasts_s)
    background = max(0, record.occupied - len(residuals))
    return wait_s(record.slots, residuals, background, record.average_ms / 1_000.0)
