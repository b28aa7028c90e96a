"""AdminService.WatchDrain: how far a drain is, as it goes on.

A reader has no buffer: what has changed since its last message is a set of workers, and the next message tells how they
are then. So a slow reader costs nobody anything, and sees the truth when it reads; one that takes nothing is ended.
"""

import asyncio
from typing import Any

import grpc

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.assignment.drain_record import Drain
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.queueing import Unplaced
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import TaskState
from scheduler_server.rpc import encode
from scheduler_server.rpc.drain_view import MOST_WORKERS, View, kept
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.following import MAX_READERS, WRITE_WITHIN_S, give_up
from scheduler_server.rpc.shell import Shell

TOGETHER_S = 0.05
"""Changes within this time after a message go together into the next one: a drain under load has thousands a second."""

LOOK_AGAIN_S = 5.0
"""Without any change the whole is told anew this often: expected ends move with time alone, and readers and proxies see
that the stream lives."""

_OVER = (admin_service_pb2.DRAIN_STATE_COMPLETE, admin_service_pb2.DRAIN_STATE_CANCELLED)


class _Reader:
    """What one reader has to be told: these workers, or that something else is new."""

    def __init__(self, drain_id: str) -> None:
        self.drain_id = drain_id
        self.changed: dict[str, None] = {}
        self.news = asyncio.Event()


class DrainWatches:
    """All readers. The shell tells it of drains, and of leases that were started, as one of its `Changes`."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._core = shell.core
        self._readers: dict[str, list[_Reader]] = {}  # by drain
        self._count = 0
        self._draining = False
        self.sent = 0
        shell.drain_listeners.append(self._moved)
        shell.changes.append(self)

    def __len__(self) -> int:
        return self._count

    def drain(self) -> None:
        """End them all, and take no more: the server is going down."""
        self._draining = True
        for readers in self._readers.values():
            for reader in readers:
                reader.news.set()

    # ------------------------------------------------------------------ changes in

    def _moved(self, drain_id: str, worker_id: str) -> None:
        for reader in self._readers.get(drain_id, ()):
            if worker_id:
                reader.changed[worker_id] = None
            reader.news.set()

    def of_moved(self, record: TaskRecord, state: TaskState) -> None:
        """See `shell.Changes`: what was started is not handed back any more."""
        if self._count and record.worker is not None and record.worker.draining:
            for drain_id in self._core.drains.covering(record.worker_id):
                self._moved(drain_id, record.worker_id)

    def of_lease(self, record: TaskRecord) -> None:
        """See `shell.Changes`. The core tells of leases that end."""

    def hold(self) -> None:
        """See `shell.Changes`."""

    def release(self) -> None:
        """See `shell.Changes`."""

    def of_waiting(self, waiter: Waiter) -> None:
        """See `shell.Changes`."""

    def of_unplaced(self, ended: Unplaced) -> None:
        """See `shell.Changes`."""

    # ------------------------------------------------------------------ changes out

    async def watch(self, drain: Drain, context: Any) -> None:
        """One reader, to the end of the drain or its own."""
        if self._draining:
            raise Refused(_GOING_DOWN)
        if self._count >= MAX_READERS:
            message = f"{MAX_READERS} watch already; watch again later"
            raise Refused(Refusal(Reason.TOO_MANY_WATCHERS, message, (("limit", str(MAX_READERS)),)))
        reader = _Reader(drain.order.drain_id)
        self._readers.setdefault(reader.drain_id, []).append(reader)
        self._count += 1
        try:
            await self._follow(drain, reader, context)
        except TimeoutError:
            await give_up(context, "watch again: the first message has it all")
        except (grpc.aio.InternalError, grpc.aio.UsageError, asyncio.InvalidStateError, grpc.RpcError):
            return  # the stream is gone: nobody to tell
        finally:
            self._count -= 1
            self._readers[reader.drain_id].remove(reader)
            if not self._readers[reader.drain_id]:
                del self._readers[reader.drain_id]

    async def _follow(self, drain: Drain, reader: _Reader, context: Any) -> None:
        view = View(self._shell, drain)
        workers = True
        while True:
            reader.news.clear()
            names, reader.changed = list(reader.changed), {}
            response = admin_service_pb2.WatchDrainResponse()
            if names and not workers:
                left = names[MOST_WORKERS:]
                view.some(response.drain, names[:MOST_WORKERS])
                reader.changed = {**dict.fromkeys(left), **reader.changed}
            else:
                await view.whole(response.drain, workers=workers)
            workers = False
            encode.set_instant(response.at, self._shell.now().wall)
            last = response.drain.state in _OVER and not reader.changed
            await kept(self._shell)
            await self._write(context, response)
            if last:
                return
            await self._rest(reader)

    async def _rest(self, reader: _Reader) -> None:
        """Until there is something to tell."""
        await asyncio.sleep(TOGETHER_S)
        if not self._draining and not reader.changed:
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await reader.news.wait()
            except TimeoutError:
                return
        if self._draining:
            raise Refused(_GOING_DOWN)

    async def _write(self, context: Any, response: admin_service_pb2.WatchDrainResponse) -> None:
        async with asyncio.timeout(WRITE_WITHIN_S):
            await context.write(response)
        self.sent += 1


_GOING_DOWN = Refusal(Reason.SERVER_DRAINING, "the server is going down; the drain goes on: watch again later")
