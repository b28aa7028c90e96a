"""`schedctl pauses list | add | end`: waiting tasks that are not to start for now."""

import argparse
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.table import Column
from scheduler_server.schedctl.work import Adds, Command, Work


def _steps(add: Adds) -> None:
    add("list", "the pauses in force, newest first").set_defaults(run=_list)
    pause = add("add", "start no more waiting tasks of a scope; new ones wait too")
    _which(pause)
    options.add_expiry(pause)
    pause.set_defaults(run=_add)
    resume = add("end", "let a scope go on that is paused")
    _which(resume)
    resume.set_defaults(run=_end)


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", help="only this tenant's; '' is the nameless one")
    parser.add_argument("--type", dest="task_type", default="", metavar="TYPE", help="only tasks of this type")
    options.add_reason(parser)


def _scope(given: argparse.Namespace) -> api.QueueScope:
    scope = api.QueueScope(task_type=given.task_type)
    if given.tenant is not None:
        scope.tenant = given.tenant
    return scope


def _list(work: Work) -> int:
    found = [each for page in work.connection.pages("ListPauses", api.ListPausesRequest()) for each in page.pauses]
    if work.json:
        work.paper.json({"pauses": [as_json(each) for each in found]})
    elif found:
        work.paper.table(_COLUMNS, found)
    else:
        work.paper.line("nothing is paused")
    return 0


def _add(work: Work) -> int:
    request = api.PauseQueueRequest(scope=_scope(work.given), reason=work.given.reason)
    options.set_expiry(request, work.given)
    answer: api.PauseQueueResponse = work.ask("PauseQueue", request)
    if work.json:
        work.paper.message(answer)
    else:
        held = counted(answer.pause.waiting_tasks, "task")
        work.paper.line(f"paused: {_words(answer.pause.scope)}{options.until(work.given)}; {held} held back")
    return 0


def _end(work: Work) -> int:
    request = api.ResumeQueueRequest(scope=_scope(work.given), reason=work.given.reason)
    answer: api.ResumeQueueResponse = work.ask("ResumeQueue", request)
    if work.json:
        work.paper.message(answer)
    else:
        work.paper.line(f"resumed: {_words(request.scope)}; {counted(answer.released_tasks, 'task')} waited")
    return 0


def _words(scope: Any) -> str:
    what = f"tasks of type {scope.task_type}" if scope.task_type else "all tasks"
    if not scope.HasField("tenant"):
        return what
    return f"{what} of tenant {scope.tenant}" if scope.tenant else f"{what} of the nameless tenant"


_COLUMNS: list[Column[api.QueuePause]] = [
    Column(title="TASKS", cell=lambda pause: _words(pause.scope), cuts=True),
    Column(title="WAITING", cell=lambda pause: f"{pause.waiting_tasks:,}", right=True),
    Column(title="SINCE", cell=lambda pause: figures.instant_in(pause, "since"), spare=1),
    Column(title="ENDS", cell=lambda pause: figures.instant_in(pause, "expires_at"), spare=2),
    Column(title="BY", cell=lambda pause: pause.author or figures.ABSENT, cuts=True, spare=3),
    Column(title="WHY", cell=lambda pause: pause.reason or figures.ABSENT, cuts=True),
]

COMMAND = Command(steps=_steps)
