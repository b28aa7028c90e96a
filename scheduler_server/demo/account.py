"""Was anything lost? Asked of Redis and of the server when all is over; nothing here is from the demo's own notes.

Every entry of the task stream is read from Redis, and the server is asked what became of its task.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scheduler_api.v1.admin_service_pb2 import GetStatusRequest, StoreState
from scheduler_api.v1.task_pb2 import Task
from scheduler_server.client import AsyncSchedulerClient, OutcomeStatus, SchedulerError, TaskState

STREAM, GROUP = "{scheduler-server}:tasks", "scheduler-server"  # the defaults of dispatch.*
DEAD_LETTERS = "{scheduler-server}:dead-letters"
SETTLED_S = 10.0  # for the last acknowledgements to reach Redis; usually milliseconds
ASK_AGAIN_S = 0.02
PAGE = 1_000  # entries read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What Redis and the server said.

    Of Redis: `version` and its settings, `entries` and distinct `tasks` of the stream, those `unread` by any server,
    those `unacknowledged` and the `dead_letters`. Of the server: tasks that `ended` well, the others as `lost` (id and
    how the server has it), attempts beyond the first as `again`, and how its store of tasks is.
    """

    version: str
    appendonly: str
    appendfsync: str
    entries: int
    tasks: int
    unread: int
    unacknowledged: int
    dead_letters: int
    ended: int
    lost: Sequence[str]
    again: int
    store: str

    def faults(self, handed_in: int) -> list[str]:
        """What is not as it should be after so many tasks were handed in, a line each."""
        found = [] if self.tasks == handed_in else [f"{handed_in} tasks were handed in, the stream has {self.tasks}"]
        found += [f"{self.unread} entries were never read"] if self.unread else []
        found += [f"{self.unacknowledged} entries were not acknowledged"] if self.unacknowledged else []
        found += [f"{self.dead_letters} dead letters"] if self.dead_letters else []
        found += [f"{len(self.lost)} tasks lost, such as {self.lost[0]}"] if self.lost else []
        return found


async def take_account(redis: Any, client: AsyncSchedulerClient, settled_s: float = SETTLED_S) -> Account:
    """Ask. `redis` is a `redis.asyncio.Redis`; what it or the server cannot answer raises their errors."""
    until = time.monotonic() + settled_s
    unread, unacknowledged = await _open(redis)
    while (unread or unacknowledged) and time.monotonic() < until:
        await asyncio.sleep(ASK_AGAIN_S)
        unread, unacknowledged = await _open(redis)
    named = [Task.FromString(fields[b"task"]).task_id for _, fields in await _entries(redis)]
    ended, lost, again = 0, [], 0
    for task_id in dict.fromkeys(named):
        state, attempt = await _became(client, task_id)
        again += max(0, attempt - 1)
        ended += not state
        lost += [f"{task_id}: {state}"] if state else []
    return Account(
        version=(await redis.info("server"))["redis_version"],
        appendonly=await _setting(redis, "appendonly"),
        appendfsync=await _setting(redis, "appendfsync"),
        entries=await redis.xlen(STREAM),
        tasks=len(set(named)),
        unread=unread,
        unacknowledged=unacknowledged,
        dead_letters=await redis.xlen(DEAD_LETTERS),
        ended=ended,
        lost=lost,
        again=again,
        store=await _store(client),
    )


async def _entries(redis: Any, after: bytes = b"-") -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Entries of the stream; those after an id."""
    found: list[tuple[bytes, dict[bytes, bytes]]] = []
    while page := await redis.xrange(STREAM, min=after if after == b"-" else b"(" + after, count=PAGE):
        found += page
        after = page[-1][0]
    return found


async def _open(redis: Any) -> tuple[int, int]:
    """How many entries no server has read, and how many none has acknowledged."""
    groups = {group["name"]: group for group in await redis.xinfo_groups(STREAM)}
    group = groups.get(GROUP.encode())
    if group is None:  # no server has come to it yet
        return await redis.xlen(STREAM), 0
    return len(await _entries(redis, group["last-delivered-id"])), int(group["pending"])


async def _became(client: AsyncSchedulerClient, task_id: str) -> tuple[str, int]:
    """How the server has it, "" when it ended well; and its attempt."""
    try:
        status = await client.get_task(task_id)
    except SchedulerError as error:
        return str(error), 0
    if status.state is not TaskState.FINISHED or status.outcome is None:
        return status.state.name, status.attempt
    well = status.outcome.status is OutcomeStatus.SUCCEEDED
    return "" if well else status.outcome.status.name, status.attempt


async def _setting(redis: Any, name: str) -> str:
    return str((await redis.config_get(name))[name])


async def _store(client: AsyncSchedulerClient) -> str:
    status = await client.call(client.admin.GetStatus, GetStatusRequest())
    for store in status.stores:
        if store.name == "tasks":
            state = StoreState.Name(store.state).removeprefix("STORE_STATE_").lower()
            return "; ".join([state, *store.warnings])
    return "none"
