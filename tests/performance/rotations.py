"""Callers that connect again and again, while certificates change under them."""

import asyncio
from collections import Counter
from collections.abc import Callable

import grpc

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import schedule_service_pb2_grpc, task_pb2

CALLS_PER_CONNECTION = 10
_DEADLINE_S = 20.0


class Callers:
    """So many at once, until `stop`. `answers` counts by code; NOT_FOUND is the right one: nobody knows the task."""

    def __init__(
        self, address: str, credentials: Callable[[], grpc.ChannelCredentials], token: str, count: int = 4
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._stopping = False
        self.answers: Counter[str] = Counter()
        self.connections = 0
        self._tasks = [asyncio.create_task(self._call()) for _ in range(count)]

    async def stop(self) -> None:
        """Let the calls under way end."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _call(self) -> None:
        # No retries: a call that fails is to be seen.
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
        request = api.GetTaskRequest(task=task_pb2.TaskKey(task_id="nobody knows it"))
        while not self._stopping:
            async with grpc.aio.secure_channel(self._address, self._credentials(), options) as channel:
                stub = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
                self.connections += 1
                for _ in range(CALLS_PER_CONNECTION):
                    try:
                        await stub.GetTask(request, metadata=self._metadata, timeout=_DEADLINE_S)
                    except grpc.aio.AioRpcError as error:
                        self.answers[error.code().name] += 1
