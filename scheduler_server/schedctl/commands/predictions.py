"""`schedctl predictions`: how good are they, overall and by task type?"""

import argparse
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.table import Column, Segment
from scheduler_server.schedctl.work import Command, Work

ALL = "(all)"

_SORTS = {
    "type": lambda row: (row.task_type,),
    "outcomes": lambda row: (-row.accuracy.sample_count, row.task_type),
    "error": lambda row: (-row.accuracy.median_relative_error, row.task_type),
    "hits": lambda row: (row.accuracy.within_factor_2, row.task_type),
}


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--type", dest="task_type", default="", metavar="TYPE", help="only this task type")
    parser.add_argument(
        "--sort",
        choices=tuple(_SORTS),
        default="type",
        help="type (default), most outcomes, largest error or fewest hits first",
    )
    parser.add_argument(
        "--limit", type=options.whole(1, 1_000_000), metavar="N", help="at most so many task types (default all)"
    )


def _run(work: Work) -> int:
    given = work.given
    request = api.GetAccuracyRequest(task_type=given.task_type, by_task_type=True)
    rows: list[api.AccuracyRow] = []
    overall = api.Accuracy()
    # Sorting is ours, so all of them are needed before the first can be chosen.
    for page in work.connection.pages("GetAccuracy", request):
        rows += page.rows
        overall = page.overall
    rows.sort(key=_SORTS[given.sort])
    chosen = rows[: given.limit]
    if work.json:
        work.paper.json({"overall": as_json(overall), "rows": [as_json(row) for row in chosen]})
        return 0
    table = list(chosen)
    if not given.task_type:
        table.append(api.AccuracyRow(accuracy=overall))
    if not overall.sample_count and not rows:
        of = f" of type {given.task_type}" if given.task_type else ""
        work.paper.line(f"nothing to compare yet: no task{of} has ended with success")
        return 0
    work.paper.table(COLUMNS, table)
    if len(chosen) < len(rows):
        work.paper.line((f"{len(chosen):,} of {len(rows):,} task types", "dim"))
    return 0


def hits(row: Any) -> Segment:
    """Share within a factor of two; what is worth a look is marked."""
    accuracy = row.accuracy
    said = figures.share_in(accuracy, "within_factor_2")
    return said, "warn" if accuracy.HasField("within_factor_2") and accuracy.within_factor_2 < 0.5 else ""  # noqa: PLR2004 -- half


def _bias(row: Any) -> str:
    accuracy = row.accuracy
    return f"{accuracy.mean_relative_bias:+.0%}" if accuracy.HasField("mean_relative_bias") else figures.ABSENT


COLUMNS: list[Column[Any]] = [
    Column(title="TASK TYPE", cell=lambda row: row.task_type or (ALL, "strong"), cuts=True),
    Column(title="OUTCOMES", cell=lambda row: figures.count(row.accuracy.sample_count), right=True),
    Column(
        title="WITHIN 25%", cell=lambda row: figures.share_in(row.accuracy, "within_25_percent"), right=True, spare=2
    ),
    Column(title="WITHIN 2X", cell=hits, right=True),
    Column(
        title="MEDIAN ERROR",
        cell=lambda row: figures.share_in(row.accuracy, "median_relative_error"),
        right=True,
        spare=1,
    ),
    Column(title="BIAS", cell=_bias, right=True, spare=4),
    Column(title="BY P50", cell=lambda row: figures.share_in(row.accuracy, "p50_coverage"), right=True, spare=3),
    Column(title="BY P90", cell=lambda row: figures.share_in(row.accuracy, "p90_coverage"), right=True, spare=3),
]

COMMAND = Command(options=_options, run=_run)
