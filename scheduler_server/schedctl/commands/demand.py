"""`schedctl demand`: how many slots would serve what waits, by what its tasks need."""

import argparse

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.table import Column, Segment
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        dest="target_s",
        type=options.span,
        metavar="SPAN",
        help="the wait that tasks should have at most (default: demand.target_wait_s)",
    )
    parser.add_argument("--idle", action="store_true", help="classes in which nothing waits as well")


def _run(work: Work) -> int:
    request = api.GetDemandRequest(include_idle=work.given.idle)
    if work.given.target_s is not None:
        request.target_wait.FromNanoseconds(round(work.given.target_s * 1e9))
    answer: api.GetDemandResponse = work.ask("GetDemand", request)
    if work.json:
        work.paper.message(answer)
        return 0
    work.paper.facts(
        [
            ("target wait", figures.span_in(answer, "target_wait")),
            ("slots needed", f"{answer.needed_slots:,}"),
            ("slots there", f"{answer.present_slots:,}{_difference(answer)}"),
        ]
    )
    if answer.classes:
        work.paper.line()
        work.paper.table(_COLUMNS, list(answer.classes))
    else:
        work.paper.line("nothing waits")
    return 0


def _difference(answer: api.GetDemandResponse) -> str:
    missing = answer.needed_slots - answer.present_slots
    if not missing:
        return ""
    return f", {counted(missing, 'slot')} missing" if missing > 0 else f", {-missing:,} could be spared"


def _needs(demand: api.ClassDemand) -> str:
    needs = [*demand.required_capabilities, *(f"{name}={value}" for name, value in sorted(demand.match_labels.items()))]
    return " ".join(needs) or "anything"


def _missing(demand: api.ClassDemand) -> str | Segment:
    missing = demand.missing_slots
    return (f"{missing:+,}", "warn") if missing > 0 else f"{missing:,}"


_COLUMNS: list[Column[api.ClassDemand]] = [
    Column(title="NEEDS", cell=_needs, cuts=True),
    Column(title="WAITING", cell=lambda each: f"{each.waiting_tasks:,}", right=True),
    Column(title="WORK", cell=lambda each: figures.span_in(each, "waiting_work"), right=True, spare=2),
    Column(title="SLOTS", cell=lambda each: f"{each.present_slots:,}", right=True),
    Column(title="USED", cell=lambda each: f"{each.used_slots:,}", right=True, spare=1),
    Column(title="NEEDED", cell=lambda each: f"{each.needed_slots:,}", right=True),
    Column(title="MISSING", cell=_missing, right=True),
    Column(title="LAST START", cell=lambda each: figures.instant_in(each, "expected_last_start"), spare=3),
]

COMMAND = Command(options=_options, run=_run)
