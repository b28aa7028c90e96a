"""`schedctl check`: one line and an exit code for monitoring. 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.client import (
    AccessDenied,
    DeadlineExceeded,
    NotSupported,
    SchedulerError,
    ServerFault,
    ServerUnavailable,
)
from scheduler_server.schedctl import figures
from scheduler_server.schedctl.complaint import complaint
from scheduler_server.schedctl.figures import seconds_of
from scheduler_server.schedctl.levels import WORST, Level, Limits, limits, performance
from scheduler_server.schedctl.work import Command, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the server said."""

    status: api.GetStatusResponse
    load: api.GetLoadResponse
    accuracy: api.Accuracy
    alerts: Sequence[api.Alert] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at."""

    level: Level
    said: str
    figure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A figure with limits of its own. `read` answers None where there is nothing to judge."""

    name: str
    about: str
    default: Limits
    read: Callable[[Answers], float | None]
    say: Callable[[float], str]
    unit: str = ""


def _utilization(answers: Answers) -> float | None:
    return answers.load.utilization if answers.load.HasField("utilization") else None


def _oldest(answers: Answers) -> float:
    return seconds_of(answers.load.oldest_wait)


def _lost(answers: Answers) -> float | None:
    counts = answers.status.workers
    return counts.unhealthy / counts.total if counts.total else None


def _hits(answers: Answers) -> float | None:
    return answers.accuracy.within_factor_2 if answers.accuracy.HasField("within_factor_2") else None


def _fallback(answers: Answers) -> float | None:
    total = sum(each.count for each in answers.status.decisions)
    fallback = sum(each.count for each in answers.status.decisions if each.source == _FALLBACK)
    return fallback / total if total else None


_FALLBACK = 2  # DECISION_SOURCE_FALLBACK

MEASURES: tuple[Measure, ...] = (
    Measure(
        name="utilization",
        about="share of slots taken",
        default=Limits(),
        read=_utilization,
        say=lambda value: f"{figures.share(value)} of slots taken",
    ),
    Measure(
        name="waiting",
        about="tasks that wait",
        default=Limits(),
        read=lambda answers: float(answers.load.queued_tasks),
        say=lambda value: f"{value:,.0f} waiting",
    ),
    Measure(
        name="oldest-wait",
        about="seconds that the oldest has waited",
        default=Limits(warning=300, critical=3_600),
        read=_oldest,
        say=lambda value: f"oldest waits {figures.span(value)}",
        unit="s",
    ),
    Measure(
        name="workers",
        about="active workers, fewer are worse",
        default=Limits(critical=1, less_is_worse=True),
        read=lambda answers: float(answers.load.active_workers),
        say=lambda value: f"{value:,.0f} workers active",
    ),
    Measure(
        name="unhealthy",
        about="share of workers that are unhealthy",
        default=Limits(warning=0.1, critical=0.5),
        read=_lost,
        say=lambda value: f"{figures.share(value)} of workers unhealthy",
    ),
    Measure(
        name="accuracy",
        about="share of predictions within a factor of two, less is worse",
        default=Limits(less_is_worse=True),
        read=_hits,
        say=lambda value: f"{figures.share(value)} of predictions within 2x",
    ),
    Measure(
        name="fallback",
        about="share of this run's decisions by the fallback",
        default=Limits(),
        read=_fallback,
        say=lambda value: f"{figures.share(value)} of decisions by fallback",
    ),
)
"""The defaults alert on what is wrong for every fleet; how full or how exact is too much is for its operator to say."""


def _options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits, as WARNING:CRITICAL; either may be missing, off is neither")
    for measure in MEASURES:
        default = measure.default.said()
        group.add_argument(
            f"--{measure.name}",
            type=limits(less_is_worse=measure.default.less_is_worse),
            default=measure.default,
            metavar="W:C",
            help=f"{measure.about} (default {default})".replace("%", "%%"),
        )
    parser.add_argument("--degraded-ok", action="store_true", help="what the server calls degraded is no warning")
    parser.add_argument("--alerts-ok", action="store_true", help="alerts that the server has raised are no finding")


