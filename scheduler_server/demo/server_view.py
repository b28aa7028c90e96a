"""What the server says of itself, asked four times a second by AdminService: workers, decisions, what it waits for."""

import asyncio
from collections.abc import Iterable, Mapping

from scheduler_api.v1.admin_service_pb2 import (
    Accuracy,
    GetAccuracyRequest,
    GetDecisionRequest,
    GetShadowReportRequest,
    GetShadowReportResponse,
    GetStatusRequest,
    GetStatusResponse,
    ListWorkersRequest,
    Worker,
)
from scheduler_api.v1.task_pb2 import TaskKey
from scheduler_server.client import AsyncSchedulerClient, NotSupported, SchedulerError
from scheduler_server.demo.child import DemoFailed
from scheduler_server.demo.tape import Run

EVERY_S = 0.25
CONNECT_S = 30.0  # usually as soon as asked


class ServerView:
    """The last answers. None where the server does not have that."""

    def __init__(self, client: AsyncSchedulerClient) -> None:
        self._client = client
        self.workers: Mapping[str, Worker] | None = None
        self.status: GetStatusResponse | None = None

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            await self.ask()
            await asyncio.sleep(EVERY_S)

    async def ask(self) -> None:
        """Ask once. What is not answered stays as it was: the screen must not end the demo."""
        try:
            listed = await self._client.call(self._client.admin.ListWorkers, ListWorkersRequest())
            self.workers = {worker.worker_id: worker for worker in listed.workers}
            self.status = await self._client.call(self._client.admin.GetStatus, GetStatusRequest())
        except SchedulerError:
            pass

    async def accuracy(self) -> Accuracy | None:
        """How good its answers were, as it counts them itself; None where it does not."""
        try:
            return (await self._client.call(self._client.admin.GetAccuracy, GetAccuracyRequest())).overall
        except SchedulerError:
            return None

    async def shadow(self) -> GetShadowReportResponse | None:
        """How other policies would have done; None where it does not say."""
        try:
            return await self._client.call(self._client.admin.GetShadowReport, GetShadowReportRequest())
        except SchedulerError:
            return None

    async def explained(self, runs: Iterable[Run]) -> None:
        """Give these their decisions as they are recorded, with the whole reasoning where it was asked for."""
        for run in runs:
            try:
                asked = GetDecisionRequest(task=TaskKey(task_id=run.task_id))
                run.decision = (await self._client.call(self._client.admin.GetDecision, asked)).record.decision
            except SchedulerError:
                continue  # what was told when it was made says less, and enough

    async def until_connected(self, workers: int) -> bool:
        """Wait until so many workers have a stream; False when this server cannot tell.

        Raises:
            DemoFailed: they do not come.
        """
        try:
            async with asyncio.timeout(CONNECT_S):
                while True:
                    listed = await self._client.call(self._client.admin.ListWorkers, ListWorkersRequest())
                    if sum(worker.connected for worker in listed.workers) >= workers:
                        return True
                    await asyncio.sleep(0.02)
        except NotSupported:
            return False
        except SchedulerError as error:
            raise DemoFailed(f"the server does not answer: {error}") from error
        except TimeoutError:
            raise DemoFailed(f"the workers did not register within {CONNECT_S:.0f} s") from None
