"""How does a queue service put tasks into a stream, for a server that takes them from Redis?

    stream = TaskStream(redis.Redis(), "{scheduler-server}:tasks")
    entry_id = stream.add(Task(task_id="42", task_type="resize-image", payload=b"..."))

Needs no package of its own: the Redis client is given, so it is the caller's choice which one, which version and how it
is configured. Without a reply from Redis nobody knows whether a task was taken: add it again, under the same task_id.
The server runs it once.
"""

import json
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from google.protobuf import json_format

from scheduler_server.client.task import Task
from scheduler_server.client.tracing import carried

DEFAULT_STREAM = "{scheduler-server}:tasks"

Entry: TypeAlias = dict[str, bytes | str]
"""Fields of one entry, as XADD takes them."""


def entry(task: Task) -> Entry:
    """A task as one field, a serialized `scheduler_api.v1.Task`: the smallest, and the fastest to read."""
    return {"task": task.to_proto().SerializeToString()}


def plain_entry(task: Task) -> Entry:
    """A task as a field for each field that says something: readable in redis-cli, and writable from any language."""
    message = task.to_proto()
    fields: Entry = {}
    told: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    for name, value in told.items():
        if name == "payload":
            fields[name] = message.payload
        elif isinstance(value, (dict, list)):
            fields[name] = json.dumps(value, separators=(",", ":"))
        else:
            fields[name] = str(value)
    return fields


class Pipeline(Protocol):
    """What is used of a Redis client's pipeline."""

    def xadd(self, name: str, fields: Any) -> Any:
        """Add an entry when it is executed."""

    def execute(self) -> Any:
        """Send all of it; the answers in order."""


class Redis(Protocol):
    """What is used of a Redis client: `redis.Redis` and `redis.cluster.RedisCluster` have it."""

    def xadd(self, name: str, fields: Any) -> Any:
        """Add an entry; its id."""

    def pipeline(self, transaction: bool = True) -> Any:
        """Collect commands."""


class TaskStream:
    """One stream that tasks are put into. As safe for several threads as its client is."""

    def __init__(self, redis: Redis, stream: str = DEFAULT_STREAM, *, plain: bool = False) -> None:
        self._redis = redis
        self._stream = stream
        self._entry = plain_entry if plain else entry

    def add(self, task: Task) -> str:
        """Put one task in; the id of its entry. Raises what the Redis client raises."""
        return _text(self._redis.xadd(self._stream, self._entry(task) | carried()))

    def add_many(self, tasks: Iterable[Task]) -> list[str]:
        """Put many in, with one round trip. Where it raises, some may be in: add all of them again."""
        pipeline: Pipeline = self._redis.pipeline(transaction=False)
        trace = carried()
        for task in tasks:
            pipeline.xadd(self._stream, self._entry(task) | trace)
        answers: Sequence[Any] = pipeline.execute()
        return [_text(answer) for answer in answers]


class AsyncRedis(Protocol):
    """What is used of an asyncio client: `redis.asyncio.Redis` has it."""

    def xadd(self, name: str, fields: Any) -> Awaitable[Any]:
        """Add an entry; its id."""

    def pipeline(self, transaction: bool = True) -> Any:
        """Collect commands."""


class AsyncTaskStream:
    """The same, to await."""

    def __init__(self, redis: AsyncRedis, stream: str = DEFAULT_STREAM, *, plain: bool = False) -> None:
        self._redis = redis
        self._stream = stream
        self._entry = plain_entry if plain else entry

    async def add(self, task: Task) -> str:
        """Put one task in; the id of its entry."""
        return _text(await self._redis.xadd(self._stream, self._entry(task) | carried()))

    async def add_many(self, tasks: Iterable[Task]) -> list[str]:
        """Put many in, with one round trip. Where it raises, some may be in: add all of them again."""
        pipeline = self._redis.pipeline(transaction=False)
        trace = carried()
        for task in tasks:
            pipeline.xadd(self._stream, self._entry(task) | trace)
        return [_text(answer) for answer in await pipeline.execute()]


def _text(entry_id: bytes | str) -> str:
    return entry_id.decode() if isinstance(entry_id, bytes) else str(entry_id)
