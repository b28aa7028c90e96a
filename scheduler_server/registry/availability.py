"""When a busy worker will be free."""

from collections.abc import Sequence
from heapq import heapify, heapreplace


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
