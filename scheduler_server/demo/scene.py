"""What there is to show of one phase, whoever shows it."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from scheduler_server.demo.tape import Run, Tape


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One phase. `rates` tells decisions per second by who decided, `news` the last thing out of the ordinary.

    `ask` renews what the server says of tasks that wait; None where nobody can say when they will start.
    """

    title: str
    tape: Tape
    rates: Callable[[float], dict[str, float]]
    ask: Callable[[], Awaitable[None]] | None
    news: Callable[[], str] = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Tasks by where they are, in all and by worker. `waiting`: for a slot, in the scheduler or on a worker."""

    sent: int
    waiting: int
    done: int
    queued_on: Counter[str]
    running_on: Counter[str]
    done_on: Counter[str]


def count(tape: Tape, now: float) -> Counts:
    """Where the tasks of a tape are."""
    sent = [run for run in tape.runs.values() if run.due <= now]
    queued_on: Counter[str] = Counter()
    running_on: Counter[str] = Counter()
    done_on: Counter[str] = Counter()
    for run in sent:
        if run.ended is not None:
            done_on[run.worker_id] += 1
        elif run.began is not None:
            running_on[run.worker_id] += 1
        elif run.placed is not None:
            queued_on[run.worker_id] += 1
    return Counts(
        sent=len(sent),
        waiting=sum(run.waits for run in sent) + queued_on.total(),
        done=done_on.total(),
        queued_on=queued_on,
        running_on=running_on,
        done_on=done_on,
    )


def name(run: Run) -> str:
    """A task's number and type; 20 columns at most."""
    return f"#{run.item.number:<3} {run.item.kind.task_type}"


def until(instant: float | None, now: float) -> str:
    """Seconds from now to then; an instant that has passed is now."""
    return "-" if instant is None else seconds(max(0.0, instant - now))


def seconds(span_s: float) -> str:
    """A span in six columns, up to a thousand seconds."""
    return f"{span_s:.2f} s" if span_s < 9.995 else f"{span_s:.1f} s"


def words(name: str) -> str:
    """An enum's name as one says it."""
    return name.lower().replace("_", " ")
