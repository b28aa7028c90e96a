"""AdminService's steering of workers: who is given no new tasks."""

from collections.abc import Awaitable, Callable
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.model.standing import About, OrderKind
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.steering import Steering, reason_of

Find = Callable[[str, Checker], Awaitable[WorkerRecord]]
Fill = Callable[[admin_service_pb2.Worker, WorkerRecord], None]


class FleetCalls:
    """Each method: check the message, order, encode the worker. `find` raises Refused where there is none."""

    def __init__(
        self, shell: Shell, steering: Steering, find: Find, fill: Fill, refuse_when_draining: Callable[[], None]
    ) -> None:
        self._core = shell.core
        self._steering = steering
        self._find = find
        self._fill = fill
        self._refuse_when_draining = refuse_when_draining

    async def CordonWorker(
        self, request: admin_service_pb2.CordonWorkerRequest, context: Any
    ) -> admin_service_pb2.CordonWorkerResponse:
        """Give a worker no new tasks."""
        checker = Checker()
        reason = reason_of(checker, request)
        await self._find(request.worker_id, checker)
        self._refuse_when_draining()
        about = About(OrderKind.CORDON, request.worker_id)
        async with self._steering.changing:
            if about not in self._core.standing.orders:
                await self._steering.stand(about, self._steering.order(reason))
        response = admin_service_pb2.CordonWorkerResponse()
        record = self._core.fleet.records.get(request.worker_id)
        if record is not None:  # it may have been removed meanwhile; it stays out all the same
            self._fill(response.worker, record)
        return response

    async def UncordonWorker(
        self, request: admin_service_pb2.UncordonWorkerRequest, context: Any
    ) -> admin_service_pb2.UncordonWorkerResponse:
        """Let it have tasks again."""
        checker = Checker()
        reason_of(checker, request)
        about = About(OrderKind.CORDON, request.worker_id)
        try:
            await self._find(request.worker_id, checker)
        except Refused:
            if about not in self._core.standing.orders:
                raise
        self._refuse_when_draining()
        async with self._steering.changing:
            await self._steering.stand(about, None)
        response = admin_service_pb2.UncordonWorkerResponse()
        record = self._core.fleet.records.get(request.worker_id)
        if record is not None:
            self._fill(response.worker, record)
        return response
