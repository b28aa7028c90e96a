"""What the scheduler is compared with: each worker in turn, whatever it is doing.

The same workers over the same kind of stream with the same hand-over, so that nothing but the choice differs. Only what
a task cannot do without (capabilities) is looked at; beyond its slots a task waits on its worker, first come, first
served. It is a server of the contract's one stream, in the demo's own process.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from scheduler_api.v1.schedule_service_pb2_grpc import ScheduleServiceServicer, add_ScheduleServiceServicer_to_server
from scheduler_api.v1.task_pb2 import Outcome, Task
from scheduler_api.v1.worker_pb2 import (
    Ack,
    Goodbye,
    GoodbyeReason,
    RunTask,
    Welcome,
    WorkerDirective,
    WorkerHeartbeat,
    WorkerIntent,
)
from scheduler_server.demo.fleet import Spec

BEAT_S = 1
OUTBOUND = 10_000  # directives that wait for a worker to read them: more than the demo's tasks; a full one raises


class RoundRobin(ScheduleServiceServicer):
    """Hands tasks out in turn. `outcomes` has how each ended, by task id."""

    def __init__(self, fleet: Sequence[Spec]) -> None:
        self._fleet = fleet
        self._next = 0
        self._streams: dict[str, asyncio.Queue[WorkerDirective]] = {}
        self._server: grpc.aio.Server | None = None
        self._news = asyncio.Condition()
        self.outcomes: dict[str, Outcome] = {}

    async def start(self) -> str:
        """Listen on a free port of 127.0.0.1; the address."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_ScheduleServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call, unused-ignore] # generated
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def stop(self) -> None:
        """End; workers that have not left are cut off."""
        if self._server is not None:
            await self._server.stop(None)

    @property
    def connected(self) -> int:
        """Workers with a stream now."""
        return len(self._streams)

    def choose(self, required: Sequence[str]) -> str:
        """The worker whose turn it is among those that can."""
        for _ in self._fleet:
            spec = self._fleet[self._next]
            self._next = (self._next + 1) % len(self._fleet)
            if set(required) <= set(spec.capabilities):
                return spec.worker_id
        raise ValueError(f"no worker has all of {', '.join(required)}")

    def hand_over(self, task: Task) -> str:
        """Give a task to whose turn it is; the worker. The lease's id is the task's."""
        worker_id = self.choose(task.required_capabilities)
        run = RunTask(lease_id=task.task_id, task=task)
        self._streams[worker_id].put_nowait(WorkerDirective(run_task=run))
        return worker_id

    async def reported(self, task_ids: Iterable[str]) -> None:
        """Wait until the outcomes of all of these are known."""
        missing = set(task_ids)
        async with self._news:
            await self._news.wait_for(lambda: missing <= self.outcomes.keys())

    async def Schedule(  # type: ignore[override] # noqa: N802 - grpc.aio's other way: write to the context
        self, request_iterator: AsyncIterator[WorkerHeartbeat], context: Any
    ) -> None:
        """One worker's stream."""
        out: asyncio.Queue[WorkerDirective] = asyncio.Queue(OUTBOUND)
        worker_id = ""
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(_write(out, context))
                async for beat in request_iterator:
                    if not worker_id:
                        worker_id = beat.worker_id
                        out.put_nowait(WorkerDirective(welcome=_welcome(beat)))
                        self._streams[worker_id] = out
                    elif beat.intent == WorkerIntent.WORKER_INTENT_LEAVE:
                        left = Goodbye(reason=GoodbyeReason.GOODBYE_REASON_LEFT)
                        out.put_nowait(WorkerDirective(goodbye=left))
                        break
                    else:
                        out.put_nowait(WorkerDirective(ack=Ack(sequence=beat.sequence, timestamp_ms=beat.timestamp_ms)))
                    await self._take(beat)
                await out.join()  # what was said is on its way
                writer.cancel()
        finally:
            if self._streams.get(worker_id) is out:
                del self._streams[worker_id]

    async def _take(self, beat: WorkerHeartbeat) -> None:
        finished = {each.lease_id: each.finished for each in beat.reports if each.WhichOneof("fact") == "finished"}
        if finished:
            async with self._news:
                self.outcomes |= finished
                self._news.notify_all()


async def _write(out: asyncio.Queue[WorkerDirective], context: Any) -> None:
    while True:
        await context.write(await out.get())
        out.task_done()


def _welcome(beat: WorkerHeartbeat) -> Welcome:
    return Welcome(
        worker_id=beat.worker_id,
        heartbeat_interval=Duration(seconds=BEAT_S),
        server_incarnation="round-robin",
        protocol_version=1,
        epoch=beat.epoch,
    )
