"""The worker, as a program sees it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import grpc

from scheduler_api.v1.task_pb2 import Outcome
from scheduler_api.v1.worker_pb2 import (
    LeaseAcknowledged,
    LeaseDeclined,
    LeaseReport,
    LeaseReturned,
    LeaseStarted,
)
from scheduler_server.worker import outcome as outcomes
from scheduler_server.worker import tracing
from scheduler_server.worker.calendar import Calendar
from scheduler_server.worker.channel import AnyCredentials, dial
from scheduler_server.worker.coroutines import CLOSE_S
from scheduler_server.worker.engine import Engine
from scheduler_server.worker.handlers import Handler
from scheduler_server.worker.link import Metadata
from scheduler_server.worker.offer import AskAbout
from scheduler_server.worker.profile import Profile, check_name, machine
from scheduler_server.worker.signals import Bell, caught
from scheduler_server.worker.task_context import RunningTask

DRAIN_S = 30.0  # what orchestrators commonly give a process between SIGTERM and SIGKILL
SIGNAL_EXIT = 128  # plus the signal's number, as shells say it

AnyHandler = TypeVar("AnyHandler", bound=Handler)
Fact = LeaseAcknowledged | LeaseStarted | Outcome | LeaseDeclined | LeaseReturned


class Worker:
    """Connects, beats, runs handlers, reports. See the package's docstring for ten lines that use it.

    Runs once: `run()`, or `await serve()`, or `start()` ... `stop()`, or `async with`. Its other methods may
    be called from any thread, before and after.
    """

    def __init__(
        self,
        address: str,
        *,
        worker_id: str = "",
        slots: int = 1,
        prefetch: int = 0,
        capabilities: Sequence[str] = (),
        specializations: Sequence[str] = (),
        worker_type: str = "",
        labels: Mapping[str, str] | None = None,
        node: str | None = None,
        calendar: Calendar | None = None,
        offers: AskAbout | None = None,
        accept_within: float | None = None,
        reports_outcomes: bool = True,
        background_tasks: Callable[[], int] = lambda: 0,
        drain_timeout: float = DRAIN_S,
        credentials: AnyCredentials = None,
        token: str | Callable[[], str] | None = None,
        call_credentials: grpc.CallCredentials | None = None,
        metadata: Metadata = (),
    ) -> None:
        """Describe the worker; nothing connects yet.

        Args:
            address: The server, as gRPC has it: "host:port", "dns:///name:port", "unix:/path".
            worker_id: Its name, kept across restarts. Empty: the server makes one.
            slots: Tasks it runs at once, 1 to 10,000.
            prefetch: Tasks it holds beyond its slots, 0 to 10,000.
            capabilities: What it can do; tasks require a subset of these.
            specializations: Task categories it is best at.
            worker_type: A kind of worker that the server's configuration knows.
            labels: What tasks may match.
            node: Its machine; None: the host's name.
            calendar: When it works; None: always.
            offers: For people: called with each task that is offered, on a thread of its own; the task is theirs once
                they accept it, and its handler runs then. None: every task is taken.
            accept_within: Seconds that an offer waits for an answer; then it lapses. Needed with `offers`.
            reports_outcomes: False for a program that only beats: it reports no outcome and lists no lease.
            background_tasks: Says how many tasks it has that the scheduler does not know of.
            drain_timeout: Seconds that running tasks have to finish when it stops.
            credentials: TLS, or a function that makes it for each stream; None: plaintext.
            token: A bearer token, or a function that reads it for each stream (`TokenFile`). Over TLS, or on loopback.
            call_credentials: Credentials of each call, such as a token. Only over TLS.
            metadata: Sent when a stream opens, such as an authorization header.

        Raises:
            ValueError: a value is outside of the contract's limits.
        """
        if call_credentials is not None and credentials is None:
            raise ValueError("call_credentials: never sent in plaintext, credentials are needed too")
        if (offers is None) is not (accept_within is None):
            raise ValueError("offers, accept_within: who decides about offers, and within which time; both or neither")
        self._drain_timeout_s = drain_timeout
        profile = Profile(
            worker_id=worker_id,
            capabilities=tuple(capabilities) if not isinstance(capabilities, str) else capabilities,
            specializations=tuple(specializations) if not isinstance(specializations, str) else specializations,
            worker_type=worker_type,
            slots=slots,
            prefetch=prefetch,
            labels=dict(labels or {}),
            reports_outcomes=reports_outcomes,
            node=machine() if node is None else node,
            calendar=calendar,
            accept_within_s=accept_within,
        )
        self._engine = Engine(
            profile, lambda: dial(address, credentials, call_credentials), metadata, background_tasks, token, offers
        )

    @property
    def worker_id(self) -> str:
        """Its name; empty until the server has made one."""
        return self._engine.profile.worker_id

    def task(self, task_type: str) -> Callable[[AnyHandler], AnyHandler]:
        """Decorate the handler of a task type: a function (run on a thread) or a coroutine (run on the loop).

        It gets a TaskContext and returns bytes (at most 64 KiB) or None. An exception means failed,
        TimeoutError timed out, TaskDeclined "place it elsewhere".

        Raises:
            ValueError: the type has a handler already, or is not a name.
        """
        check_name("task_type", task_type)

        def register(handler: AnyHandler) -> AnyHandler:
            def change(_: float) -> None:
                self._engine.handlers.add(task_type, handler)
                self._engine.profile.change(accepts_tasks=True)

            self._engine.act(change)
            return handler

        return register

    def update(
        self,
        *,
        capabilities: Sequence[str] | None = None,
        specializations: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        slots: int | None = None,
        calendar: Calendar | None = None,
    ) -> None:
        """Change what is registered; the server hears it at once. Fewer slots stop nothing that runs.

        Raises:
            ValueError: a value is outside of the contract's limits; nothing has changed.
        """

        def change(now: float) -> None:
            self._engine.profile.change(
                capabilities=capabilities,
                specializations=specializations,
                labels=labels,
                slots=slots,
                calendar=calendar,
            )
            self._engine.work.resize(self._engine.profile.slots, now)

        self._engine.act(change)

    @contextlib.contextmanager
    def running_task(self, lease_id: str) -> Iterator[RunningTask]:
        """Run a task that came by other means: listed as running inside, its end reported after.

        Raises:
            ValueError: the id is not one, or this lease is running already.
        """
        check_name("lease_id", lease_id)
        lease = self._engine.act(lambda now: self._engine.work.began(lease_id, now))
        lease.span = tracing.current()  # of the program's own: the server cannot have told it of one
        started = self._engine.clock()
        outcome = outcomes.failure("Abandoned", "the program left the task without an outcome", 0.0)
        try:
            yield RunningTask(lease_id=lease_id, cancelled=lease.cancelled)
            outcome = outcomes.succeeded(None, self._engine.clock() - started)
        except BaseException as error:
            outcome = outcomes.raised(error, self._engine.clock() - started)
            raise
        finally:
            if lease.cancelled.is_set():
                outcome = outcomes.cancelled(self._engine.clock() - started)
            self._engine.finished(lease_id, outcome)

    def report(self, lease_id: str, fact: Fact) -> None:
        """Say one fact about a lease, repeated until the server has it. The running list does not change.

        Raises:
            ValueError: the id is not one, or the outcome is none that a worker may report.
        """
        check_name("lease_id", lease_id)
        if isinstance(fact, Outcome):
            outcomes.check(fact)
        if isinstance(fact, LeaseDeclined):
            fact = LeaseDeclined(reason=outcomes.bounded(fact.reason))
        report = LeaseReport(lease_id=lease_id)
        match fact:
            case LeaseAcknowledged():
                report.acknowledged.CopyFrom(fact)
            case LeaseStarted():
                report.started.CopyFrom(fact)
            case Outcome():
                report.finished.CopyFrom(fact)
            case LeaseDeclined():
                report.declined.CopyFrom(fact)
            case LeaseReturned():
                report.returned.CopyFrom(fact)
        self._engine.act(lambda _: self._engine.work.outbox.add(report))

    def start(self) -> None:
        """Connect in the background. Async handlers run on a loop in a thread of their own.

        Raises:
            RuntimeError: it has been started before.
        """
        self._engine.start()

    def stop(self, drain_timeout: float | None = None) -> None:
        """Drain and leave: blocks until running tasks are done, or the time (seconds) is over.

        A sync handler that still runs then goes on without a listener; its thread does not keep the process
        alive.
        """
        self._engine.stop(self._drain_timeout_s if drain_timeout is None else drain_timeout)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the worker has ended; False when the timeout (seconds) is over before.

        Raises:
            WorkerError: it ended for a reason that is not the program's.
        """
        if not self._engine.ended.wait(timeout):
            return False
        if self._engine.error is not None:
            raise self._engine.error
        return True

    def run(self) -> None:
        """Block until SIGTERM or SIGINT, then drain and return.

        A second signal exits at once, with 128 plus its number.

        Raises:
            WorkerError: the worker has stopped for another reason; its class and message say which.
        """
        with caught() as bell:
            self.start()
            watch = threading.Thread(target=self._ring_when_ended, args=(bell,), name="worker-ended", daemon=True)
            watch.start()
            if bell.wait():
                threading.Thread(target=self.stop, name="worker-stop", daemon=True).start()
                if number := bell.wait():
                    self._engine.abort()
                    raise SystemExit(SIGNAL_EXIT + number)
            watch.join()
        self.wait()

    async def serve(self) -> None:
        """Run until the worker is stopped. Async handlers run on this loop; cancelling it drains first.

        Raises:
            WorkerError: as for run.
        """
        async with self:
            await asyncio.to_thread(self.wait)

    async def __aenter__(self) -> Self:
        if self._engine.started:
            raise RuntimeError("a worker is started once; make a new one")
        self._lent = asyncio.create_task(self._engine.handlers.coroutines.main(), name="worker-handlers")
        await asyncio.sleep(0)  # the loop is lent before the first task can come
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)
        await asyncio.wait({self._lent}, timeout=CLOSE_S)  # a handler may refuse to be cancelled

    def _ring_when_ended(self, bell: Bell) -> None:
        self._engine.ended.wait()
        with contextlib.suppress(OSError):  # nobody waits any more: a second signal came first
            bell.ring()
