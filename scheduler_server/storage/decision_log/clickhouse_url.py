"""Which ClickHouse? One URL, read so that a fault is one line and never repeats the password.

    clickhouse://[user[:password]@]host[:9000][,host...][/database]       the native protocol
    clickhouses://...                                                     the same over TLS, port 9440

User and password are percent-encoded. The database is `scheduler` where none is named, and made where it is missing. Of
several hosts the first that answers is used; they have to be replicas. Options after `?`, for TLS: `ca_certs` (a path)
and `verify` (true, false).
"""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from scheduler_server.storage.url_hosts import host_and_port

_PLAIN, _TLS = "clickhouse", "clickhouses"
_PORTS = {_PLAIN: 9_000, _TLS: 9_440}
_DATABASE = "scheduler"
_MASK = "***"


class ClickHouseUrlError(ValueError):
    """The URL cannot be used; what is wrong with it, without anything secret of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickHouseAddress:
    """A URL that was understood. `shown` is it without secrets; `repr` leaves them out too."""

    hosts: tuple[tuple[str, int], ...]
    database: str = _DATABASE
    user: str = "default"
    password: str = field(default="", repr=False)
    tls: bool = False
    verify: bool = True
    ca_certs: str = ""

    @property
    def shown(self) -> str:
        """For status, logs and errors."""
        secret = f":{_MASK}" if self.password else ""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{_TLS if self.tls else _PLAIN}://{self.user}{secret}@{hosts}/{self.database}"


def parse(url: str) -> ClickHouseAddress:
    """Understand a URL. Raises ClickHouseUrlError."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ClickHouseUrlError("is no URL") from None
    if parts.scheme not in _PORTS:
        raise ClickHouseUrlError(f"must begin with {_PLAIN}:// or {_TLS}://")
    if parts.fragment:
        raise ClickHouseUrlError("must not have a part after #: write # in a password as %23")
    tls = parts.scheme == _TLS
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    database = unquote(parts.path.removeprefix("/"))
    if "/" in database or "`" in database or "\\" in database:
        raise ClickHouseUrlError("must name one database after the hosts, without / or `")
    options = _options(parts.query, tls)
    return ClickHouseAddress(
        hosts=tuple(host_and_port(each, _PORTS[parts.scheme], ClickHouseUrlError) for each in hosts.split(",")),
        database=database or _DATABASE,
        user=unquote(user) or "default",
        password=unquote(password),
        tls=tls,
        verify=options.get("verify", "true") == "true",
        ca_certs=options.get("ca_certs", ""),
    )


def _options(query: str, tls: bool) -> dict[str, str]:
    known = ("ca_certs", "verify") if tls else ()
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            listed = f"known are {', '.join(known)}" if known else "there are none without TLS"
            raise ClickHouseUrlError(f"has an option that is not known here; {listed}")
        if name in found:
            raise ClickHouseUrlError(f"gives the option {name} twice")
        if not value or (name == "verify" and value not in ("true", "false")):
            raise ClickHouseUrlError(f"has a value for the option {name} that cannot be used")
        found[name] = value
    return found
