"""`schedctl decisions`: which task went where, why, and what came of it; with -f as they are made."""

import argparse
import time
from collections.abc import Iterator
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import decision_pb2, schedule_service_pb2, task_pb2
from scheduler_server.schedctl import decided, figures, options
from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.figures import seconds_of
from scheduler_server.schedctl.fleet import task_name
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.work import Command, Work

_LIMIT = 20
_EVERY_S = 1.0
_FOLLOWED = 1_000
"""Decisions that are remembered as told while following: those of the last instant asked about."""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on as they are made, until Ctrl-C")
    parser.add_argument(
        "--limit",
        type=options.whole(1, 1_000_000),
        default=_LIMIT,
        metavar="N",
        help=f"the newest so many (default {_LIMIT})",
    )
    parser.add_argument(
        "--since", type=options.span, metavar="SPAN", help="made at most so long ago, such as 15m or 2d"
    )
    parser.add_argument("--until", type=options.span, metavar="SPAN", help="made at least so long ago")
    parser.add_argument("--task", dest="of_task", default="", metavar="ID", help="about this task, every attempt")
    parser.add_argument("--tenant", metavar="TENANT", help='about tasks of this tenant; "" is the nameless one')
    parser.add_argument("--type", dest="task_type", default="", metavar="TYPE", help="about tasks of this type")
    parser.add_argument("--worker", default="", metavar="ID", help="for this worker")
    for name, kind, about in (
        ("source", decision_pb2.DecisionSource, "that came about like this, such as fallback"),
        ("cause", decision_pb2.DecisionCause, "for this cause, such as breaker_open"),
        ("outcome", task_pb2.OutcomeStatus, "that ended like this, such as failed"),
    ):
        parser.add_argument(
            f"--{name}",
            action="append",
            default=[],
            type=options.OneOf(kind),
            metavar=name.upper(),
            help=f"{about}; again: any of them",
        )
    parser.add_argument("--scorer", default="", metavar="NAME", help="by this scorer")
    parser.add_argument(
        "--policy",
        type=options.whole(0, 2**63 - 1),
        default=0,
        metavar="REVISION",
        help="under this revision of policy",
    )
    parser.add_argument("--override", default="", metavar="ID", help="in which this override had a part")
    parser.add_argument("--explained", action="store_true", help="with -o json: candidates and rejections too")


def _run(work: Work) -> int:
    given = work.given
    if given.since is not None and given.until is not None and given.until >= given.since:
        raise Asked("decisions: --until must be less long ago than --since")
    if given.follow and given.until is not None:
        raise Asked("decisions: --until does not go with -f")
    request = _request(work)
    if given.follow:
        return _follow(work, request)
    records, dropped = _read(work, request, given.limit)
    if work.json:
        work.paper.json({"records": [as_json(each) for each in records], "dropped": dropped})
        return 0
    if records:
        work.paper.table(decided.COLUMNS, records)
    else:
        work.paper.line("no decisions match")
    if dropped:
        said = (
            f"{figures.counted(dropped, 'decision')} of this run did not get into the log: what is here may lack some"
        )
        work.paper.line((said, "warn"))
    return 0


def _request(work: Work) -> api.ListDecisionsRequest:
    given = work.given
    made = api.ListDecisionsRequest(
        task_type=given.task_type,
        task_id=given.of_task,
        worker_id=given.worker,
        sources=given.source,
        causes=given.cause,
        outcomes=given.outcome,
        policy_revision=given.policy,
        scorer=given.scorer,
        override_id=given.override,
    )
    if given.tenant is not None:
        made.tenant = given.tenant
    if given.explained:
        made.view = schedule_service_pb2.EXPLANATION_VIEW_FULL
    if given.since is not None or given.until is not None:
        now = seconds_of(work.ask("GetStatus", api.GetStatusRequest()).now)  # the server's clock, which it decides by
        for field, ago in ((made.range.start, given.since), (made.range.end, given.until)):
            if ago is not None:
                field.FromNanoseconds(int((now - ago) * 1e9))
    return made


def _read(work: Work, request: api.ListDecisionsRequest, limit: int) -> tuple[list[api.DecisionRecord], int]:
    """The newest so many, newest first; and how many the log lacks."""
    records: list[api.DecisionRecord] = []
    dropped = 0
    for page in work.connection.pages("ListDecisions", request, limit=limit):
        records += page.records
        dropped = page.dropped
    return records, dropped


# ------------------------------------------------------------------ -f


def _follow(work: Work, request: api.ListDecisionsRequest) -> int:
    """Ask once a second for what came after the last one told. What comes of it is not known yet then."""
    last = _told(work, _read(work, request, work.given.limit)[0], set())
    if not last:
        last = {"": work.ask("GetStatus", api.GetStatusRequest()).now}
    while True:
        time.sleep(_EVERY_S)
        request.range.start.CopyFrom(next(reversed(last.values())))
        request.page_token = ""
        records, _ = _read(work, request, _FOLLOWED)
        told = _told(work, records, set(last))
        last = dict(list({**last, **told}.items())[-_FOLLOWED:])


def _told(work: Work, records: list[api.DecisionRecord], known: set[str]) -> dict[str, Timestamp]:
    """Print what is not known yet, oldest first; the ids of these, with when they were made."""
    told = {}
    for record in reversed(records):
        decision = record.decision
        if decision.decision_id in known:
            continue
        told[decision.decision_id] = decision.decided_at
        if work.json:
            work.paper.json_line(as_json(record))
        else:
            work.paper.line(*_line(record), cut=True)
    work.surroundings.stdout.flush()
    return told


def _line(record: api.DecisionRecord) -> Iterator[Any]:
    cause, style = decided.how(record)
    yield figures.time_of_day(record.decision.decided_at), "dim"
    yield f"  {task_name(record.decision.task)} to ", ""
    yield record.decision.worker_id, "strong"
    yield f"  {cause}", style
    yield f", waited {decided.waited(record)}, predicted {decided.predicted(record)}", ""


COMMAND = Command(options=_options, run=_run)
