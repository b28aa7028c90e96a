"""`schedctl reinstate ID`: let a worker in that was ejected for failing."""

import argparse

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import options
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("worker_id", metavar="ID")
    options.add_reason(parser)


def _run(work: Work) -> int:
    given = work.given
    request = api.ReinstateWorkerRequest(worker_id=given.worker_id, reason=given.reason)
    answer: api.ReinstateWorkerResponse = work.ask("ReinstateWorker", request)
    if work.json:
        work.paper.message(answer)
    else:
        there = "" if answer.HasField("worker") else "; it is not there now"
        work.paper.line(f"nothing is held against worker {given.worker_id} any more{there}")
    return 0


COMMAND = Command(options=_options, run=_run)
