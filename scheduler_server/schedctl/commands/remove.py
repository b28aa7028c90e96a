"""`schedctl remove ID`: forget a worker."""

import argparse

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import options
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("worker_id", metavar="ID")
    parser.add_argument("--force", action="store_true", help="though it holds leases; they are lost")
    options.add_reason(parser)


def _run(work: Work) -> int:
    given = work.given
    request = api.RemoveWorkerRequest(worker_id=given.worker_id, force=given.force, reason=given.reason)
    answer: api.RemoveWorkerResponse = work.ask("RemoveWorker", request)
    if work.json:
        work.paper.message(answer)
    else:
        lost = (
            f"; {counted(answer.lost_leases, 'lease')} lost, {answer.requeued} placed again"
            if answer.lost_leases
            else ""
        )
        work.paper.line(f"worker {given.worker_id} is removed{lost}")
    return 0


COMMAND = Command(options=_options, run=_run)
