"""A plan carried out under load, and everything put right again at its end."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.checker import Violation, check
from tests.faults.history import History
from tests.faults.kinds import Faults
from tests.faults.load import Load
from tests.faults.log import read
from tests.faults.plan import FIGHTS, Fault
from tests.faults.world import World, world

SETTLE_S = 60.0
"""Far longer than it takes to run what was left over when the last fault was over."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the log says, and what of it broke a promise."""

    history: History
    violations: list[Violation]


async def carry_out(
    folder: Path, plan: Sequence[Fault], seed: int, *, workers: int = 7, rate_per_s: float = 20.0
) -> Result:
    """Start everything, do the faults of the plan one after another under load, wait until all is over, check."""
    async with world(folder) as made:
        await made.serve("A")
        await _join(made, "A", workers)
        load = Load(made.redis, made.log, seed, rate_per_s)
        faults = Faults(made, load)
        async with asyncio.TaskGroup() as group:
            supervisor = group.create_task(made.supervise())
            offering = group.create_task(load.run())
            await asyncio.sleep(1.0)  # something runs when the first fault comes
            for fault in plan:
                if fault.kind in FIGHTS and "B" not in made.servers:
                    await faults.over()
                    await made.serve("B")
                    await _join(made, "B", max(4, workers // 2))
                await asyncio.sleep(fault.after_s)
                await faults.do(fault)
            await asyncio.sleep(1.0)
            await faults.over()
            load.stop()
            await offering
            await made.settled(SETTLE_S)
            supervisor.cancel()
        events = read(made.log.path)
    return Result(History(events), check(events))


async def _join(made: World, server: str, count: int) -> None:
    members = [made.join(server) for _ in range(count)]
    await made.servers[server].connected(*(each.worker_id for each in members))
