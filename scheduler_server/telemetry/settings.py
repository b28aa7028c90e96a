"""Settings of what is measured."""

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler_server.model.setting import setting

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

    def faults(self) -> Iterable[tuple[str, str]]:
        """An address that cannot be one, as (field, message)."""
        if self.listen:
            try:
                host_and_port(self.listen)
            except ValueError as error:
                yield "listen", str(error)


def host_and_port(listen: str) -> tuple[str, int]:
    """`127.0.0.1:9464` and `[::1]:9464` in their two parts; ValueError for anything else."""
    host, _, port = listen.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host == f"[{bare}]"
    well_formed = bool(bare) and (bracketed or ":" not in host) and not set(bare) & set("[] ")
    if not (well_formed and port.isascii() and port.isdigit() and int(port) <= _HIGHEST_PORT):
        raise ValueError(f"{listen!r} is not host:port with a port of 0 to {_HIGHEST_PORT}")
    return bare, int(port)
