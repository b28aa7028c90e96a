"""The stream itself: connects, sends what the session wants sent, hands in what comes, and connects again.

Plain threads and the synchronous gRPC API, not grpc.aio: a second event loop with gRPC in one process gives
BlockingIOError noise (grpc/grpc#25364), and the program around a worker may well have one of its own. Nothing
here shares a loop with anybody, so neither a busy handler nor a blocked loop silences the heartbeats. gRPC
pulls messages out of `_beats` on a thread of its own, one at a time: a slow server makes messages fewer and
fuller, never a queue.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import grpc

from scheduler_api.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from scheduler_api.v1.worker_pb2 import WorkerDirective, WorkerHeartbeat
from scheduler_server.credentials import CredentialError
from scheduler_server.worker.backoff import Backoff
from scheduler_server.worker.ending import Again, Stop, after_goodbye, after_status
from scheduler_server.worker.measure import Sample
from scheduler_server.worker.session import Session

WELCOME_S = 10.0  # a server that accepts a stream and does not greet is not there
GOODBYE_S = 2.0  # a server that said goodbye ends the stream; if not, the worker does
LIVED_S = 5.0  # a session so long was a good one: the next wait is short again
HURRY_S = 0.5  # longest wait once the worker wants to leave and has something to say

log = logging.getLogger(__name__)

Metadata = Sequence[tuple[str, str | bytes]]


class Link:
    """One thread, at most one stream. `changed` locks all state; it is notified when a message may be due."""

    def __init__(
        self,
        *,
        dial: Callable[[], grpc.Channel],
        metadata: Metadata,
        token: str | Callable[[], str] | None = None,
        open_session: Callable[[int], Session],
        receive: Callable[[Session, WorkerDirective], None],
        sample: Callable[[], Sample],
        changed: threading.Condition,
        backoff: Backoff,
    ) -> None:
        self._dial = dial
        self._metadata = tuple(metadata)
        self._token = token
        self._open_session = open_session
        self._receive = receive
        self._sample = sample
        self._changed = changed
        self._backoff = backoff
        self._connections = 0
        self._session: Session | None = None
        self._call: grpc.Call | None = None
        self._closed = False
        self._hurried = False

    @property
    def connected(self) -> bool:
        """True between a welcome and the end of its stream."""
        return self._session is not None and self._session.welcomed_at is not None

    def run(self) -> Stop:
        """Hold a stream until there is a reason to stop, and return it."""
        while True:
            ending = self._one_session()
            if isinstance(ending, Stop):
                return ending
            if not self._pause(ending):
                return Stop(None)

    def hurry(self) -> None:
        """Cut the present and all later waits short."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def close(self) -> None:
        """End the stream now, without a word, and make `run` return."""
        with self._changed:
            self._closed = True
            call = self._call
            self._changed.notify_all()
        if call is not None:
            call.cancel()

    def _one_session(self) -> Stop | Again:
        with self._changed:
            self._connections += 1
            session = self._session = self._open_session(self._connections)
        try:
            metadata = self._all_metadata()
            with self._dial() as channel:
                call = ScheduleServiceStub(channel).Schedule(self._beats(session), metadata=metadata)
                with self._changed:
                    self._call = call
                    closed_meanwhile = self._closed
                if closed_meanwhile:
                    call.cancel()
                return self._read(session, call)
        except CredentialError as error:
            return Again(fault=True, why=str(error))
        finally:
            with self._changed:
                self._session = self._call = None
                self._changed.notify_all()  # ends _beats
            if session.welcomed_at is not None and time.monotonic() - session.welcomed_at >= LIVED_S:
                self._backoff.reset()

    def _all_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        if self._token is None:
            return self._metadata
        token = self._token() if callable(self._token) else self._token
        return (*self._metadata, ("authorization", f"Bearer {token}"))

    def _read(self, session: Session, call: "grpc._CallIterator[WorkerDirective]") -> Stop | Again:
        limit = _cancel_after(WELCOME_S, call)
        ending: Stop | Again = Again(why="the server ended the stream")
        try:
            for directive in call:
                self._receive(session, directive)
                if session.goodbye is not None:
                    limit.cancel()
                    limit = _cancel_after(GOODBYE_S, call)
                elif session.welcomed_at is not None:
                    limit.cancel()
        except grpc.RpcError:
            details = call.details() or ""
            ending = after_status(call.code(), details, tuple(call.trailing_metadata() or ()))
            if call.code() is grpc.StatusCode.UNAUTHENTICATED and callable(self._token):
                ending = Again(fault=True, why=f"UNAUTHENTICATED: {details}")  # the next token may be a good one
        finally:
            limit.cancel()
        return after_goodbye(session.goodbye) if session.goodbye is not None else ending

    def _beats(self, session: Session) -> Iterator[WorkerHeartbeat]:
        """Every message of a session, each made at the moment when it can be sent."""
        while True:
            with self._changed:
                while (wait_s := session.due_at() - time.monotonic()) > 0 and self._lives(session):
                    self._changed.wait(min(wait_s, threading.TIMEOUT_MAX))
                if not self._lives(session):
                    return
            sample = self._sample()
            with self._changed:
                if not self._lives(session):  # a new stream must not lose its reports to this one
                    return
                beat = session.heartbeat(time.monotonic(), time.time_ns() // 1_000_000, sample)
            yield beat

    def _lives(self, session: Session) -> bool:
        return self._session is session and not self._closed and session.goodbye is None

    def _pause(self, ending: Again) -> bool:
        """Wait before the next stream; False when there is to be none."""
        backoff_s = self._backoff.longest_s() if ending.fault else self._backoff.next_s()
        wait_s = max(ending.after_s, backoff_s)
        level = logging.ERROR if ending.fault else logging.WARNING
        if not self._closed:
            log.log(level, "stream lost (%s); connecting again in %.1f s", ending.why, wait_s)
        since = time.monotonic()
        with self._changed:
            while not self._closed:
                limit_s = min(wait_s, HURRY_S) if self._hurried else wait_s
                left_s = since + limit_s - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            return not self._closed


def _cancel_after(seconds: float, call: grpc.Call) -> threading.Timer:
    timer = threading.Timer(seconds, call.cancel)
    timer.daemon = True
    timer.start()
    return timer
