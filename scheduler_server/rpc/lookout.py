"""Looks at the alerts' rules every few seconds, and tells what is raised or cleared as events and in the log.

In slices: a fleet of thousands is read a millisecond at a time, with the loop's turn in between, and a decision pays
nothing for it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.alerts.board import Alert, Board, Measured
from scheduler_server.alerts.readings import Readings, StoreHealth
from scheduler_server.alerts.rule import About, AlertState, Severity
from scheduler_server.assignment.events import Announce
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.rpc import status
from scheduler_server.rpc.paging import Turn
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.stores import Stores

_LOG = logging.getLogger(__name__)

_LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.ERROR}


class Lookout:
    """Looks, from `start` to `close`. For the loop's thread.

    Invariant: at most one look is under way.
    """

    def __init__(self, shell: Shell, board: Board, readings: Readings, interval_s: float) -> None:
        self._shell = shell
        self._board = board
        self._readings = readings
        self._interval_s = interval_s
        self._looking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look; not at all where the interval is 0."""
        if self._interval_s:
            self._task = asyncio.get_running_loop().create_task(self._again_and_again())

    def reconfigure(self, interval_s: float) -> None:
        """Look so often from the next look on; 0: never again."""
        begins = self._task is not None or not self._interval_s
        self._interval_s = interval_s
        if begins and interval_s and (self._task is None or self._task.done()):
            self.start()

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> None:
        """One look at every rule."""
        async with self._looking:
            turn = Turn()
            for name in list(self._board.rules):
                if name not in self._board.rules:
                    continue  # switched off meanwhile
                now = self._shell.now()
                measured: dict[str, Measured] = {}
                for found in self._readings.of(name, now):
                    if found is not None:
                        measured[found.subject] = found
                    if turn.over():
                        await turn.pause()
                if name not in self._board.rules:
                    continue
                # The instant of the figures: what is seen cannot have lasted longer than that.
                for alert in self._board.look(now, name, measured):
                    self._tell(alert)

    async def _again_and_again(self) -> None:
        while self._interval_s:
            try:
                await self.look()
            except Exception:  # noqa: BLE001 -- figures come from plug-ins too: what fails now may be well at the next look
                _LOG.exception("the alerts could not be looked at")
            await asyncio.sleep(self._interval_s)

    def _tell(self, alert: Alert) -> None:
        rule = alert.rule
        raised = alert.state is AlertState.RAISED
        about = f"{rule.name} of {alert.subject!r}" if alert.subject else rule.name
        _LOG.log(
            _LEVELS[rule.severity] if raised else logging.INFO,
            "alert %s is %s: %s (%s)", about, alert.state.name.lower(), alert.detail, alert.alert_id,
        )  # fmt: skip
        self._shell.handle(
            Announce(
                FleetEventKind.ALERT_RAISED if raised else FleetEventKind.ALERT_CLEARED,
                alert.subject if rule.about is About.WORKER else "",
                f"{about}: {alert.detail}",
                subject=alert.alert_id,
                severity=(rule.severity if raised else Severity.INFO).value,
            )
        )


def store_health(kept: Stores) -> Sequence[StoreHealth]:
    """How the stores are: what GetStatus says, so that the two cannot differ."""
    response = admin_service_pb2.GetStatusResponse()
    status.stores(response, kept)
    return [
        StoreHealth(
            name=store.name,
            reachable=store.state != admin_service_pb2.STORE_STATE_UNAVAILABLE,
            failures=store.consecutive_failures,
            dropped=store.dropped,
            last_error=store.last_error,
        )
        for store in response.stores
    ]
