"""How good were the expected starts? What the server told when a task began to wait, against when a worker began it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from scheduler_server.demo.tape import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One task that waited and has begun. Instants are monotonic seconds."""

    due: float
    p50: float
    p90: float
    began: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """So many starts in figures. One half and nine tenths are what `by_p50` and `by_p90` should be.

    `by_p50`, `by_p90`: share that had begun by then. `median_off_s`: of the distances from the P50.
    """

    count: int
    by_p50: float
    by_p90: float
    median_off_s: float
    mean_wait_s: float
    longest_wait_s: float


def starts(runs: Iterable[Run]) -> list[Start]:
    """The tasks that were told an expected start and have begun, in the order in which they were due.

    Without those that lost their first worker: when that happens nobody can tell.
    """
    found = []
    for run in runs:
        told = run.told
        if run.attempt > 1:
            continue
        if run.began is not None and told is not None and told.p50 is not None and told.p90 is not None:
            found.append(Start(due=run.due, p50=told.p50, p90=told.p90, began=run.began))
    return sorted(found, key=lambda start: start.due)


def halves(found: Sequence[Start]) -> tuple[Sequence[Start], Sequence[Start]]:
    """Those that were due first, and the others, who were told by what had been learned from the first."""
    middle = len(found) // 2
    return found[:middle], found[middle:]


def waits(found: Sequence[Start]) -> Waits | None:
    """Their figures; None where there are none."""
    if not found:
        return None
    waited_s = [max(0.0, start.began - start.due) for start in found]
    return Waits(
        count=len(found),
        by_p50=fmean(start.began <= start.p50 for start in found),
        by_p90=fmean(start.began <= start.p90 for start in found),
        median_off_s=median(abs(start.began - start.p50) for start in found),
        mean_wait_s=fmean(waited_s),
        longest_wait_s=max(waited_s),
    )
