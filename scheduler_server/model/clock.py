"""Time, as the core is told it."""

from collections.abc import Callable
from typing import NamedTuple


class Now(NamedTuple):
    """One instant on two clocks, both in seconds.

    `monotonic` is for every span and threshold: it never jumps. `wall` (since 1970) is only for what people and other
    machines read.
    """

    monotonic: float
    wall: float


Stopwatch = Callable[[], float]
"""Seconds from any fixed point; only differences count. Injected, so that a replay can answer the same."""
