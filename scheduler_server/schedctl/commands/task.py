"""`schedctl task ID`: where is it, why there, when will it start or end? With -f: each change, as it happens."""

import argparse

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.client import SchedulerError, TaskStatus, TaskUnknown
from scheduler_server.client.watching import TaskName
from scheduler_server.schedctl import decided, figures, options, tasks
from scheduler_server.schedctl.fault import Asked, Failed
from scheduler_server.schedctl.figures import seconds_of
from scheduler_server.schedctl.fleet import task_name
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task_id", nargs="*", metavar="ID")
    parser.add_argument("--tenant", help="its tenant (default the nameless one; with -f and no ID, all)")
    parser.add_argument(
        "--attempt", type=options.whole(0, 2**32 - 1), default=0, metavar="N", help="which attempt (default the latest)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="print each change; without ID, of all tasks")
    parser.add_argument("--resume", default="", metavar="TOKEN", help="with -f: go on where another one stopped")


def _run(work: Work) -> int:
    given = work.given
    if given.follow:
        return _follow(work)
    if not given.task_id:
        raise Asked("task: which one? An ID, or -f for all")
    if given.resume:
        raise Asked("task: --resume goes with -f")
    found = [_one(work, task_id) for task_id in given.task_id]
    if work.json:
        plain = [as_json(each if isinstance(each, api.DecisionRecord) else each.message) for each in found]
        work.paper.json(plain[0] if len(plain) == 1 else plain)
        return 0
    now = seconds_of(work.ask("GetStatus", api.GetStatusRequest()).now)
    for number, each in enumerate(found):
        if number:
            work.paper.line()
        if isinstance(each, api.DecisionRecord):
            work.paper.facts(decided.facts(each))
            work.paper.line(("from the decision log: the server itself has forgotten it", "dim"))
            continue
        record = _decision(work, each.task_id, each.attempt) if each.message.HasField("decision") else None
        more = decided.came_of_it(record) if record is not None else []
        work.paper.facts([*tasks.facts(each.message, now), *more])
    return 0


def _decision(work: Work, task_id: str, attempt: int) -> api.DecisionRecord | None:
    """The last decision about a task; None where none is known, or a server cannot tell."""
    try:
        return _recorded(work, task_id, attempt)
    except SchedulerError as error:
        if error.code.name in _CANNOT_TELL:
            return None
        raise


_CANNOT_TELL = frozenset({"NOT_FOUND", "UNIMPLEMENTED", "UNAVAILABLE"})


def _recorded(work: Work, task_id: str, attempt: int) -> api.DecisionRecord:
    key = task_pb2.TaskKey(task_id=task_id, tenant=work.given.tenant or "", attempt=attempt)
    found: api.DecisionRecord = work.ask("GetDecision", api.GetDecisionRequest(task=key)).record
    return found


def _one(work: Work, task_id: str) -> TaskStatus | api.DecisionRecord:
    """A task as it is; one that the server has forgotten, as its decision log has it."""
    given = work.given
    try:
        return work.connection.client.get_task(
            task_id, tenant=given.tenant or "", attempt=given.attempt, timeout=work.place.timeout_s
        )
    except TaskUnknown as unknown:
        try:
            return _recorded(work, task_id, given.attempt)
        except SchedulerError as error:
            if error.code.name not in _CANNOT_TELL:
                raise
            near = error.metadata.get("similar", "")
        known = f"; known are {near}" if near else ""
        tenant = "" if given.tenant else "; --tenant names its tenant, if it has one"
        raise Failed(f"{unknown.message}{known}{tenant}") from None


def _follow(work: Work) -> int:
    given = work.given
    tenant = given.tenant or ""
    names: list[TaskName] = [(tenant, task_id, given.attempt) for task_id in given.task_id]
    watch = work.connection.client.watch_tasks(tasks=names, tenant=given.tenant, resume_token=given.resume)
    try:
        with watch as changes:
            for change in changes:
                message = change.status.message
                if work.json:
                    work.paper.json_line({"task": as_json(message), "resume_token": change.resume_token})
                    continue
                at = f"{change.at:%H:%M:%S}" if change.at is not None else figures.ABSENT
                where = f" on {message.decision.worker_id}" if message.HasField("decision") else ""
                work.paper.line((at, "dim"), "  ", task_name(message.task), " ", tasks.state(message), where, cut=True)
                work.surroundings.stdout.flush()
    except KeyboardInterrupt:
        if watch.resume_token:
            work.note(f"go on with: schedctl task -f --resume {watch.resume_token}")
        raise
    return 0


COMMAND = Command(options=_options, run=_run)
