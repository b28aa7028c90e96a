"""`schedctl worker drain (ID... | --label K=V)`: no new tasks, what is not started goes back, what runs finishes."""

import argparse
import time

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import draining, options
from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    whom = parser.add_argument_group("which workers")
    whom.add_argument("worker_id", nargs="*", metavar="ID")
    whom.add_argument(
        "--label", action="append", default=[], type=options.label, metavar="KEY=VALUE",
        help="with this label, those that come later too; * stands for any text; again: with all of them",
    )  # fmt: skip
    whom.add_argument("--allow-unknown", action="store_true", help="IDs of workers that are still to come, too")
    whom.add_argument("--force", action="store_true", help="though every worker matches")
    until = parser.add_argument_group("until when")
    until.add_argument(
        "--deadline", type=draining.instant, metavar="WHEN", help="a span from now such as 30m, or 2026-11-22T18:00:00Z"
    )
    until.add_argument(
        "--at-deadline", choices=tuple(draining.AT_DEADLINE), metavar="ACTION",
        help="what still runs then: leave it (default), cancel it, or lose it, by each task's loss policy",
    )  # fmt: skip
    parser.add_argument("--id", dest="new_id", default="", metavar="DRAIN", help="its name; default: the server's")
    parser.add_argument("--dry-run", action="store_true", help="show whom it would drain, and do nothing")
    parser.add_argument("--watch", action="store_true", help="tell how far it is until it is complete")
    options.add_reason(parser)


def _run(work: Work) -> int:
    given = work.given
    if not given.worker_id and not given.label:
        raise Asked("worker drain: which workers? name them, or say --label KEY=VALUE")
    if given.at_deadline and given.deadline is None:
        raise Asked("worker drain: --at-deadline goes with --deadline")
    if given.watch and given.dry_run:
        raise Asked("worker drain: with --dry-run there is nothing to --watch")
    if len({name for name, _ in given.label}) < len(given.label):
        raise Asked("worker drain: a worker has one value of a label: no --label twice with one key")
    request = api.DrainWorkersRequest(
        worker_ids=given.worker_id,
        match_labels=dict(given.label),
        reason=given.reason,
        force=given.force,
        allow_unknown=given.allow_unknown,
        dry_run=given.dry_run,
        drain_id=given.new_id,
    )
    if given.deadline is not None:
        request.deadline.FromNanoseconds(round(given.deadline * 1e9))
        request.at_deadline = api.DrainDeadlineAction.ValueType(draining.AT_DEADLINE[given.at_deadline or "leave"])
    answer: api.DrainWorkersResponse = work.ask("DrainWorkers", request)
    if work.json and not given.watch:
        work.paper.message(answer)
        return 0
    if not work.json:
        _tell(work, answer.drain)
    return draining.follow(work, answer.drain.drain_id) if given.watch else 0


def _tell(work: Work, drain: api.DrainStatus) -> None:
    would = work.given.dry_run
    workers, leases = counted(drain.worker_count, "worker"), counted(drain.remaining_leases, "lease")
    back = sum(line.pending_returns for line in drain.workers)
    if would:
        work.paper.line(f"would drain {workers} with {leases}, {back:,} of them not started; nothing was done")
    else:
        work.paper.line(f"{drain.drain_id}: {workers} drain, with {leases}, {back:,} of them to be handed back")
    end = draining.ending(drain, time.time())
    if end:
        work.paper.line(end)
    if would and drain.workers:
        work.paper.table(draining.worker_columns(time.time()), drain.workers)
    if not drain.worker_count:
        work.note("no worker matches now; those that come and match will drain")
    elif not would and not work.given.watch:
        work.paper.line((f"schedctl drain watch {drain.drain_id} follows; drain cancel ends it", "dim"))


COMMAND = Command(options=_options, run=_run)
