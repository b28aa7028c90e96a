"""Workers that send the five fields and nothing else, with plain gRPC stubs: what another team would write in an hour.

They learn of their tasks from the queue service, run them by sleeping, and report to nobody how they ended.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from scheduler_api.v1 import schedule_service_pb2_grpc, worker_pb2

SLOTS = 5  # what the server takes a worker to have that does not say


class BareWorker:
    """`depth` is what it has accepted and not finished; what finds no slot waits here, and is counted."""

    def __init__(self, worker_id: str, *, reads: bool, beat_s: float) -> None:
        self.worker_id = worker_id
        self.depth = 0
        self.most = 0  # the greatest depth there ever was
        self.deep = 0  # tasks that found more than twice the slots here
        self.done = 0
        self.busy_s = 0.0
        self._reads = reads
        self._beat_s = beat_s
        self._slots = asyncio.Semaphore(SLOTS)

    async def live(self, channel: grpc.aio.Channel) -> None:
        """Beat until cancelled."""
        call: Any = schedule_service_pb2_grpc.ScheduleServiceStub(channel).Schedule(self._beats())
        while True:
            if self._reads:
                await call.read()
            else:
                await asyncio.sleep(3_600)

    async def _beats(self) -> AsyncIterator[worker_pb2.WorkerHeartbeat]:
        while True:
            yield worker_pb2.WorkerHeartbeat(
                worker_id=self.worker_id,
                cpu_usage=min(1.0, self.depth / SLOTS) * 0.8,
                memory_usage=0.3,
                queue_depth=self.depth,
                timestamp_ms=time.time_ns() // 1_000_000,
            )
            await asyncio.sleep(self._beat_s * random.uniform(0.9, 1.1))

    async def run(self, seconds: float) -> None:
        """One task, delivered by the queue service."""
        self.deep += self.depth > 2 * SLOTS
        self.depth += 1
        self.most = max(self.most, self.depth)
        async with self._slots:
            await asyncio.sleep(seconds)
            self.busy_s += seconds
        self.depth -= 1
        self.done += 1
