"""ScheduleService.Schedule: one session per worker stream."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from scheduler_api.v1 import worker_pb2
from scheduler_server.assignment import effects
from scheduler_server.assignment.events import Disconnect
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import Task
from scheduler_server.model.trace import Trace
from scheduler_server.rpc import decode_beat, encode
from scheduler_server.rpc.access_names import Names
from scheduler_server.rpc.checks import Faults
from scheduler_server.rpc.errors import UNREADABLE, NotSupported, Refused, abort
from scheduler_server.rpc.shell import Shell

_LOG = logging.getLogger(__name__)

FIRST_HEARTBEAT_S = 10.0
"""A stream that says nothing for this long is ended: it holds memory and no worker."""

MAX_OUTBOUND = 1_024
"""Directives waiting for one worker. When one more comes the stream is ended: the worker does not read, so it could not
be given a task either, and its reconnect is told what it missed. Plain acks do not add up: a newer one stands for an
older."""

ACKS_TOGETHER_S = 0.01
"""The ack of reports may wait for so long: a worker with many tasks reports all the time, and one ack says what several
would (each costs the server as much as a decision). A heartbeat without reports, which may measure the round trip, is
answered at once."""

DIRECTIVES_TOGETHER = 100
"""Directives in one message, for workers that take several."""

BYTES_TOGETHER = 1 << 18
"""And about so many bytes of them: far below the 4 MiB that clients commonly take, the largest task added."""

LAST_WORDS_S = 5.0
"""Time for a goodbye to get through; then the stream is ended without it."""


class Session:
    """One stream. `outbound` holds what is to be sent; only the stream's handler writes, only its reader reads."""

    __slots__ = (
        "ack", "acking", "closing", "error", "handler", "last_words", "number", "outbound", "reported", "several",
        "wake", "worker_id",
    )  # fmt: skip

    def __init__(self, number: int, handler: "asyncio.Task[Any]") -> None:
        self.number = number
        self.handler = handler
        self.worker_id = ""
        self.outbound: deque[worker_pb2.WorkerDirective] = deque()
        self.several = False  # its worker takes several directives in one message
        self.reported = 0  # the sequence of its last heartbeat that had reports
        self.ack: effects.Acked | None = None  # waits to be sent, or for one that stands for it
        self.acking = False  # a timer will send it
        self.closing = False  # nothing more is read; the handler returns once it has written what there is
        self.error: Faults | NotSupported | Refused | None = None
        self.wake: asyncio.Future[None] | None = None
        self.last_words: asyncio.TimerHandle | None = None

    def rouse(self) -> None:
        """Wake the handler: there is something to write, or to end."""
        if self.wake is not None and not self.wake.done():
            self.wake.set_result(None)

    def close(self, error: Faults | NotSupported | Refused | None = None) -> None:
        """End the stream, with an error or after what is still to be written."""
        if self.closing:
            return
        self.closing = True
        self.error = error
        if error is not None:
            self.outbound.clear()
        self.last_words = asyncio.get_running_loop().call_later(LAST_WORDS_S, self.handler.cancel)
        self.rouse()


