"""Waiting tasks as rows: shared by `queue` and `explain`."""

import argparse
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.figures import seconds_of, span
from scheduler_server.schedctl.fleet import task_name
from scheduler_server.schedctl.table import Column, Segment


def columns() -> list[Column[Any]]:
    """The table of waiting tasks, in the order in which they run."""
    return [
        Column(title="AHEAD", cell=lambda task: f"{task.waiting.position:,}", right=True),
        Column(title="TASK", cell=lambda task: task_name(task.task), cuts=True),
        Column(title="TYPE", cell=lambda task: task.task_type, cuts=True, spare=3),
        Column(title="PRIO", cell=lambda task: f"{task.priority:.2f}", right=True, spare=4),
        Column(title="WAITED", cell=lambda task: figures.span_in(task, "waited"), right=True, spare=1),
        Column(title="STARTS", cell=lambda task: _start(task, "expected_start_p50"), right=True),
        Column(title="9 IN 10", cell=lambda task: _start(task, "expected_start_p90"), right=True, spare=2),
        Column(title="BLOCKED BY", cell=_blocked),
        Column(title="TAKES", cell=_takes, right=True, spare=5),
        Column(title="REQUIRES", cell=lambda task: ",".join(task.required_capabilities) or figures.ABSENT, wide=True),
        Column(title="CATEGORY", cell=lambda task: task.category or figures.ABSENT, wide=True),
        Column(title="HELD", cell=lambda task: "by a call" if task.held_call else "enqueued", wide=True),
        Column(title="DETAIL", cell=lambda task: task.waiting.blocking_detail, wide=True),
    ]


def _start(task: Any, field: str) -> str:
    if not task.waiting.HasField(field):
        return figures.ABSENT
    away = seconds_of(getattr(task.waiting, field)) - seconds_of(task.waiting.as_of)
    return f"in {span(away)}" if away > 0 else "now"


def _blocked(task: Any) -> Segment:
    severe = task.waiting.blocking == task_pb2.BLOCKING_REASON_NO_WORKER_COULD_EVER
    return figures.word(task_pb2.BlockingReason, task.waiting.blocking) or figures.ABSENT, "bad" if severe else "warn"


def _takes(task: Any) -> str:
    return span(task.prediction.point_ms / 1_000) if task.HasField("prediction") else figures.ABSENT


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Options that choose waiting tasks."""
    group = parser.add_argument_group("which tasks")
    group.add_argument("--tenant", help='of this tenant; "" is the nameless one')
    group.add_argument("--type", dest="task_type", default="", metavar="TYPE", help="of this type")
    group.add_argument(
        "--blocked",
        action="append",
        default=[],
        type=options.OneOf(task_pb2.BlockingReason),
        metavar="REASON",
        help=f"for this reason; again: any of them ({', '.join(figures.names(task_pb2.BlockingReason))})",
    )
    group.add_argument("--worker", default="", metavar="WORKER", help="that this worker could take")
    group.add_argument("--min-wait", type=options.span, metavar="SPAN", help="that have waited so long or longer")


def request(given: argparse.Namespace) -> api.ListWaitingRequest:
    """What `add_filters` was told."""
    made = api.ListWaitingRequest(task_type=given.task_type, blocking=given.blocked, worker_id=given.worker)
    if given.tenant is not None:
        made.tenant = given.tenant
    if given.min_wait is not None:
        made.min_wait.FromNanoseconds(round(given.min_wait * 1e9))
    return made
