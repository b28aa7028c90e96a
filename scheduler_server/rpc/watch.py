"""AdminService.WatchEvents: the fleet's events, from the shell's ring.

The ring is the one buffer of all watchers: each only remembers how far it has read. So a watcher costs the core
nothing, whatever it does, and its buffer is as long as the ring. One that falls behind further is told so and ended.
"""

import asyncio
from bisect import bisect_right
from itertools import islice
from typing import Any, NoReturn

import grpc

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc import encode
from scheduler_server.rpc.checks import Checker, Fault, Faults
from scheduler_server.rpc.errors import NotSupported, Refused, abort
from scheduler_server.rpc.paging import Turn
from scheduler_server.rpc.shell import Shell

MAX_WATCHERS = 100
"""Watchers at once: each may be sent every event of the fleet."""

MAX_REPLAY = 1_000

SIGN_OF_LIFE_S = 15.0
"""A watcher to whom nothing was sent for this long gets its token: it learns that the stream lives, and later resumes
from there although nothing matched. Below the idle timeouts of common proxies (60 s) with room for a lost one."""

WRITE_WITHIN_S = 30.0
"""A reader that takes nothing for this long is ended, so that it does not hold its place for ever."""

_BATCH = 256
_LAST_WORDS_S = 5.0

INFO, WARNING, CRITICAL = (
    admin_service_pb2.SEVERITY_INFO,
    admin_service_pb2.SEVERITY_WARNING,
    admin_service_pb2.SEVERITY_CRITICAL,
)

_WARNINGS = frozenset(
    {
        FleetEventKind.WORKER_DISCONNECTED,
        FleetEventKind.WORKER_REMOVED,
        FleetEventKind.WORKER_FENCED,
        FleetEventKind.WORKER_LEDGER_REPAIRED,
        FleetEventKind.LEASE_LOST,
        FleetEventKind.LEASE_LOST_TRACK,
        FleetEventKind.TASK_DECLINED,
        FleetEventKind.BREAKER_HALF_OPEN,
        FleetEventKind.PREDICTION_UNTRUSTED,
    }
)
_FOR_THE_WORSE = frozenset({"degraded", "unhealthy", "above"})
_KINDS = frozenset(admin_service_pb2.EventKind.values()) - {0}
_SEVERITIES = frozenset(admin_service_pb2.Severity.values())


def severity(event: FleetEvent) -> admin_service_pb2.Severity.ValueType:
    """How bad an event is: CRITICAL when decisions are affected, WARNING when a worker is."""
    kind = event.kind
    if kind is FleetEventKind.BREAKER_OPENED:
        return CRITICAL
    if kind in _WARNINGS:
        return WARNING
    if kind in (FleetEventKind.WORKER_HEALTH_CHANGED, FleetEventKind.WORKER_LOAD_CROSSED):
        return WARNING if event.after in _FOR_THE_WORSE else INFO
    return INFO


def sentence(event: FleetEvent) -> str:
    """An event for people."""
    said = event.kind.name.lower().replace("_", " ")
    if event.worker_id:
        said = said.replace("worker", f"worker {event.worker_id}", 1) if "worker" in said else said
    if event.before or event.after:
        said += f" from {event.before} to {event.after}"
    return f"{said}: {event.detail}" if event.detail else said


class _Wanted:
    """Which events a watcher wants."""

    def __init__(self, request: admin_service_pb2.WatchEventsRequest) -> None:
        checker = Checker()
        for at, kind in enumerate(request.kinds):
            checker.choice(f"kinds[{at}]", kind, _KINDS, "EventKind")
        checker.text("worker_id", request.worker_id)
        checker.text("task_type", request.task_type)
        checker.text("tenant", request.tenant)
        checker.choice("min_severity", request.min_severity, _SEVERITIES, "Severity")
        checker.count("replay_last", request.replay_last, 0, MAX_REPLAY)
        if request.replay_last and request.resume_token:
            checker.fault("replay_last", "goes not with a resume_token, which says where to begin")
        checker.done()
        if request.task_type or request.HasField("tenant"):
            field = "task_type" if request.task_type else "tenant"
            raise NotSupported(field, "events do not name their task yet; filter by kind or worker")
        self._kinds = frozenset(request.kinds)
        self._worker_id = request.worker_id
        self._min_severity = request.min_severity

    def matches(self, event: FleetEvent) -> bool:
        """Is this one of them?"""
        return (
            (not self._kinds or event.kind.value in self._kinds)
            and (not self._worker_id or event.worker_id == self._worker_id)
            and (not self._min_severity or severity(event) >= self._min_severity)
        )


class _Stuck(Exception):
    """A reader took nothing for too long."""


