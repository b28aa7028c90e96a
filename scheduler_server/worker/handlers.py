"""Handlers by task type, and running one: from the lease to the outcome."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Protocol

from scheduler_api.v1.task_pb2 import Outcome
from scheduler_server.worker import outcome as outcomes
from scheduler_server.worker import tracing
from scheduler_server.worker.coroutines import Coroutines
from scheduler_server.worker.errors import TaskDeclined
from scheduler_server.worker.pool import DaemonPool
from scheduler_server.worker.running import Lease
from scheduler_server.worker.task_context import TaskContext, context_of

Handler = Callable[[TaskContext], bytes | None] | Callable[[TaskContext], Awaitable[bytes | None]]


class Ended(Protocol):
    """Told once for every lease that was started."""

    def finished(self, lease_id: str, outcome: Outcome) -> None:
        """Its handler is done."""

    def declined(self, lease_id: str, reason: str) -> None:
        """Its handler gave it back."""


class Handlers:
    """At most one handler per task type. Sync ones run on threads, async ones on the loop of `coroutines`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._handlers: dict[str, Handler] = {}
        self._pool = DaemonPool("worker-task")
        self.coroutines = Coroutines()

    def __len__(self) -> int:
        return len(self._handlers)

    def __contains__(self, task_type: str) -> bool:
        return task_type in self._handlers

    def add(self, task_type: str, handler: Handler) -> None:
        """Let this handler run tasks of that type.

        Raises:
            ValueError: there is one already.
        """
        if task_type in self._handlers:
            raise ValueError(f"task type {task_type!r} has a handler already")
        self._handlers[task_type] = handler

    def start(self, lease: Lease, ended: Ended) -> None:
        """Run the lease's handler; `ended` is told how it went, on the handler's thread."""
        context = context_of(lease)
        handler = self._handlers[context.task_type]
        # An object with an async __call__ is a handler too.
        if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__):
            self.coroutines.start(lease.lease_id, lambda: self._run_async(handler, context, ended))
        else:
            self._pool.submit(lambda: self._run_sync(handler, context, ended))

    def stop(self, lease: Lease) -> None:
        """Cancel the lease's coroutine. A thread cannot be stopped: its handler sees `cancelled`."""
        self.coroutines.cancel(lease.lease_id)

    def close(self) -> None:
        """Start nothing more, cancel coroutines, wait for no thread."""
        self._pool.close()
        self.coroutines.close()

    def _run_sync(self, handler: Handler, context: TaskContext, ended: Ended) -> None:
        started = self._clock()
        result, error = None, None
        try:
            if not context.cancelled.is_set():
                with tracing.running(context):
                    result = handler(context)
        except BaseException as raised:  # noqa: BLE001 - even SystemExit in a handler is that task's failure, not the worker's
            error = raised
        self._tell(context, ended, result, error, self._clock() - started)

    async def _run_async(self, handler: Handler, context: TaskContext, ended: Ended) -> None:
        started = self._clock()
        result: object = None
        error: BaseException | None = None
        try:
            if not context.cancelled.is_set():
                with tracing.running(context):
                    pending = handler(context)
                    result = await pending if inspect.isawaitable(pending) else pending
        except asyncio.CancelledError as raised:
            error = raised
        except BaseException as raised:  # noqa: BLE001 - as above
            error = raised
        self._tell(context, ended, result, error, self._clock() - started)

    def _tell(
        self, context: TaskContext, ended: Ended, result: object, error: BaseException | None, took_s: float
    ) -> None:
        if context.cancelled.is_set():
            ended.finished(context.lease_id, outcomes.cancelled(took_s))
        elif isinstance(error, TaskDeclined):
            ended.declined(context.lease_id, outcomes.describe(error) or "declined by its handler")
        elif error is not None:
            ended.finished(context.lease_id, outcomes.raised(error, took_s))
        else:
            ended.finished(context.lease_id, outcomes.succeeded(result, took_s))