class WorkerStreams:
    """All sessions.

    Reading never waits for writing: a worker need not read what it is sent, and one that does not must neither stop
    its own heartbeats from being heard nor hold up a decision.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._numbers = count(1)
        self._sessions: dict[int, Session] = {}
        self._incarnation = shell.core.incarnation
        self.first_heartbeat_s = FIRST_HEARTBEAT_S
        self.draining = False
        self.overflowed = 0
        self.received = self.sent = 0  # messages, over all streams
        self.decode = decode_beat.heartbeat  # it and the next are set where tasks are traced
        self.span_of: Callable[[Task], Trace | None] = encode.of_task
        self.names: Names | None = None  # set where callers are held to which workers they may be
        shell.sessions = self

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def _unhealthy_after_s(self) -> float:
        return self._shell.core.settings.health.unhealthy_after_s

    def waiting(self, session: int | None) -> int:
        """Directives that wait to be written to a session; 0 where there is none."""
        found = self._sessions.get(session) if session is not None else None
        return len(found.outbound) if found is not None else 0

    def drain(self) -> None:
        """Take no stream any more, and end those that have said nothing yet; the core says goodbye to the others."""
        self.draining = True
        for session in self._sessions.values():
            if not session.worker_id:
                session.close(Refused(_DRAINING))

    async def Schedule(self, requests: Any, context: Any) -> None:
        """One worker's stream, from its first heartbeat to its end."""
        if self.draining:
            await abort(context, _DRAINING)
        loop = asyncio.get_running_loop()
        handler = asyncio.current_task()
        assert handler is not None  # noqa: S101 -- grpc.aio runs every handler as a task
        session = Session(next(self._numbers), handler)
        self._sessions[session.number] = session
        reader = loop.create_task(self._read(session, context))
        outbound = session.outbound
        try:
            while True:
                while outbound:
                    await context.write(self._next_message(session))
                    self.sent += 1
                if session.closing:
                    break
                session.wake = loop.create_future()
                await session.wake
        except (grpc.aio.BaseError, asyncio.InvalidStateError, grpc.RpcError):
            session.error = None  # the stream is gone: nobody to tell
        finally:
            if session.last_words is not None:
                session.last_words.cancel()
            reader.cancel()
            del self._sessions[session.number]
            self._shell.handle(Disconnect(session.number))
        if session.error is not None:
            await abort(context, session.error)

    # ------------------------------------------------------------------ from the worker

    async def _read(self, session: Session, context: Any) -> None:
        error: Faults | NotSupported | Refused | None = None
        try:
            async with asyncio.timeout(self.first_heartbeat_s):
                message = await context.read()
            if message is not grpc.aio.EOF:
                wall = self._shell.now().wall
                self.received += 1
                event = decode_beat.connect(message, session.number, wall)
                if self.names is not None:
                    self.names.connect(event, session.handler)
                session.worker_id = event.worker_id
                session.several = message.registration.takes_several
                self._shell.handle(event)
                await self._converse(session, context)
        except TimeoutError:
            error = Refused(
                Refusal(Reason.STREAM_SILENT, f"no heartbeat within {self.first_heartbeat_s:g} s; send one at once")
            )
        except (Faults, NotSupported, Refused) as told:
            error = told
        except DecodeError:
            error = Refused(UNREADABLE)
        except (grpc.aio.BaseError, asyncio.InvalidStateError, grpc.RpcError):
            pass  # the stream is gone
        except Exception:  # noqa: BLE001 -- the last stop, as for unary calls
            _LOG.exception("the stream of worker %r failed", session.worker_id)
            error = Refused(Refusal(Reason.INTERNAL, "a fault of the server; its log has the details"))
        session.close(error)

    async def _converse(self, session: Session, context: Any) -> None:
        handle, now, number = self._shell.handle, self._shell.now, session.number
        read, end = context.read, grpc.aio.EOF
        while not session.closing:
            message = await read()
            if message is end:
                return
            self.received += 1
            event = self.decode(message, number, session.worker_id, now().wall)
            if event.registration is not None:
                session.several = message.registration.takes_several
                if self.names is not None:
                    self.names.registration(event.registration)
            if event.sample.reports:
                session.reported = event.sample.sequence
            handle(event)

    # ------------------------------------------------------------------ to the worker

    def send(self, effect: Any) -> None:
        """Queue what an effect orders. Called while an event is being handled, so it never waits."""
        session = self._sessions.get(effect.session)
        if session is None or session.closing:
            return
        kind = type(effect)
        if kind is effects.SessionRefused:
            session.close(Refused(effect.refusal))
            return
        outbound = session.outbound
        if kind is effects.Acked:
            if 0 < effect.sequence <= session.reported and _is_plain(effect):
                self._acknowledge_soon(session, effect)
                return
            session.ack = None  # this one stands for it
        elif kind is effects.Goodbye:
            self._acknowledge(session)
        directive = encode.directive(
            effect,
            incarnation=self._incarnation,
            unhealthy_after_s=self._unhealthy_after_s,
            span_of=self.span_of,
        )
        if kind is effects.Acked:
            _stand_for_older(directive.ack, outbound)
        elif kind is effects.Welcomed:
            session.worker_id = effect.worker_id
        if len(outbound) >= MAX_OUTBOUND:
            self.overflowed += 1
            session.close(
                Refused(Refusal(Reason.STREAM_SILENT, f"{MAX_OUTBOUND} directives were not read; read, and reconnect"))
            )
            return
        outbound.append(directive)
        if kind is effects.Goodbye:
            session.close()
        else:
            session.rouse()

    def _next_message(self, session: Session) -> worker_pb2.WorkerDirective:
        """What is to be written next: all that is there, for a worker that takes it so, else the oldest directive."""
        outbound = session.outbound
        if not session.several:
            return outbound.popleft()
        if session.ack is not None and not session.closing:
            self._acknowledge(session)  # it goes along: a message less
        first = outbound.popleft()
        if not (outbound and _in_company(first) and _in_company(outbound[0])):
            return first
        message = worker_pb2.WorkerDirective()
        directives = message.several.directives
        directives.append(first)
        size = first.ByteSize()
        while outbound and len(directives) < DIRECTIVES_TOGETHER and size < BYTES_TOGETHER and _in_company(outbound[0]):
            size += outbound[0].ByteSize()
            directives.append(outbound.popleft())
        return message

    def _acknowledge_soon(self, session: Session, ack: effects.Acked) -> None:
        session.ack = ack
        if not session.acking:
            session.acking = True
            asyncio.get_running_loop().call_later(ACKS_TOGETHER_S, self._acknowledge_now, session)

    def _acknowledge_now(self, session: Session) -> None:
        session.acking = False
        if not session.closing:
            self._acknowledge(session)
            session.rouse()

    def _acknowledge(self, session: Session) -> None:
        ack, session.ack = session.ack, None
        if ack is not None:
            directive = encode.directive(ack, incarnation=self._incarnation, unhealthy_after_s=self._unhealthy_after_s)
            _stand_for_older(directive.ack, session.outbound)
            session.outbound.append(directive)


def _in_company(directive: worker_pb2.WorkerDirective) -> bool:
    """May it share a message? What opens and what ends a session are messages of their own."""
    return directive.WhichOneof("directive") not in _ALONE


def _is_plain(ack: effects.Acked) -> bool:
    """Does it only say that all is well?"""
    return ack.heartbeat_interval_s is None and not ack.verdicts and not ack.refused


def _stand_for_older(ack: worker_pb2.Ack, outbound: deque[worker_pb2.WorkerDirective]) -> None:
    """Take back the ack before this one, if it is still to be sent and this one can say all that it said."""
    if not outbound or not outbound[-1].HasField("ack"):
        return
    older = outbound[-1].ack
    if older.refused or older.verdicts:
        return
    if older.HasField("heartbeat_interval") and not ack.HasField("heartbeat_interval"):
        ack.heartbeat_interval.CopyFrom(older.heartbeat_interval)
    outbound.pop()


_ALONE = frozenset({"welcome", "goodbye"})

_DRAINING = Refusal(Reason.SERVER_DRAINING, "the server is going down; reconnect later")
