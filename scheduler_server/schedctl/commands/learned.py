"""`schedctl learned list | forget`: what the predictor knows, by key."""

from itertools import islice

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.fault import Asked, Failed
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.table import Column
from scheduler_server.schedctl.work import Adds, Command, Work


def _steps(add: Adds) -> None:
    listing = add("list", "what was learned, by key")
    listing.add_argument("--type", dest="task_type", default="", metavar="TYPE", help="only of this task type")
    listing.add_argument("--key", dest="key_contains", default="", metavar="TEXT", help="only keys with this text")
    listing.add_argument("--sort", default="key", metavar="FIELD", help='such as sample_count, or "point desc"')
    listing.add_argument(
        "--limit", type=options.whole(1, 1_000_000), default=100, metavar="N", help="at most so many (default 100)"
    )
    listing.set_defaults(run=_list)
    forget = add("forget", "forget a type, a key, or everything; cannot be undone")
    which = forget.add_mutually_exclusive_group(required=True)
    which.add_argument("--type", dest="task_type", default="", metavar="TYPE", help="all keys of this task type")
    which.add_argument("--key", default="", metavar="KEY", help="this key alone, as the list has it")
    which.add_argument("--all", action="store_true", help="everything")
    forget.add_argument("--yes", action="store_true", help="do not ask")
    options.add_reason(forget)
    forget.set_defaults(run=_forget)


def _list(work: Work) -> int:
    given = work.given
    request = api.ListPredictionsRequest(
        task_type=given.task_type, key_contains=given.key_contains, order_by=given.sort
    )
    pages = work.connection.pages("ListPredictions", request, limit=given.limit)
    found = list(islice((each for page in pages for each in page.predictions), given.limit))
    if work.json:
        work.paper.json({"predictions": [as_json(each) for each in found]})
    elif found:
        work.paper.table(_COLUMNS, found)
    else:
        work.paper.line("nothing like that was learned")
    return 0


def _forget(work: Work) -> int:
    given = work.given
    what = f"of type {given.task_type}" if given.task_type else f"under {given.key}" if given.key else "at all"
    if not given.yes:
        stdin, stderr = work.surroundings.stdin, work.surroundings.stderr
        if not stdin.isatty():
            raise Asked("learned forget: cannot be undone; --yes says that it is meant")
        stderr.write(f"Forget what was learned {what}? [y/N] ")
        stderr.flush()
        if stdin.readline().strip().lower() not in {"y", "yes"}:
            raise Failed("nothing was forgotten")
    request = api.ForgetPredictionsRequest(reason=given.reason)
    if given.task_type:
        request.task_type = given.task_type
    elif given.key:
        request.key = given.key
    else:
        request.all = True
    answer: api.ForgetPredictionsResponse = work.ask("ForgetPredictions", request)
    if work.json:
        work.paper.message(answer)
    else:
        work.paper.line(f"{figures.counted(answer.forgotten_keys, 'key')} forgotten")
        for warning in answer.warnings:
            work.note(f"warning: {warning}")
    return 0


_COLUMNS: list[Column[api.PredictionEntry]] = [
    Column(title="KEY", cell=lambda row: row.prediction.key, cuts=True),
    Column(title="OUTCOMES", cell=lambda row: figures.count(row.prediction.sample_count), right=True),
    Column(title="POINT", cell=lambda row: figures.span_in(row.prediction, "point"), right=True),
    Column(title="P50", cell=lambda row: figures.span_in(row.prediction, "p50"), right=True, spare=2),
    Column(title="P90", cell=lambda row: figures.span_in(row.prediction, "p90"), right=True, spare=1),
    Column(title="CONFIDENCE", cell=lambda row: f"{row.prediction.confidence:.2f}", right=True, spare=3),
]

COMMAND = Command(steps=_steps)
