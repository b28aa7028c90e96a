"""Metrics pushed to an OTLP collector.

What is sent is read on the event loop, in steps of half a millisecond, because the core belongs to it. Making messages
of the figures, and sending them, is the SDK's, on a thread of its own. So a collector that is slow or away costs that
thread its time, and the service nothing.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource

from scheduler_server.telemetry.exposition import parts_of
from scheduler_server.telemetry.histogram_readings import HISTOGRAMS
from scheduler_server.telemetry.instrument import Instrument, Kind
from scheduler_server.telemetry.instruments import INSTRUMENTS
from scheduler_server.telemetry.meter import meter_provider
from scheduler_server.telemetry.otlp import Reports, exporter_arguments, quiet_exporter, release_exporter
from scheduler_server.telemetry.readings import READERS, Series
from scheduler_server.telemetry.settings import MetricsSettings
from scheduler_server.telemetry.sources import Moment, Sources

_CLOSE_WITHIN_S = 2.0
"""Time for the last push; a collector that is away must not hold up the exit."""


class _Kept(NamedTuple):
    """One series of a histogram, as it was when it was read."""

    row: Instrument
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class _Read(NamedTuple):
    """Everything, of one short while."""

    values: dict[str, list[Series]]
    histograms: list[_Kept]


async def read_all(sources: Sources) -> _Read:
    """Read every instrument, on the loop's thread and in short steps. One that fails is left out."""
    moment = Moment(sources)
    _ = moment.accuracy  # half a millisecond by itself
    values: dict[str, list[Series]] = {}
    histograms: list[_Kept] = []
    for part in parts_of(INSTRUMENTS):
        await asyncio.sleep(0)
        for row in part:
            try:
                if row.kind is Kind.HISTOGRAM:
                    for kept, labels in HISTOGRAMS[row.name](moment):
                        histograms.append(_Kept(row, labels, kept.bounds, tuple(kept.counts), kept.total))
                else:
                    values[row.name] = list(READERS[row.name](moment))
            except Exception:  # noqa: BLE001, S112 -- the scrape logs it; here the next push is a minute away
                continue
    return _Read(values, histograms)


class MetricsPush:
    """Pushes from `open` to `close`. `ends` counts pushes by how they went. For one event loop."""

    def __init__(self, settings: MetricsSettings, sources: Sources, about: Resource) -> None:
        self._settings = settings
        self._sources = sources
        self._about = about
        self._read = _Read({}, [])
        self._thread = ThreadPoolExecutor(1, "metrics-push")
        self._exporter: _Exporter | None = None
        self._reader: MetricReader
        self._pushing: asyncio.Task[None] | None = None
        self.ends = {"done": 0, "failed": 0}

    def open(self) -> None:
        """Begin; the first push is one interval away. OSError where the file of authorities cannot be read."""
        settings = self._settings
        arguments = exporter_arguments(
            settings.otlp_endpoint, settings.otlp_headers, settings.otlp_ca_file, settings.otlp_timeout_s
        )
        quiet_exporter()
        self._exporter = _Exporter(OTLPMetricExporter(**arguments), self.ends, settings.otlp_endpoint)
        # The SDK's reader keeps no time here: its own thread would read the core while it changes.
        self._reader = PeriodicExportingMetricReader(self._exporter, export_interval_millis=math.inf)
        meter_provider(INSTRUMENTS, self._values_of, [self._reader], self._about)
        self._pushing = asyncio.get_running_loop().create_task(self._keep_pushing(), name="metrics-push")

    def reconfigure(self, settings: MetricsSettings) -> None:
        """Push as often as these say, after the next push."""
        self._settings = settings

    async def close(self) -> None:
        """Push once more, unless nobody takes it, and end."""
        if self._exporter is None or self._pushing is None:
            return
        self._pushing.cancel()
        await asyncio.wait([self._pushing])
        if self._exporter.works:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_WITHIN_S):
                    await self._push()
        self._exporter.shutdown()  # ends what is under way
        self._thread.shutdown(wait=False)
        self._exporter = None
        release_exporter()

    async def _keep_pushing(self) -> None:
        while True:
            await asyncio.sleep(self._settings.otlp_interval_s)
            await self._push()

    async def _push(self) -> None:
        read = await read_all(self._sources)
        if self._exporter is not None:
            self._read, self._exporter.histograms = read, read.histograms
            await asyncio.get_running_loop().run_in_executor(self._thread, self._reader.collect)

    def _values_of(self, row: Instrument) -> Iterable[Series]:
        """What was read of an instrument. On the thread."""
        time.sleep(0)  # lets the loop have the interpreter: all in one go would take it for 7 ms
        return self._read.values.get(row.name, ())


class _Exporter(MetricExporter):
    """Adds the histograms, sends, and counts how that went."""

    def __init__(self, behind: OTLPMetricExporter, ends: dict[str, int], endpoint: str) -> None:
        super().__init__()
        self._behind = behind
        self._ends = ends
        self._reports = Reports("metrics", endpoint)
        self._began_ns = time.time_ns()
        self.histograms: list[_Kept] = []

    @property
    def works(self) -> bool:
        """Was the last push taken?"""
        return self._reports.works

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        """Send; a failure is counted and no more: the next push has all that this one had."""
        try:
            result = self._behind.export(_with(metrics_data, self.histograms, self._began_ns), timeout_millis)
        except Exception:  # noqa: BLE001 -- whatever the exporter raises, the push has failed
            result = MetricExportResult.FAILURE
        if result is MetricExportResult.SUCCESS:
            self._ends["done"] += 1
            self._reports.done()
        else:
            self._ends["failed"] += 1
            self._reports.failed()
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Nothing is kept here."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """End what is under way."""
        self._behind.shutdown(timeout_millis)


_UNKNOWN: Any = None
"""Smallest and largest are not kept, and optional on the wire; the SDK's own type does not say so."""


def _with(data: MetricsData, histograms: list[_Kept], began_ns: int) -> MetricsData:
    """The same with our histograms, which the SDK knows nothing of."""
    [of_server] = data.resource_metrics
    [of_scope] = of_server.scope_metrics
    now_ns = time.time_ns()
    by_row: dict[str, tuple[Instrument, list[HistogramDataPoint]]] = {}
    for kept in histograms:
        names = [label.name for label in kept.row.labels]
        point = HistogramDataPoint(
            attributes=dict(zip(names, kept.labels, strict=True)),
            start_time_unix_nano=began_ns,
            time_unix_nano=now_ns,
            count=sum(kept.counts),
            sum=kept.total,
            bucket_counts=kept.counts,
            explicit_bounds=kept.bounds,
            min=_UNKNOWN,
            max=_UNKNOWN,
        )
        by_row.setdefault(kept.row.name, (kept.row, []))[1].append(point)
    added = [
        Metric(row.name, row.meaning, row.unit, Histogram(points, AggregationTemporality.CUMULATIVE))
        for row, points in by_row.values()
    ]
    scope = ScopeMetrics(of_scope.scope, [*of_scope.metrics, *added], of_scope.schema_url)
    return MetricsData([ResourceMetrics(of_server.resource, [scope], of_server.schema_url)])
