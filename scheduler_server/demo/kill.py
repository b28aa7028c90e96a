"""A worker's process is killed while it works, and what is heard of that."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import grpc

from scheduler_api.v1.admin_service_pb2 import EventKind, WatchEventsRequest
from scheduler_server.client import AsyncSchedulerClient, error_from_call
from scheduler_server.demo.child import DemoFailed
from scheduler_server.demo.fleet import FLEET, Fleet
from scheduler_server.demo.scene import name
from scheduler_server.demo.tape import Run, Tape

AT = 0.4  # of the span: durations have been learned by then, and most tasks are still to come
LOOK_AGAIN_S = 0.01
ENDED_S = 2.0  # when the server's process ends, whoever watches it says so first: the better message
TOLD = (EventKind.EVENT_KIND_WORKER_LOST, EventKind.EVENT_KIND_LEASE_LOST, EventKind.EVENT_KIND_TASK_SET_ASIDE)


class News:
    """Says what happens out of the ordinary. `last` is the last of it."""

    def __init__(self, tape: Tape, say: Callable[[str], None]) -> None:
        self._tape = tape
        self._say = say
        self.last = ""

    def tell(self, what: str) -> None:
        """A line with the time into the phase before it."""
        self.last = f"{time.monotonic() - self._tape.started:.1f} s: {what}"
        self._say(self.last[:80])

    def placed_again(self, run: Run) -> None:
        """A task got another worker."""
        self.tell(f"{name(run)} placed again, as attempt {run.attempt}, on {run.worker_id}")


def busiest(tape: Tape) -> str:
    """The worker that runs most tasks, the slowest of several; "" where none runs any."""
    running = Counter(run.worker_id for run in _running(tape))
    able = [spec for spec in FLEET if running[spec.worker_id]]
    chosen = max(able, key=lambda spec: (running[spec.worker_id], -spec.speed), default=None)
    return chosen.worker_id if chosen is not None else ""


def _running(tape: Tape) -> list[Run]:
    return [run for run in tape.runs.values() if run.began is not None and run.ended is None]


async def kill_the_busiest(fleet: Fleet, tape: Tape, news: News) -> str:
    """Once `AT` of the span is over, and some worker works: SIGKILL to its process; which one."""
    victim = ""
    while not victim:
        await asyncio.sleep(LOOK_AGAIN_S)
        if tape.started and time.monotonic() >= tape.started + AT * tape.span_s:
            victim = busiest(tape)
    cut_off = [run for run in _running(tape) if run.worker_id == victim]
    await fleet.kill_one(victim)
    tasks = ", ".join(f"#{run.item.number}" for run in cut_off)
    news.tell(f"{victim} is killed (SIGKILL) while it runs {tasks}")
    return victim


async def tell_of_losses(client: AsyncSchedulerClient, news: News) -> None:
    """What the server says of workers and tasks that it takes for lost, for ever."""
    watch = client.admin.WatchEvents(WatchEventsRequest(kinds=TOLD), metadata=client.metadata())
    try:
        async for response in watch:
            if response.HasField("event"):
                news.tell(f"the server: {response.event.detail}")
    except grpc.RpcError as error:
        await asyncio.sleep(ENDED_S)
        raise DemoFailed(f"the server does not tell of losses: {error_from_call(error)}") from error
