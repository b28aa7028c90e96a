"""What makes a worker slow: each slot has a share of one core, as a CPU quota would give it.

The work is real and so is its CPU time; between slices of work the thread rests until it has used no more than its
share. Six workers on two cores thus keep their speeds, since what they may use together is less than there is. Where
the machine is busier than that, a slot has nothing to rest for and is simply slower, as it would be anywhere.
"""

import os
import threading
import time

CORES_RATIO = 0.035  # of all cores, per slot of speed 1: the whole fleet, always busy with CPU work, uses 2/3 of them
SLICE_S = 0.05  # shorter rests would find the caches cold each time, and measure that
MOST = 0.15  # of one core, however many there are


def share_of_core() -> float:
    """The share of one core that a slot of speed 1 gets on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST, CORES_RATIO * cores)


class Pace:
    """Holds the thread that makes it to `share` of a core, from now on."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._used_s = time.thread_time()
        self._since = time.monotonic()

    def rest(self, cancelled: threading.Event, *, least_s: float = SLICE_S) -> None:
        """Sleep until the CPU time used so far is within the share, or until cancelled; not for less than `least_s`."""
        due = self._since + (time.thread_time() - self._used_s) / self._share
        pause_s = due - time.monotonic()
        if pause_s > least_s:
            cancelled.wait(pause_s)
