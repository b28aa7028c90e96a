"""Dead letters: what was set aside for people to look at, in a stream of its own.

Its entries have these fields, each absent where there is nothing to say: reason, detail, at (ms), task_id, tenant,
task_type, attempts, workers (JSON list), source, lease_id, task (a serialized scheduler_api.v1.Task) and, where it
could not be read as one, raw.
"""

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.dispatch import scripts
from scheduler_server.dispatch.entries import DeadLetter, DeadReason, Source
from scheduler_server.dispatch.gateway import Gateway
from scheduler_server.dispatch.outbox import Fields
from scheduler_server.model.task import Task

MOST_WORKERS = 100

PAGE = 100
"""Dead letters looked at in one go; each may hold a payload."""
_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


class Kept(NamedTuple):
    """A dead letter as it stands in its stream. `task` is serialized, empty where it could not be read."""

    letter_id: str
    reason: DeadReason | None
    detail: str
    at_ms: int
    tenant: str
    task_id: str
    task_type: str
    attempts: int
    workers: tuple[str, ...]
    source: str
    task: bytes
    raw: bytes


def fields_of(
    letter: DeadLetter, source: Source | None, at_ms: int, write: Callable[[Task], bytes], lease_id: str = ""
) -> Fields:
    """A dead letter as fields."""
    fields: Fields = {"reason": letter.reason.name, "detail": letter.detail, "at": at_ms}
    if letter.task is not None:
        fields |= {
            "task_id": letter.task.task_id,
            "tenant": letter.task.tenant,
            "task_type": letter.task.task_type,
            "attempts": letter.attempts,
            "task": write(letter.task),
        }
    if letter.workers:
        fields["workers"] = json.dumps(letter.workers[-MOST_WORKERS:])
    if source is not None:
        fields["source"] = str(source)
    if lease_id:
        fields["lease_id"] = lease_id
    if letter.raw:
        fields["raw"] = letter.raw
    return fields


def of_record(record: TaskRecord) -> DeadLetter:
    """Why a task whose lease has ended goes no further."""
    workers: list[str] = []
    each: TaskRecord | None = record
    while each is not None and len(workers) < MOST_WORKERS:
        workers.append(each.worker_id)
        each = each.previous
    workers.reverse()
    task = record.task
    aside = record.aside
    if aside is None:
        why = "may have begun when it was lost, and its loss policy is to report that"
    else:
        why = f"was the last: {aside.why}"
    reason = DeadReason.POISONOUS if aside is not None and aside.poisonous else DeadReason.ATTEMPTS_EXHAUSTED
    return DeadLetter(reason, f"attempt {task.attempt} {why}; the last worker was {record.worker_id!r}", task,
                      task.attempt, tuple(workers))  # fmt: skip


# ---------------------------------------------------------------------- looked at; in the thread


def page(gateway: Gateway, stream: str, before: str) -> list[Kept]:
    """The next PAGE of them, newest first, from the one before this id on; fewer: there are no more."""
    with gateway.client("dead letters cannot be read") as client:
        rows = client.xrevrange(stream, f"({before}" if before else "+", "-", count=PAGE)
    return [_kept(row) for row in rows]


def found(gateway: Gateway, stream: str, letter_id: str) -> Kept | None:
    """One by its id."""
    if not _ID.fullmatch(letter_id):
        return None
    with gateway.client("dead letters cannot be read") as client:
        rows = client.xrange(stream, letter_id, letter_id)
    return _kept(rows[0]) if rows else None


def discarded(gateway: Gateway, stream: str, letter_id: str) -> bool:
    """Throw one away; False: it is not there."""
    if not _ID.fullmatch(letter_id):
        return False
    with gateway.client("dead letters cannot be written") as client:
        return bool(client.xdel(stream, letter_id))


def put_back(gateway: Gateway, stream: str, letter_id: str, tasks: str, task: bytes) -> bool:
    """Move one back to where tasks come from; False: it is not there any more."""
    with gateway.client("dead letters cannot be written") as client:
        return bool(client.eval(scripts.RETRY, 2, stream, tasks, letter_id, "task", task))


def _kept(row: tuple[bytes, dict[bytes, bytes]]) -> Kept:
    fields = row[1]

    def text(name: str) -> str:
        return fields.get(name.encode(), b"").decode(errors="replace")

    def number(name: str) -> int:
        value = text(name)
        return int(value) if value.isascii() and value.isdigit() else 0

    try:
        workers = json.loads(text("workers") or "[]")
    except ValueError:
        workers = []
    reason = DeadReason.__members__.get(text("reason"))
    return Kept(
        _text(row[0]),
        reason,
        text("detail"),
        number("at"),
        text("tenant"),
        text("task_id"),
        text("task_type"),
        number("attempts"),
        tuple(map(str, workers)) if isinstance(workers, list) else (),
        text("source"),
        fields.get(b"task", b""),
        fields.get(b"raw", b""),
    )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
