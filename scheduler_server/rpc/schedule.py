"""ScheduleService: the unary calls."""

import time
from asyncio import sleep
from typing import Any

from google.protobuf.message import DecodeError

from scheduler_api.v1 import schedule_service_pb2
from scheduler_server.assignment.effects import OutcomeReply
from scheduler_server.assignment.events import Submit
from scheduler_server.model.outcome import OutcomeResult
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc import decode, encode, quick
from scheduler_server.rpc.checks import Faults
from scheduler_server.rpc.errors import UNREADABLE, NotSupported, Refused, abort, item_error, on_bytes
from scheduler_server.rpc.shell import Shell

_YIELD_S = 0.001
"""A long batch lets the loop do something else this often."""

_ACCEPTED = schedule_service_pb2.OUTCOME_RESULT_ACCEPTED


class ScheduleCalls:
    """Each method: check the message, one event, encode the answer. What can be refused is told by exception."""

    def __init__(self, shell: Shell) -> None:
        self._handle = shell.handle
        self._now = shell.now
        self._core = shell.core
        self._read = quick.Requests().submit
        self.draining = False
        self._batches = 0  # under way

    async def batches_done(self) -> None:
        """Wait until no batch is being placed: the only calls that give way to others while they place."""
        while self._batches:  # noqa: ASYNC110 -- at shutdown only; an event would cost every batch
            await sleep(_YIELD_S)

    @on_bytes
    async def Assign(self, request: bytes, context: Any) -> bytes:
        """Choose a worker and lease a slot."""
        if self.draining:
            raise Refused(_DRAINING)
        reply = self._handle(self._read(request))
        if reply.refusal is not None:
            await abort(context, reply.refusal)
        return quick.assigned(reply)

    @on_bytes
    async def AssignBatch(self, request: bytes, context: Any) -> bytes:
        """Many tasks, in order, each with its own status."""
        if self.draining:
            raise Refused(_DRAINING)
        requests = quick.items(request)
        if requests is None:  # something else is in it: what this version does not know, or nothing that parses
            requests = [each.SerializeToString() for each in _batch(request).requests]
        decode.items("requests", requests)
        self._batches += 1
        try:
            return await self._place_all(requests)
        finally:
            self._batches -= 1

    async def _place_all(self, requests: list[bytes]) -> bytes:
        # All are read before any is placed: a part that does not parse makes the whole a message of another type.
        asked: list[Submit | Faults | NotSupported] = []
        read, handle, assigned = self._read, self._handle, quick.assigned
        until = time.monotonic() + _YIELD_S
        for at, each in enumerate(requests):
            try:
                asked.append(read(each, at))
            except (Faults, NotSupported) as error:
                asked.append(error)
            if time.monotonic() > until:
                await sleep(0)
                until = time.monotonic() + _YIELD_S
        results: list[bytes] = []
        for event in asked:
            if not isinstance(event, Submit):
                results.append(_failed(event))
                continue
            reply = handle(event)
            results.append(quick.batch_item(assigned(reply)) if reply.refusal is None else _failed(reply.refusal))
            if time.monotonic() > until:
                await sleep(0)
                until = time.monotonic() + _YIELD_S
        return quick.batched(results)

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
        if record.live:
            now = self._now()
            rest = self._core.remaining(record, now)
            encode.set_instant(response.task.predicted_end, now.wall + rest.p50_ms / 1_000.0)
            encode.set_instant(response.task.predicted_end_p90, now.wall + rest.p90_ms / 1_000.0)
        return response

    async def CancelTask(
        self, request: schedule_service_pb2.CancelTaskRequest, context: Any
    ) -> schedule_service_pb2.CancelTaskResponse:
        """Cancel a task."""
        reply = self._handle(decode.cancel(request))
        if reply.refusal is not None:
            raise Refused(reply.refusal)
        return schedule_service_pb2.CancelTaskResponse(state=reply.state, worker_told=reply.worker_told)


def _batch(data: bytes) -> schedule_service_pb2.AssignBatchRequest:
    try:
        return schedule_service_pb2.AssignBatchRequest.FromString(data)
    except DecodeError:
        raise Refused(UNREADABLE) from None


def _failed(error: Faults | NotSupported | Refusal) -> bytes:
    return schedule_service_pb2.AssignBatchResult(error=item_error(error)).SerializeToString()


def _other_result(add: Any, reply: OutcomeReply) -> None:
    result = add(result=reply.result.value)
    if reply.refusal is not None:
        result.error.CopyFrom(item_error(reply.refusal))


_DRAINING = Refusal(Reason.SERVER_DRAINING, "the server is going down; ask another one, or this one again later")
