"""What both stories are played with, and how one phase of either is played and checked."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scheduler_server.client import AsyncSchedulerClient
from scheduler_server.demo import arrivals
from scheduler_server.demo.child import DemoFailed
from scheduler_server.demo.fleet import FLEET, Fleet
from scheduler_server.demo.pace import share_of_core
from scheduler_server.demo.queue_client import QueueClient
from scheduler_server.demo.scene import Scene
from scheduler_server.demo.screen import Screen
from scheduler_server.demo.server_view import ServerView
from scheduler_server.demo.taking_turns import TakingTurns
from scheduler_server.demo.work import BY_TYPE, digest, pack

TAIL_S = 30.0  # beyond three times the span, for the tasks that have come to end
MEASURED_S = 0.5  # what each worker does to measure itself, at speed 1
NOT_YET_KNOWN_S = 1.0  # where the server does not tell who is connected


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for. `redis`: tasks come by Redis."""

    seed: int
    tasks: int
    seconds: float
    redis: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What there is: processes that run; of each task type its data, and what a unit of work costs in CPU seconds."""

    options: Options
    screen: Screen
    client: AsyncSchedulerClient
    view: ServerView
    fleet: Fleet
    chunks: Mapping[str, bytes]
    costs: Mapping[str, float]

    async def plan(self, span_s: float, what: str) -> Sequence[arrivals.Item]:
        """Wait for the fleet, measure it, and plan the tasks of a span for it. `what`: how one says which tasks."""
        if not await self.view.until_connected(len(FLEET)):
            await asyncio.sleep(NOT_YET_KNOWN_S)
        share = share_of_core()
        unit_s = {name: cost / share if BY_TYPE[name].unit else cost for name, cost in self.costs.items()}
        capacity = await self._measure(unit_s)
        options = self.options
        items = arrivals.plan(options.seed, options.tasks, span_s, capacity, unit_s)
        load = sum(item.nominal_s for item in items) / (capacity * span_s)
        self.screen.say(f"measured: the fleet does the work of {capacity:.1f} slots of speed 1")
        self.screen.say(f"{what} within {span_s:.1f} s: {load:.0%} load; seed {options.seed}")
        return items

    async def _measure(self, unit_s: Mapping[str, float]) -> float:
        """Seconds of work at speed 1 that the fleet does per second: CPU work as measured, waiting as it is told to."""
        busy = [name for name in self.chunks if BY_TYPE[name].unit is not None]
        units = {name: max(1, round(MEASURED_S / len(busy) / unit_s[name])) for name in busy}
        payloads = {name: pack(units[name], self.chunks[name]) for name in busy}
        measured = await self.fleet.measure(payloads, sum(units[name] * unit_s[name] for name in busy))
        waiting = arrivals.waiting_ratio()
        return sum(spec.slots / ((1 - waiting) / measured[spec.worker_id] + waiting / spec.speed) for spec in FLEET)

    async def phase(self, scene: Scene, client: QueueClient | TakingTurns) -> None:
        """Play one phase with its picture.

        Raises:
            DemoFailed: a task did not end, ended badly, or ran twice without need.
        """
        tape = self.fleet.tape = scene.tape
        limit_s = 3 * tape.span_s + TAIL_S
        async with asyncio.TaskGroup() as group:
            pictures = [group.create_task(self.view.run()), group.create_task(self.screen.show(scene, self.view))]
            try:
                async with asyncio.timeout(limit_s):
                    await client.run()
            except TimeoutError:
                left = [run.task_id for run in tape.runs.values() if run.ended is None]
                raise DemoFailed(f"{len(left)} tasks did not end within {limit_s:.0f} s, such as {left[0]}") from None
            for task in pictures:
                task.cancel()
        answers = {name: digest(BY_TYPE[name], chunk) for name, chunk in self.chunks.items()}
        faults = await client.check(answers)
        if faults:
            raise DemoFailed(f"{scene.title}: {len(faults)} of {len(tape.runs)} tasks went wrong, such as {faults[0]}")
        # One that was lost with its worker may have begun there. Each attempt begins once at most.
        twice = [run.task_id for run in tape.runs.values() if not 1 <= run.times_begun <= run.attempt]
        if twice:
            raise DemoFailed(f"{scene.title}: {len(twice)} tasks did not run exactly once, such as {twice[0]}")
