"""`schedctl workers`: who is there, sorted and filtered by the server."""

import argparse
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import fleet, options, ranking
from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sort", choices=tuple(fleet.SORTS), default="id", help="what comes first (default id)")
    parser.add_argument("--reverse", action="store_true", help="what comes last comes first")
    parser.add_argument("--limit", type=options.whole(1, 1_000_000), metavar="N", help="at most so many (default all)")
    fleet.add_filters(parser)
    ranked = parser.add_argument_group("ranked")
    ranked.add_argument(
        "--ranked", action="store_true", help="best first, with scores, as for a task; --capability and --label count"
    )
    ranked.add_argument("--task-type", default="", metavar="TYPE", help="with --ranked: for a task of this type")
    ranked.add_argument("--scorer", default="", metavar="NAME", help="with --ranked: by this scorer")
    ranked.add_argument("--rejected", action="store_true", help="with --ranked: list those that are no candidates, too")


def _run(work: Work) -> int:
    given = work.given
    if given.ranked:
        return _ranked(work)
    for option, said in (("--task-type", given.task_type), ("--scorer", given.scorer), ("--rejected", given.rejected)):
        if said:
            raise Asked(f"workers: {option} goes with --ranked")
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


def _ranked(work: Work) -> int:
    given = work.given
    others = fleet.request(given)
    for name in ("capabilities", "match_labels"):
        others.ClearField(name)
    if given.sort != "id" or given.reverse or not _everybody(others):
        raise Asked("workers: with --ranked the order is by score, and only --capability and --label choose")
    if (given.limit or 0) > _MOST_RANKED:
        raise Asked(f"workers: --ranked lists at most {_MOST_RANKED:,} (got --limit {given.limit:,})")
    request = api.RankWorkersRequest(scorer=given.scorer, limit=given.limit or 0, include_rejected=given.rejected)
    if given.task_type or given.capability or given.label:
        task = request.task
        task.task_type = given.task_type or _ANY_TYPE
        task.required_capabilities.extend(given.capability)
        task.match_labels.update(dict(given.label))
    answer: api.RankWorkersResponse = work.ask("RankWorkers", request)
    if work.json:
        work.paper.message(answer)
        return 0
    if answer.candidates:
        work.paper.table(ranking.columns(), ranking.rows(answer.candidates))
    else:
        work.paper.line("no candidates")
    kept_out = ranking.counts(answer.rejections)
    said = f"{counted(answer.candidate_count, 'candidate')} by {answer.scorer}"
    work.paper.line((f"{said}; not candidates: {kept_out}" if kept_out else said, "dim"))
    return 0


_MOST_RANKED = 1_000
_ANY_TYPE = "-"  # whose duration nobody knows: the default is told


def _everybody(request: Any) -> bool:
    filters = {field.name for field, _ in request.ListFields()}
    return not filters - {"order_by", "page_size", "page_token"}


COMMAND = Command(options=_options, run=_run)
