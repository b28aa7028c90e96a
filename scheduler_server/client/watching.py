"""What happens to tasks: the stream of WatchTasks, for programs with and without an event loop.

    async with scheduler.watch_tasks(tenant="acme") as changes:
        await scheduler.assign(task, enqueue=True)
        async for change in changes:
            print(change.status.task_id, change.status.state.name)

Entering waits until the watch has begun, so that nothing that is asked for inside is missed. `resume_token` names the
last change handed out: after an error, watch again with it, and miss nothing. The server tells several in one message
where it can; they come one by one all the same.
"""

from collections import deque
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
        resume_token=resume_token,
        states=[task_pb2.TaskState.ValueType(state) for state in states],
        together=True,
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
        self._pending: deque[api.TaskChange | api.WatchTasksResponse] = deque()  # read, and not handed out

    def _begin(self) -> Any:
        self._call = self._open(self._asked, self._metadata())
        return self._call

    def _take(self, message: api.WatchTasksResponse) -> None:
        """Keep what a message tells, until it is handed out; a server that is older tells one change in each."""
        if message.HasField("task"):
            self._pending.append(message)
        elif message.changes:
            self._pending.extend(message.changes)
        else:  # a sign of life
            self.resume_token = message.resume_token

    def _next(self) -> TaskChange:
        told = self._pending.popleft()
        self.resume_token = told.resume_token
        return _change(told)


def _change(told: api.TaskChange | api.WatchTasksResponse) -> TaskChange:
    at = read_timestamp(told.at) if told.HasField("at") else None
    return TaskChange(status=TaskStatus.from_proto(told.task), at=at, resume_token=told.resume_token)


class TaskWatch(_Watch):
    """A watch for programs without an event loop; see the module. Close it from another thread to end its iteration."""

    def __enter__(self) -> Self:
        try:
            first = next(self._begin(), None)
        except grpc.RpcError as error:
            raise error_from_call(error) from error
        if first is not None:
            self._take(first)
        return self

    def __iter__(self) -> Iterator[TaskChange]:
        try:
            while True:
                while self._pending:
                    yield self._next()
                message = next(self._call, None)
                if message is None:
                    break
                self._take(message)
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
        if first is not grpc.aio.EOF:
            self._take(first)
        return self

    async def __aiter__(self) -> AsyncIterator[TaskChange]:
        try:
            while True:
                while self._pending:
                    yield self._next()
                message = await self._call.read()
                if message is grpc.aio.EOF:
                    break
                self._take(message)
        except grpc.RpcError as error:
            raise error_from_call(error) from error
        raise ServerUnavailable(grpc.StatusCode.UNAVAILABLE, message="the server ended the watch")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._call is not None:
            self._call.cancel()
