"""`schedctl alerts`: what is wrong, since when, and what to do about it."""

import argparse
from itertools import islice
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.commands.events import SEVERITIES
from scheduler_server.schedctl.figures import seconds_of
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.table import Column, Segment
from scheduler_server.schedctl.work import Command, Work

STATES = {api.ALERT_STATE_RAISED: "strong", api.ALERT_STATE_CLEARED: "dim"}


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state",
        action="append",
        default=[],
        type=options.OneOf(api.AlertState),
        metavar="STATE",
        help="only in this state; again: any of them (pending, raised, cleared; default pending and raised)",
    )
    parser.add_argument(
        "--severity",
        type=options.OneOf(api.Severity),
        default=0,
        metavar="LEVEL",
        help="only so severe or more: info, warning, critical",
    )
    parser.add_argument("--rule", default="", metavar="NAME", help="only of this rule, such as waiting_age")
    parser.add_argument(
        "--last", type=options.span, metavar="SPAN", help="only those raised within this time, such as 2h"
    )
    parser.add_argument(
        "--limit", type=options.whole(1, 1_000_000), default=100, metavar="N", help="at most so many (default 100)"
    )


def _run(work: Work) -> int:
    given = work.given
    request = api.ListAlertsRequest(states=given.state, min_severity=given.severity, rule=given.rule)
    status = work.ask("GetStatus", api.GetStatusRequest())
    now = seconds_of(status.now)  # the server's clock: ours may be off
    if given.last is not None:
        request.range.start.FromNanoseconds(max(0, int((now - given.last) * 1e9)))
    found = list(islice((each for page in pages(work, request) for each in page.alerts), given.limit + 1))
    shown = found[: given.limit]
    if work.json:
        work.paper.json({"alerts": [as_json(each) for each in shown]})
        return 0
    if not shown:
        narrowed = given.state or given.severity or given.rule or given.last is not None
        work.paper.line("no such alerts" if narrowed else ("no alerts", "good"))
        return 0
    work.paper.table(columns(now), shown)
    if len(found) > len(shown):
        work.paper.line((f"the first {len(shown):,}; --limit shows more", "dim"))
    _advise(work, shown)
    return 0


def pages(work: Work, request: api.ListAlertsRequest) -> Any:
    """Pages of alerts, no more than are wanted."""
    return work.connection.pages("ListAlerts", request, limit=work.given.limit + 1)


def _advise(work: Work, alerts: list[api.Alert]) -> None:
    """What to do, once for each rule that is not over."""
    advice = {each.rule: each.advice for each in alerts if each.state != api.ALERT_STATE_CLEARED and each.advice}
    if advice:
        work.paper.line()
        work.paper.facts(list(advice.items()), label=max(map(len, advice)) + 2)


def _figure(value: float, unit: str) -> str:
    if unit == "ratio":
        return figures.share(value)
    return figures.span(value) if unit == "seconds" else f"{value:g}"


def _limits(alert: api.Alert) -> str:
    return f"{_figure(alert.threshold, alert.unit)}/{_figure(alert.clear_threshold, alert.unit)}"


def _for(alert: api.Alert, now: float) -> str:
    """How long it has lasted, or lasted."""
    end = seconds_of(alert.cleared_at) if alert.HasField("cleared_at") else now
    return figures.span(max(0.0, end - seconds_of(alert.since)))


def _severity(alert: api.Alert) -> Segment:
    live = alert.state == api.ALERT_STATE_RAISED
    return figures.word(api.Severity, alert.severity), SEVERITIES.get(alert.severity, "") if live else "dim"


def columns(now: float) -> list[Column[api.Alert]]:
    """The columns; `now` is the server's."""
    return [
        Column(title="SEVERITY", cell=_severity),
        Column(
            title="STATE", cell=lambda alert: (figures.word(api.AlertState, alert.state), STATES.get(alert.state, ""))
        ),
        Column(title="RULE", cell=lambda alert: alert.rule),
        Column(title="ABOUT", cell=lambda alert: alert.subject_id or figures.ABSENT, cuts=True, spare=1),
        Column(title="FOR", cell=lambda alert: _for(alert, now), right=True, spare=2),
        Column(title="VALUE", cell=lambda alert: _figure(alert.value, alert.unit), right=True, spare=3),
        Column(title="RAISES/CLEARS AT", cell=_limits, right=True, spare=4),
        Column(title="DETAIL", cell=lambda alert: alert.detail, cuts=True, spare=1),
        Column(title="ID", cell=lambda alert: alert.alert_id, wide=True),
        Column(title="SINCE", cell=lambda alert: figures.instant_in(alert, "since"), wide=True),
        Column(title="RAISED", cell=lambda alert: figures.instant_in(alert, "raised_at"), wide=True),
        Column(title="CLEARED", cell=lambda alert: figures.instant_in(alert, "cleared_at"), wide=True),
    ]


COMMAND = Command(options=_options, run=_run)
