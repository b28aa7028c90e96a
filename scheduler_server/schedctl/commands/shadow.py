"""`schedctl shadow`: how other policies would have done beside the live one."""

import argparse
import time

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.table import Column, Segment
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("policy", nargs="?", default="", metavar="POLICY", help="only this one; default: all")
    parser.add_argument("--type", dest="task_type", default="", metavar="TYPE", help="only tasks of this type")
    parser.add_argument("--by-type", action="store_true", help="a line for each task type as well")
    parser.add_argument(
        "--since", type=options.span, metavar="SPAN", help="decided at most so long ago, such as 15m; default: all kept"
    )


def _run(work: Work) -> int:
    given = work.given
    request = api.GetShadowReportRequest(policy=given.policy, task_type=given.task_type, by_task_type=given.by_type)
    if given.since is not None:
        request.range.start.FromNanoseconds(max(0, int((time.time() - given.since) * 1e9)))
    answer: api.GetShadowReportResponse = work.ask("GetShadowReport", request)
    if work.json:
        work.paper.message(answer)
        return 0
    if answer.comparisons:
        if answer.range.HasField("start"):
            said = f"{figures.instant(answer.range.start)} to {figures.instant(answer.range.end)}"
            work.paper.facts([("live", answer.live.scorer), ("decided", said)])
        work.paper.table(_COLUMNS, list(answer.comparisons))
        work.paper.line()
    for line in answer.text.splitlines():
        work.paper.line(line)
    return 0


def _later(each: api.ShadowComparison) -> str | Segment:
    """By how much later tasks would end. Which of both is better is coloured only where it is sure."""
    if not each.HasField("finish_difference"):
        return figures.ABSENT
    found = each.finish_difference
    told = _signed(found.value_ms)
    if found.low_ms > 0:
        return told, "good"
    return (told, "warn") if found.high_ms < 0 else told


def _between(each: api.ShadowComparison) -> str:
    if not each.HasField("finish_difference"):
        return figures.ABSENT
    found = each.finish_difference
    return f"{_signed(found.low_ms)} to {_signed(found.high_ms)}"


def _signed(span_ms: float) -> str:
    size = abs(span_ms)
    told = figures.span(size / 1e3) if size >= _SECOND_MS else f"{size:.3g}ms"
    return ("-" if span_ms < 0 else "+") + told


_SECOND_MS = 1_000.0

_COLUMNS: list[Column[api.ShadowComparison]] = [
    Column(title="POLICY", cell=lambda each: each.policy),
    Column(title="TYPE", cell=lambda each: each.task_type or "all", cuts=True),
    Column(title="DECISIONS", cell=lambda each: figures.count(each.decisions), right=True),
    Column(title="SAME", cell=lambda each: figures.share_in(each, "agreement"), right=True),
    Column(title="FAILED", cell=lambda each: figures.count(each.failures), right=True, spare=2),
    Column(title="WAIT", cell=lambda each: figures.span_in(each, "shadow_mean_wait"), right=True, spare=1),
    Column(title="LIVE", cell=lambda each: figures.span_in(each, "live_mean_wait"), right=True, spare=1),
    Column(title="JUDGED", cell=lambda each: figures.count(each.judged_decisions), right=True, spare=2),
    Column(title="ENDS LATER", cell=_later, right=True),
    Column(title="95% BETWEEN", cell=_between, right=True),
]

COMMAND = Command(options=_options, run=_run)
