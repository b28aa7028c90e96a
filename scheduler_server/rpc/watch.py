"""AdminService.WatchEvents: the fleet's events, from the shell's ring (`following.py` says how)."""

from collections.abc import Sequence
from typing import Any, cast

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.rpc import encode
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.errors import NotSupported
from scheduler_server.rpc.following import Followers
from scheduler_server.rpc.shell import Shell

MAX_REPLAY = 1_000

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
        FleetEventKind.WORKER_LOST,
        FleetEventKind.WORKER_EJECTED,
        FleetEventKind.WORKER_EJECTION_CAPPED,
        FleetEventKind.LEASE_LOST,
        FleetEventKind.LEASE_LOST_TRACK,
        FleetEventKind.TASK_DECLINED,
        FleetEventKind.TASK_REQUEUED,
        FleetEventKind.TASK_SET_ASIDE,
        FleetEventKind.BREAKER_HALF_OPEN,
        FleetEventKind.PREDICTION_UNTRUSTED,
    }
)
_BOTH_WAYS = frozenset(
    {
        FleetEventKind.WORKER_HEALTH_CHANGED,
        FleetEventKind.WORKER_LOAD_CROSSED,
        FleetEventKind.WORKER_NOT_RECEIVING,
    }
)
_FOR_THE_WORSE = frozenset({"degraded", "unhealthy", "above", "not receiving"})
_KINDS = frozenset(admin_service_pb2.EventKind.values()) - {0}
_SEVERITIES = frozenset(admin_service_pb2.Severity.values())


def severity(event: FleetEvent) -> admin_service_pb2.Severity.ValueType:
    """How bad an event is: CRITICAL when decisions are affected, WARNING when a worker is."""
    kind = event.kind
    if event.severity:
        return cast(admin_service_pb2.Severity.ValueType, event.severity)
    if kind is FleetEventKind.BREAKER_OPENED:
        return CRITICAL
    if kind in _WARNINGS:
        return WARNING
    if kind in _BOTH_WAYS:
        return WARNING if event.after in _FOR_THE_WORSE else INFO
    return INFO


def severity_name(event: FleetEvent) -> str:
    """The same in a word, as the decision log has it."""
    return admin_service_pb2.Severity.Name(severity(event)).removeprefix("SEVERITY_").lower()


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


class EventWatchers:
    """All watchers of events."""

    def __init__(self, shell: Shell) -> None:
        self._incarnation = shell.core.incarnation
        self._ring = shell.events
        look = "look around with GetStatus and ListWorkers"
        self._followers = Followers(self._ring, self._incarnation, what="events", look=look)

    def __len__(self) -> int:
        return len(self._followers)

    @property
    def sent(self) -> int:
        """Messages sent to all watchers since the start."""
        return self._followers.sent

    def drain(self) -> None:
        """End them all, and take no more: the server is going down."""
        self._followers.drain()

    async def watch(self, request: admin_service_pb2.WatchEventsRequest, context: Any) -> None:
        """One watcher, to its end."""
        wanted = _Wanted(request)
        await self._followers.follow(self._begin(request, wanted), context, wanted.matches, self._response)

    def _begin(self, request: admin_service_pb2.WatchEventsRequest, wanted: _Wanted) -> int:
        """The event after which the watch begins."""
        position = self._ring.newest
        if request.resume_token:
            return self._followers.resume(request.resume_token)
        left = request.replay_last
        if left:
            for event in reversed(self._ring.entries):
                if wanted.matches(event):
                    position = event.sequence - 1
                    left -= 1
                    if not left:
                        break
        return position

    def _response(self, token: str, events: Sequence[FleetEvent]) -> admin_service_pb2.WatchEventsResponse:
        response = admin_service_pb2.WatchEventsResponse(resume_token=token)
        for event in events:  # one, or none
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
