"""`schedctl cordon ID`: give a worker no new tasks."""

import argparse

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import options
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("worker_id", metavar="ID")
    options.add_reason(parser)


def _run(work: Work) -> int:
    given = work.given
    request = api.CordonWorkerRequest(worker_id=given.worker_id, reason=given.reason)
    answer: api.CordonWorkerResponse = work.ask("CordonWorker", request)
    if work.json:
        work.paper.message(answer)
    else:
        has = counted(answer.worker.running_leases, "lease")
        work.paper.line(f"worker {given.worker_id} is cordoned: no new tasks, and {has} that go on")
    return 0


COMMAND = Command(options=_options, run=_run)
