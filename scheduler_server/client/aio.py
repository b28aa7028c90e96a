"""The client for asyncio. Reads as `sync` does, with awaits."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from scheduler_api.v1.admin_service_pb2_grpc import AdminServiceStub
from scheduler_api.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from scheduler_server.client import asking, assigning, reporting, watching
from scheduler_server.client.assigning import AnyTask
from scheduler_server.client.call import Call, deadline_s
from scheduler_server.client.channel import (
    Metadata,
    Token,
    channel_options,
    metadata_source,
    open_aio_channel,
)
from scheduler_server.client.enums import Delivery, OutcomeResult, OutcomeStatus, TaskState
from scheduler_server.client.errors import NoFreeSlot, RateLimited, SchedulerError
from scheduler_server.client.patience import Patience
from scheduler_server.client.placement import Placement
from scheduler_server.client.reporting import AnyOutcome, AnyReport
from scheduler_server.client.spans import Span, as_timedelta
from scheduler_server.client.status import Cancellation, TaskStatus
from scheduler_server.client.tracing import CallSpan
from scheduler_server.client.watching import AsyncTaskWatch, TaskName
from scheduler_server.client.wire_errors import error_from_call

A = TypeVar("A")
Q = TypeVar("Q")


class AsyncSchedulerClient:
    """Asks one server, from the loop it was made in. Every method raises `SchedulerError`, by its leaf.

    Spans (`timeout`, `wait`, `patience`, `duration`) are timedeltas or plain seconds. Without `credentials`
    the connection is plaintext. `token` is sent as a bearer token, and read anew for each call when it is
    callable. Clock, sleep and chance are there for tests. Invariant: nothing but the channel is kept between
    calls.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        token: Token | None = None,
        metadata: Sequence[tuple[str, str | bytes]] = (),
        wait_for_ready: bool = False,
        options: Sequence[tuple[str, Any]] = (),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.metadata: Callable[[], Metadata] = metadata_source(token, metadata)
        self._clock, self._sleep, self._chance = clock, sleep, chance
        self.channel = open_aio_channel(
            target, credentials, channel_options(wait_for_ready=wait_for_ready, extra=options)
        )
        self.schedule = ScheduleServiceStub(self.channel)
        self.admin = AdminServiceStub(self.channel)

    async def assign(
        self,
        task: AnyTask,
        *,
        delivery: Delivery = Delivery.UNSPECIFIED,
        wait: Span | None = None,
        enqueue: bool = False,
        explain: bool = False,
        patience: Span = timedelta(),
        timeout: Span | None = None,
    ) -> Placement:
        """Place a task: which worker, when, and why.

        When no slot is free: `wait` holds the call in the server, `enqueue` leaves the task there, `patience`
        asks again when the server expects a slot, for that long, each time with its own `timeout` (2 s, and
        `wait`).
        """
        call = assigning.assign(task, delivery=delivery, wait=wait, enqueue=enqueue, explain=explain, timeout=timeout)
        waiting = Patience(as_timedelta(patience), now_s=self._clock(), chance=self._chance)
        while True:
            try:
                return await self._make(call)
            except (NoFreeSlot, RateLimited) as refused:
                pause_s = waiting.pause_s(refused.retry_after, now_s=self._clock())
                if pause_s is None:
                    raise
            await self._sleep(pause_s)

    async def assign_batch(
        self,
        tasks: Iterable[AnyTask],
        *,
        delivery: Delivery = Delivery.UNSPECIFIED,
        enqueue: bool = False,
        explain: bool = False,
        timeout: Span | None = None,
    ) -> list[Placement | SchedulerError]:
        """Place up to 1,000 tasks, in this order; each has its own answer or error, in the same order.

        Errors of items are returned, not raised. Ten seconds unless `timeout` says otherwise.
        """
        return await self._make(
            assigning.assign_batch(tasks, delivery=delivery, enqueue=enqueue, explain=explain, timeout=timeout)
        )

    async def report_outcome(
        self,
        lease_id: str,
        outcome: OutcomeStatus | AnyOutcome,
        *,
        duration: Span | None = None,
        error_message: str = "",
        error_kind: str = "",
        timeout: Span | None = None,
    ) -> OutcomeResult:
        """Say how a task ended: a status with its duration, or a whole Outcome."""
        told = reporting.outcome_of(outcome, duration, error_message, error_kind)
        return await self._make(reporting.report_outcome(lease_id, told, timeout=timeout))

    async def report_outcomes(
        self, reports: Iterable[AnyReport], *, timeout: Span | None = None
    ) -> list[OutcomeResult | SchedulerError]:
        """Say how up to 1,000 tasks ended. Errors of items are returned, not raised."""
        return await self._make(reporting.report_outcomes(reports, timeout=timeout))

    async def get_task(
        self, task_id: str, *, tenant: str = "", attempt: int = 0, timeout: Span | None = None
    ) -> TaskStatus:
        """Where is this task? Attempt 0 means the latest."""
        return await self._make(asking.get_task(task_id, tenant=tenant, attempt=attempt, timeout=timeout))

    async def cancel_task(
        self,
        task_id: str,
        *,
        tenant: str = "",
        attempt: int = 1,
        lease_id: str = "",
        reason: str = "",
        timeout: Span | None = None,
    ) -> Cancellation:
        """Cancel a task, with `lease_id` only if that is its lease. Cancelling twice is the same as once."""
        return await self._make(
            asking.cancel_task(
                task_id, tenant=tenant, attempt=attempt, lease_id=lease_id, reason=reason, timeout=timeout
            )
        )

    def watch_tasks(
        self,
        *,
        tasks: Iterable[TaskName] = (),
        tenant: str | None = None,
        states: Iterable[TaskState] = (),
        resume_token: str = "",
    ) -> AsyncTaskWatch:
        """What happens to tasks, from now on or after `resume_token`; see `watching`. Use it by `with`.

        Only of these tasks, at most 1,000, of this tenant, and to these states; without any of them, all. Who only
        waits for ends asks for `ENDED`, which costs a fraction of the messages.
        """
        asked = watching.request(tasks, tenant, resume_token, states)
        return AsyncTaskWatch(
            lambda request, metadata: self.schedule.WatchTasks(request, metadata=metadata), asked, self.metadata
        )

    async def call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Q, A]", request: Q, *, timeout: Span | None = None
    ) -> A:
        """Any unary method of the raw stubs, with deadline (10 s), this client's metadata and errors."""
        try:
            return await method(request, timeout=deadline_s("", timeout), metadata=self.metadata())
        except grpc.RpcError as error:
            raise error_from_call(error) from error

    async def close(self) -> None:
        """End the connection; calls that are under way fail."""
        await self.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _make(self, call: Call[A]) -> A:
        method = getattr(self.schedule, call.method)
        with CallSpan(call.method) as span:
            metadata = (*self.metadata(), *span.metadata)
            try:
                response = await method(call.request, timeout=call.deadline_s, metadata=metadata)
            except grpc.RpcError as error:
                raise error_from_call(error, call.known) from error
            return call.read(response)
