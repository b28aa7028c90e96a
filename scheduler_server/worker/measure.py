"""How busy is this worker: CPU and memory in use, as shares of what it may use."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from scheduler_server.worker.cgroup import CpuUse, cpu_limits, memory_limits

WINDOW_S = 0.5  # shorter spans say more about the kernel's ticks (10 ms) than about the load


class Sample(NamedTuple):
    """Shares in use, 0 to 1."""

    cpu: float = 0.0
    memory: float = 0.0


class Counters(NamedTuple):
    """What the system says at one instant: CPU time by limit, memory as a share."""

    cpu: dict[str, CpuUse]
    memory: float


class Meter:
    """Turns counters into shares. The CPU share is that of the time since the last measurement."""

    def __init__(self, clock: Callable[[], float], read: Callable[[], Counters] | None = None) -> None:
        self._clock = clock
        self._read = read or read_counters
        self._lock = threading.Lock()
        self._at = clock()
        self._counters = self._read()
        self._sample = Sample(memory=clip(self._counters.memory))

    def sample(self) -> Sample:
        """The shares now; asked again within the window, the same as before."""
        with self._lock:
            now = self._clock()
            elapsed_s = now - self._at
            if elapsed_s >= WINDOW_S:
                try:
                    counters = self._read()
                except (OSError, psutil.Error):
                    return self._sample  # the last one is better than no heartbeat
                cpu = clip(busiest(self._counters.cpu, counters.cpu, elapsed_s))
                self._sample = Sample(cpu, clip(counters.memory))
                self._at, self._counters = now, counters
            return self._sample


def busiest(before: dict[str, CpuUse], after: dict[str, CpuUse], elapsed_s: float) -> float:
    """Share of the limit that is used most; several levels may set one."""
    shares = (
        (after[level].used_s - before[level].used_s) / (elapsed_s * after[level].cores)
        for level in after
        if level in before
    )
    return max(shares, default=0.0)


def clip(share: float) -> float:
    """Within 0 to 1; what is not a number counts as nothing."""
    return min(1.0, max(0.0, share)) if share == share else 0.0  # noqa: PLR0124 - NaN differs from itself


def read_counters(root: Path = Path("/")) -> Counters:
    """The cgroup's limits where they are tighter than the machine, otherwise the machine."""
    machine_cores = os.cpu_count() or 1
    machine_memory = psutil.virtual_memory()
    quotas = {level: use for level, use in cpu_limits(root).items() if use.cores < machine_cores}
    limits = [use for use in memory_limits(root) if use.limit_bytes < machine_memory.total]
    return Counters(
        cpu=quotas or {"machine": CpuUse(_machine_busy_s(), machine_cores)},
        memory=max((use.used_bytes / use.limit_bytes for use in limits), default=machine_memory.percent / 100),
    )


def _machine_busy_s() -> float:
    times = psutil.cpu_times()
    # On Linux, guest time is part of user time; iowait is time in which a task could have run.
    return float(sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal")))
