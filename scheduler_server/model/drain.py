"""Drains: which workers are to be emptied, until when, and what becomes of what still runs then."""

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from scheduler_server.model.task import Pairs


class AtDeadline(IntEnum):
    """What is done with tasks that still run at a drain's deadline."""

    LEAVE = 1
    CANCEL = 2
    LOSE = 3


class DrainState(IntEnum):
    """Where a drain stands."""

    ACTIVE = 1
    OVERDUE = 2
    COMPLETE = 3
    CANCELLED = 4


class DrainOrder(NamedTuple):
    """Who is to be drained, and how. Instants are wall seconds, so that they mean the same after a restart.

    Workers match by id or by `labels`: each of these, where a value may hold "*" for any text. `own`: a worker drains
    by its own wish, and `author` is its id.
    """

    drain_id: str
    worker_ids: tuple[str, ...] = ()
    labels: Pairs = ()
    deadline: float | None = None
    at_deadline: AtDeadline = AtDeadline.LEAVE
    reason: str = ""
    author: str = ""
    created: float = 0.0
    own: bool = False


class DrainCounts(NamedTuple):
    """Tasks of a drain that are over: handed back, finished, stopped or given up at its deadline."""

    returned: int = 0
    finished: int = 0
    stopped: int = 0

    def plus(self, other: "DrainCounts") -> "DrainCounts":
        """Both together."""
        return DrainCounts(self.returned + other.returned, self.finished + other.finished, self.stopped + other.stopped)


def like(pattern: str, text: str) -> bool:
    """Is this the text, with "*" for any text, also none? In one pass: whoever writes patterns must not cost time."""
    first, *rest = pattern.split("*")
    if not rest:
        return first == text
    *middle, last = rest
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:  # the leftmost place leaves most room for what comes after it
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def labels_like(patterns: Pairs, labels: Iterable[tuple[str, str]]) -> bool:
    """Has a worker with these labels each of those asked for?"""
    has = dict(labels)
    return all(name in has and like(pattern, has[name]) for name, pattern in patterns)
