"""`schedctl audit`: who changed what, from where, why, and what was refused."""

import argparse
from itertools import islice

from google.rpc import code_pb2

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.figures import seconds_of
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.table import Column, Segment
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--author", default="", metavar="WHO", help="only by this identity")
    parser.add_argument("--method", default="", metavar="RPC", help="only of this one, such as CordonWorker")
    parser.add_argument("--about", default="", metavar="ID", help="only about this worker, task, override or setting")
    parser.add_argument("--since", type=options.span, metavar="SPAN", help="at most so long ago, such as 15m or 2d")
    parser.add_argument(
        "--limit", type=options.whole(1, 1_000_000), default=20, metavar="N", help="the newest so many (default 20)"
    )


def _run(work: Work) -> int:
    given = work.given
    request = api.ListAuditEntriesRequest(author=given.author, method=given.method, subject_id=given.about)
    if given.since is not None:
        now = seconds_of(work.ask("GetStatus", api.GetStatusRequest()).now)  # the server's clock, which it writes by
        request.range.start.FromNanoseconds(int((now - given.since) * 1e9))
    pages = work.connection.pages("ListAuditEntries", request, limit=given.limit)
    found = list(islice((each for page in pages for each in page.entries), given.limit))
    if work.json:
        work.paper.json({"entries": [as_json(each) for each in found]})
    elif found:
        work.paper.table(_COLUMNS, found)
    else:
        work.paper.line("no entries match")
    return 0


def _ended(entry: api.AuditEntry) -> Segment:
    if not entry.code:
        return "ok", "good"
    known = entry.code in code_pb2.Code.values()
    return (code_pb2.Code.Name(entry.code).lower() if known else str(entry.code)), "warn"


_COLUMNS: list[Column[api.AuditEntry]] = [
    Column(title="AT", cell=lambda entry: figures.instant_in(entry, "at")),
    Column(title="WHO", cell=lambda entry: entry.author, cuts=True),
    Column(title="WHAT", cell=lambda entry: entry.method),
    Column(title="ABOUT", cell=lambda entry: entry.subject_id or figures.ABSENT, cuts=True),
    Column(title="ENDED", cell=_ended),
    Column(title="WHY", cell=lambda entry: entry.reason or figures.ABSENT, cuts=True, spare=1),
    Column(title="ROLE", cell=lambda entry: entry.role or figures.ABSENT, wide=True),
    Column(title="FROM", cell=lambda entry: entry.peer or figures.ABSENT, wide=True),
    Column(title="BEFORE", cell=lambda entry: entry.before or figures.ABSENT, wide=True),
    Column(title="AFTER", cell=lambda entry: entry.after or figures.ABSENT, wide=True),
]

COMMAND = Command(options=_options, run=_run)
