"""ScheduleService: the unary calls."""

import time
from asyncio import sleep
from typing import Any

from scheduler_api.v1 import schedule_service_pb2
from scheduler_server.assignment.effects import OutcomeReply
from scheduler_server.model.outcome import OutcomeResult
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc import decode, encode
from scheduler_server.rpc.checks import Faults
from scheduler_server.rpc.errors import NotSupported, Refused, abort, item_error
from scheduler_server.rpc.shell import Shell

_YIELD_S = 0.001
"""A long batch lets the loop do something else this often."""

_ACCEPTED = schedule_service_pb2.OUTCOME_RESULT_ACCEPTED


class ScheduleCalls:
    """Each method: check the message, one event, encode the answer. What can be refused is told by exception."""

    def __init__(self, shell: Shell) -> None:
        self._handle = shell.handle
        self._core = shell.core
        self.draining = False
        self._batches = 0  # under way

    async def batches_done(self) -> None:
        """Wait until no batch is being placed: the only calls that give way to others while they place."""
        while self._batches:  # noqa: ASYNC110 -- at shutdown only; an event would cost every batch
            await sleep(_YIELD_S)

    async def Assign(
        self, request: schedule_service_pb2.AssignRequest, context: Any
    ) -> schedule_service_pb2.AssignResponse:
        """Choose a worker and lease a slot."""
        if self.draining:
            raise Refused(_DRAINING)
        reply = self._handle(decode.submit(request))
        if reply.refusal is not None:
            await abort(context, reply.refusal)
        return encode.assigned(reply)

    async def AssignBatch(
        self, request: schedule_service_pb2.AssignBatchRequest, context: Any
    ) -> schedule_service_pb2.AssignBatchResponse:
        """Many tasks, in order, each with its own status."""
        if self.draining:
            raise Refused(_DRAINING)
        decode.items("requests", request.requests)
        self._batches += 1
        try:
            return await self._place_all(request.requests)
        finally:
            self._batches -= 1

    async def _place_all(self, requests: Any) -> schedule_service_pb2.AssignBatchResponse:
        response = schedule_service_pb2.AssignBatchResponse()
        until = time.monotonic() + _YIELD_S
        for at, each in enumerate(requests):
            result = response.results.add()
            try:
                reply = self._handle(decode.submit(each, f"requests[{at}]."))
            except (Faults, NotSupported) as error:
                result.error.CopyFrom(item_error(error))
                continue
            if reply.refusal is not None:
                result.error.CopyFrom(item_error(reply.refusal))
            else:
                encode.fill_assigned(result.response, reply)
            if time.monotonic() > until:
                await sleep(0)
                until = time.monotonic() + _YIELD_S
        return response

    async def ReportOutcome(
        self, request: schedule_service_pb2.ReportOutcomeRequest, context: Any
    ) -> schedule_service_pb2.ReportOutcomeResponse:
        """How tasks ended, one or many."""
        reports = request.reports
        decode.items("reports", reports)
        response = schedule_service_pb2.ReportOutcomeResponse()
        add = response.results.add
        until = time.monotonic() + _YIELD_S
        for at, each in enumerate(reports):
            try:
                reply = self._handle(decode.report(each, f"reports[{at}]."))
            except Faults as error:
                result = add(result=schedule_service_pb2.OUTCOME_RESULT_REFUSED)
                result.error.CopyFrom(item_error(error))
                continue
            if reply.result is OutcomeResult.ACCEPTED:
                add().result = _ACCEPTED
            else:
                _other_result(add, reply)
            if time.monotonic() > until:
                await sleep(0)
                until = time.monotonic() + _YIELD_S
        return response

    async def GetTask(
        self, request: schedule_service_pb2.GetTaskRequest, context: Any
    ) -> schedule_service_pb2.GetTaskResponse:
        """Where a task stands."""
        tenant, task_id, attempt = decode.key(request.task, request.HasField("task"))
        record = self._core.task(tenant, task_id, attempt)
        if record is None:
            message = f"task {task_id!r} is not known, or no longer kept"
            raise Refused(Refusal(Reason.TASK_UNKNOWN, message, (("task_id", task_id),)))
        response = schedule_service_pb2.GetTaskResponse()
        encode.task_status(response.task, record)
        return response

    async def CancelTask(
        self, request: schedule_service_pb2.CancelTaskRequest, context: Any
    ) -> schedule_service_pb2.CancelTaskResponse:
        """Cancel a task."""
        reply = self._handle(decode.cancel(request))
        if reply.refusal is not None:
            raise Refused(reply.refusal)
        return schedule_service_pb2.CancelTaskResponse(state=reply.state, worker_told=reply.worker_told)


def _other_result(add: Any, reply: OutcomeReply) -> None:
    result = add(result=reply.result.value)
    if reply.refusal is not None:
        result.error.CopyFrom(item_error(reply.refusal))


_DRAINING = Refusal(Reason.SERVER_DRAINING, "the server is going down; ask another one, or this one again later")
