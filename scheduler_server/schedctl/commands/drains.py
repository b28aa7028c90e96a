"""`schedctl drains`: which drains there are, newest first, and how far they are."""

import argparse
from itertools import islice

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import draining, options
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", action="append", default=[], type=options.OneOf(api.DrainState), metavar="STATE",
        help="only active, overdue, complete or cancelled ones; again: any of them (default: all that hold)",
    )  # fmt: skip
    parser.add_argument("--worker", default="", metavar="ID", help="only those that cover this worker")
    parser.add_argument("--all", action="store_true", help="those too that were called off, as long as they are kept")
    parser.add_argument(
        "--limit", type=options.whole(1, 10_000), default=100, metavar="N", help="at most so many (default 100)"
    )


def _run(work: Work) -> int:
    given = work.given
    states = given.state or ([] if given.all else _HOLDING)
    request = api.ListDrainsRequest(states=states, worker_id=given.worker)
    pages = work.connection.pages("ListDrains", request, limit=given.limit)
    found = list(islice((each for page in pages for each in page.drains), given.limit))
    if work.json:
        work.paper.json({"drains": [as_json(each) for each in found]})
    elif found:
        work.paper.table(draining.columns(), found)
    else:
        work.paper.line("there is none like that" if given.state or given.worker else "there is no drain")
    return 0


_HOLDING = [api.DRAIN_STATE_ACTIVE, api.DRAIN_STATE_OVERDUE, api.DRAIN_STATE_COMPLETE]
"""Complete ones too: they keep their workers out."""

COMMAND = Command(options=_options, run=_run)
