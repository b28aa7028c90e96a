"""The event log, and its replay.

One line of JSON per event, with its instant and the stopwatch's readings while it was handled; one line of text per
effect. The same events given to a core with the same settings make the same effect lines, byte for byte: what a live
server did can be looked at again, and a change of the core that changes decisions is seen.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import msgspec

from scheduler_server.assignment import events
from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.effects import Effect
from scheduler_server.assignment.events import Event
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.clock import Now, Stopwatch

_EVENTS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        events.Submit, events.Abandon, events.Withdraw, events.CloseQueue, events.Cancel, events.ReportOutcome,
        events.Connect, events.Heartbeat, events.Disconnect, events.RemoveWorker, events.Publish, events.Shutdown,
        events.Slept, events.Configured, events.Ordered, events.ResetBreaker, events.Reprioritize,
        events.Forget, events.Tick, events.Look,
        events.Announce, events.CreateOverride, events.EndOverride, events.DrainOrdered, events.DrainEnded,
    )
}  # fmt: skip

_LINE = tuple[float, float, str, Any, list[float]]


class RecordedStopwatch:
    """A stopwatch that writes down what it said."""

    def __init__(self, behind: Stopwatch) -> None:
        self._behind = behind
        self.readings: list[float] = []

    def __call__(self) -> float:
        """Seconds, noted."""
        reading = self._behind()
        self.readings.append(reading)
        return reading

    def take(self) -> list[float]:
        """What it said since this was last asked."""
        taken, self.readings = self.readings, []
        return taken


class ReplayedStopwatch:
    """A stopwatch that says again what was written down."""

    def __init__(self) -> None:
        self.readings: Iterator[float] = iter(())

    def __call__(self) -> float:
        """Seconds, as noted."""
        for reading in self.readings:
            return reading
        raise ValueError("the core measures more often than the log has readings: it does other than what was recorded")


def event_line(now: Now, event: Event, readings: list[float]) -> str:
    """One event of the log."""
    # json, not msgspec.json: where a predictor is broken there is NaN and infinity, which msgspec writes as null.
    content = [now.monotonic, now.wall, type(event).__name__, event, readings]
    return json.dumps(content, separators=(",", ":"), default=_as_json)


def _as_json(value: object) -> object:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, CoreSettings):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is not a value of an event")


def read_line(line: str) -> tuple[Now, Event, list[float]]:
    """One event of the log read back; ValueError where it is none."""
    try:
        monotonic, wall, name, fields, readings = msgspec.convert(json.loads(line), _LINE)
        return Now(monotonic, wall), msgspec.convert(fields, _EVENTS[name]), readings
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        raise ValueError(f"not an event: {error}") from error


def effect_lines(effects: Iterable[Effect]) -> list[str]:
    """Effects as text, one line each."""
    return [repr(effect) for effect in effects]


def replay(core: Scheduler, stopwatch: ReplayedStopwatch, lines: Iterable[str]) -> Iterator[str]:
    """The effect lines that these event lines make."""
    for line in lines:
        now, event, readings = read_line(line)
        stopwatch.readings = iter(readings)
        yield from effect_lines(core.handle(now, event))
