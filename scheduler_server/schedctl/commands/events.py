"""`schedctl events`: what happened lately; with -f what happens, over restarts of the server and lost connections."""

import argparse
import re
import time
from collections.abc import Callable

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.client import SchedulerError
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.complaint import complaint
from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.paper import Paper, as_json
from scheduler_server.schedctl.table import Segment
from scheduler_server.schedctl.work import Command, Work

SEVERITIES = {api.SEVERITY_WARNING: "warn", api.SEVERITY_CRITICAL: "bad"}

_LAST = 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on as they happen, until Ctrl-C")
    parser.add_argument(
        "-n",
        "--last",
        type=options.whole(0, 1_000),
        metavar="N",
        help=f"begin with the last N (default {_LAST}; 0 with --resume)",
    )
    parser.add_argument("--resume", default="", metavar="TOKEN", help="begin after the event that carried this token")
    parser.add_argument(
        "--kind",
        action="append",
        default=[],
        type=options.OneOf(api.EventKind),
        metavar="KIND",
        help="only of this kind, such as worker_lost; again: any of them",
    )
    parser.add_argument("--worker", default="", metavar="ID", help="only about this worker")
    parser.add_argument("--task-type", default="", metavar="TYPE", help="only about tasks of this type")
    parser.add_argument("--tenant", metavar="TENANT", help="only about tasks of this tenant")
    parser.add_argument(
        "--severity",
        type=options.OneOf(api.Severity),
        default=0,
        metavar="LEVEL",
        help="only so severe or more: info, warning, critical",
    )


def _run(work: Work) -> int:
    given = work.given
    if given.resume and given.last:
        raise Asked("events: --last and --resume both say where to begin")
    if given.resume and not given.follow:
        raise Asked("events: --resume goes with -f")
    last = given.last if given.last is not None else 0 if given.resume else _LAST
    if given.follow:
        return _follow(work, _request(given, last), time.sleep)
    if not _recent(work, last) and not work.json:
        work.paper.line("no events")
    return 0


def _request(given: argparse.Namespace, last: int) -> api.WatchEventsRequest:
    made = api.WatchEventsRequest(
        resume_token=given.resume,
        kinds=given.kind,
        worker_id=given.worker,
        task_type=given.task_type,
        min_severity=given.severity,
        replay_last=last,
    )
    if given.tenant is not None:
        made.tenant = given.tenant
    return made


def _recent(work: Work, last: int) -> int:
    """Print the last so many; answers how many there were.

    A watch does not say where its replay ends, so another one is asked for the newest event first, and this one is read
    up to it.
    """
    if not last:
        return 0
    first = next(iter(work.connection.stream("WatchEvents", _request(work.given, 1))), None)
    if first is None or not first.HasField("event"):
        return 0
    newest, printed = first.event.sequence, 0
    for message in work.connection.stream("WatchEvents", _request(work.given, last)):
        if not message.HasField("event"):
            break
        show(work.paper, message, json=work.json)
        printed += 1
        if message.event.sequence >= newest:
            break
    return printed


def _follow(work: Work, request: api.WatchEventsRequest, sleep: Callable[[float], None]) -> int:
    pause_s, came = 0.0, False
    try:
        while True:
            try:
                for message in work.connection.stream("WatchEvents", request):
                    pause_s, came = 0.0, True
                    request.resume_token = message.resume_token
                    request.replay_last = 0
                    if message.HasField("event"):
                        show(work.paper, message, json=work.json)
                        work.surroundings.stdout.flush()
            except SchedulerError as error:
                if not came:  # a wrong address, say, or a token of long ago
                    raise
                pause_s = _go_on(work, request, error, pause_s)
            sleep(pause_s)
    except KeyboardInterrupt:
        if request.resume_token:
            work.note(f"go on with: schedctl events -f --resume {request.resume_token}")
        raise


def _go_on(work: Work, request: api.WatchEventsRequest, error: SchedulerError, pause_s: float) -> float:
    """How long to wait before the watch is taken up again; what cannot get better is raised."""
    if error.reason == "RESUME_TOKEN_EXPIRED":
        work.note("the server has no more what happened meanwhile (a restart?): events are missing here")
        request.resume_token = ""
        return 0.0
    if error.code.name not in {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"}:
        raise error
    if not pause_s:
        work.note(f"{complaint(error, work.place)}; trying again")
    return min(max(_FIRST_PAUSE_S, pause_s * 2), _LONGEST_PAUSE_S)


def show(paper: Paper, message: api.WatchEventsResponse, *, json: bool) -> None:
    """One event."""
    if json:
        paper.json_line({"event": as_json(message.event), "resume_token": message.resume_token})
    else:
        paper.line(*line(message.event), cut=True)


def line(event: api.Event) -> list[Segment]:
    """One event as one line. Its kind comes last, and only where the words before do not say it: they matter more."""
    style = SEVERITIES.get(event.severity, "")
    kind = figures.word(api.EventKind, event.kind)
    detail = event.detail or kind
    said = set(re.findall("[a-z]+", detail.lower()))
    return [
        (figures.time_of_day(event.at), "dim"),
        (f"  {figures.word(api.Severity, event.severity):8}  ", style),
        (detail, style),
        *([] if said.issuperset(kind.split()) else [(f"  ({kind})", "dim")]),
    ]


COMMAND = Command(options=_options, run=_run)
