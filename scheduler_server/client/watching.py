"""What happens to tasks: the stream of WatchTasks, for programs with and without an event loop.

    async with scheduler.watch_tasks(tenant="acme") as changes:
        await scheduler.assign(task, enqueue=True)
        async for change in changes:
            print(change.status.task_id, change.status.state.name)

Entering waits until the watch has begun, so that nothing that is asked for inside is missed. `resume_token` names the
last message read: after an error, watch again with it, and miss nothing.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import grpc

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.client.channel import Metadata
from scheduler_server.client.enums import TaskState
from scheduler_server.client.errors import ServerUnavailable
from scheduler_server.client.spans import read_timestamp
from scheduler_server.client.status import TaskStatus
from scheduler_server.client.wire_errors import error_from_call

TaskName = str | tuple[str, str] | tuple[str, str, int]
"""A task id; or tenant and task id; or tenant, task id and attempt."""

Open = Callable[[api.WatchTasksRequest, Metadata], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChange:
    """One change of one task. `at`: when it happened, in UTC. `resume_token`: names this point of the stream."""

    status: TaskStatus
    at: datetime | None
    resume_token: str


def request(
    tasks: Iterable[TaskName], tenant: str | None, resume_token: str, states: Iterable[TaskState] = ()
) -> api.WatchTasksRequest:
    """What to ask for."""
    made = api.WatchTasksRequest(
        resume_token=resume_token, states=[task_pb2.TaskState.ValueType(state) for state in states]
    )
    if tenant is not None:
        made.tenant = tenant
    for name in tasks:
        made.tasks.append(_key(name))
    return made


def _key(name: TaskName) -> task_pb2.TaskKey:
    if isinstance(name, str):
        return task_pb2.TaskKey(task_id=name)
    tenant, task_id, *attempt = name
    return task_pb2.TaskKey(tenant=tenant, task_id=task_id, attempt=attempt[0] if attempt else 0)


class _Watch:
    def __init__(self, open_: Open, asked: api.WatchTasksRequest, metadata: Callable[[], Metadata]) -> None:
        self._open, self._asked, self._metadata = open_, asked, metadata
        self._call: Any = None
        self.resume_token = asked.resume_token
        self._first: api.WatchTasksResponse | None = None

    def _begin(self) -> Any:
        self._call = self._open(self._asked, self._metadata())
        return self._call

    def _change(self, message: api.WatchTasksResponse) -> TaskChange | None:
        """None for a sign of life."""
        self.resume_token = message.resume_token
        if not message.HasField("task"):
            return None
        at = read_timestamp(message.at) if message.HasField("at") else None
        return TaskChange(status=TaskStatus.from_proto(message.task), at=at, resume_token=message.resume_token)


class TaskWatch(_Watch):
    """A watch for programs without an event loop; see the module. Close it from another thread to end its iteration."""

    def __enter__(self) -> Self:
        try:
            self._first = next(self._begin(), None)
        except grpc.RpcError as error:
            raise error_from_call(error) from error
        return self

    def __iter__(self) -> Iterator[TaskChange]:
        first, self._first = self._first, None
        try:
            if first is not None and (change := self._change(first)) is not None:
                yield change
            for message in self._call:
                if (change := self._change(message)) is not None:
                    yield change
        except grpc.RpcError as error:
            raise error_from_call(error) from error
        raise ServerUnavailable(grpc.StatusCode.UNAVAILABLE, message="the server ended the watch")

    def close(self) -> None:
        """End it."""
        if self._call is not None:
            self._call.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncTaskWatch(_Watch):
    """A watch for asyncio; see the module."""

    async def __aenter__(self) -> Self:
        try:
            first = await self._begin().read()
        except grpc.RpcError as error:
            raise error_from_call(error) from error
        self._first = None if first is grpc.aio.EOF else first
        return self

    async def __aiter__(self) -> AsyncIterator[TaskChange]:
        first, self._first = self._first, None
        try:
            if first is not None and (change := self._change(first)) is not None:
                yield change
            while (message := await self._call.read()) is not grpc.aio.EOF:
                if (change := self._change(message)) is not None:
                    yield change
        except grpc.RpcError as error:
            raise error_from_call(error) from error
        raise ServerUnavailable(grpc.StatusCode.UNAVAILABLE, message="the server ended the watch")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._call is not None:
            self._call.cancel()
