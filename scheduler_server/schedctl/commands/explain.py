"""`schedctl explain`: why is a task there, why does it wait, or where would one go?

A task by id is asked after as it is: waiting, or placed. A task that is described is tried, and nothing comes of it.
"""

import argparse
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.client import TaskUnknown
from scheduler_server.schedctl import asking, fleet, options, ranking, waiting
from scheduler_server.schedctl.fault import Asked, Failed
from scheduler_server.schedctl.figures import seconds_of
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task_id", nargs="?", default="", metavar="ID", help="a task that is known")
    parser.add_argument("--tenant", default="", help="its tenant (default the nameless one)")
    parser.add_argument(
        "--attempt", type=options.whole(0, 2**32 - 1), default=0, metavar="N", help="which attempt (default the latest)"
    )
    parser.add_argument(
        "--limit", type=options.whole(1, 1_000), default=10, metavar="N", help="workers, or tasks ahead (default 10)"
    )
    ranking.add_task(parser)
    ranking.add_tried(parser)
    parser.add_argument("--predictor", default="", metavar="NAME", help="by this predictor (default the one in force)")


def _run(work: Work) -> int:
    given = work.given
    if asking.described(given):
        return _try(work)
    tried = [option for option in ("--scorer", "--predictor", "--stream", "--rejected") if vars(given)[option[2:]]]
    if tried:
        raise Asked(f"explain: {tried[0]} goes with a task to try; --task-type names its type")
    if not given.task_id:
        raise Asked("explain: which one? An ID, or --task-type and what else there is to say of a task to try")
    try:
        status = work.connection.client.get_task(
            given.task_id, tenant=given.tenant, attempt=given.attempt, timeout=work.place.timeout_s
        )
    except TaskUnknown as unknown:
        raise Failed(f"{unknown.message}; --tenant names its tenant, --task-type tries one that is not there") from None
    key = task_pb2.TaskKey(task_id=given.task_id, tenant=given.tenant, attempt=given.attempt)
    if status.message.state == task_pb2.TASK_STATE_WAITING:
        return _waits(work, key)
    return _placed(work, key)


def _try(work: Work) -> int:
    given = work.given
    task = asking.task_of(work, "explain")
    if given.task_id:
        task.task_id = given.task_id
    if given.tenant:
        task.tenant = given.tenant
    request = api.ExplainAssignRequest(
        task=task,
        delivery=task_pb2.DELIVERY_STREAM if given.stream else task_pb2.DELIVERY_UNSPECIFIED,
        scorer=given.scorer,
        predictor=given.predictor,
        max_candidates=given.limit,
        include_rejected=given.rejected,
    )
    answer: api.ExplainAssignResponse = work.ask("ExplainAssign", request)
    if work.json:
        work.paper.message(answer)
        return 0
    _text(work, answer.text)
    _candidates(work, answer.decision.explanation.candidates or answer.rejected)
    return 0


def _waits(work: Work, key: task_pb2.TaskKey) -> int:
    request = api.ExplainWaitingRequest(task=key, max_ahead=work.given.limit)
    answer: api.ExplainWaitingResponse = work.ask("ExplainWaiting", request)
    if work.json:
        work.paper.message(answer)
        return 0
    _text(work, answer.text)
    now = seconds_of(answer.task.waiting.as_of)
    if answer.ahead:
        work.paper.line()
        work.paper.line(("ahead, the next one first", "dim"))
        work.paper.table(waiting.columns(), answer.ahead)
    if answer.next_slots:
        work.paper.line()
        work.paper.line(("slots that it could have, the soonest first", "dim"))
        work.paper.table(fleet.lease_columns(now), answer.next_slots)
    return 0


def _placed(work: Work, key: task_pb2.TaskKey) -> int:
    answer: api.GetDecisionResponse = work.ask("GetDecision", api.GetDecisionRequest(task=key))
    if work.json:
        work.paper.message(answer)
        return 0
    _text(work, answer.text)
    _candidates(work, answer.record.decision.explanation.candidates)
    return 0


def _text(work: Work, text: str) -> None:
    """The server's lines: what stands before the first colon of each is its name."""
    first, *rest = text.splitlines() or [""]
    work.paper.facts([("", (first, "strong"))], label=0)
    for line in rest:
        name, colon, said = line.partition(": ")
        work.paper.facts([(name, said)] if colon and len(name) < _NAME else [("", line)])


def _candidates(work: Work, candidates: Any) -> None:
    if candidates:
        work.paper.line()
        work.paper.table(ranking.columns(), ranking.rows(candidates))


_NAME = 16  # a longer one is part of a sentence

COMMAND = Command(options=_options, run=_run)
