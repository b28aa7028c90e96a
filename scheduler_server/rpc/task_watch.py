"""Streams of what happens to tasks: a bounded ring, and readers that may fall behind only so far.

What is kept of a change is the message itself, serialized when it happened: a reader that comes later sees each state,
not only the last. Nothing is kept before the first watch, so that a server nobody watches pays nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import grpc

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.queueing import Unplaced
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.clock import Now
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import Prospects, TaskState
from scheduler_server.rpc import encode
from scheduler_server.rpc.checks import Checker, Fault, Faults
from scheduler_server.rpc.errors import Refused, abort
from scheduler_server.rpc.paging import Turn

KEPT = 10_000
"""Changes kept for readers that come back, about 5 MB. Overflow: the oldest goes, and an older token is refused."""

MAX_WATCHERS = 100
MAX_TASKS = 1_000
_BATCH = 256
_SIGN_OF_LIFE_S = 30.0
_WRITE_WITHIN_S = 10.0


class _Change(NamedTuple):
    number: int
    tenant: str
    task_id: str
    attempt: int
    body: bytes  # a TaskStatus
    at: float


class TaskWatchers:
    """All readers, and the ring."""

    def __init__(self, incarnation: str, now: Callable[[], Now], prospects: Callable[[Now, Waiter], Prospects]) -> None:
        self._incarnation = incarnation
        self._now = now
        self._prospects = prospects
        self._ring: deque[_Change] = deque(maxlen=KEPT)
        self._number = 0
        self._held: deque[int] = deque()  # changes that are not to be told yet, nor what comes after them
        self._arrived = asyncio.Event()
        self._draining = False
        self._count = 0
        self.begun = False

    def __len__(self) -> int:
        return self._count

    def drain(self) -> None:
        """End them all, and take no more."""
        self._draining = True
        self._wake()

    # ------------------------------------------------------------------ changes in

    def of_lease(self, record: TaskRecord) -> None:
        """See `shell.Changes`."""
        if self.begun:
            status = api.TaskStatus()
            encode.task_status(status, record)
            self._add(status)

    def of_moved(self, record: TaskRecord, state: TaskState) -> None:
        """See `shell.Changes`."""
        if self.begun:
            status = api.TaskStatus()
            encode.moved_status(status, record, state)
            self._add(status)

    def hold(self) -> None:
        """See `shell.Changes`."""
        self._held.append(self._number + 1)

    def release(self) -> None:
        """See `shell.Changes`."""
        self._held.popleft()
        self._wake()

    def of_waiting(self, waiter: Waiter) -> None:
        """See `shell.Changes`."""
        if self.begun:
            status = api.TaskStatus()
            encode.waiting_status(status, waiter, self._prospects(self._now(), waiter))
            self._add(status)

    def of_unplaced(self, ended: Unplaced) -> None:
        """See `shell.Changes`."""
        if self.begun:
            status = api.TaskStatus()
            encode.unplaced_status(status, ended)
            self._add(status)

    def _add(self, status: api.TaskStatus) -> None:
        self._number += 1
        key = status.task
        self._ring.append(
            _Change(self._number, key.tenant, key.task_id, key.attempt, status.SerializeToString(), self._now().wall)
        )
        self._wake()

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = asyncio.Event()

    # ------------------------------------------------------------------ changes out

    async def watch(self, request: api.WatchTasksRequest, context: Any) -> None:
        """One reader, to its end."""
        wanted = _Wanted(request)
        if self._draining:
            raise Refused(_DRAINING)
        position = self._resume(request.resume_token) if request.resume_token else self._number
        if self._count >= MAX_WATCHERS:
            message = f"{MAX_WATCHERS} watch already; watch again later"
            raise Refused(Refusal(Reason.TOO_MANY_WATCHERS, message, (("limit", str(MAX_WATCHERS)),)))
        self.begun = True
        self._count += 1
        try:
            await self._stream(wanted, position, context)
        except (grpc.aio.InternalError, grpc.aio.UsageError, asyncio.InvalidStateError, grpc.RpcError):
            return  # the stream is gone: nobody to tell
        finally:
            self._count -= 1

    async def _stream(self, wanted: "_Wanted", position: int, context: Any) -> None:
        due = True  # the first message tells that the watch has begun, and where
        while True:
            arrived = self._arrived
            if self._gone(position):
                message = f"more than {KEPT:,} changes wait for this reader; watch again with the last token"
                refusal = Refusal(Reason.WATCHER_TOO_SLOW, message, (("resume_token", self._token(position)),))
                await abort(context, refusal)
            first = max(0, len(self._ring) - (self._number - position))
            told = self._held[0] - 1 - position if self._held else _BATCH
            batch = list(islice(self._ring, first, first + max(0, min(_BATCH, told))))
            turn = Turn()
            for change in batch:
                if self._draining:
                    break
                position = change.number
                if wanted.matches(change):
                    response = api.WatchTasksResponse(resume_token=self._token(position))
                    response.task.ParseFromString(change.body)
                    encode.set_instant(response.at, change.at)
                    await self._write(context, response)
                    due = False
                elif turn.over():
                    await turn.pause()
            if self._draining:
                raise Refused(_DRAINING)
            if batch:
                continue
            if due:
                await self._write(context, api.WatchTasksResponse(resume_token=self._token(position)))
            try:
                async with asyncio.timeout(_SIGN_OF_LIFE_S):
                    await arrived.wait()
                due = False
            except TimeoutError:
                due = True

    @staticmethod
    async def _write(context: Any, response: api.WatchTasksResponse) -> None:
        try:
            async with asyncio.timeout(_WRITE_WITHIN_S):
                await context.write(response)
        except TimeoutError:
            message = f"the reader took nothing for {_WRITE_WITHIN_S:g} s; watch again with the last token"
            raise Refused(Refusal(Reason.WATCHER_TOO_SLOW, message)) from None

    def _resume(self, token: str) -> int:
        incarnation, _, number = token.rpartition(".")
        if not incarnation or not (number.isascii() and number.isdigit() and len(number) <= 19):  # noqa: PLR2004
            raise Faults([Fault("resume_token", "is malformed")])
        position = int(number)
        if incarnation != self._incarnation or position > self._number or self._gone(position):
            message = "the resume token is from another run of the server, or older than what is kept; ask GetTask"
            raise Refused(Refusal(Reason.RESUME_TOKEN_EXPIRED, message, (("resume_token", token[:100]),)))
        return position

    def _gone(self, position: int) -> bool:
        return self._number - position > len(self._ring)

    def _token(self, position: int) -> str:
        return f"{self._incarnation}.{position}"


class _Wanted:
    """Which tasks a reader wants."""

    def __init__(self, request: api.WatchTasksRequest) -> None:
        checker = Checker()
        if request.HasField("tenant"):
            checker.text("tenant", request.tenant)
        if len(request.tasks) > MAX_TASKS:
            checker.fault("tasks", f"has {len(request.tasks):,} entries; the limit is {MAX_TASKS:,}")
        for at, key in enumerate(request.tasks[:MAX_TASKS]):
            checker.text(f"tasks[{at}].task_id", key.task_id, required=True)
            checker.text(f"tasks[{at}].tenant", key.tenant)
        checker.done()
        self._tenant = request.tenant if request.HasField("tenant") else None
        self._tasks = {(key.tenant, key.task_id, key.attempt) for key in request.tasks}

    def matches(self, change: _Change) -> bool:
        """Is this one of them? Attempt 0 stands for any."""
        if self._tenant is not None and change.tenant != self._tenant:
            return False
        name = (change.tenant, change.task_id)
        return not self._tasks or (*name, change.attempt) in self._tasks or (*name, 0) in self._tasks


_DRAINING = Refusal(Reason.SERVER_DRAINING, "the server is going down; watch another one, or this one again later")
