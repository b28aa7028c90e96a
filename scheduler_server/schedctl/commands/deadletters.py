"""`schedctl deadletters list | retry | discard`: what was set aside for people to look at."""

import argparse
from collections.abc import Callable
from itertools import islice
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.client import SchedulerError
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.complaint import complaint
from scheduler_server.schedctl.fault import Asked, Failed
from scheduler_server.schedctl.fleet import task_name
from scheduler_server.schedctl.paper import as_json
from scheduler_server.schedctl.table import Column
from scheduler_server.schedctl.work import Adds, Command, Work

_LOOKED_AT = 1_000
"""Entries looked through for names that are near."""


def _steps(add: Adds) -> None:
    listing = add("list", "what was set aside, newest first")
    listing.add_argument("--tenant", help="only this tenant's; '' is the nameless one")
    listing.add_argument("--type", dest="task_type", default="", metavar="TYPE", help="only of this task type")
    listing.add_argument(
        "--why",
        action="append",
        default=[],
        type=options.OneOf(api.DeadLetterReason),
        metavar="REASON",
        help=f"only for this reason; again: any of them ({', '.join(figures.names(api.DeadLetterReason))})",
    )
    listing.add_argument(
        "--limit", type=options.whole(1, 1_000_000), default=100, metavar="N", help="at most so many (default 100)"
    )
    listing.set_defaults(run=_list)
    retry = add("retry", "put tasks back into the queue, each as its next attempt")
    _which(retry)
    retry.set_defaults(run=lambda work: _each(work, _retry))
    discard = add("discard", "throw entries away; cannot be undone")
    _which(discard)
    discard.add_argument("--yes", action="store_true", help="do not ask")
    discard.set_defaults(run=_discard)


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dead_letter_id", nargs="+", metavar="ID")
    options.add_reason(parser)


def _list(work: Work) -> int:
    given = work.given
    request = api.ListDeadLettersRequest(task_type=given.task_type, reasons=given.why)
    if given.tenant is not None:
        request.tenant = given.tenant
    found = _letters(work, request, given.limit)
    if work.json:
        work.paper.json({"dead_letters": [as_json(each) for each in found]})
    elif found:
        work.paper.table(_COLUMNS, found)
    else:
        work.paper.line(
            "nothing was set aside" if not given.why and not given.task_type else "nothing like that was set aside"
        )
    return 0


def _letters(work: Work, request: api.ListDeadLettersRequest, limit: int) -> list[api.DeadLetter]:
    pages = work.connection.pages("ListDeadLetters", request, limit=limit)
    return list(islice((each for page in pages for each in page.dead_letters), limit))


def _discard(work: Work) -> int:
    given = work.given
    if not given.yes:
        stdin, stderr = work.surroundings.stdin, work.surroundings.stderr
        what = figures.counted(len(given.dead_letter_id), "entry", "entries")
        if not stdin.isatty():
            raise Asked("deadletters discard: cannot be undone; --yes says that it is meant")
        stderr.write(f"Throw {what} away for good? [y/N] ")
        stderr.flush()
        if stdin.readline().strip().lower() not in {"y", "yes"}:
            raise Failed("nothing was thrown away")
    return _each(work, _throw_away)


def _each(work: Work, act: Callable[[Work, str], dict[str, Any]]) -> int:
    """One after the other; what fails is told, and the others are done."""
    done, failed = [], 0
    for dead_letter_id in work.given.dead_letter_id:
        try:
            done.append(act(work, dead_letter_id))
        except SchedulerError as error:
            if error.reason not in {"DEAD_LETTER_UNKNOWN", "UNDECODABLE", "QUEUE_FULL"}:
                raise
            failed += 1
            hint = _near(work, dead_letter_id) if error.reason == "DEAD_LETTER_UNKNOWN" else ""
            work.note(complaint(error, work.place) + hint)
    if work.json:
        work.paper.json(done)
    return 1 if failed else 0


def _retry(work: Work, dead_letter_id: str) -> dict[str, Any]:
    request = api.RetryDeadLetterRequest(dead_letter_id=dead_letter_id, reason=work.given.reason)
    answer: api.RetryDeadLetterResponse = work.ask("RetryDeadLetter", request)
    if not work.json:
        work.paper.line(f"{dead_letter_id}: task {task_name(answer.task.task)} is back in the queue")
    return {"dead_letter_id": dead_letter_id, "task": as_json(answer.task)}


def _throw_away(work: Work, dead_letter_id: str) -> dict[str, Any]:
    request = api.DiscardDeadLetterRequest(dead_letter_id=dead_letter_id, reason=work.given.reason)
    work.ask("DiscardDeadLetter", request)
    if not work.json:
        work.paper.line(f"{dead_letter_id}: thrown away")
    return {"dead_letter_id": dead_letter_id}


def _near(work: Work, dead_letter_id: str) -> str:
    letters = _letters(work, api.ListDeadLettersRequest(), _LOOKED_AT)
    return options.near(dead_letter_id, [each.dead_letter_id for each in letters])


def _task(letter: api.DeadLetter) -> str:
    return task_name(letter.task) if letter.HasField("task") else "(unreadable)"


_COLUMNS: list[Column[api.DeadLetter]] = [
    Column(title="ID", cell=lambda letter: letter.dead_letter_id),
    Column(title="AT", cell=lambda letter: figures.instant_in(letter, "at"), spare=3),
    Column(title="TASK", cell=_task, cuts=True),
    Column(title="TYPE", cell=lambda letter: letter.task_type or figures.ABSENT, cuts=True, spare=4),
    Column(title="WHY", cell=lambda letter: (figures.word(api.DeadLetterReason, letter.reason), "warn")),
    Column(title="ATTEMPTS", cell=lambda letter: str(letter.attempts), right=True, spare=2),
    Column(title="DETAIL", cell=lambda letter: letter.detail, cuts=True, spare=1),
    Column(title="WORKERS", cell=lambda letter: ",".join(letter.worker_ids) or figures.ABSENT, wide=True),
    Column(title="SOURCE", cell=lambda letter: letter.source or figures.ABSENT, wide=True),
]

COMMAND = Command(steps=_steps)
