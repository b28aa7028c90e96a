"""The text that Prometheus scrapes, made beside a busy event loop.

OpenTelemetry collects and translates all it has in one go, in Python, for 10 to 20 us per series. A thread would hold
the interpreter for as long (300 series: the loop stood still for 7 ms; with rests in the callbacks for 3), and read the
core while it changes. So the table is cut into parts, each with a provider, a reader and a registry of its own, and one
part at a time is made between two turns of the loop. How many workers there are makes no difference.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest

from scheduler_server.telemetry.instruments import INSTRUMENTS, Instrument
from scheduler_server.telemetry.meter import meter_provider
from scheduler_server.telemetry.sources import Moment, Sources

MOST_SERIES = 20
"""In one part, unless one instrument alone has more: half a millisecond, measured with 10,000 workers."""

FRESH_S = 0.25
"""A text this young is sent again: at 3 ms a text, asking in a tight loop costs the server 1 % of its time, not all."""


class PrometheusText:
    """Makes the text. For the loop's thread only.

    Invariant: one part's figures are of one instant. Between two parts events may have come in.
    """

    def __init__(self, sources: Sources, about: Resource) -> None:
        self._sources = sources
        self._moment = Moment(sources)
        self._parts = [
            _part(rows, self._current, about, first=at == 0) for at, rows in enumerate(parts_of(INSTRUMENTS))
        ]
        self._busy = asyncio.Lock()
        self._text = b""
        self._made_at = -FRESH_S

    def _current(self) -> Moment:
        return self._moment

    async def text(self) -> bytes:
        """The exposition in the text format, version 0.0.4. A second caller waits for the first and gets the same."""
        loop = asyncio.get_running_loop()
        async with self._busy:
            if self._text and loop.time() - self._made_at < FRESH_S:
                return self._text
            self._moment = Moment(self._sources)
            _ = self._moment.accuracy  # half a millisecond by itself
            made = []
            for part in self._parts:
                await asyncio.sleep(0)
                made.append(generate_latest(part))
            self._text, self._made_at = b"".join(made), loop.time()
            return self._text


def parts_of(instruments: Iterable[Instrument]) -> Iterator[list[Instrument]]:
    """The table in order, cut before a part would have more than MOST_SERIES."""
    part: list[Instrument] = []
    size = 0
    for row in instruments:
        if part and size + row.most_series > MOST_SERIES:
            yield part
            part, size = [], 0
        part.append(row)
        size += row.most_series
    if part:
        yield part


def _part(rows: list[Instrument], moment: Callable[[], Moment], about: Resource, *, first: bool) -> CollectorRegistry:
    # Not the library's global registry: two servers in one process are two servers.
    registry = CollectorRegistry()
    # `target_info` says once who this is; the scope, on every series, would be the same word each time.
    reader = PrometheusMetricReader(disable_target_info=not first, scope_info_enabled=False, registry=registry)
    meter_provider(rows, moment, [reader], about)
    return registry
