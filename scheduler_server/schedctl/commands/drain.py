"""`schedctl drain show | watch | cancel ID`: one drain. `schedctl worker drain` begins one."""

import argparse
import time

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.client import SchedulerError
from scheduler_server.schedctl import draining, options
from scheduler_server.schedctl.complaint import complaint
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.work import Adds, Command, Work


def _steps(add: Adds) -> None:
    shown = add("show", "how far a drain is, with its workers")
    _which(shown)
    shown.set_defaults(run=_show)
    watched = add("watch", "tell how far it is until it is complete; exit code 1 where it was called off")
    _which(watched)
    watched.set_defaults(run=_watch)
    ended = add("cancel", "end drains: their workers take tasks again; what was handed back stays so")
    ended.add_argument("drain_id", nargs="+", metavar="ID")
    options.add_reason(ended)
    ended.set_defaults(run=_cancel)


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("drain_id", metavar="ID")


def _show(work: Work) -> int:
    answer: api.GetDrainResponse = work.ask("GetDrain", api.GetDrainRequest(drain_id=work.given.drain_id))
    drain = answer.drain
    if work.json:
        work.paper.message(drain)
        return 0
    now = time.time()
    work.paper.facts(draining.facts(drain, now))
    if drain.workers:
        work.paper.line()
        work.paper.table(draining.worker_columns(now), drain.workers)
    left = drain.worker_count - len(drain.workers)
    if left > 0 and drain.workers:
        work.paper.line((f"and {counted(left, 'worker')} more", "dim"))
    return 0


def _watch(work: Work) -> int:
    return draining.follow(work, work.given.drain_id)


def _cancel(work: Work) -> int:
    """One after the other; what fails is told, and the others end."""
    ended, failed = [], 0
    for drain_id in work.given.drain_id:
        request = api.CancelDrainRequest(drain_id=drain_id, reason=work.given.reason)
        try:
            answer: api.CancelDrainResponse = work.ask("CancelDrain", request)
        except SchedulerError as error:
            if error.reason not in {"DRAIN_UNKNOWN", "DRAIN_OF_WORKER"}:
                raise
            failed += 1
            work.note(complaint(error, work.place))
            continue
        drain = answer.drain
        ended.append(as_json(drain))
        if not work.json:
            workers = counted(drain.worker_count, "worker")
            back = counted(drain.returned_tasks, "task")
            work.paper.line(f"{drain_id}: called off; {workers} let go, {back} had been handed back")
    if work.json:
        work.paper.json(ended)
    return 1 if failed else 0


COMMAND = Command(steps=_steps)
