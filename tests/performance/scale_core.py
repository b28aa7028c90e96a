"""A core with a fleet of some size in a process of its own, so that its memory is its own too."""

import asyncio
import gc
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import psutil

from scheduler_server.assignment.effects import Effect
from scheduler_server.model.clock import Now
from scheduler_server.rpc.collector import settle
from scheduler_server.rpc.shell import system_now
from tests.performance.decisions import Mix
from tests.performance.processes import arguments, obey

_SWEEPS = 15
_LATER_S = 1.5 * 86_400.0
"""Beyond half of the time that makes a worker unhealthy in benchmarks: every score has then decayed by a step."""


async def main(workers: int, scorer: str, most_held: int) -> None:
    """Load the fleet, then do what the parent says."""
    before, began = _rss_bytes(), time.perf_counter()
    mix = Mix(workers, scorer, most_held)
    took_s = time.perf_counter() - began
    with_leases = _rss_bytes()
    settle()  # as the real server does

    async def chunk(turns: int) -> Mapping[str, Any]:
        return mix.chunk(turns)

    async def sweep() -> Mapping[str, Any]:
        spent = []
        for _ in range(_SWEEPS):
            out: list[Effect] = []
            now, started = system_now(), time.perf_counter()
            mix.core.vitals.sweep(now, out)
            spent.append(time.perf_counter() - started)
        return {"us": median(spent) * 1e6}

    async def age_all() -> Mapping[str, Any]:
        now = system_now()
        later = Now(now.monotonic + _LATER_S, now.wall + _LATER_S)
        out: list[Effect] = []
        gc.disable()
        started = time.perf_counter()
        mix.core.vitals.sweep(later, out)
        took = time.perf_counter() - started
        gc.enable()
        return {"ms": took * 1e3}

    await obey(
        {"chunk": chunk, "sweep": sweep, "age_all": age_all},
        {
            "load_s": took_s,
            "bytes_per_worker": (mix.loaded_rss_bytes - before) / workers,
            "bytes_per_lease": (with_leases - mix.loaded_rss_bytes) / mix.held,
            "rss_bytes": with_leases,
        },
    )


def _rss_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
