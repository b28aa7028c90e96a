"""Workers that were ejected: what is told of them, and AdminService's ReinstateWorker."""

from collections.abc import Callable
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.assignment import ramping
from scheduler_server.assignment.ejecting import Ejecting, Stage
from scheduler_server.assignment.events import Ordered, Reinstate
from scheduler_server.model.decision import Rejection
from scheduler_server.model.standing import About, OrderKind
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.rpc import encode
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.durable import HELD_AT_MOST_S
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.fleet_calls import Fill, Find
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.steering import Steering, not_kept, reason_of

_MOST_TOLD = 10
"""Workers that GetStatus names which fail out of line and are not ejected."""

_KEPT_IN = "it is given tasks as ever, and fails them"


class ReinstateCalls:
    """`find` raises Refused where there is no such worker."""

    def __init__(
        self, shell: Shell, steering: Steering, find: Find, fill: Fill, refuse_when_draining: Callable[[], None]
    ) -> None:
        self._shell = shell
        self._core = shell.core
        self._steering = steering
        self._find = find
        self._fill = fill
        self._refuse_when_draining = refuse_when_draining

    async def ReinstateWorker(
        self, request: admin_service_pb2.ReinstateWorkerRequest, context: Any
    ) -> admin_service_pb2.ReinstateWorkerResponse:
        """Let an ejected worker in at once."""
        checker = Checker()
        reason = reason_of(checker, request)
        worker_id = request.worker_id
        ejecting = self._core.ejecting
        try:
            await self._find(worker_id, checker)
        except Refused:
            if worker_id not in ejecting.kept:
                raise
        self._refuse_when_draining()
        async with self._steering.changing:
            entry = ejecting.kept.get(worker_id)
            before = None if entry is None else entry.order
            shell = self._shell
            shell.ordered = -1
            shell.handle(Reinstate(worker_id, reason))
            sequence = shell.ordered
            if sequence >= 0 and not (sequence and await shell.durable.wait(sequence, HELD_AT_MOST_S)):
                shell.handle(Ordered(About(OrderKind.EJECTION, worker_id), before))
                raise not_kept()
        response = admin_service_pb2.ReinstateWorkerResponse()
        record = self._core.fleet.records.get(worker_id)
        if record is not None:
            self._fill(response.worker, record)
        return response


def fill(message: admin_service_pb2.Worker, record: WorkerRecord, ejecting: Ejecting) -> None:
    """What a worker's failures, or its being new, have made of it."""
    entry = ejecting.kept.get(record.worker_id)
    if entry is not None:
        message.times_ejected = entry.times
        message.on_trial = entry.stage is Stage.TRIAL
        if entry.stage is Stage.OUT:
            encode.set_instant(message.ejected_until, entry.until)
            if record.status is Rejection.EJECTED:
                message.rejection_detail = f"{entry.order.reason}; {message.rejection_detail}"
    message.spared_detail = ejecting.spared.get(record.worker_id, "")
    share = ramping.share(record)
    if share is not None:
        message.ramp = share


def fill_status(response: admin_service_pb2.GetStatusResponse, ejecting: Ejecting) -> None:
    """Add those that fail out of line and are not ejected, as something that does not work as it should."""
    for worker_id, why in list(ejecting.spared.items())[:_MOST_TOLD]:
        response.degraded.add(name=f"worker.{worker_id}", detail=f"{worker_id}: {why}", consequence=_KEPT_IN)
