"""Calls that the transport has announced and whose method has not begun: their request is still on its way.

gRPC tells nobody when it refuses a call itself, because a message or its metadata is too large; its handler is just
never run. So whoever is announced is kept here until its method begins, and who has ended before is counted.
"""

from typing import Protocol

_LEAST = 1_024


class Ends(Protocol):
    """What answers a call: an asyncio task."""

    def done(self) -> bool:
        """Has it ended?"""


class Arriving:
    """`calls` loses those whose method begins. `lost` counts the others, when they are looked for.

    Invariant: of calls that have ended there are never more here than of those that have not, or a thousand.
    """

    __slots__ = ("_look_at", "_lost", "calls")

    def __init__(self) -> None:
        self.calls: dict[Ends, None] = {}
        self._look_at = _LEAST
        self._lost = 0

    def come(self, call: Ends) -> None:
        """One is announced."""
        calls = self.calls
        calls[call] = None
        if len(calls) >= self._look_at:
            self._look()

    @property
    def lost(self) -> int:
        """How many ended before their method began."""
        self._look()
        return self._lost

    def _look(self) -> None:
        for call in [each for each in self.calls if each.done()]:
            del self.calls[call]
            self._lost += 1
        self._look_at = max(_LEAST, 2 * len(self.calls))  # so that each is looked at twice on average, not each time
