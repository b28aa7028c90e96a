"""The last hour by minutes, worker by worker: how busy each was, and how evenly work was spread."""

from collections import deque
from collections.abc import Iterator
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from scheduler_server.history.busy import Stretch
from scheduler_server.history.minute import Minute

MINUTES = 60

_FIRST = 256  # workers there is room for at first; doubled when they are more

MOST_WORKERS = 200_000
"""Workers of one hour: 720 bytes each. Of those that come beyond that, nothing is known of the last hour; they are
counted in `left_out`."""

_SLICE = 2_048
"""Workers summed up at once: an hour of so many takes a third of a millisecond."""


class Spread(NamedTuple):
    """How busy workers were, and how evenly; None where there is nothing to say."""

    utilization: float | None = None
    spread: float | None = None
    max_over_mean: float | None = None
    busy_s: float = 0.0
    present_s: float = 0.0


class OfWorker(NamedTuple):
    """One worker over some minutes."""

    worker_id: str
    busy_s: float
    present_s: float
    completed: int
    failed: int


class Hour:
    """A ring of minutes.

    Invariants: column `_at` of every array is the current minute; a worker keeps its place in the arrays until nothing
    of it is in the ring, so a place never holds figures of two.
    """

    def __init__(self, began: float) -> None:
        self.minutes: deque[Minute] = deque([Minute(began)], maxlen=MINUTES)
        self.left_out = 0
        self._at = 0
        self._number = 0  # of the current minute, since the start
        self._places: dict[str, int] = {}
        self._names: list[str] = []
        self._free: list[int] = []
        self._leaving: deque[tuple[int, str]] = deque()  # the minute in which a worker went, oldest first
        self._last: list[int] = []  # the last minute that has something of whoever is at this place
        self._busy, self._present = _room(np.float32), _room(np.float32)
        self._completed, self._failed = _room(np.uint32), _room(np.uint32)

    @property
    def current(self) -> Minute:
        """The minute that runs."""
        return self.minutes[-1]

    def begin(self, wall: float) -> None:
        """The next minute begins."""
        self.current.ended = wall
        self.minutes.append(Minute(wall))
        self._number += 1
        self._at = self._number % MINUTES
        for each in self._arrays():
            each[self._at] = 0
        gone = self._number - MINUTES
        while self._leaving and self._leaving[0][0] <= gone:
            worker_id = self._leaving.popleft()[1]
            place = self._places.get(worker_id)
            if place is not None and self._last[place] <= gone:  # it has not come back meanwhile
                self._free.append(place)
                del self._places[worker_id]

    def add(self, worker_id: str, stretch: Stretch) -> None:
        """What a worker did of late."""
        place = self._places.get(worker_id)
        if place is None:
            place = self._take_place(worker_id)
            if place is None:
                return
        at = self._at
        self._busy[at, place] += stretch.busy_s
        self._present[at, place] += stretch.present_s
        if stretch.completed:
            self._completed[at, place] += stretch.completed
        if stretch.failed:
            self._failed[at, place] += stretch.failed
        self._last[place] = self._number

    def leave(self, worker_id: str) -> None:
        """It is gone: what is known of it stays for an hour."""
        self._leaving.append((self._number, worker_id))

    def _take_place(self, worker_id: str) -> int | None:
        if self._free:
            place = self._free.pop()
            self._names[place] = worker_id
        elif len(self._names) < MOST_WORKERS:
            place = len(self._names)
            self._names.append(worker_id)
            self._last.append(0)
            if place >= self._busy.shape[1]:
                self._busy, self._present = _wider(self._busy), _wider(self._present)
                self._completed, self._failed = _wider(self._completed), _wider(self._failed)
        else:
            self.left_out += 1
            return None
        self._places[worker_id] = place
        return place

    def _arrays(self) -> tuple[Any, ...]:
        return self._busy, self._present, self._completed, self._failed

    # ------------------------------------------------------------------ asked

    def columns(self, first: int, last: int) -> list[int]:
        """Columns of the minutes from `first` to `last`, counted as in `minutes`."""
        oldest = self._number - len(self.minutes) + 1
        return [(oldest + each) % MINUTES for each in range(first, last + 1)]

    def spread(self, columns: list[int], only: list[str] | None = None) -> Iterator[Spread | None]:
        """How evenly work was spread over these minutes. None between slices of the work; the answer comes last.

        `only`: of these workers, those of whom something is known.
        """
        if only is not None:
            places = [self._places[each] for each in only if each in self._places]
            slices = [np.ix_(columns, places[at : at + _SLICE]) for at in range(0, len(places), _SLICE)]
        else:
            slices = [
                np.ix_(columns, range(at, min(at + _SLICE, len(self._names))))
                for at in range(0, len(self._names), _SLICE)
            ]
        busy_s = present_s = shares = squares = most = 0.0
        workers = 0
        for chosen in slices:
            busy, present = (each[chosen].sum(axis=0, dtype=float) for each in (self._busy, self._present))
            there = present > 0.0
            share = busy[there] / present[there]
            busy_s += float(busy.sum())
            present_s += float(present.sum())
            workers += int(there.sum())
            if share.size:
                shares += float(share.sum())
                squares += float((share * share).sum())
                most = max(most, float(share.max()))
            yield None
        evenness: tuple[float | None, float | None] = (None, None)
        if workers > 1 and shares > 0.0:
            mean = shares / workers
            evenness = (sqrt(max(0.0, squares / workers - mean * mean)) / mean, max(1.0, most / mean))
        yield Spread(busy_s / present_s if present_s else None, *evenness, busy_s, present_s)

    def workers(self) -> list[str]:
        """Those of whom something is known, by id."""
        return sorted(self._places)

    def of_worker(self, worker_id: str, columns: list[int]) -> OfWorker | None:
        """One of them over these minutes; None where nothing is known."""
        place = self._places.get(worker_id)
        if place is None:
            return None
        busy, present, completed, failed = (float(each[columns, place].sum(dtype=float)) for each in self._arrays())
        return OfWorker(worker_id, busy, present, int(completed), int(failed))


def _room(kind: Any) -> Any:
    return np.zeros((MINUTES, _FIRST), kind)


def _wider(array: Any) -> Any:
    return np.concatenate((array, np.zeros_like(array)), axis=1)
