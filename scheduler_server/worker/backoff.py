"""How long to wait before connecting again: exponential, with full jitter.

Full jitter (any time between nothing and the ceiling) spreads a fleet that lost its server at one instant
best: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from collections.abc import Callable
from random import SystemRandom

BASE_S = 0.2  # first ceiling: a restart of the server is over after one or two of them
CAP_S = 15.0  # last ceiling: a server that comes back has its whole fleet within this time
FACTOR = 2.0


class Backoff:
    """Counts attempts that failed in a row; their ceilings double up to the cap."""

    def __init__(
        self,
        base_s: float = BASE_S,
        cap_s: float = CAP_S,
        uniform: Callable[[float, float], float] | None = None,
    ) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._uniform = uniform or SystemRandom().uniform
        self._ceiling_s = base_s

    def next_s(self) -> float:
        """Seconds to wait now; the following wait may be twice as long."""
        ceiling_s = self._ceiling_s
        self._ceiling_s = min(self._cap_s, ceiling_s * FACTOR)
        return self._uniform(0.0, ceiling_s)

    def longest_s(self) -> float:
        """Seconds to wait where trying again soon is pointless: the upper half of the cap."""
        self._ceiling_s = self._cap_s
        return self._uniform(self._cap_s / 2, self._cap_s)

    def reset(self) -> None:
        """A session lived: the next wait is short again."""
        self._ceiling_s = self._base_s
