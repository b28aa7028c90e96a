"""Streams and groups are made, and what stands where they should be is looked at, before anything is read."""

from collections.abc import Iterator
from typing import Any

from redis.exceptions import ResponseError

from scheduler_server.dispatch.gateway import Gateway, StreamsError
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.storage.redis_connect import FAILURES
from scheduler_server.storage.redis_health import OLDEST, info

_FROM_THE_START = "0"
"""A group that is made now is given what stands in its stream already: tasks may have come before the server."""


def prepare(gateway: Gateway, settings: DispatchSettings) -> tuple[str, ...]:
    """Make what is missing; answers what of Redis' own settings could lose tasks, a line each. Raises StreamsError."""
    with gateway.client("cannot be used") as client:
        for where, name in settings.names():
            kind = client.type(name)
            kind = kind.decode() if isinstance(kind, bytes) else str(kind)
            if kind not in {"none", "stream"}:
                raise StreamsError(
                    f"streams of {gateway.location}: dispatch.{where}: the key {name!r} holds a {kind}, no stream:"
                    " choose another name"
                )
        for name in settings.streams:
            try:
                client.xgroup_create(name, settings.group, id=_FROM_THE_START, mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):  # it is there
                    raise
        return tuple(cautions(client, gateway.location))


def cautions(client: Any, location: str) -> Iterator[str]:
    """Settings with which Redis may forget a task that it has taken, or forget that one was acknowledged."""
    at = f"streams of {location}"
    found = info(client)
    version = str(found.get("redis_version", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < OLDEST:
        yield f"{at}: Redis {version} is older than 6.2, the oldest that is tested"
    unknown = []
    aof = found.get("aof_enabled")
    if aof in (0, "0"):
        yield f"{at}: appendonly is no: a restart of Redis loses tasks that it has taken"
    elif aof is None:
        unknown.append("appendonly")
    fsync = _setting(client, "appendfsync")
    if fsync is None:
        unknown.append("appendfsync")
    elif fsync != "always" and aof not in (0, "0"):
        lost = "a second of tasks" if fsync == "everysec" else "tasks of as long as the system waits to write"
        yield f"{at}: appendfsync is {fsync}, not always: a crash of its machine loses up to {lost}"
    policy = found.get("maxmemory_policy")
    if policy is None:
        unknown.append("maxmemory-policy")
    elif str(policy).startswith("allkeys"):
        yield f"{at}: maxmemory-policy is {policy}: Redis may remove whole streams; noeviction would refuse new tasks"
    if unknown:
        yield f"{at}: may not be asked for {', '.join(unknown)}: whether it can lose tasks is unknown"


def _setting(client: Any, name: str) -> str | None:
    try:
        answer = client.config_get(name)
    except FAILURES:
        return None
    found = answer.get(name) if isinstance(answer, dict) else None
    if isinstance(found, bytes):
        found = found.decode()
    return found if isinstance(found, str) else None
