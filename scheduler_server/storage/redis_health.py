"""How is this Redis set up: will it still have tomorrow what it took today?"""

from collections.abc import Iterator
from typing import Any

from scheduler_server.storage.redis_connect import FAILURES

OLDEST = (6, 2)


def cautions(client: Any, location: str) -> Iterator[str]:
    """One line each: a version below the oldest supported, eviction of any key, no persistence.

    Says nothing where the user may not ask (INFO, CONFIG GET), as with many hosted ones.
    """
    found = info(client)
    version = str(found.get("redis_version", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < OLDEST:
        yield f"snapshot {location}: Redis {version} is older than 6.2, the oldest that is tested"
    policy = str(found.get("maxmemory_policy", ""))
    if policy.startswith("allkeys"):
        yield f"snapshot {location}: maxmemory-policy is {policy}: Redis may remove parts of the snapshot"
    if found.get("aof_enabled") in (0, "0") and _saves(client) == "":
        yield f"snapshot {location}: appendonly is no and save is empty: a restart of Redis loses the snapshot"


def info(client: Any) -> dict[str, Any]:
    """What INFO says, of one node where there are several; nothing where the user may not ask."""
    try:
        answer = client.info()
    except FAILURES:
        return {}
    first = next(iter(answer.values()), None) if isinstance(answer, dict) else None
    # A cluster answers for each node; one speaks for all.
    return first if isinstance(first, dict) and "redis_version" in first else dict(answer)


def _saves(client: Any) -> str | None:
    try:
        answer = client.config_get("save")
    except FAILURES:
        return None
    save = answer.get("save") if isinstance(answer, dict) else None
    return save if isinstance(save, str) else None
