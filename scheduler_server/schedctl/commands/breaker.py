"""`schedctl breaker trip | reset`: open a circuit breaker by hand, or close it."""

import argparse

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.work import Adds, Command, Work


def _steps(add: Adds) -> None:
    trip = add("trip", "open it: tasks are placed in turn, without trials, until it is reset")
    _which(trip)
    options.add_expiry(trip)
    trip.set_defaults(run=_trip)
    reset = add("reset", "close it; it opens again when failures go on")
    _which(reset)
    reset.add_argument("--all-types", action="store_true", help="those of all task types too")
    reset.set_defaults(run=_reset)


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--type", dest="task_type", default="", metavar="TYPE", help="that of this task type (default that for all)"
    )
    options.add_reason(parser)


def _trip(work: Work) -> int:
    given = work.given
    request = api.TripBreakerRequest(task_type=given.task_type, reason=given.reason)
    options.set_expiry(request, given)
    answer: api.TripBreakerResponse = work.ask("TripBreaker", request)
    if work.json:
        work.paper.message(answer)
    else:
        work.paper.line(f"the breaker for {_tasks(given.task_type)} is open{options.until(given)}")
    return 0


def _reset(work: Work) -> int:
    given = work.given
    if given.all_types and given.task_type:
        raise Asked("breaker reset: --all-types does not go with --type")
    request = api.ResetBreakerRequest(task_type=given.task_type, all_types=given.all_types, reason=given.reason)
    answer: api.ResetBreakerResponse = work.ask("ResetBreaker", request)
    if work.json:
        work.paper.message(answer)
    else:
        closed = figures.counted(answer.closed, "breaker") if answer.closed else "no breaker was open: none"
        work.paper.line(f"{closed} closed")
    return 0


def _tasks(task_type: str) -> str:
    return f"tasks of type {task_type}" if task_type else "all tasks"


COMMAND = Command(steps=_steps)
