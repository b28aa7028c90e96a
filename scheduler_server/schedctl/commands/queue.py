"""`schedctl queue`: what waits, why, in which order, and how good the promised starts are."""

import argparse
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl import waiting as waiting_tasks
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.table import Segment
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit", type=options.whole(0, 1_000_000), default=20, metavar="N", help="tasks listed (default 20)"
    )
    waiting_tasks.add_filters(parser)


def _run(work: Work) -> int:
    load: api.GetLoadResponse = work.ask("GetLoad", api.GetLoadRequest())
    status: api.GetStatusResponse = work.ask("GetStatus", api.GetStatusRequest())
    accuracy: api.GetAccuracyResponse = work.ask("GetAccuracy", api.GetAccuracyRequest())
    if work.json:
        shares = as_json(accuracy.overall)
        waits = {name: shares[name] for name in ("wait_p50_coverage", "wait_p90_coverage") if name in shares}
        policy = {"order": status.policy.order, "objective": status.policy.objective}
        tasks, total = _tasks(work)
        said = {"tasks": [as_json(task) for task in tasks], "total_size": total}
        work.paper.json({"load": as_json(load), "policy": policy, "expected_start": waits, **said})
        return 0
    work.paper.facts(facts(load, status.policy, accuracy.overall))
    if not load.queued_tasks or not work.given.limit:
        return 0
    tasks, total = _tasks(work)
    work.paper.line()
    if not tasks:
        work.paper.line("no waiting tasks match")
        return 0
    work.paper.table(waiting_tasks.columns(), tasks)
    if total > len(tasks):
        work.paper.line((f"{len(tasks):,} of {counted(total, 'task')}; --limit shows more", "dim"))
    return 0


def _tasks(work: Work) -> tuple[list[Any], int]:
    """As many as wanted, in the order in which they run; and how many match in all."""
    limit = work.given.limit
    found: list[Any] = []
    total = 0
    if limit:
        for page in work.connection.pages("ListWaiting", waiting_tasks.request(work.given), limit=limit):
            found += page.tasks
            total = page.total_size
    return found, total


def facts(load: api.GetLoadResponse, policy: api.Policy, accuracy: api.Accuracy) -> list[tuple[str, str | Segment]]:
    """The queue, the slots that it waits for, and the order of it."""
    objective = f", objective {policy.objective}" if policy.objective else ""
    return [
        ("waiting", waiting(load)),
        *(("", f"{each.count:,} {figures.word(task_pb2.BlockingReason, each.blocking)}") for each in load.blocking),
        ("oldest", f"waits for {figures.span_in(load, 'oldest_wait')}" if load.queued_tasks else figures.ABSENT),
        (
            "work waiting",
            f"{figures.span_in(load, 'queued_work')} of slot time, predicted" if load.queued_tasks else figures.ABSENT,
        ),
        ("slots", slots(load)),
        ("order", f"{policy.order}{objective}"),
        ("expected starts", promises(accuracy)),
    ]


def waiting(load: api.GetLoadResponse) -> Segment:
    """How many wait."""
    return (counted(load.queued_tasks, "task"), "warn") if load.queued_tasks else ("nothing", "good")


def slots(load: api.GetLoadResponse) -> str:
    """Slots taken and free."""
    used = f"{load.used_capacity:,} of {load.total_capacity:,} taken ({figures.share_in(load, 'utilization')})"
    return f"{used}, {load.free_capacity:,} free on {counted(load.active_workers, 'active worker')}"


def promises(accuracy: api.Accuracy) -> str:
    """How often expected starts held."""
    if not accuracy.HasField("wait_p90_coverage"):
        return "nothing has waited yet"
    p50, p90 = figures.share_in(accuracy, "wait_p50_coverage"), figures.share_in(accuracy, "wait_p90_coverage")
    return f"{p50} began within their P50 (50% is right), {p90} within their P90 (90% is right)"


COMMAND = Command(options=_options, run=_run)
