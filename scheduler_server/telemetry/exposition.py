"""The text that Prometheus scrapes, made beside a busy event loop.

OpenTelemetry collects and translates all it has in one go, in Python, for 10 to 20 us per series. A thread would hold
the interpreter for as long (300 series: the loop stood still for 7 ms; with rests in the callbacks for 3), and read the
core while it changes. So the table is cut into parts, each with a provider, a reader and a registry of its own, and one
part at a time is made between two turns of the loop. How many workers there are makes no difference. Histograms, and
counters that alone have more series than a part, are written directly, which is thirty times cheaper.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest

from scheduler_server.telemetry.histogram_readings import HISTOGRAMS
from scheduler_server.telemetry.instrument import Instrument, Kind
from scheduler_server.telemetry.instruments import INSTRUMENTS
from scheduler_server.telemetry.meter import meter_provider
from scheduler_server.telemetry.plain_text import PlainText
from scheduler_server.telemetry.readings import READERS, Series
from scheduler_server.telemetry.sources import Moment, Sources

_LOG = logging.getLogger(__name__)

MOST_SERIES = 20
"""In one part, unless one instrument alone has more: half a millisecond, measured with 10,000 workers."""

_MANY = 50
"""Series of a counter from which on it is written directly."""

_AT_ONCE = 20
"""Series written directly before the loop has its turn: an eighth of a millisecond where they are histograms."""

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
            _part(rows, self._read, about, first=at == 0)
            for at, rows in enumerate(parts_of(row for row in INSTRUMENTS if not written(row)))
        ]
        self._written = [(row, PlainText(row)) for row in INSTRUMENTS if written(row)]
        self._busy = asyncio.Lock()
        self._text = b""
        self._made_at = -FRESH_S

    def _read(self, row: Instrument) -> Iterable[Series]:
        return READERS[row.name](self._moment)

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
            for row, writer in self._written:
                await asyncio.sleep(0)
                try:
                    for at, series in enumerate(_lines(row, writer, self._moment)):
                        made.append(series.encode())
                        if at % _AT_ONCE == _AT_ONCE - 1:
                            await asyncio.sleep(0)
                except Exception:  # noqa: BLE001 -- one that cannot be read costs no other, as with the SDK
                    _LOG.exception("%s could not be read", row.name)
            self._text, self._made_at = b"".join(made), loop.time()
            return self._text


def written(row: Instrument) -> bool:
    """Is it written directly?"""
    return row.kind is Kind.HISTOGRAM or (row.kind is Kind.COUNTER and row.most_series > _MANY)


def _lines(row: Instrument, writer: PlainText, moment: Moment) -> Iterator[str]:
    yield writer.head()
    if row.kind is Kind.HISTOGRAM:
        for histogram, labels in HISTOGRAMS[row.name](moment):
            yield writer.histogram(histogram, labels)
    else:
        for value, labels in READERS[row.name](moment):
            yield writer.sample(value, labels)


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


def _part(
    rows: list[Instrument], read: Callable[[Instrument], Iterable[Series]], about: Resource, *, first: bool
) -> CollectorRegistry:
    # Not the library's global registry: two servers in one process are two servers.
    registry = CollectorRegistry()
    # `target_info` says once who this is; the scope, on every series, would be the same word each time.
    reader = PrometheusMetricReader(disable_target_info=not first, scope_info_enabled=False, registry=registry)
    meter_provider(rows, read, [reader], about)
    return registry
