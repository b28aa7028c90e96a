"""What was measured: when each task was due, who got it, when it began there, when it ended.

Workers say when a task begins and ends, by the machine's one monotonic clock; wait is from the planned arrival to that
beginning, whatever lies between. The same tape serves both phases, so nothing is measured in two ways.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from scheduler_api.v1.decision_pb2 import Decision
from scheduler_server.client import LossPolicy, Task
from scheduler_server.demo.arrivals import Item
from scheduler_server.demo.prospect import Prospect
from scheduler_server.demo.work import pack

RECENT_S = 2.0  # "per second" is told over so long


@dataclass(slots=True, eq=False, kw_only=True)
class Run:
    """One task in one phase, as its last attempt. Instants are monotonic seconds; None is what has not happened.

    Of a scheduler: `told` is what it said when the task began to wait, `prospect` what it said last, `decision` what it
    decided in the end. `times_begun` counts over all attempts.
    """

    item: Item
    task_id: str
    attempt: int = 1
    due: float = 0.0
    worker_id: str = ""
    placed: float | None = None
    decision: Decision | None = None
    told: Prospect | None = None
    prospect: Prospect | None = None
    began: float | None = None
    ended: float | None = None
    times_begun: int = 0

    @property
    def wait_s(self) -> float:
        """From the planned arrival to the beginning."""
        return max(0.0, (self.began or self.due) - self.due)

    @property
    def waits(self) -> bool:
        """Does it wait in the scheduler?"""
        return self.told is not None and self.placed is None and self.began is None

    @property
    def took_s(self) -> float:
        """From beginning to end."""
        return (self.ended or 0.0) - (self.began or 0.0)


class Tape:
    """The runs of one phase by task id."""

    def __init__(self, name: str, items: Sequence[Item], span_s: float) -> None:
        self.name = name
        self.span_s = span_s
        self.runs = {run.task_id: run for run in (Run(item=i, task_id=f"{name}-{i.number:04d}") for i in items)}
        self.started = 0.0
        self.all_ended = asyncio.Event()
        self._left = len(self.runs)

    def start(self, now: float) -> None:
        """The phase begins: arrivals are due from now on."""
        self.started = now
        for run in self.runs.values():
            run.due = now + run.item.at_s

    def began(self, worker_id: str, task_id: str, at: float, attempt: int = 1) -> None:
        """A worker has begun a task."""
        if run := self.runs.get(task_id):
            run.times_begun += 1
            self.again(run, attempt)  # a worker may say so before the server does
            if attempt == run.attempt:
                run.worker_id, run.began = worker_id, at

    def again(self, run: Run, attempt: int) -> None:
        """Its former worker was lost, and the scheduler places it again, as this attempt; one that is known is no news.

        What the former attempt was told, and what came of it, is forgotten, the end of it included: a worker can be
        lost between the end of a task and its report, and then the scheduler knows of no end.
        """
        if attempt <= run.attempt:
            return
        run.attempt, run.worker_id = attempt, ""
        run.placed = run.decision = run.told = run.prospect = run.began = None
        if run.ended is not None:
            run.ended = None
            self._left += 1
            self.all_ended.clear()

    def ended(self, task_id: str, at: float, attempt: int = 1) -> None:
        """A worker has ended a task."""
        run = self.runs.get(task_id)
        if run is not None and run.ended is None and attempt == run.attempt:
            run.ended = at
            self._left -= 1
            if not self._left:
                self.all_ended.set()


def task_of(run: Run, chunks: Mapping[str, bytes]) -> Task:
    """The task as it is sent; the same in both phases but for its id."""
    kind, chunk = run.item.kind, chunks[run.item.kind.task_type]
    return Task(
        task_id=run.task_id,
        task_type=kind.task_type,
        priority=run.item.priority,
        required_capabilities=kind.requires,
        features={"input_bytes": float(run.item.units * len(chunk))},
        loss_policy=LossPolicy.REQUEUE,  # to do it twice does no harm, and somebody waits for its answer
        payload=pack(run.item.units, chunk),
    )


async def play(tape: Tape, clock: Callable[[], float], send: Callable[[Run], None]) -> None:
    """Send each task when it is due."""
    tape.start(clock())
    for run in tape.runs.values():
        pause_s = run.due - clock()
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        send(run)


def rates(decided: Iterable[tuple[float, str]], now: float) -> dict[str, float]:
    """How many per second of late, by source, of instants with their sources."""
    found: dict[str, float] = {}
    for at, source in decided:
        if at >= now - RECENT_S:
            found[source] = found.get(source, 0.0) + 1 / RECENT_S
    return found
