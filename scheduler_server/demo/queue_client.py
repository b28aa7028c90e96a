"""The queue service: each task is assigned when it is due, and the scheduler hands it to the worker's stream.

When nobody has a free slot the task stays here, and the SDK's patience asks again when the server said. Once all is
over, the server is asked how each task ended, and what it answered is compared with what the task was to answer.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping

from scheduler_server.client import (
    AsyncSchedulerClient,
    Delivery,
    OutcomeStatus,
    SchedulerError,
    TaskState,
)
from scheduler_server.demo.child import DemoFailed
from scheduler_server.demo.tape import Run, Tape, play, rates, task_of

PATIENCE_S = 120.0  # longer than the demo: a task is never given up for want of a slot
OUTCOME_S = 10.0  # from the end of a task to the server's knowledge of it; usually milliseconds
ASK_AGAIN_S = 0.05


class QueueClient:
    """Sends the tasks of one tape. `decided` has the instants of recent decisions with their sources."""

    def __init__(self, client: AsyncSchedulerClient, tape: Tape, chunks: Mapping[str, bytes]) -> None:
        self._client = client
        self._tape = tape
        self._chunks = chunks
        self.decided: deque[tuple[float, str]] = deque(maxlen=1_000)

    async def run(self) -> None:
        """Send all, and return when all have ended.

        Raises:
            DemoFailed: one could not be placed.
        """
        async with asyncio.TaskGroup() as group:

            def send(run: Run) -> None:
                group.create_task(self._assign(run))

            await play(self._tape, time.monotonic, send)
        await self._tape.all_ended.wait()

    def rates(self, now: float) -> dict[str, float]:
        """Decisions per second of late, by source."""
        return rates(self.decided, now)

    async def _assign(self, run: Run) -> None:
        # Every task that needs something in particular is explained: one of them is shown at the end.
        explain = bool(run.item.kind.requires)
        try:
            run.placement = await self._client.assign(
                task_of(run, self._chunks), delivery=Delivery.STREAM, explain=explain, patience=PATIENCE_S
            )
        except SchedulerError as error:
            raise DemoFailed(f"{run.task_id} was not placed: {error}") from error
        run.placed = time.monotonic()
        run.worker_id = run.placement.worker_id
        self.decided.append((run.placed, run.placement.source.name.lower()))

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
