"""What may leave only once the journal has it on disk: answers that promise, and tasks that were promised.

Waiting for the disk is bounded in both cases, and differently. An answer that promises is refused when the disk fails;
a task whose turn has come is handed over all the same, because loss of the journal must not stop decisions.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any, Protocol

HELD_AT_MOST_S = 1.0
"""Longer than a disk takes that works (a commit: milliseconds), and short enough for a slot that waits for its task."""

_LOOK_S = 0.05
"""How soon a caller hears that the journal has failed meanwhile."""


class Syncing(Protocol):
    """The part of a journal that this looks at."""

    def hurry(self) -> None:  # noqa: D102
        ...

    def status(self) -> Any:  # noqa: D102
        ...


class Durable:
    """Who waits for which sequence of the journal. For the loop's thread; the journal calls `persisted`.

    Invariant: `_held` rises by sequence, since what is held is held when it is put.
    """

    def __init__(self, journal: Syncing) -> None:
        self._journal = journal
        self._held: deque[tuple[int, Callable[[], None]]] = deque()
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
        if self._held:  # first come, first told
            sequence = max(sequence, self._held[-1][0])
        status = self._journal.status()
        if sequence <= status.persisted or not status.healthy or loop is None:
            what()
            return
        self._held.append((sequence, what))
        if hurry:
            self._journal.hurry()
        loop.call_later(HELD_AT_MOST_S, self._let_go, sequence)

    async def wait(self, sequence: int, within_s: float) -> bool:
        """Wait until all up to here is on disk. False: it has failed, or takes longer than this."""
        if sequence <= self._journal.status().persisted:
            return True
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        heappush(self._waiting, (sequence, next(self._tie), done))
        self._journal.hurry()
        until = loop.time() + within_s
        while not done.done():
            left_s = until - loop.time()
            if left_s <= 0.0 or not self._journal.status().healthy:
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
        self._let_go(sequence)

    def _let_go(self, sequence: int) -> None:
        held = self._held
        while held and held[0][0] <= sequence:
            held.popleft()[1]()
