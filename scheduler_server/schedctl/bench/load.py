"""Makes the calls. Tasks and calls that do nothing take turns, so that both meet the same server and the same machine.

Whoever calls waits for an answer before calling again. Without a rate that is all (closed loop); with one, calls are
due at fixed instants, and their time counts from when they were due (open loop): a server that stalls is not spared
the calls that it kept from being made.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.client import AsyncSchedulerClient, SchedulerError, error_from_call, error_from_item
from scheduler_server.schedctl.bench.tally import Calls, Fault, Tally
from scheduler_server.schedctl.fault import Asked

TURN_S = 1.0
"""Tasks for so long, then calls that do nothing for a quarter of it: short beside what disturbs a machine."""
IDLE_SHARE = 0.25

_PAUSE_S = 0.02
"""After a call that failed: a server that refuses is not asked as fast as it can refuse."""
_UNCLEAR = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)
"""After these an Assign may have been done, and its lease may be there."""
_NO_LEASE = frozenset({"TASK_UNKNOWN", "TASK_FINISHED"})
"""It never had one; or, where slots are estimated, a heartbeat has told that it is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done.

    `rate`: calls per second, None for as fast as it goes. `by_cancel`: leases are ended by CancelTask instead of
    ReportOutcome. `run` begins the ids of its tasks.
    """

    task: task_pb2.Task
    run: str
    duration_s: float
    callers: int
    timeout_s: float
    rate: float | None = None
    by_cancel: bool = False


class Load:
    """One run. Invariant: a task whose lease is not known to be over is in `_open`."""

    def __init__(self, client: AsyncSchedulerClient, plan: Plan) -> None:
        self.tally = Tally()
        self.stopping = asyncio.Event()
        self._client, self._plan = client, plan
        self._health: Any = health_pb2_grpc.HealthStub(client.channel)
        self._check = health_pb2.HealthCheckRequest()
        self._numbers = count(1)
        self._open: dict[str, None] = {}
        self._metadata = client.metadata()

    async def run(self) -> Tally:
        """All of it. Raises SchedulerError where the server cannot be reached at all."""
        try:
            await self._called(self._health.Check, self._check)  # the connection is made before anything counts
        except grpc.RpcError as error:
            raise error_from_call(error) from error
        left_s = self._plan.duration_s
        try:
            while left_s > 0 and not self.stopping.is_set():
                turn_s = min(TURN_S, left_s)
                await self._turn(turn_s, self._task, (self.tally.assign, self.tally.end))
                await self._turn(turn_s * IDLE_SHARE, self._nothing, (self.tally.idle,))
                left_s -= turn_s
        finally:
            await self._end_what_is_left()
        return self.tally

    def stop(self) -> None:
        """Begin nothing new; `run` comes back when what was begun is over."""
        self.tally.interrupted = True
        self.stopping.set()

    async def _turn(self, seconds: float, make: Callable[[float], Awaitable[None]], counts: tuple[Calls, ...]) -> None:
        """Calls of one kind for a while, until the last is answered."""
        rate = self._plan.rate
        start = perf_counter()
        due = _due(start, seconds, rate)

        async def caller() -> None:
            for instant in due:
                early = instant - perf_counter()
                if early > 0:
                    await self._pause(early)
                now = perf_counter()
                if self.stopping.is_set() or (rate is None and now >= start + seconds):
                    return
                if now >= start + seconds:
                    self.tally.unsent += 1
                else:
                    await make(now if rate is None else instant)

        async with asyncio.TaskGroup() as callers:
            for _ in range(self._plan.callers):
                callers.create_task(caller())
        passed = perf_counter() - start
        for calls in counts:
            calls.spent_s += passed

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _nothing(self, since: float) -> None:
        try:
            await self._called(self._health.Check, self._check)
        except grpc.RpcError as error:
            await self._failed(self.tally.idle, "Check", error_from_call(error))
            return
        self.tally.idle.taken.add(perf_counter() - since)

    async def _task(self, since: float) -> None:
        request = api.AssignRequest(task=self._plan.task, delivery=task_pb2.DELIVERY_CALLER)
        task_id = request.task.task_id = f"{self._plan.run}-{next(self._numbers)}"
        self._open[task_id] = None
        try:
            placed = await self._called(self._client.schedule.Assign, request)
        except grpc.RpcError as call_error:
            error = error_from_call(call_error)
            if error.code not in _UNCLEAR:
                del self._open[task_id]
            await self._failed(self.tally.assign, "Assign", error)
            return
        ended = perf_counter()
        self.tally.assign.taken.add(ended - since)
        try:
            await self._end(request.task, placed.decision.lease_id)
        except SchedulerError as error:
            await self._failed(self.tally.end, self.ending, error)
            return
        self.tally.end.taken.add(perf_counter() - ended)
        del self._open[task_id]

    @property
    def ending(self) -> str:
        """The method that ends leases."""
        return "CancelTask" if self._plan.by_cancel else "ReportOutcome"

    async def _end(self, task: task_pb2.Task, lease_id: str) -> None:
        """Give the slot back, as of a task that somebody stopped: only successes teach. Raises SchedulerError."""
        if self._plan.by_cancel:
            await self._cancel(task.task_id)
            return
        request = api.ReportOutcomeRequest()
        request.reports.add(lease_id=lease_id, outcome=task_pb2.Outcome(status=task_pb2.OUTCOME_STATUS_CANCELLED))
        try:
            answer = await self._called(self._client.schedule.ReportOutcome, request)
        except grpc.RpcError as error:
            raise error_from_call(error) from error
        if answer.results[0].HasField("error"):
            raise error_from_item(answer.results[0].error)

    async def _cancel(self, task_id: str) -> None:
        """Give its slot back, if it has one. Raises SchedulerError."""
        key = task_pb2.TaskKey(task_id=task_id, tenant=self._plan.task.tenant, attempt=self._plan.task.attempt or 1)
        request = api.CancelTaskRequest(task=key, reason="the end of schedctl bench")
        try:
            await self._called(self._client.schedule.CancelTask, request)
        except grpc.RpcError as call_error:
            error = error_from_call(call_error)
            if error.reason not in _NO_LEASE:
                raise error from call_error

    async def _failed(self, calls: Calls, name: str, error: SchedulerError) -> None:
        self.tally.failed(calls, Fault(name, error.code.name, error.reason))
        await self._pause(_PAUSE_S)

    async def _end_what_is_left(self) -> None:
        """Cancel what may still hold a slot, within the time that one call has."""

        async def cancel() -> None:
            while waiting:
                task_id = waiting.pop()
                with suppress(SchedulerError):
                    await self._cancel(task_id)
                    self._open.pop(task_id, None)

        waiting = list(self._open)
        try:
            async with asyncio.timeout(self._plan.timeout_s), asyncio.TaskGroup() as callers:
                for _ in range(min(self._plan.callers, len(waiting))):
                    callers.create_task(cancel())
        except TimeoutError:
            pass
        self.tally.left = len(self._open)

    async def _called(self, method: Any, request: Any) -> Any:
        with suppress(Asked):  # a token file that has become unreadable: the last token ends what was begun
            self._metadata = self._client.metadata()
        return await method(request, timeout=self._plan.timeout_s, metadata=self._metadata)


def _due(start: float, seconds: float, rate: float | None) -> Iterator[float]:
    """When calls are due within a turn, shared by all callers; without a rate at once, for ever."""
    if rate is None:
        while True:
            yield start
    for number in range(max(1, round(seconds * rate))):
        yield start + number / rate
