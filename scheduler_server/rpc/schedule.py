"""ScheduleService: the unary calls."""

import asyncio
import time
from asyncio import sleep
from typing import Any

from google.protobuf.message import DecodeError

from scheduler_api.v1 import schedule_service_pb2
from scheduler_server.assignment.effects import OutcomeReply, Reply
from scheduler_server.assignment.events import Cancel, Submit
from scheduler_server.model.outcome import OutcomeResult
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc import decode, encode, quick
from scheduler_server.rpc.checks import Faults
from scheduler_server.rpc.errors import UNREADABLE, NotSupported, Refused, abort, item_error, on_bytes
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.task_watch import TaskWatchers

_YIELD_S = 0.001
"""A long batch lets the loop do something else this often."""

_DURABLE_WITHIN_S = 10.0
"""How long a caller of enqueue waits for the disk; then its task is taken back and it is told so."""

_ACCEPTED = schedule_service_pb2.OUTCOME_RESULT_ACCEPTED


class ScheduleCalls:
    """Each method: check the message, one event, encode the answer. What can be refused is told by exception."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._handle = shell.handle
        self._now = shell.now
        self._core = shell.core
        self._read = quick.Requests().submit
        self.watchers = TaskWatchers(self._core.incarnation, shell.now, self._core.queue.prospects)
        shell.changes = self.watchers
        self.draining = False
        self._batches = 0  # under way

    def drain(self) -> None:
        """The server is going down: place nothing more, answer those who wait."""
        self.draining = True
        self.watchers.drain()
        self._shell.end_waits(_DRAINING)

    async def batches_done(self) -> None:
        """Wait until no batch is being placed: the only calls that give way to others while they place."""
        while self._batches:  # noqa: ASYNC110 -- at shutdown only; an event would cost every batch
            await sleep(_YIELD_S)

    @on_bytes
    async def Assign(self, request: bytes, context: Any) -> bytes:
        """Choose a worker and lease a slot."""
        if self.draining:
            raise Refused(_DRAINING)
        event = self._read(request)
        if event.wait_s is None and not event.enqueue:
            reply = self._handle(event)
        else:
            reply = await self._patient(event)
        if reply.refusal is not None:
            await abort(context, reply.refusal)
        return quick.assigned(reply)

    async def _patient(self, event: Submit) -> Reply:
        """Place a task that may wait: with its call, or in the queue, told once that is durable."""
        if not event.enqueue:
            return await self._shell.wait(event)
        self._refuse_promises()
        reply, sequence = self._shell.enqueue(event)
        return await self._promised(event, reply, sequence)

    def _refuse_promises(self) -> None:
        journal = self._shell.journal.status()
        if not journal.healthy:
            message = f"the journal does not work, so a promise could not be kept: {journal.last_error}"
            raise Refused(Refusal(Reason.STORE_UNAVAILABLE, message, (("store", "journal"),)))

    async def _promised(self, event: Submit, reply: Reply, sequence: int) -> Reply:
        if sequence < 0:  # placed at once, refused, or promised before
            return reply
        task = event.task
        if sequence:
            try:
                async with asyncio.timeout(_DURABLE_WITHIN_S):
                    await self._shell.durable(sequence)
            except TimeoutError:
                sequence = 0
            except asyncio.CancelledError:  # the caller is gone and was told nothing: it will ask again, or not
                raise
        if sequence:
            return reply
        self._handle(Cancel(task.tenant, task.task_id, task.attempt, "", "it could not be made durable"))
        message = (
            f"the journal did not take it within {_DURABLE_WITHIN_S:g} s: {self._shell.journal.status().last_error}"
        )
        return Reply(None, None, None, False, Refusal(Reason.STORE_UNAVAILABLE, message, (("store", "journal"),)))

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
        promised = 0
        if any(isinstance(event, Submit) and event.enqueue for event in asked):
            self._refuse_promises()
        for event in asked:
            if not isinstance(event, Submit):
                results.append(_failed(event))
                continue
            if event.enqueue:
                reply, sequence = self._shell.enqueue(event)
                promised = max(promised, sequence)
            else:
                reply = handle(event)
            results.append(quick.batch_item(assigned(reply)) if reply.refusal is None else _failed(reply.refusal))
            if time.monotonic() > until:
                await sleep(0)
                until = time.monotonic() + _YIELD_S
        if promised:
            await self._shell.durable(promised)
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
        response = schedule_service_pb2.GetTaskResponse()
        queue = self._core.queue
        waiter = queue.waiting.by_task.get((tenant, task_id))
        if waiter is not None and attempt in (0, waiter.event.task.attempt):
            encode.waiting_status(response.task, waiter, queue.prospects(self._now(), waiter))
            return response
        ended = queue.over.get((tenant, task_id))
        if ended is not None and attempt in (0, ended.task.attempt):
            encode.unplaced_status(response.task, ended)
            return response
        record = self._core.task(tenant, task_id, attempt)
        if record is None:
            message = f"task {task_id!r} is not known, or no longer kept"
            raise Refused(Refusal(Reason.TASK_UNKNOWN, message, (("task_id", task_id),)))
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

    async def WatchTasks(self, request: schedule_service_pb2.WatchTasksRequest, context: Any) -> None:
        """Streams what happens to tasks."""
        await self.watchers.watch(request, context)


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
