"""`schedctl workers`: who is there, sorted and filtered by the server."""

import argparse
from typing import Any

from scheduler_server.schedctl import fleet, options
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sort", choices=tuple(fleet.SORTS), default="id", help="what comes first (default id)")
    parser.add_argument("--reverse", action="store_true", help="what comes last comes first")
    parser.add_argument("--limit", type=options.whole(1, 1_000_000), metavar="N", help="at most so many (default all)")
    fleet.add_filters(parser)


def _run(work: Work) -> int:
    given = work.given
    request = fleet.request(given)
    request.order_by = fleet.order_by(given.sort, backwards=given.reverse)
    found: list[Any] = []
    total, as_of = 0, None
    for page in work.connection.pages("ListWorkers", request, limit=given.limit):
        found += page.workers
        total, as_of = page.total_size, page
    if work.json:
        said = {} if as_of is None else {"as_of": as_json(as_of).get("as_of", "")}
        work.paper.json({"workers": [as_json(worker) for worker in found], "total_size": total, **said})
        return 0
    if not found:
        work.paper.line("no workers" if _everybody(request) else "no workers match")
        return 0
    work.paper.table(fleet.columns(), found)
    if total > len(found):
        work.paper.line((f"{len(found):,} of {counted(total, 'worker')}; --limit shows more", "dim"))
    return 0


def _everybody(request: Any) -> bool:
    filters = {field.name for field, _ in request.ListFields()}
    return not filters - {"order_by", "page_size", "page_token"}


COMMAND = Command(options=_options, run=_run)
