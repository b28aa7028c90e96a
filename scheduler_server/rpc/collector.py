"""Python's garbage collector, kept off the path.

What the server makes is freed by reference counts. What is not comes from the transport: each call of grpc.aio leaves a
cycle of five objects behind (a closure of its dispatch), an aborted one about fifty (its exception and frames), so the
collector cannot be switched off. But it looks at every object that lives, and a full collection beside 100,000 workers
stops everything for 50 ms and more. So what is there at start is frozen, the young generations are collected in small
steps as before, and the oldest only when nobody has asked for anything for a moment, or, on a server that is never
idle, once an hour, or when memory has grown a lot.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

_YOUNG = (1_000, 1, 1_000_000)
"""Allocations before the youngest generation is collected (0.2 ms under load), collections of it before the second
(with the usual ten that took 2.5 ms; nearly all that is made here lives until it is forgotten on purpose, so looking at
it late finds nothing more), and of that before the oldest: never by itself."""

_LOOK_EVERY_S = 10.0
_IDLE_FOR_S = 1.0
_AT_LEAST_EVERY_S = 3_600.0
_AT_MOST_EVERY_S = 300.0
_GROWN_BYTES = 64 * 1024 * 1024
"""So much more memory, and it is looked at whoever is asking: 100,000 refused streams left 110 MiB behind them, and a
flood of them need not pause within an hour."""


@contextmanager
def nothing_goes() -> Iterator[None]:
    """While much is made and all of it stays: looking for garbage would take a fifth of the time, and find none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def settle() -> None:
    """What lives now stays: never look at it again. Called once the server is built and restored."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_YOUNG)


async def collect_when_idle(last_event: Callable[[], float]) -> None:
    """Collect the oldest generation now and then; `last_event` is the monotonic second of the last request."""
    memory = psutil.Process().memory_info
    collected, held_bytes = time.monotonic(), memory().rss
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        now = time.monotonic()
        if is_due(now - collected, now - last_event(), memory().rss - held_bytes):
            gc.collect()
            collected, held_bytes = time.monotonic(), memory().rss


def is_due(since_s: float, quiet_s: float, grown_bytes: int) -> bool:
    """Is the oldest generation due, so long after the last time, in such quiet, with so much more memory?"""
    idle = quiet_s >= _IDLE_FOR_S and since_s >= _AT_MOST_EVERY_S
    return idle or since_s >= _AT_LEAST_EVERY_S or grown_bytes >= _GROWN_BYTES
