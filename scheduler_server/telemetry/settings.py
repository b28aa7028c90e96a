"""Settings of what is measured."""

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler_server.model.setting import setting
from scheduler_server.telemetry.otlp import endpoint_fault, headers_of

_HIGHEST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where metrics can be read.

    Off unless it is set: a port that every server takes by itself is a second server on the machine that does not
    start. 9464 is the port that OpenTelemetry's Prometheus exporters have by convention.
    """

    listen: str = setting(
        "",
        "address and port of /metrics in Prometheus' text format, such as 127.0.0.1:9464; port 0 takes a free one;"
        " empty: none. Whoever can reach it can read it, so keep it on a loopback or private address",
    )

    otlp_endpoint: str = setting(
        "",
        "OTLP collector that metrics are pushed to over gRPC, such as http://127.0.0.1:4317, or https:// over TLS;"
        " empty: none",
        also=("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    )
    otlp_headers: str = setting(
        "",
        "headers sent along, as name=value,name=value with values percent-encoded",
        secret=True,
        also=("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"),
    )
    otlp_ca_file: str = setting(
        "",
        "PEM file of the authorities that an https:// collector is trusted by; empty: the system's",
        also=("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"),
    )
    otlp_interval_s: float = setting(60.0, "how often metrics are pushed", unit="s", minimum=1, maximum=3_600)
    otlp_timeout_s: float = setting(10.0, "time for a push, retries included", unit="s", minimum=0.1, maximum=60)

    def faults(self) -> Iterable[tuple[str, str]]:
        """An address that cannot be one, as (field, message)."""
        if self.listen:
            try:
                host_and_port(self.listen)
            except ValueError as error:
                yield "listen", str(error)
        yield from _otlp_faults(self.otlp_endpoint, self.otlp_headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSettings:
    """Where spans go, and of how many tasks.

    Off unless it is set: a span costs more processor time than a decision, though not on its path.
    """

    otlp_endpoint: str = setting(
        "",
        "OTLP collector that spans are sent to over gRPC, such as http://127.0.0.1:4317, or https:// over TLS;"
        " empty: nothing is traced",
        also=("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    )
    otlp_headers: str = setting(
        "",
        "headers sent along, as name=value,name=value with values percent-encoded",
        secret=True,
        also=("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"),
    )
    otlp_ca_file: str = setting(
        "",
        "PEM file of the authorities that an https:// collector is trusted by; empty: the system's",
        also=("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"),
    )
    otlp_timeout_s: float = setting(
        10.0, "time for a batch of spans, retries included", unit="s", minimum=0.1, maximum=60
    )
    sample_ratio: float = setting(
        1.0,
        "share of the tasks that are traced whose caller says nothing of a trace; otherwise its own sampling decides",
        minimum=0,
        maximum=1,
    )
    max_queued: int = setting(
        8_192, "spans that wait to be sent; what comes when there are so many is dropped and counted",
        minimum=64, maximum=1_000_000,
    )  # fmt: skip

    def faults(self) -> Iterable[tuple[str, str]]:
        """An address or headers that cannot be, as (field, message)."""
        yield from _otlp_faults(self.otlp_endpoint, self.otlp_headers)


def _otlp_faults(endpoint: str, headers: str) -> Iterable[tuple[str, str]]:
    why = endpoint_fault(endpoint) if endpoint else None
    if why is not None:
        yield "otlp_endpoint", why
    try:
        headers_of(headers)
    except ValueError as error:
        yield "otlp_headers", str(error)


def host_and_port(listen: str) -> tuple[str, int]:
    """`127.0.0.1:9464` and `[::1]:9464` in their two parts; ValueError for anything else."""
    host, _, port = listen.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host == f"[{bare}]"
    well_formed = bool(bare) and (bracketed or ":" not in host) and not set(bare) & set("[] ")
    if not (well_formed and port.isascii() and port.isdigit() and int(port) <= _HIGHEST_PORT):
        raise ValueError(f"{listen!r} is not host:port with a port of 0 to {_HIGHEST_PORT}")
    return bare, int(port)
