"""The queue service: each task is handed in when it is due, and the scheduler hands it to a worker's stream.

What becomes of the tasks is heard of by WatchTasks: that one waits and what the server expects for it, which worker it
was given to and why. So it does not matter how tasks come in. Once all is over, the server is asked how each task
ended, and what it answered is compared with what the task was to answer.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping

from scheduler_server.client import (
    AsyncSchedulerClient,
    DecisionSource,
    OutcomeStatus,
    SchedulerError,
    TaskState,
    TaskStatus,
)
from scheduler_server.demo.child import DemoFailed
from scheduler_server.demo.prospect import clocks_apart_s, prospect_of
from scheduler_server.demo.tape import Run, Tape, play, rates, task_of
from scheduler_server.demo.way_in import WayIn

OUTCOME_S = 10.0  # from what a worker does to what the server tells of it; usually milliseconds
ASK_AGAIN_S = 0.05
ENDED_S = 2.0  # when the server's process ends, whoever watches it says so first: the better message


class QueueClient:
    """Hands in the tasks of one tape. `decided` has the instants of recent decisions with their sources.

    `placed_again` is told of each task that got another worker because the former was lost.
    """

    def __init__(
        self,
        client: AsyncSchedulerClient,
        way_in: WayIn,
        tape: Tape,
        chunks: Mapping[str, bytes],
        placed_again: Callable[[Run], None] | None = None,
    ) -> None:
        self._client = client
        self._way_in = way_in
        self._tape = tape
        self._chunks = chunks
        self._watching = asyncio.Event()
        self._placed_again = placed_again
        self._decision = asyncio.Event()
        self.decided: deque[tuple[float, str]] = deque(maxlen=1_000)

    async def run(self) -> None:
        """Hand in all, and return when all have ended.

        Raises:
            DemoFailed: one was not taken, or the server does not tell what happens.
        """
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch())
            await self._watching.wait()

            def send(run: Run) -> None:
                # Every task that needs something in particular is explained: one of them is shown at the end.
                explain = bool(run.item.kind.requires)
                group.create_task(self._way_in.put(task_of(run, self._chunks), explain=explain))

            await play(self._tape, time.monotonic, send)
            await self._tape.all_ended.wait()
            try:
                async with asyncio.timeout(OUTCOME_S):
                    while self._undecided():
                        self._decision.clear()
                        await self._decision.wait()
            except TimeoutError:
                raise DemoFailed(f"the server did not tell of {self._undecided()} decisions") from None
            watch.cancel()

    def _undecided(self) -> int:
        return sum(run.decision is None for run in self._tape.runs.values())

    def rates(self, now: float) -> dict[str, float]:
        """Decisions per second of late, by source."""
        return rates(self.decided, now)

    async def _watch(self) -> None:
        try:
            async with self._client.watch_tasks() as changes:
                self._watching.set()
                async for change in changes:
                    self.heard(change.status)
        except SchedulerError as error:
            await asyncio.sleep(ENDED_S)
            raise DemoFailed(f"the server does not tell what happens to tasks: {error}") from error

    def heard(self, status: TaskStatus) -> None:
        """What happened to a task."""
        run = self._tape.runs.get(status.task_id)
        attempt = status.attempt or 1
        if run is None or attempt < run.attempt:
            return
        self._tape.again(run, attempt)
        if status.waiting is not None and run.told is None:
            run.told = run.prospect = prospect_of(status.waiting, clocks_apart_s())
        elif status.lease_id and run.decision is None:
            run.placed = time.monotonic()
            run.worker_id = status.worker_id
            run.decision = status.message.decision
            self.decided.append((run.placed, DecisionSource(run.decision.source).name.lower()))
            self._decision.set()
            if run.attempt > 1 and self._placed_again is not None:
                self._placed_again(run)

    async def check(self, answers: Mapping[str, bytes]) -> list[str]:
        """Ask the server how each task ended; what is wrong with whom, a line for each."""
        until = time.monotonic() + OUTCOME_S
        return [
            f"{run.task_id}: {fault}"
            for run in self._tape.runs.values()
            if (fault := await self._ended(run, answers[run.item.kind.task_type], until))
        ]

    async def _ended(self, run: Run, answer: bytes, until: float) -> str:
        while True:
            try:
                status = await self._client.get_task(run.task_id)
            except SchedulerError as error:
                return str(error)
            if status.outcome is not None or time.monotonic() > until:
                break
            await asyncio.sleep(ASK_AGAIN_S)
        if status.outcome is None or status.state is not TaskState.FINISHED:
            return f"the server has it as {status.state.name}"
        if status.outcome.status is not OutcomeStatus.SUCCEEDED:
            return f"{status.outcome.status.name} {status.outcome.error_message}".rstrip()
        return "" if status.outcome.result == answer else "its result is wrong"
