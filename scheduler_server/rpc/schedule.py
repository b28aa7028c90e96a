"""ScheduleService: the unary calls."""

import time
from asyncio import sleep
from collections.abc import Callable
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError

from scheduler_api.v1 import schedule_service_pb2
from scheduler_server.assignment.effects import OutcomeReply, Reply
from scheduler_server.assignment.events import Submit, Tick
from scheduler_server.model.clock import Now
from scheduler_server.model.outcome import OutcomeResult
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc import decode, encode, quick
from scheduler_server.rpc.access_names import Names
from scheduler_server.rpc.checks import Fault, Faults
from scheduler_server.rpc.errors import UNREADABLE, NotSupported, Refused, abort, item_error, on_bytes
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.task_watch import TaskWatchers

_YIELD_S = 0.000_25
"""A long batch lets the loop do something else this often: a call of somebody else takes several turns of the loop, and
may wait for a step of the batch at each. With steps of a millisecond a batch takes no less processor time."""

_DURABLE_WITHIN_S = 10.0
"""How long a caller of enqueue waits for a disk that says nothing; then its task is taken back and it is told so."""

_JOURNAL = (("store", "journal"),)
_JOURNAL_AGAIN_S = 5.0
"""When to ask again: a journal that fails is tried again at least that often."""

_ACCEPTED = schedule_service_pb2.OUTCOME_RESULT_ACCEPTED

Read: TypeAlias = Callable[[bytes, int], Submit]
"""Reads a request of a batch: its bytes, and its place among them."""


