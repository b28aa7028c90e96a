"""A server for workers that does what a test says: real gRPC on a free port, no scheduling.

It greets and acknowledges by itself, and remembers every heartbeat. It is synchronous, so that tests of
threads need no event loop.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from scheduler_api.v1.schedule_service_pb2_grpc import (
    ScheduleServiceServicer,
    add_ScheduleServiceServicer_to_server,
)
from scheduler_api.v1.task_pb2 import Task
from scheduler_api.v1.worker_pb2 import (
    Ack,
    Goodbye,
    GoodbyeReason,
    LeaseReport,
    LeaseVerdict,
    RunTask,
    Welcome,
    WorkerDirective,
    WorkerHeartbeat,
    WorkerIntent,
)

DEADLINE_S = 10.0  # far above what anything here takes; only ever ends a hang


class FakeSession:
    """One stream as the server sees it."""

    def __init__(self, server: "ScheduleServer", context: Any) -> None:
        self.beats: list[WorkerHeartbeat] = []
        self.arrived_at: list[float] = []
        self.metadata = dict(context.invocation_metadata())
        self.closed = threading.Event()  # the worker's side is gone
        self._server = server
        self._changed = threading.Condition()
        self._out: SimpleQueue[WorkerDirective | grpc.StatusCode | None] = SimpleQueue()
        context.add_callback(self.finish)
        context.add_callback(self.closed.set)

    def send(self, **directive: Any) -> None:
        self._out.put(WorkerDirective(**directive))

    def run(self, lease_id: str, task_type: str, payload: bytes = b"", **task: Any) -> None:
        """Hand a task over."""
        self.send(
            run_task=RunTask(
                lease_id=lease_id,
                task=Task(task_id=f"t-{lease_id}", task_type=task_type, payload=payload, **task),
            )
        )

    def goodbye(self, reason: GoodbyeReason.ValueType, after_s: float | None = None) -> None:
        wait = None if after_s is None else _span(after_s)
        self.send(goodbye=Goodbye(reason=reason, message="as the test says", reconnect_after=wait))
        self.finish()

    def finish(self, code: grpc.StatusCode | None = None) -> None:
        """End the stream, after all that was sent, with OK or with an error."""
        self._out.put(code)

    def until(self, true: Callable[["FakeSession"], bool], what: str = "it") -> None:
        """Wait until the heartbeats so far make it true."""
        with self._changed:
            if not self._changed.wait_for(lambda: true(self), DEADLINE_S):
                raise AssertionError(f"{what} did not come; {len(self.beats)} beats, the last: {self.beats[-1:]}")

    def beat(self, true: Callable[[WorkerHeartbeat], bool], what: str = "the heartbeat") -> WorkerHeartbeat:
        """The first heartbeat for which it is true, present or to come."""
        self.until(lambda _: any(map(true, self.beats)), what)
        return next(filter(true, self.beats))

    def report(self, lease_id: str, kind: str) -> LeaseReport:
        """The first report of that kind, present or to come."""
        beat = self.beat(
            lambda beat: any(_is(report, lease_id, kind) for report in beat.reports), f"{kind} of {lease_id}"
        )
        return next(report for report in beat.reports if _is(report, lease_id, kind))

    def facts(self, lease_id: str) -> list[str | None]:
        """What was reported of a lease, in order, repetitions left out."""
        facts = [r.WhichOneof("fact") for beat in self.beats for r in beat.reports if r.lease_id == lease_id]
        return list(dict.fromkeys(facts))

    def hear(self, beats: Iterator[WorkerHeartbeat]) -> None:
        try:
            for beat in beats:
                self._hear(beat)
        except grpc.RpcError:
            self.closed.set()

    def _hear(self, beat: WorkerHeartbeat) -> None:
        if not self.beats:
            self.send(welcome=self._server.welcome(beat))
        elif self._server.acknowledges:
            self.send(ack=Ack(sequence=beat.sequence, timestamp_ms=beat.timestamp_ms))
        if beat.intent == WorkerIntent.WORKER_INTENT_LEAVE and self._server.lets_go:
            self.goodbye(GoodbyeReason.GOODBYE_REASON_LEFT)
        with self._changed:
            self.beats.append(beat)
            self.arrived_at.append(time.monotonic())
            self._changed.notify_all()

    def directives(self, context: Any) -> Iterator[WorkerDirective]:
        while isinstance(item := self._out.get(), WorkerDirective):
            yield item
        if item is not None:
            context.abort(item, "as the test says")


class ScheduleServer(ScheduleServiceServicer):
    """Its sessions, in the order in which they came."""

    def __init__(self) -> None:
        self.target = ""
        self.interval_s = 0.05
        self.acknowledges = True
        self.lets_go = True
        self.refuses: grpc.StatusCode | None = None  # the status of every stream, instead of a welcome
        self.verdicts: list[LeaseVerdict] = []
        self.sessions: list[FakeSession] = []
        self._changed = threading.Condition()

    def session(self, number: int = 1) -> FakeSession:
        """The n-th session, once its first heartbeat is here."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.sessions) >= number, DEADLINE_S), f"no session {number}"
        session = self.sessions[number - 1]
        session.until(lambda _: bool(session.beats), "the first heartbeat")
        return session

    def welcome(self, beat: WorkerHeartbeat) -> Welcome:
        return Welcome(
            worker_id=beat.worker_id or "made-by-server",
            heartbeat_interval=_span(self.interval_s),
            server_incarnation="one",
            protocol_version=1,
            verdicts=self.verdicts,
        )

    def Schedule(self, request_iterator: Iterator[WorkerHeartbeat], context: Any) -> Iterator[WorkerDirective]:
        if self.refuses is not None:
            context.abort(self.refuses, "as the test says")
        session = FakeSession(self, context)
        with self._changed:
            self.sessions.append(session)
            self._changed.notify_all()
        threading.Thread(target=session.hear, args=(request_iterator,), daemon=True).start()
        yield from session.directives(context)


@contextmanager
def schedule_server(port: int = 0) -> Iterator[ScheduleServer]:
    """The server while it runs, on that port of 127.0.0.1, or on a free one."""
    fake = ScheduleServer()  # type: ignore[abstract] # the other methods answer UNIMPLEMENTED
    server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    add_ScheduleServiceServicer_to_server(fake, server)  # type: ignore[no-untyped-call, unused-ignore] # generated
    fake.target = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    try:
        yield fake
    finally:
        for session in fake.sessions:
            session.finish()
        server.stop(None).wait(DEADLINE_S)


def _span(seconds: float) -> Duration:
    span = Duration()
    span.FromNanoseconds(int(seconds * 1e9))
    return span


def _is(report: LeaseReport, lease_id: str, kind: str) -> bool:
    return report.lease_id == lease_id and report.WhichOneof("fact") == kind