def _run(work: Work) -> int:
    try:
        answers = Answers(
            status=work.ask("GetStatus", api.GetStatusRequest()),
            load=work.ask("GetLoad", api.GetLoadRequest()),
            accuracy=work.ask("GetAccuracy", api.GetAccuracyRequest()).overall,
            alerts=_raised(work),
        )
    except SchedulerError as error:
        findings = [Finding(level=level_of(error), said=complaint(error, work.place))]
    else:
        given = work.given
        findings = list(judged(answers, vars(given), degraded_ok=given.degraded_ok, alerts_ok=given.alerts_ok))
    level = max((each.level for each in findings), key=WORST.index)
    _tell(work, level, findings)
    return int(level)


def _raised(work: Work) -> Sequence[api.Alert]:
    """Alerts that are raised; none from a server that has no such thing yet."""
    request = api.ListAlertsRequest(states=[api.ALERT_STATE_RAISED], min_severity=api.SEVERITY_WARNING)
    try:
        return [alert for page in work.connection.pages("ListAlerts", request) for alert in page.alerts]
    except NotSupported:
        return ()


def level_of(error: SchedulerError) -> Level:
    """A server that does not answer is critical; one that may not be asked is not known."""
    if isinstance(error, (AccessDenied, NotSupported)):
        return Level.UNKNOWN
    return Level.CRITICAL if isinstance(error, (ServerUnavailable, DeadlineExceeded, ServerFault)) else Level.UNKNOWN


def judged(answers: Answers, given: Any, *, degraded_ok: bool, alerts_ok: bool = False) -> Iterator[Finding]:
    """Everything looked at."""
    status = answers.status
    serving = status.serving == api.SERVING_STATE_SERVING
    yield Finding(
        level=Level.OK if serving else Level.CRITICAL,
        said=figures.word(api.ServingState, status.serving) or "not serving",
    )
    for store in status.stores:
        if store.state == api.STORE_STATE_UNAVAILABLE:
            yield Finding(level=Level.CRITICAL, said=f"store {store.name} unavailable: {store.last_error}")
    for part in status.degraded:
        if not degraded_ok and not part.name.startswith("alert."):  # told below, with their own severity
            yield Finding(level=Level.WARNING, said=f"{part.name}: {part.detail}")
    by_rule: dict[str, list[api.Alert]] = {}
    for alert in () if alerts_ok else answers.alerts:
        by_rule.setdefault(alert.rule, []).append(alert)
    for rule, alerts in by_rule.items():
        critical = any(alert.severity == api.SEVERITY_CRITICAL for alert in alerts)
        more = f" (and {len(alerts) - 1:,} more)" if len(alerts) > 1 else ""
        level = Level.CRITICAL if critical else Level.WARNING
        yield Finding(level=level, said=f"{rule}: {alerts[0].detail}{more}")
    if status.breaker.state == api.BREAKER_STATE_OPEN:
        yield Finding(level=Level.WARNING, said="breaker open")
    for measure in MEASURES:
        value = measure.read(answers)
        if value is not None:
            limits: Limits = given[measure.name.replace("-", "_")]
            figure = performance(measure.name, value, limits, measure.unit)
            yield Finding(level=limits.level(value), said=measure.say(value), figure=figure)


def _tell(work: Work, level: Level, findings: list[Finding]) -> None:
    if work.json:
        plain = [{"level": each.level.name, "said": each.said} for each in findings]
        work.paper.json({"level": level.name, "findings": plain})
        return
    # The bad ones first; what is well is told only when all is.
    bad = [each for each in sorted(findings, key=lambda each: -WORST.index(each.level)) if each.level is not Level.OK]
    said = ", ".join(each.said.replace("|", "/") for each in bad or findings)
    figured = " ".join(each.figure for each in findings if each.figure)
    style = {Level.OK: "good", Level.WARNING: "warn"}.get(level, "bad")
    work.paper.line("SCHEDULER ", (level.name, style), f" - {said}", f" | {figured}" if figured else "")


COMMAND = Command(options=_options, run=_run)