class ScheduleCalls:
    """Each method: check the message, one event, encode the answer. What can be refused is told by exception."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._handle = shell.handle
        self._now = shell.now
        self._core = shell.core
        self._read = quick.Requests().submit
        self._decode_report = decode.report
        self.watchers = TaskWatchers(self._core.incarnation, shell.now, self._core.queue.prospects)
        shell.changes.append(self.watchers)
        self.names: Names | None = None  # set where callers are held to their names
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
        self.refuse_if_draining()
        return await self._answer(self._read(request), context)

    def refuse_if_draining(self) -> None:
        """Place nothing more while the server goes down."""
        if self.draining:
            raise Refused(_DRAINING)

    async def _answer(self, event: Submit, context: Any) -> bytes:
        if self.names is not None and (no := self.names.submit(event)) is not None:
            raise Refused(no)
        if event.wait_s is None and not event.enqueue:
            reply = self._handle(event)
        elif event.enqueue:
            reply = await self._enqueue(event)
        else:
            _can_be_over(event, self._now())
            reply = await self._shell.wait(event)
        if reply.decision is not None and (reply.replayed or event.wait_s is not None):
            await self._shell.sure(reply.decision.lease_id)
        if reply.refusal is not None:
            await abort(context, reply.refusal)
        return quick.assigned(reply)

    async def _enqueue(self, event: Submit) -> Reply:
        """Place a task, or let it wait and say so once that is on disk."""
        refusal = self._no_promises()
        if refusal is not None:
            return Reply(None, None, None, False, refusal)
        reply, sequence, new = self._shell.enqueue(event)
        if sequence < 0 or (sequence and await self._shell.durable.wait(sequence, _DURABLE_WITHIN_S)):
            return reply
        return self._take_back(event, new)

    def _no_promises(self) -> Refusal | None:
        """Why nothing can be promised now; None: it can."""
        journal = self._shell.journal.status()
        if journal.healthy:
            return None
        message = f"the task was not kept: the journal does not work: {journal.last_error}"
        return Refusal(Reason.STORE_UNAVAILABLE, message, _JOURNAL, retry_after_s=_JOURNAL_AGAIN_S)

    def _take_back(self, event: Submit, new: bool) -> Reply:
        """What became of a task whose place could not be made durable: it is not there, unless it was placed by now."""
        if new:  # an earlier promise is somebody else's, and may have been kept
            self._shell.take_back(event)
        placed = self._core.task(*event.task.key)
        if placed is not None and placed.live:
            again: Reply = self._handle(event)
            return again
        message = f"the task was not kept: the journal did not take it within {_DURABLE_WITHIN_S:g} s"
        refusal = self._no_promises() or Refusal(
            Reason.STORE_UNAVAILABLE, message, _JOURNAL, retry_after_s=_JOURNAL_AGAIN_S
        )
        return Reply(None, None, None, False, refusal)

    @on_bytes
    async def AssignBatch(self, request: bytes, context: Any) -> bytes:
        """Many tasks, in order, each with its own status."""
        return await self._assign_batch(request, self._read)

    async def _assign_batch(self, request: bytes, read: Read) -> bytes:
        self.refuse_if_draining()
        requests = quick.items(request)
        if requests is None:  # something else is in it: what this version does not know, or nothing that parses
            requests = [each.SerializeToString() for each in _batch(request).requests]
        decode.items("requests", requests)
        self._batches += 1
        try:
            return await self._place_all(requests, read)
        finally:
            self._batches -= 1

    async def _place_all(self, requests: list[bytes], read: Read) -> bytes:
        # All are read before any is placed: a part that does not parse makes the whole a message of another type.
        asked: list[Submit | Faults | NotSupported | Refusal] = []
        names = self.names
        handle, assigned = self._handle, quick.assigned
        until = time.monotonic() + _YIELD_S
        for at, each in enumerate(requests):
            try:
                one = read(each, at)
                asked.append(one if names is None else names.submit(one) or one)
            except (Faults, NotSupported) as error:
                asked.append(error)
            if time.monotonic() > until:
                await sleep(0)
                until = time.monotonic() + _YIELD_S
        results: list[bytes] = []
        promised: list[tuple[int, Submit, bool]] = []
        last = 0
        no_promises = self._no_promises() if any(isinstance(each, Submit) and each.enqueue for each in asked) else None
        failed: dict[int, bytes] = {}  # by the refusal: a limit's is the same for all
        for at, event in enumerate(asked):
            if not isinstance(event, Submit):
                told = failed.get(id(event))
                if told is None:
                    told = failed[id(event)] = _failed(event)
                results.append(told)
                continue
            if not event.enqueue:
                reply = handle(event)
            elif no_promises is not None:
                reply = Reply(None, None, None, False, no_promises)
            else:
                reply, sequence, new = self._shell.enqueue(event)
                if not sequence:  # no room
                    reply = self._take_back(event, new)
                elif sequence > 0:
                    promised.append((at, event, new))
                    last = max(last, sequence)
            results.append(quick.batch_item(assigned(reply)) if reply.refusal is None else _failed(reply.refusal))
            if time.monotonic() > until:
                await sleep(0)
                until = time.monotonic() + _YIELD_S
        if promised and not await self._shell.durable.wait(last, _DURABLE_WITHIN_S):
            for at, event, new in promised:
                reply = self._take_back(event, new)
                results[at] = quick.batch_item(assigned(reply)) if reply.refusal is None else _failed(reply.refusal)
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
                report = self._decode_report(each, f"reports[{at}].")
                if self.names is not None and (no := self.names.report(report.lease_id)) is not None:
                    add(result=schedule_service_pb2.OUTCOME_RESULT_REFUSED).error.CopyFrom(item_error(no))
                    continue
                reply = self._handle(report)
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
        self._handle(Tick())  # what is over by now is over
        queue = self._core.queue
        waiter = queue.waiting.by_task.get((tenant, task_id))
        if waiter is not None and attempt in (0, waiter.event.task.attempt):
            encode.waiting_status(response.task, waiter, queue.prospects(self._now(), waiter))
            return response
        record = self._core.task(tenant, task_id, attempt)
        ended = queue.over.get((tenant, task_id))
        if (
            ended is not None
            and attempt in (0, ended.task.attempt)
            and (record is None or record.task.attempt < ended.task.attempt)
        ):
            encode.unplaced_status(response.task, ended)
            return response
        if record is None:
            message = f"task {task_id!r} is not known, or no longer kept"
            raise Refused(Refusal(Reason.TASK_UNKNOWN, message, (("task_id", task_id),)))
        await self._shell.sure(record.lease_id)
        encode.task_status(response.task, record)
        if record.live:
            now = self._now()
            rest = self._core.remaining(record, now)
            begins = now.wall
            if not record.started_at:  # staged behind others, it has not begun to run
                begins = max(begins, record.placed_wall + record.decision.wait_ms / 1_000.0)
            encode.set_instant(response.task.predicted_end, begins + rest.p50_ms / 1_000.0)
            encode.set_instant(response.task.predicted_end_p90, begins + rest.p90_ms / 1_000.0)
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


def _can_be_over(event: Submit, now: Now) -> None:
    """A call that cannot live to see its task due is refused at once, not when it has waited in vain."""
    not_before, wait_s = event.task.not_before, event.wait_s
    if not_before is not None and wait_s is not None and not_before - now.wall > wait_s:
        fault = f"must reach not_before, {not_before:.3f}, in {not_before - now.wall:.3f} s (got {wait_s:g} s)"
        raise Faults([Fault("wait", fault)])


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
