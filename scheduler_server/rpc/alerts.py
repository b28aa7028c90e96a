"""AdminService's alerts: what is pending, raised, and over."""

from difflib import get_close_matches
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.alerts.board import Alert, Board
from scheduler_server.alerts.rule import AlertState
from scheduler_server.alerts.rules import BY_NAME
from scheduler_server.rpc import checks, encode, paging
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.paging import Page, Position, Turn

_STATES = frozenset(each.value for each in AlertState)
_SEVERITIES = frozenset(admin_service_pb2.Severity.values())
_LIVE = frozenset({AlertState.PENDING.value, AlertState.RAISED.value})

_CONSEQUENCE = "decisions go on; ListAlerts has the advice"


class AlertCalls:
    """Each method: check the message, look, encode the answer."""

    def __init__(self, board: Board, incarnation: str) -> None:
        self._board = board
        self._incarnation = incarnation

    async def ListAlerts(
        self, request: admin_service_pb2.ListAlertsRequest, context: Any
    ) -> admin_service_pb2.ListAlertsResponse:
        """Alerts, raised ones first, then newest first."""
        checker = Checker()
        wanted = _Wanted(request, checker)
        size = paging.size(checker, request.page_size)
        checker.done()
        bound_to = paging.scope(self._incarnation, request)
        after = paging.read_token(bound_to, request.page_token)
        page: Page[Alert] = Page(size, after, backwards=False)
        for alert in self._board.alerts():
            if wanted.matches(alert):
                page.offer(_position(alert), alert)
        response = admin_service_pb2.ListAlertsResponse()

        def add(alert: Alert) -> int:
            message = response.alerts.add()
            _fill(message, alert)
            return message.ByteSize()

        response.next_page_token = paging.next_token(bound_to, await page.write(Turn(), add))
        return response


def fill_status(response: admin_service_pb2.GetStatusResponse, board: Board) -> None:
    """Count what is raised, and name each rule of it that the status does not name anyway."""
    raised = board.raised()
    response.raised_alerts = len(raised)
    by_rule: dict[str, list[Alert]] = {}
    for alert in raised:
        if not alert.rule.has_part and alert.rule.severity > _INFO:
            by_rule.setdefault(alert.rule.name, []).append(alert)
    for name, alerts in by_rule.items():
        first = min(alerts, key=lambda alert: (alert.since, alert.subject))
        part = response.degraded.add(name=f"alert.{name}")
        more = f", and {len(alerts) - 1:,} more" if len(alerts) > 1 else ""
        part.detail = first.detail[: checks.MAX_DETAIL] + more
        part.consequence = _CONSEQUENCE
        encode.set_instant(part.since, first.since)


_INFO = admin_service_pb2.SEVERITY_INFO


class _Wanted:
    """Which alerts are asked for."""

    def __init__(self, request: admin_service_pb2.ListAlertsRequest, checker: Checker) -> None:
        for at, state in enumerate(request.states):
            checker.choice(f"states[{at}]", state, _STATES, "AlertState")
        checker.choice("min_severity", request.min_severity, _SEVERITIES, "Severity")
        checker.text("rule", request.rule)
        if request.rule and not checker.faults and request.rule not in BY_NAME:
            near = get_close_matches(request.rule, BY_NAME, n=3, cutoff=0.5) or BY_NAME
            checker.fault("rule", f"{request.rule!r} is no rule; there are {', '.join(near)}")
        self._states = frozenset(request.states) or _LIVE
        self._least = request.min_severity
        self._rule = request.rule
        self._ranged = request.HasField("range")
        self._start = self._end = None
        start, end = request.range.start, request.range.end
        if request.range.HasField("start"):
            self._start = checker.instant_s("range.start", start.seconds, start.nanos)
        if request.range.HasField("end"):
            self._end = checker.instant_s("range.end", end.seconds, end.nanos)
        if self._start is not None and self._end is not None and self._end <= self._start:
            checker.fault("range.end", "must be after range.start")

    def matches(self, alert: Alert) -> bool:
        """Is this one of them?"""
        at = alert.raised_at
        return (
            alert.state.value in self._states
            and alert.rule.severity >= self._least
            and (not self._rule or alert.rule.name == self._rule)
            and (
                not self._ranged
                or (
                    at is not None
                    and (self._start is None or at >= self._start)
                    and (self._end is None or at < self._end)
                )
            )
        )


def _position(alert: Alert) -> Position:
    """Where it stands in the list; ids are told apart, so no two alerts stand at one place."""
    return Position(int(alert.state is not AlertState.RAISED), -alert.since, alert.alert_id)


def _fill(message: Any, alert: Alert) -> None:
    rule = alert.rule
    message.alert_id = alert.alert_id
    message.rule = rule.name
    message.state = alert.state.value
    message.severity = rule.severity.value
    message.subject_id = alert.subject
    message.value = alert.value
    message.threshold = rule.threshold
    message.clear_threshold = rule.clear_threshold
    message.unit = rule.unit
    encode.set_instant(message.since, alert.since)
    if alert.raised_at is not None:
        encode.set_instant(message.raised_at, alert.raised_at)
    if alert.cleared_at is not None:
        encode.set_instant(message.cleared_at, alert.cleared_at)
    message.detail = alert.detail[: checks.MAX_DETAIL]
    message.advice = rule.advice
