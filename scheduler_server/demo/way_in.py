"""How do tasks come to the scheduler? Each way is one verb; what becomes of them is followed the same way for all."""

import asyncio
from typing import Protocol

from redis.exceptions import RedisError

from scheduler_server.client import AsyncSchedulerClient, AsyncTaskStream, Delivery, SchedulerError, Task
from scheduler_server.demo.child import DemoFailed

IN_TIME_S = 10.0  # for the server's answer, which comes when the task is on disk; usually milliseconds
ENDED_S = 2.0  # when the process of Redis ends, whoever watches it says so first: the better message


class WayIn(Protocol):
    """One way."""

    async def put(self, task: Task, *, explain: bool) -> None:
        """Hand a task over; the scheduler keeps it from then on. `explain`: its decision tells the whole reasoning.

        Raises:
            DemoFailed: it was not taken.
        """


class ByAssign:
    """Assign with `enqueue`: placed at once where a slot is free, kept until one is where not."""

    def __init__(self, client: AsyncSchedulerClient) -> None:
        self._client = client

    async def put(self, task: Task, *, explain: bool) -> None:
        """See `WayIn`."""
        try:
            await self._client.assign(task, delivery=Delivery.STREAM, enqueue=True, explain=explain, timeout=IN_TIME_S)
        except SchedulerError as error:
            raise DemoFailed(f"{task.task_id} was not taken: {error}") from error


class ByStream:
    """XADD to a stream of Redis that the scheduler reads from; nobody calls the scheduler.

    Decisions tell what they always tell: an entry cannot ask for more.
    """

    def __init__(self, stream: AsyncTaskStream) -> None:
        self._stream = stream

    async def put(self, task: Task, *, explain: bool) -> None:
        """See `WayIn`."""
        try:
            await self._stream.add(task)
        except (RedisError, OSError) as error:
            await asyncio.sleep(ENDED_S)
            raise DemoFailed(f"Redis did not take {task.task_id}: {error}") from error
