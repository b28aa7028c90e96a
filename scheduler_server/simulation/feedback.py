"""What a server would have seen, in order: each task when it is submitted, and once more when it ends."""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from scheduler_server.simulation.trace_row import TraceRow


class Event(NamedTuple):
    """A task is submitted, or (`ended`) it is over and its duration known."""

    ended: bool
    row: TraceRow


def events(rows: Iterable[TraceRow]) -> Iterator[Event]:
    """Submits in the order given, each end as soon as its instant has come.

    An end at the very instant of a submit comes before it. Ends at one instant keep the order of their submits. The
    ends after the last submit come last. Only what is running is held.
    """
    running: list[tuple[float, int, TraceRow]] = []
    for number, row in enumerate(rows):
        while running and running[0][0] <= row.submit_s:
            yield Event(True, heappop(running)[2])
        yield Event(False, row)
        heappush(running, (row.end_s, number, row))
    while running:
        yield Event(True, heappop(running)[2])
