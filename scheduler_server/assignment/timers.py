"""A heap of instants that forgets those whose subject is gone: most of what is watched never comes to pass."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Generic, TypeVar

Subject = TypeVar("Subject")

_SPARE = 64

_AT_ONCE = 4
"""Entries looked at again with each that comes: so many are gone through before there are that many more."""


class Timers(Generic[Subject]):
    """Invariant: at most about twice as many entries as there were valid ones when they were last gone through.

    `valid` tells whether an entry still means something: its instant and its subject. They are gone through a few at a
    time, since there may be one for each waiting task: `_before` has those that are still to be looked at.
    """

    def __init__(self, valid: Callable[[float, Subject], bool]) -> None:
        self._valid = valid
        self._heap: list[tuple[float, int, Subject]] = []
        self._before: list[tuple[float, int, Subject]] = []
        self._number = 0
        self._most = _SPARE

    def __len__(self) -> int:
        return len(self._heap) + len(self._before)

    @property
    def next_at(self) -> float:
        """The first instant; infinity where there is none. It may be one that means nothing any more."""
        first = self._heap[0][0] if self._heap else float("inf")
        return min(first, self._before[0][0]) if self._before else first

    def watch(self, at: float, subject: Subject) -> None:
        """Have an instant come to pass; among equal ones the first watched is first."""
        self._number += 1
        heappush(self._heap, (at, self._number, subject))
        if self._before:
            self._go_through()
        elif len(self._heap) > self._most:
            self._before, self._heap = self._heap, []

    def _go_through(self) -> None:
        before, heap, valid = self._before, self._heap, self._valid
        for _ in range(min(_AT_ONCE, len(before))):
            entry = before.pop()  # the last of a heap: what is left is still one
            if valid(entry[0], entry[2]):
                heappush(heap, entry)
        if not before:
            self._most = 2 * len(heap) + _SPARE

    def due(self, now: float) -> Subject | None:
        """The next subject whose instant has come; None: no more."""
        while True:
            heap, before = self._heap, self._before
            if before and (not heap or before[0] < heap[0]):
                heap = before
            if not heap or heap[0][0] > now:
                return None
            at, _, subject = heappop(heap)
            if heap is before and not heap:
                self._most = 2 * len(self._heap) + _SPARE
            if self._valid(at, subject):
                return subject
