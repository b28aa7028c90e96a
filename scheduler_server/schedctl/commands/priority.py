"""`schedctl priority ID PRIORITY`: give a waiting task another priority."""

import argparse

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.schedctl import options
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task_id", metavar="ID")
    parser.add_argument("priority", type=float, metavar="PRIORITY", help="0 (least) to 1 (most)")
    parser.add_argument("--tenant", default="", help="its tenant (default the nameless one)")
    parser.add_argument(
        "--attempt", type=options.whole(1, 2**32 - 1), default=1, metavar="N", help="which attempt (default 1)"
    )
    options.add_reason(parser)


def _run(work: Work) -> int:
    given = work.given
    key = task_pb2.TaskKey(task_id=given.task_id, tenant=given.tenant, attempt=given.attempt)
    request = api.ReprioritizeTaskRequest(task=key, priority=given.priority, reason=given.reason)
    answer: api.ReprioritizeTaskResponse = work.ask("ReprioritizeTask", request)
    if work.json:
        work.paper.message(answer)
    else:
        before, after = answer.previous_position, answer.task.waiting.position
        work.paper.line(
            f"task {given.task_id}: priority {answer.task.priority:g}, {after} ahead of it, {before} before"
        )
    return 0


COMMAND = Command(options=_options, run=_run)