class EventWatchers:
    """All watchers of events."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._incarnation = shell.core.incarnation
        self._draining = False
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def drain(self) -> None:
        """End them all, and take no more: the server is going down."""
        self._draining = True
        self._shell.event_arrived.set()
        self._shell.event_arrived = asyncio.Event()

    async def watch(self, request: admin_service_pb2.WatchEventsRequest, context: Any) -> None:
        """One watcher, to its end."""
        wanted = _Wanted(request)
        position = self._begin(request, wanted)
        if self._count >= MAX_WATCHERS:
            message = f"{MAX_WATCHERS} watch already; watch again later"
            raise Refused(Refusal(Reason.TOO_MANY_WATCHERS, message, (("limit", str(MAX_WATCHERS)),)))
        self._count += 1
        try:
            await self._stream(wanted, position, context)
        except _Stuck:
            await _give_up(context)
        except (grpc.aio.InternalError, grpc.aio.UsageError, asyncio.InvalidStateError, grpc.RpcError):
            return  # the stream is gone: nobody to tell
        finally:
            self._count -= 1

    async def _stream(self, wanted: _Wanted, position: int, context: Any) -> None:
        due = True  # a message is: the first tells that the watch has begun, and where
        while True:
            arrived = self._shell.event_arrived
            batch = self._after(position)
            turn = Turn()
            for event in batch:
                if self._draining:
                    break
                position = event.sequence
                if wanted.matches(event):
                    await _write(context, self._response(position, event))
                    due = False
                elif turn.over():
                    await turn.pause()
            if self._draining:
                raise Refused(_DRAINING)
            if batch:
                continue
            if due:
                await _write(context, self._response(position, None))
            try:
                async with asyncio.timeout(SIGN_OF_LIFE_S):
                    await arrived.wait()
                due = False
            except TimeoutError:
                due = True

    def _response(self, position: int, event: FleetEvent | None) -> admin_service_pb2.WatchEventsResponse:
        response = admin_service_pb2.WatchEventsResponse()
        response.resume_token = self._token(position)
        if event is not None:
            self._fill(response.event, event)
        return response

    def _fill(self, message: Any, event: FleetEvent) -> None:
        message.sequence = event.sequence
        encode.set_instant(message.at, event.at)
        message.kind = event.kind.value
        message.worker_id = event.worker_id
        message.detail = sentence(event)
        message.subject_id = event.subject
        message.before = event.before
        message.after = event.after
        message.severity = severity(event)
        message.server_incarnation = self._incarnation

    # ------------------------------------------------------------------ where in the ring

    def _begin(self, request: admin_service_pb2.WatchEventsRequest, wanted: _Wanted) -> int:
        """The event after which the watch begins."""
        newest = self._shell.core.events
        if request.resume_token:
            return self._resume(request.resume_token, newest)
        if request.replay_last:
            left, position = request.replay_last, newest
            for event in reversed(self._shell.events):
                if wanted.matches(event):
                    position = event.sequence - 1
                    left -= 1
                    if not left:
                        break
            return position
        return newest

    def _resume(self, token: str, newest: int) -> int:
        incarnation, _, number = token.rpartition(".")
        if not incarnation or not (number.isascii() and number.isdigit() and len(number) <= 19):  # noqa: PLR2004
            raise Faults([Fault("resume_token", "is malformed")])
        if incarnation != self._incarnation:
            raise Refused(_expired("is from another run of the server", token))
        position = int(number)
        if position > newest:
            raise Faults([Fault("resume_token", "names an event that has not happened")])
        if self._gone(position):
            raise Refused(_expired(f"is older than the {self._shell.events.maxlen} events kept", token))
        return position

    def _gone(self, position: int) -> bool:
        """Has the event after this one been pushed out of the ring?"""
        ring = self._shell.events
        return len(ring) == ring.maxlen and bool(ring) and ring[0].sequence > position + 1

    def _after(self, position: int) -> list[FleetEvent]:
        if self._gone(position):
            message = (
                f"more than {self._shell.events.maxlen} events wait for this reader; watch again with the last token"
            )
            raise Refused(Refusal(Reason.WATCHER_TOO_SLOW, message, (("resume_token", self._token(position)),)))
        ring = self._shell.events
        if not ring or ring[-1].sequence <= position:
            return []
        first = bisect_right(ring, position, key=_sequence)
        return list(islice(ring, first, first + _BATCH))

    def _token(self, position: int) -> str:
        return f"{self._incarnation}.{position}"


def _sequence(event: FleetEvent) -> int:
    return event.sequence


async def _write(context: Any, message: admin_service_pb2.WatchEventsResponse) -> None:
    try:
        async with asyncio.timeout(WRITE_WITHIN_S):
            await context.write(message)
    except TimeoutError:
        raise _Stuck from None


async def _give_up(context: Any) -> NoReturn:
    """End a stream whose reader takes nothing: with a status if it gets through, and without one if not."""
    message = f"the reader took nothing for {WRITE_WITHIN_S:g} s; watch again with the last token"
    try:
        async with asyncio.timeout(_LAST_WORDS_S):
            await abort(context, Refusal(Reason.WATCHER_TOO_SLOW, message))
    except TimeoutError:
        raise asyncio.CancelledError from None


def _expired(why: str, token: str) -> Refusal:
    return Refusal(
        Reason.RESUME_TOKEN_EXPIRED,
        f"the resume token {why}: look around with GetStatus and ListWorkers, then watch from now",
        (("resume_token", token[:100]),),
    )


_DRAINING = Refusal(Reason.SERVER_DRAINING, "the server is going down; watch another one, or this one again later")
