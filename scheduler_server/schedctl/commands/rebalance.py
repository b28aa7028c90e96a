"""`schedctl rebalance`: offer free slots to what waits, and move staged tasks that start sooner elsewhere."""

import argparse

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import decision_pb2
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.table import Column
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit",
        type=options.whole(1, 1_000),
        default=10,
        metavar="N",
        help="waiting tasks looked at, and staged tasks moved, at most (default 10)",
    )
    parser.add_argument("--waiting-only", action="store_true", help="leave staged tasks where they are")
    parser.add_argument("--dry-run", action="store_true", help="show what it would do, and do nothing")
    options.add_reason(parser)


def _run(work: Work) -> int:
    given = work.given
    request = api.RebalanceWaitingRequest(
        max_tasks=given.limit, move_staged=not given.waiting_only, dry_run=given.dry_run, reason=given.reason
    )
    answer: api.RebalanceWaitingResponse = work.ask("RebalanceWaiting", request)
    if work.json:
        work.paper.message(answer)
        return 0
    would = "would be " if given.dry_run else ""
    looked = f"{answer.examined:,} of {counted(answer.waiting_tasks + _gone(answer, given), 'waiting task')} looked at"
    placed = f"{len(answer.placed):,} {would}placed"
    work.paper.line(f"{looked}, {placed}" if answer.examined else "nothing waits that could be placed")
    if answer.placed:
        work.paper.table(_PLACED, list(answer.placed))
    if not given.waiting_only:
        asked = "would be asked back" if given.dry_run else "asked back, to start sooner elsewhere"
        work.paper.line(f"{counted(len(answer.moves), 'staged task')} {asked}")
    if answer.moves:
        work.paper.table(_MOVES, list(answer.moves))
    return 0


def _gone(answer: api.RebalanceWaitingResponse, given: argparse.Namespace) -> int:
    """Those that were placed do not wait any more."""
    return 0 if given.dry_run else len(answer.placed)


_PLACED: list[Column[decision_pb2.Decision]] = [
    Column(title="TASK", cell=lambda made: made.task.task_id, cuts=True),
    Column(title="WORKER", cell=lambda made: made.worker_id, cuts=True),
    Column(title="WHY", cell=lambda made: figures.word(decision_pb2.DecisionCause, made.cause), spare=1),
]
_MOVES: list[Column[api.TaskMove]] = [
    Column(title="TASK", cell=lambda move: move.task.task_id, cuts=True),
    Column(title="FROM", cell=lambda move: move.from_worker_id, cuts=True),
    Column(title="TO", cell=lambda move: move.to_worker_id, cuts=True),
    Column(title="SOONER BY", cell=lambda move: figures.span_in(move, "gain"), right=True),
]

COMMAND = Command(options=_options, run=_run)
