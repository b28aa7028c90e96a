"""What goes through the streams: where an entry stands, why one is set aside, and what is kept of it then."""

from enum import IntEnum
from typing import NamedTuple

from scheduler_server.model.task import Task

RAW_BYTES = 4_096
"""Of an entry that cannot be read, so much is kept for people to look at."""


class Source(NamedTuple):
    """One entry of one stream, by its name and id."""

    stream: str
    entry_id: str

    def __str__(self) -> str:
        return f"{self.stream} {self.entry_id}"


class DeadReason(IntEnum):
    """Why something was set aside; the contract's numbers."""

    UNDECODABLE = 1
    INVALID = 2
    ATTEMPTS_EXHAUSTED = 3
    POISONOUS = 4
    EXPIRED = 5
    DELIVERIES_EXHAUSTED = 6


class EntryRefused(Exception):
    """An entry that is no task: why, and which field and limit."""

    def __init__(self, reason: DeadReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Delivered(NamedTuple):
    """An entry as it came: its fields (none: it is not in the stream any more), and how often it has been delivered.

    0: it has been here all the time, and is looked at again.
    """

    source: Source
    fields: dict[bytes, bytes]
    deliveries: int = 1


class DeadLetter(NamedTuple):
    """Something set aside. `task` is None where it could not be read, and then `raw` has its beginning."""

    reason: DeadReason
    detail: str
    task: Task | None
    attempts: int
    workers: tuple[str, ...] = ()
    raw: bytes = b""


def raw_of(fields: dict[bytes, bytes]) -> bytes:
    """An entry as text: name=value lines, its first RAW_BYTES."""
    pieces: list[bytes] = []
    room = RAW_BYTES
    for name, value in fields.items():
        piece = name[:room] + b"=" + value[:room] + b"\n"
        pieces.append(piece[:room])
        room -= len(piece)
        if room <= 0:
            break
    return b"".join(pieces)
