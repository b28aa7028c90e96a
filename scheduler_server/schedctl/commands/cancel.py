"""`schedctl cancel ID`: stop a task, waiting or running."""

import argparse

from scheduler_server.client import TaskUnknown
from scheduler_server.schedctl import options
from scheduler_server.schedctl.fault import Failed
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task_id", metavar="ID")
    parser.add_argument("--tenant", default="", help="its tenant (default the nameless one)")
    parser.add_argument(
        "--attempt", type=options.whole(1, 2**32 - 1), metavar="N", help="which attempt (default the latest)"
    )
    parser.add_argument("--lease", default="", metavar="ID", help="only if this is its lease")
    options.add_reason(parser)


def _run(work: Work) -> int:
    given = work.given
    client, timeout_s = work.connection.client, work.place.timeout_s
    try:
        attempt = given.attempt or client.get_task(given.task_id, tenant=given.tenant, timeout=timeout_s).attempt
        done = client.cancel_task(
            given.task_id,
            tenant=given.tenant,
            attempt=attempt,
            lease_id=given.lease,
            reason=given.reason,
            timeout=timeout_s,
        )
    except TaskUnknown as unknown:
        tenant = "" if given.tenant else "; --tenant names its tenant, if it has one"
        raise Failed(f"{unknown.message}{tenant}") from None
    if work.json:
        work.paper.json({"state": done.state.name, "worker_told": done.worker_told})
    else:
        told = ", and its worker was told to stop" if done.worker_told else ""
        work.paper.line(f"task {given.task_id} is {done.state.name.lower()}{told}")
    return 0


COMMAND = Command(options=_options, run=_run)
