"""The table as OpenTelemetry instruments."""

from collections.abc import Callable, Iterable, Sequence

from opentelemetry.metrics import CallbackOptions, CallbackT, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource

from scheduler_server.telemetry.instrument import Instrument, Kind
from scheduler_server.telemetry.readings import Series

SCOPE = "scheduler_server"


def resource(*, version: str, incarnation: str) -> Resource:
    """Who is measured; OTEL_RESOURCE_ATTRIBUTES in the environment adds to it."""
    return Resource.create(
        {"service.name": "scheduler-server", "service.version": version, "service.instance.id": incarnation}
    )


def meter_provider(
    instruments: Iterable[Instrument],
    read: Callable[[Instrument], Iterable[Series]],
    readers: Sequence[MetricReader],
    about: Resource,
) -> MeterProvider:
    """A provider whose instruments are read by `read` whenever one of `readers` collects.

    Collecting reads the core, so it belongs on the event loop's thread. It goes through all instruments at once, for 10
    to 20 us per series; whoever needs shorter steps gives each part of the table a provider of its own, as the
    Prometheus text does. Histograms are left out: OpenTelemetry has none that are read and not recorded.
    """
    provider = MeterProvider(readers, about, shutdown_on_exit=False)
    meter = provider.get_meter(SCOPE)
    create = {
        Kind.COUNTER: meter.create_observable_counter,
        Kind.UP_DOWN_COUNTER: meter.create_observable_up_down_counter,
        Kind.GAUGE: meter.create_observable_gauge,
    }
    for row in instruments:
        if row.kind is Kind.HISTOGRAM:
            continue
        create[row.kind](row.name, [_callback(row, read)], row.unit, row.meaning)
    return provider


def _callback(row: Instrument, read: Callable[[Instrument], Iterable[Series]]) -> CallbackT:
    names = [label.name for label in row.labels]

    def observe(_options: CallbackOptions) -> list[Observation]:
        return [Observation(value, dict(zip(names, labels, strict=True))) for value, labels in read(row)]

    return observe
