"""A whole trace: rows in submit order, one at a time, in bounded memory however long it is."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush, heappushpop

from scheduler_server.simulation.trace_file import UnusableTrace
from scheduler_server.simulation.trace_layout import BadLine, BadRow, Columns, records
from scheduler_server.simulation.trace_row import TraceRow, row_from

REORDERED_ROWS = 1_000
"""Rows held back to put them in order. The logs of several writers are out of order by a few rows, and are mended by
this; a file that is sorted by something else is not, and says so."""


@dataclass(slots=True)
class BadRows:
    """Rows that cannot be used: all of them counted, the first `listed_most` listed."""

    listed_most: int = 20
    count: int = 0
    first: BadLine | None = None
    listed: list[BadLine] = field(default_factory=list)

    def add(self, bad: BadLine) -> None:
        """One more."""
        self.count += 1
        self.first = self.first or bad
        if len(self.listed) < self.listed_most:
            self.listed.append(bad)


def read_trace(
    lines: Iterator[tuple[int, bytes | None]], wanted: Columns, bad: BadRows, *, reordered_rows: int = REORDERED_ROWS
) -> Iterator[TraceRow]:
    """The rows in order of submit time, ties in the order of the file; what is no row goes to `bad`.

        with TraceFile(path, sys.stdin.buffer) as file:
            for row in read_trace(file.lines(), columns(), bad): ...

    Raises UnusableTrace where the file makes no sense as a whole, breaks off, or has not a single usable row.
    """
    held: list[tuple[float, int, TraceRow]] = []
    given_s = float("-inf")
    good = 0
    for row in _good_rows(lines, wanted, bad):
        if row.submit_s < given_s:
            late = f"submit_time_s {row.submit_s:.15g} comes more than {reordered_rows} rows after {given_s:.15g}"
            bad.add(BadLine(row.line, f"{late}: sort the file by submit time"))
            continue
        good += 1
        if len(held) < reordered_rows:
            heappush(held, (row.submit_s, row.line, row))
            continue
        first = heappushpop(held, (row.submit_s, row.line, row))
        given_s = first[0]
        yield first[2]
    while held:
        yield heappop(held)[2]
    if not good:
        if bad.first is None:
            raise UnusableTrace("has no rows")
        raise UnusableTrace(f"has no usable row: {bad.count} bad; line {bad.first.line}: {bad.first.reason}")


def _good_rows(lines: Iterator[tuple[int, bytes | None]], wanted: Columns, bad: BadRows) -> Iterator[TraceRow]:
    for found in records(lines, wanted):
        if isinstance(found, BadLine):
            bad.add(found)
            continue
        try:
            row = row_from(found)
        except BadRow as error:
            bad.add(BadLine(found.line, str(error)))
            continue
        yield row
