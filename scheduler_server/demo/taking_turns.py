"""The second phase: the same tasks at the same instants, to the workers in turn."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Mapping

from scheduler_api.v1.task_pb2 import OutcomeStatus
from scheduler_server.demo.child import DemoFailed
from scheduler_server.demo.round_robin import RoundRobin
from scheduler_server.demo.tape import Run, Tape, play, rates, task_of

OUTCOME_S = 10.0  # from the end of a task to its report; usually milliseconds


class TakingTurns:
    """Sends the tasks of one tape."""

    def __init__(self, turns: RoundRobin, tape: Tape, chunks: Mapping[str, bytes]) -> None:
        self._turns = turns
        self._tape = tape
        self._chunks = chunks
        self.decided: deque[tuple[float, str]] = deque(maxlen=1_000)

    def rates(self, now: float) -> dict[str, float]:
        """Hand-overs per second of late."""
        return rates(self.decided, now)

    async def run(self) -> None:
        """Send all, and return when all have ended.

        Raises:
            DemoFailed: one could not be handed over.
        """
        await play(self._tape, time.monotonic, self._send)
        await self._tape.all_ended.wait()

    def _send(self, run: Run) -> None:
        try:
            run.worker_id = self._turns.hand_over(task_of(run, self._chunks).to_proto())
        except KeyError as lost:
            raise DemoFailed(f"{run.task_id}: worker {lost} has no stream") from lost
        except asyncio.QueueFull as full:
            raise DemoFailed(f"{run.task_id}: its worker does not read its stream") from full
        run.placed = time.monotonic()
        self.decided.append((run.placed, "in turn"))

    async def check(self, answers: Mapping[str, bytes]) -> list[str]:
        """Compare what was reported with what each task was to answer; what is wrong with whom, a line for each."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OUTCOME_S):
                await self._turns.reported(run.task_id for run in self._tape.runs.values())
        faults = []
        for run in self._tape.runs.values():
            outcome = self._turns.outcomes.get(run.task_id)
            if outcome is None:
                faults.append(f"{run.task_id}: no outcome was reported")
            elif outcome.status != OutcomeStatus.OUTCOME_STATUS_SUCCEEDED:
                faults.append(f"{run.task_id}: {outcome.error_kind} {outcome.error_message}")
            elif outcome.result != answers[run.item.kind.task_type]:
                faults.append(f"{run.task_id}: its result is wrong")
        return faults
