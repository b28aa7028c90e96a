"""Which Redis? One URL, read without redis-py, so that a fault is one line and never repeats the password.

    redis://[user:password@]host[:6379][/db]                          rediss:// the same over TLS
    unix://[user:password@]/path/to/socket[?db=0]
    redis+sentinel://[user:password@]host[:26379],host.../service[/db]    rediss+sentinel://
    redis+cluster://[user:password@]host[:6379],host...                   rediss+cluster://

User and password are percent-encoded; `:password@` alone is a password without a user. Options after `?`: `db`;
for TLS `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (paths), `ssl_cert_reqs` (required, none) and
`ssl_check_hostname` (true, false); for Sentinels that have a password of their own `sentinel_username` and
`sentinel_password`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from scheduler_server.storage.url_hosts import host_and_port

MASK = "***"
_MAX_DB = 10_000  # a server has 16 unless it was configured otherwise; bounds a slip of the keyboard
_REDIS_PORT, _SENTINEL_PORT = 6_379, 26_379


class RedisUrlError(ValueError):
    """The URL cannot be used; what is wrong with it, without anything secret of it."""


class Kind(Enum):
    """How the server that takes writes is found."""

    SINGLE = "redis"
    SOCKET = "unix"
    SENTINEL = "redis+sentinel"
    CLUSTER = "redis+cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """A URL that was understood. `shown` is it without secrets; `repr` leaves them out too."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    tls: bool = False
    tls_options: tuple[tuple[str, str], ...] = ()
    username: str = ""
    password: str = field(default="", repr=False)
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """For status, logs and errors."""
        scheme = self.kind.value if not self.tls else self.kind.value.replace("redis", "rediss", 1)
        secret = f":{MASK}" if self.password else ""
        user = f"{self.username}{secret}@" if self.username or secret else ""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        if self.kind is Kind.SOCKET:
            return f"{scheme}://{user}{self.path}" + (f"?db={self.db}" if self.db else "")
        service = f"/{self.service}" if self.service else ""
        return f"{scheme}://{user}{hosts}{service}" + (f"/{self.db}" if self.db else "")


def parse(url: str) -> RedisAddress:
    """Understand a URL. Raises RedisUrlError."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise RedisUrlError("is no URL") from None
    tls = parts.scheme.startswith("rediss")
    try:
        kind = Kind(parts.scheme.replace("rediss", "redis", 1))
    except ValueError:
        raise RedisUrlError(
            "must begin with redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://, redis+cluster:// or "
            "rediss+cluster://"
        ) from None
    if parts.fragment:
        raise RedisUrlError("must not have a part after #: write # in a password as %23")
    user, _, hosts = parts.netloc.rpartition("@")
    username, _, password = user.partition(":")
    options = _options(parts, kind, tls)
    about: dict[str, Any] = {
        "kind": kind,
        "tls": tls,
        "username": unquote(username),
        "password": unquote(password),
        "sentinel_username": options.pop("sentinel_username", ""),
        "sentinel_password": options.pop("sentinel_password", ""),
    }
    db = options.pop("db", "")
    about["tls_options"] = tuple(sorted(options.items()))
    if kind is Kind.SOCKET:
        if hosts or parts.path in ("", "/"):
            raise RedisUrlError("must name a socket by its absolute path: unix:///run/redis.sock")
        return RedisAddress(**about, path=unquote(parts.path), db=_db(db))
    return _networked(about, hosts, parts.path, db)


def _networked(about: dict[str, Any], hosts: str, path: str, db: str) -> RedisAddress:
    kind = about["kind"]
    steps = [unquote(step) for step in path.split("/")[1:] if step]
    service = ""
    if kind is Kind.SENTINEL:
        if not steps:
            raise RedisUrlError("must name the service that the Sentinels watch: redis+sentinel://host:26379/service")
        service = steps.pop(0)
    if len(steps) > 1 or (steps and db):
        raise RedisUrlError("names more than one database")
    number = _db(steps[0] if steps else db)
    if kind is Kind.CLUSTER and number:
        raise RedisUrlError("must not choose a database: a cluster has only database 0")
    port = _SENTINEL_PORT if kind is Kind.SENTINEL else _REDIS_PORT
    found = tuple(host_and_port(each, port, RedisUrlError) for each in hosts.split(","))
    if kind is Kind.SINGLE and len(found) > 1:
        raise RedisUrlError("names several hosts: use redis+sentinel:// or redis+cluster://")
    return RedisAddress(**about, hosts=found, service=service, db=number)


def _db(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and int(text) <= _MAX_DB):
        raise RedisUrlError(f"must name its database by a number from 0 to {_MAX_DB}")
    return int(text) if text else 0


def _one_of(*words: str) -> Callable[[str], bool]:
    return lambda value: value in words


_TLS: dict[str, Callable[[str], bool]] = {
    "ssl_ca_certs": bool,
    "ssl_certfile": bool,
    "ssl_keyfile": bool,
    "ssl_cert_reqs": _one_of("required", "none"),
    "ssl_check_hostname": _one_of("true", "false"),
}


def _options(parts: SplitResult, kind: Kind, tls: bool) -> dict[str, str]:
    known: dict[str, Callable[[str], bool]] = {"db": lambda _value: True}
    if tls:
        known |= _TLS
    if kind is Kind.SENTINEL:
        known |= {"sentinel_username": bool, "sentinel_password": bool}
    found: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise RedisUrlError(f"has an option that is not known here; known are {', '.join(sorted(known))}")
        if name in found:
            raise RedisUrlError(f"gives the option {name} twice")
        if not known[name](value):
            raise RedisUrlError(f"has a value for the option {name} that cannot be used")
        found[name] = value
    return found
