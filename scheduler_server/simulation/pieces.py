"""Work that is to be simulated: tasks with the instants at which they came and how long they take at speed 1.

A workload can be gone through any number of times, since every policy and every seed sees the same tasks; what is
short is kept in memory, what is long is read again.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from scheduler_server.model.task import Task
from scheduler_server.simulation.sketch import Sketch
from scheduler_server.simulation.trace_file import UnusableTrace
from scheduler_server.simulation.trace_row import TraceRow

KEPT = 200_000
"""Tasks of a workload that stay in memory: a few hundred megabytes at the very most."""

MOST_USERS = 10_000
"""Users told apart when fairness is judged; later ones are one group."""

LONGEST_GAP_S = 7 * 86_400.0
"""A longer stretch without a submit is no pause of people or machines but a hole in the record: it is cut to this.
Otherwise a trace with a gap of a year, scaled to a load, would be one burst and a long rest."""

_SETTLE_EVERY = 50_000


class Piece(NamedTuple):
    """One task: when it came (seconds on the workload's own clock), how long it takes at speed 1, what is known."""

    at_s: float
    work_s: float
    task: Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one pass over a workload tells. `span_s` is from the first submit to the last, long gaps cut."""

    tasks: int
    work_s: float
    median_s: float
    p90_s: float
    longest_s: float
    span_s: float
    gaps: int
    gaps_s: float
    types: int
    left_out: int = 0

    @property
    def mean_s(self) -> float:
        """Mean duration at speed 1."""
        return self.work_s / self.tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Tasks by name, any number of times: `pieces(seed)` begins anew. What is recorded is the same for every seed."""

    name: str
    facts: Facts
    pieces: Callable[[int], Iterator[Piece]]
    generated: bool = False
    own_times: bool = True


def without_gaps(pieces: Iterable[Piece], longest_s: float = LONGEST_GAP_S) -> Iterator[Piece]:
    """The same, with stretches between two submits of at most this length, beginning at 0."""
    before: float | None = None
    cut_s = 0.0
    for piece in pieces:
        if before is None:
            cut_s = piece.at_s
        elif piece.at_s - before > longest_s:
            cut_s += piece.at_s - before - longest_s
        before = piece.at_s
        yield Piece(piece.at_s - cut_s, piece.work_s, piece.task)


def recorded(
    name: str,
    read: Callable[[], Iterator[Piece]],
    *,
    longest_gap_s: float = LONGEST_GAP_S,
    again: bool = True,
    kept: int = KEPT,
    every: Callable[[], None] = lambda: None,
) -> Workload:
    """A workload of what `read` answers, which must be the same each time and in order of time.

    One pass is made at once, for its facts; `every` is called now and then. With `again` False it can be read only
    once. Raises UnusableTrace where there is nothing, or where it is too long for what can be read only once.
    """
    short: list[Piece] | None = []
    durations = Sketch()
    work_s = longest_s = span_s = gaps_s = 0.0
    gaps = tasks = 0
    before: float | None = None
    types: set[str] = set()
    for piece in read():
        if before is not None:
            gap = piece.at_s - before
            if gap > longest_gap_s:
                gaps += 1
                gaps_s += gap - longest_gap_s
                gap = longest_gap_s
            span_s += gap
        before = piece.at_s
        tasks += 1
        work_s += piece.work_s
        longest_s = max(longest_s, piece.work_s)
        durations.add(piece.work_s)
        if len(types) < KEPT:
            types.add(piece.task.task_type)
        if not tasks % _SETTLE_EVERY:
            durations.settle()
            every()
        if short is not None:
            short.append(piece)
            if len(short) > kept:
                if not again:
                    raise UnusableTrace(f"has more than {kept:,} tasks and can be read only once: save it to a file")
                short = None
    if not tasks or not isfinite(work_s):
        raise UnusableTrace("has no tasks")
    median_s, p90_s = durations.quantiles([0.5, 0.9])
    facts = Facts(
        tasks=tasks,
        work_s=work_s,
        median_s=median_s,
        p90_s=p90_s,
        longest_s=longest_s,
        span_s=span_s,
        gaps=gaps,
        gaps_s=gaps_s,
        types=len(types),
    )
    held = short

    def pieces(_seed: int) -> Iterator[Piece]:
        return without_gaps(read() if held is None else held, longest_gap_s)

    return Workload(name=name, facts=facts, pieces=pieces)


def of_rows(rows: Iterable[TraceRow], statuses: frozenset[str]) -> Iterator[Piece]:
    """The rows of a trace that count: those of these statuses."""
    for row in rows:
        if row.status in statuses:
            yield Piece(row.submit_s, row.duration_ms / 1_000.0, row.task)
