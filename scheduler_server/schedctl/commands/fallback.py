"""`schedctl fallback force | release`: place without prediction and score, or with them again."""

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import options
from scheduler_server.schedctl.work import Adds, Command, Work


def _steps(add: Adds) -> None:
    force = add("force", "place in turn, without prediction and score")
    options.add_expiry(force)
    force.set_defaults(run=_run, forced=True)
    release = add("release", "place by prediction and score again")
    release.set_defaults(run=_run, forced=False, expires_s=None)
    for each in (force, release):
        each.add_argument("--type", dest="task_type", default="", metavar="TYPE", help="only tasks of this type")
        options.add_reason(each)


def _run(work: Work) -> int:
    given = work.given
    request = api.ForceFallbackRequest(forced=given.forced, task_type=given.task_type, reason=given.reason)
    options.set_expiry(request, given)
    answer: api.ForceFallbackResponse = work.ask("ForceFallback", request)
    if work.json:
        work.paper.message(answer)
    else:
        which = f"tasks of type {given.task_type}" if given.task_type else "all tasks"
        how = f"are placed by the fallback{options.until(given)}" if given.forced else "are placed by prediction again"
        work.paper.line(f"{which} {how}")
    return 0


COMMAND = Command(steps=_steps)
