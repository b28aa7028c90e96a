"""A heap of instants that forgets those whose subject is gone: most of what is watched never comes to pass."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Subject = TypeVar("Subject")

_SPARE = 64


class Timers(Generic[Subject]):
    """Invariant: at most twice as many entries as there were valid ones when that was last counted, and a few.

    `valid` tells whether an entry still means something: its instant and its subject.
    """

    def __init__(self, valid: Callable[[float, Subject], bool]) -> None:
        self._valid = valid
        self._heap: list[tuple[float, int, Subject]] = []
        self._number = 0
        self._most = _SPARE

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_at(self) -> float:
        """The first instant; infinity where there is none. It may be one that means nothing any more."""
        return self._heap[0][0] if self._heap else float("inf")

    def watch(self, at: float, subject: Subject) -> None:
        """Have an instant come to pass; among equal ones the first watched is first."""
        self._number += 1
        heappush(self._heap, (at, self._number, subject))
        if len(self._heap) > self._most:
            self._heap = [entry for entry in self._heap if self._valid(entry[0], entry[2])]
            heapify(self._heap)
            self._most = 2 * len(self._heap) + _SPARE

    def due(self, now: float) -> Subject | None:
        """The next subject whose instant has come; None: no more."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, _, subject = heappop(heap)
            if self._valid(at, subject):
                return subject
        return None
