"""What metrics and traces have in common on their way to a collector: where it is, and how its failures are told.

OTLP over gRPC: the exporter for it needs nothing but the grpcio that is here, the one for HTTP a second HTTP client.
Its own log says every retry of every batch. Here a collector that does not take what it is sent is told once, with the
exporter's last words, and once more when it is back; in between failures are counted.
"""

import logging
import re
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_LOG = logging.getLogger(__name__)

_EXPORTER_LOG = "opentelemetry.exporter.otlp.proto.grpc.exporter"
_HEADER = re.compile(r"[a-z0-9_.-]+")  # of gRPC's metadata
_DEFAULT_PORT = 4317  # IANA's for OTLP over gRPC


def endpoint_fault(endpoint: str) -> str | None:
    """Why this cannot be an endpoint; None: it can."""
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return "is not a URL such as http://127.0.0.1:4317"
    if not sound or not endpoint.isprintable():
        return "is not a URL such as http://127.0.0.1:4317; https:// is over TLS"
    if parts.username is not None:
        return "has a user name: credentials go into otlp_headers"
    if parts.path.strip("/") or parts.query or parts.fragment:
        return "has a path: OTLP goes over gRPC, which needs host and port only"
    return None


def headers_of(text: str) -> tuple[tuple[str, str], ...]:
    """`name=value,name=value`, values percent-encoded, as OTEL_EXPORTER_OTLP_HEADERS has it.

    ValueError for anything else; it says nothing of the values.
    """
    pairs = []
    for at, each in enumerate(filter(None, (piece.strip() for piece in text.split(","))), 1):
        name, equals, value = each.partition("=")
        name, value = name.strip().lower(), unquote(value.strip())
        if not equals or not _HEADER.fullmatch(name):
            raise ValueError(f"entry {at} is not name=value, with a name of a-z, 0-9 or any of _ . -")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"entry {at}, {name}: its value has other than printable ASCII characters")
        pairs.append((name, value))
    return tuple(pairs)


def exporter_arguments(endpoint: str, headers: str, ca_file: str, timeout_s: float) -> dict[str, Any]:
    """What the exporters are made with. OSError where the file of authorities cannot be read."""
    parts = urlsplit(endpoint)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    arguments: dict[str, Any] = {
        "endpoint": f"{host}:{parts.port or _DEFAULT_PORT}",
        "insecure": parts.scheme == "http",
        "headers": headers_of(headers),
        "timeout": timeout_s,
    }
    if parts.scheme == "https":
        import grpc  # noqa: PLC0415 -- nobody who sends nothing pays for it

        authorities = Path(ca_file).read_bytes() if ca_file else None
        arguments["credentials"] = grpc.ssl_channel_credentials(root_certificates=authorities)
    return arguments


class Reports:
    """Tells how sending goes: the first failure, and the first success after it. From the exporter's threads."""

    def __init__(self, what: str, endpoint: str) -> None:
        self._what = what
        self._endpoint = endpoint
        self.works = True

    def done(self) -> None:
        """The collector took it."""
        if not self.works:
            self.works = True
            _LOG.info("the collector at %s takes %s again", self._endpoint, self._what)

    def failed(self) -> None:
        """It did not."""
        if self.works:
            self.works = False
            why = _last_words.said or "no reason given"
            _LOG.warning(
                "the collector at %s does not take %s; from now on that is counted, not logged: %s",
                self._endpoint, self._what, why,
            )  # fmt: skip


class _LastWords(logging.Filter):
    """Keeps what the exporter logs, and logs none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.said = ""
        self._users = 0
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep it."""
        self.said = " ".join(record.getMessage().split())[:500]
        return False

    def listen(self, by: int) -> None:
        """One exporter more, or one less."""
        with self._lock:
            self._users += by
            logger = logging.getLogger(_EXPORTER_LOG)
            (logger.addFilter if self._users > 0 else logger.removeFilter)(self)


_last_words = _LastWords()


def quiet_exporter() -> None:
    """Let the exporter's own log be kept, not written; `release_exporter` undoes it."""
    _last_words.listen(1)


def release_exporter() -> None:
    """See `quiet_exporter`."""
    _last_words.listen(-1)
