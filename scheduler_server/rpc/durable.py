"""What may leave only once the journal has it on disk: answers that promise, and tasks that were promised.

Waiting for the disk is bounded in both cases, and differently. An answer that promises is refused when the disk fails;
a task whose turn has come is handed over all the same, because loss of the journal must not stop decisions.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

HELD_AT_MOST_S = 1.0
"""Longer than a disk takes that works (a commit: milliseconds), and short enough for a slot that waits for its task."""

_LOOK_S = 0.05
"""How soon a caller hears that the journal has failed meanwhile."""


class Syncing(Protocol):
    """The part of a journal that this looks at."""

    def hurry(self) -> None:  # noqa: D102
        ...

    @property
    def persisted(self) -> int:
        """All up to here is on disk."""

    @property
    def healthy(self) -> bool:
        """Did the last commit succeed?"""


class Durable:
    """Who waits for which sequence of the journal. For the loop's thread; the journal calls `persisted`.

    Invariants: `_held` rises by sequence, since what is held is held when it is put, and by the instant at which it is
    let go all the same; while there is any, a timer is armed for the first of these instants or an earlier one.
    """

    def __init__(self, journal: Syncing) -> None:
        self._journal = journal
        self._held: deque[tuple[int, float, Callable[[], None]]] = deque()
        self._armed = False
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tie = count()

    def after(
        self,
        sequence: int,
        what: Callable[[], None],
        loop: asyncio.AbstractEventLoop | None,
        *,
        hurry: bool = True,
    ) -> None:
        """Do something once all up to here is on disk; after a second, or with a journal that fails, all the same.

        Without `hurry` it goes with the next regular commit.
        """
        held, journal = self._held, self._journal
        if held and held[-1][0] > sequence:  # first come, first told
            sequence = held[-1][0]
        if loop is None or sequence <= journal.persisted or not journal.healthy:
            what()
            return
        held.append((sequence, loop.time() + HELD_AT_MOST_S, what))
        if hurry:
            journal.hurry()
        if not self._armed:
            self._armed = True
            loop.call_later(HELD_AT_MOST_S, self._overdue, loop)

    async def wait(self, sequence: int, within_s: float) -> bool:
        """Wait until all up to here is on disk. False: it has failed, or takes longer than this."""
        if sequence <= self._journal.persisted:
            return True
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        heappush(self._waiting, (sequence, next(self._tie), done))
        self._journal.hurry()
        until = loop.time() + within_s
        while not done.done():
            left_s = until - loop.time()
            if left_s <= 0.0 or not self._journal.healthy:
                done.cancel()
                return False
            await asyncio.wait((done,), timeout=min(_LOOK_S, left_s))
        return True

    def persisted(self, sequence: int) -> None:
        """The journal says that all up to here is on disk."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= sequence:
            done = heappop(waiting)[2]
            if not done.done():
                done.set_result(None)
        held = self._held
        while held and held[0][0] <= sequence:
            held.popleft()[2]()

    def _overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let go what has been held for long enough, and come again for the rest."""
        held, now = self._held, loop.time()
        while held and held[0][1] <= now:
            held.popleft()[2]()
        self._armed = bool(held)
        if held:
            loop.call_later(held[0][1] - now, self._overdue, loop)
