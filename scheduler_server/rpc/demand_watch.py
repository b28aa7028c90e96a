"""Works the demand out at intervals, for the metrics and for what the load was lately. In slices, beside decisions."""

import asyncio
import contextlib
import logging

from scheduler_server.assignment.demand import Demand, DemandLook, Trends
from scheduler_server.rpc.paging import Turn
from scheduler_server.rpc.shell import Shell

_LOG = logging.getLogger(__name__)

_OFF_S = 1.0
"""How soon a look begins after it was switched on."""


class DemandWatch:
    """Looks, from `start` to `close`. For the loop's thread. `demand` is the last look's; None: there was none yet."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.trends = Trends()
        self.demand: Demand | None = None
        self._looking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._again_and_again())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> Demand | None:
        """One look; what is found is kept."""
        async with self._looking:
            core = self._shell.core
            settings = core.settings.demand
            look = DemandLook(core, settings, settings.target_wait_s, self.trends)
            turn = Turn()
            for _ in look.steps(self._shell.now(), note=True):
                if turn.over():
                    await turn.pause()
            self.demand = look.demand
            return look.demand

    async def _again_and_again(self) -> None:
        while True:
            interval_s = self._shell.core.settings.demand.interval_s
            if interval_s:
                try:
                    await self.look()
                except Exception:  # noqa: BLE001 -- what cannot be worked out now may be at the next look
                    _LOG.exception("the demand could not be worked out")
            else:
                self.demand = None
            await asyncio.sleep(interval_s or _OFF_S)
