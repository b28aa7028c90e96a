"""How much is logged, for all or for one part; set by hand it goes back by itself, or with the server."""

import asyncio
import logging
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.assignment.events import Announce
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc import checks
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.shell import Shell

_ROOT = "scheduler_server"

_LEVELS = {
    admin_service_pb2.LOG_LEVEL_DEBUG: logging.DEBUG,
    admin_service_pb2.LOG_LEVEL_INFO: logging.INFO,
    admin_service_pb2.LOG_LEVEL_WARNING: logging.WARNING,
    admin_service_pb2.LOG_LEVEL_ERROR: logging.ERROR,
}
_SAID = frozenset(admin_service_pb2.LogLevel.values())


class LogLevels:
    """The levels in force. `configured` is what `log.level` says.

    Invariant: `_by_hand` has, by part ("" for all), the timers of levels that were set by hand; None: for good.
    """

    def __init__(self, configured: str) -> None:
        self._configured = _number(configured)
        self._at_start = logging.getLogger().level
        self._by_hand: dict[str, asyncio.TimerHandle | None] = {}

    def configure(self, level: str) -> None:
        """`log.level` says this from now on; what was set by hand for all stays until it goes back."""
        self._configured = _number(level)
        if "" not in self._by_hand:
            logging.getLogger().setLevel(self._configured)

    def in_force(self, part: str) -> int:
        """The level of a part, or of all."""
        return _logger(part).getEffectiveLevel()

    def set(self, part: str, level: int | None, timer: asyncio.TimerHandle | None = None) -> None:
        """Log from this level on; None: as configured."""
        former = self._by_hand.pop(part, None)
        if former is not None:
            former.cancel()
        if level is not None:
            self._by_hand[part] = timer
        back = logging.NOTSET if part else self._configured
        _logger(part).setLevel(back if level is None else level)

    def close(self) -> None:
        """Everything as it was: loggers outlive a server in one process."""
        for part in list(self._by_hand):
            self.set(part, None)
        logging.getLogger().setLevel(self._at_start)


class LogLevelCalls:
    """SetLogLevel."""

    def __init__(self, levels: LogLevels, shell: Shell) -> None:
        self._levels = levels
        self._shell = shell

    async def SetLogLevel(
        self, request: admin_service_pb2.SetLogLevelRequest, context: Any
    ) -> admin_service_pb2.SetLogLevelResponse:
        """Log more, or less."""
        checker = Checker()
        checker.choice("level", request.level, _SAID, "LogLevel")
        checker.text("logger", request.logger)
        checker.text("reason", request.reason, limit=checks.MAX_DETAIL)
        expires_s = None
        if request.HasField("expires_after"):
            span = request.expires_after
            expires_s = checker.span_s("expires_after", span.seconds, span.nanos, above_zero=True)
            if not request.level:
                checker.fault("expires_after", "has nothing to end: level is as configured")
        checker.done()
        part, levels = request.logger, self._levels
        if not _known(part):
            shown = ", ".join(name for name in _parts() if "." not in name)
            message = f"no part of the server that logs is called {part!r}; there are {shown}, and parts of these"
            raise Refused(Refusal(Reason.LOGGER_UNKNOWN, message, (("logger", part),)))
        before = levels.in_force(part)
        timer = None
        if expires_s is not None:
            timer = asyncio.get_running_loop().call_later(expires_s, self._back, part)
        levels.set(part, _LEVELS.get(request.level), timer)
        self._tell(part, before, request.reason or "no reason given")
        return admin_service_pb2.SetLogLevelResponse(level=_level(levels.in_force(part)), previous_level=_level(before))

    def _back(self, part: str) -> None:
        before = self._levels.in_force(part)
        self._levels.set(part, None)
        self._tell(part, before, "its time is over")

    def _tell(self, part: str, before: int, why: str) -> None:
        after = self._levels.in_force(part)
        if after == before:
            return
        names = _name(before), _name(after)
        detail = f"of {part}: {why}" if part else why
        self._shell.handle(Announce(FleetEventKind.LOG_LEVEL_CHANGED, "", detail, *names, subject=part))


def level_name(part: str) -> str | None:
    """The level of a part, or of all; None where there is no such part."""
    return _name(_logger(part).getEffectiveLevel()) if _known(part) else None


def _parts() -> list[str]:
    """What has a log of its own."""
    begins = f"{_ROOT}."
    named = [name.removeprefix(begins) for name in logging.root.manager.loggerDict if name.startswith(begins)]
    return sorted({name for full in named for name in (full, full.partition(".")[0])})


def _known(part: str) -> bool:
    """Is that all, or a part that logs? To be asked first: `_logger` makes what there is not, and so a part of it."""
    return not part or part in _parts()


def _logger(part: str) -> logging.Logger:
    return logging.getLogger(f"{_ROOT}.{part}") if part else logging.getLogger()


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _name(level: int) -> str:
    return logging.getLevelName(level).lower()


def _level(number: int) -> admin_service_pb2.LogLevel.ValueType:
    """The nearest that the contract has: what is logged at this level at the least."""
    return next((value for value, least in _LEVELS.items() if number <= least), admin_service_pb2.LOG_LEVEL_ERROR)
