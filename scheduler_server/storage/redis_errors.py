"""What a failure of Redis means for whoever runs the server: one line, without secrets."""

import ssl
from collections.abc import Iterable, Mapping

from redis import exceptions
from redis.sentinel import MasterNotFoundError

from scheduler_server.storage.redis_url import RedisAddress

_LONGEST_SHOWN = 200  # characters of Redis' own words that are repeated

_BY_CODE = {
    "NOAUTH": "it wants a password, and the URL has none",
    "WRONGPASS": "user or password is wrong",
    "NOPASS": "the URL has a password, and it has none",
    "NOPERM": "the user may not run what snapshots need: GET, SET, EXPIRE, PERSIST, RENAME, UNLINK and EVAL",
    "WRONGTYPE": "a key of the prefix holds something else than a snapshot: choose another storage.snapshot_prefix",
    "READONLY": "it is a read-only replica: name the server that takes writes, or its Sentinels",
    "OOM": "it is out of memory (maxmemory): give it more, or remove what nobody needs",
    "MISCONF": "it refuses writes because it cannot save to its own disk",
    "LOADING": "it is still loading its data",
    "MASTERDOWN": "it is a replica that has lost its master",
    "CLUSTERDOWN": "the cluster is down: not every slot is served",
    "NOREPLICAS": "it refuses writes because too few replicas follow it",
}
"""By the first word of Redis' answer, which its protocol promises to be a code."""

_BY_CLASS = (
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
)
"""redis-py takes the code off where it has a class for it."""


def explain(error: BaseException, address: RedisAddress, timeout_s: float, own: Mapping[str, str] | None = None) -> str:
    """The reason, as the end of a sentence that names the server. `own` says by code what it means to the caller."""
    text = _plain(str(error))
    meanings = {**_BY_CODE, **(own or {})}
    code = _code(error, text, meanings, with_password=bool(address.password))
    return meanings[code] if code else _unreached(error, _cause(error), timeout_s) or f"{type(error).__name__}: {text}"


def _code(error: BaseException, text: str, codes: Iterable[str], *, with_password: bool) -> str:
    """The code of Redis' answer, "" where it gave none, or none that is known here."""
    for kind, code in _BY_CLASS:
        if isinstance(error, kind):
            return code
    for code in codes:  # of a command inside of a script it stands further in
        if text.startswith(f"{code} ") or f" -{code} " in text or f": {code} " in text:
            return code
    if isinstance(error, exceptions.AuthenticationError):
        if "without any password configured" in text:
            return "NOPASS"
        return "WRONGPASS" if with_password else "NOAUTH"
    if isinstance(error, exceptions.RedisClusterException) and "slots are not covered" in text:
        return "CLUSTERDOWN"
    return ""


def _unreached(error: BaseException, cause: BaseException, timeout_s: float) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {_plain(cause.verify_message)}"
    if isinstance(cause, ssl.SSLError):
        return "it does not speak TLS as we do: is it redis:// instead of rediss://?"
    if isinstance(error, MasterNotFoundError):
        return "no Sentinel that answers knows a master of that service"
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)) or isinstance(cause, TimeoutError):
        return f"it did not answer within {timeout_s:g} s"
    if isinstance(cause, OSError) and cause.strerror:
        return f"it cannot be reached: {_plain(cause.strerror)}"
    return ""


def _cause(error: BaseException) -> BaseException:
    """The innermost error that it was made from."""
    seen = {id(error)}
    while (inner := error.__cause__ or error.__context__) is not None and id(inner) not in seen:
        seen.add(id(inner))
        error = inner
    return error


def _plain(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST_SHOWN else f"{words[:_LONGEST_SHOWN]}..."
