"""What the server says of the tasks that wait, asked by GetTask whenever they are shown."""

import asyncio

from scheduler_server.client import AsyncSchedulerClient, SchedulerError
from scheduler_server.demo.prospect import clocks_apart_s, prospect_of
from scheduler_server.demo.tape import Run, Tape

MOST = 40  # questions at a time: more than a screen shows, and little beside the tasks themselves


class WaitingView:
    """Renews `prospect` of each run on the tape that waits."""

    def __init__(self, client: AsyncSchedulerClient, tape: Tape) -> None:
        self._client = client
        self._tape = tape

    async def ask(self) -> None:
        """Ask once after each."""
        await asyncio.gather(*(self._one(run) for run in waiting(self._tape)[:MOST]))

    async def _one(self, run: Run) -> None:
        try:
            said = (await self._client.get_task(run.task_id)).waiting
        except SchedulerError:  # the last answer stays: the screen must not end the demo
            return
        if said is not None and run.waits:
            run.prospect = prospect_of(said, clocks_apart_s())


def waiting(tape: Tape) -> list[Run]:
    """The tasks that wait in the scheduler, as the server expects them to start; last those it cannot tell of."""
    return sorted((run for run in tape.runs.values() if run.waits), key=_expected)


def _expected(run: Run) -> tuple[bool, float, int, str]:
    assert run.prospect is not None  # noqa: S101 - it waits
    start = run.prospect.p50
    return start is None, start or 0.0, run.prospect.ahead, run.task_id
