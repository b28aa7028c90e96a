"""Next in turn among the workers that may take the task."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

NAME = "round_robin"

W = TypeVar("W")
W_co = TypeVar("W_co", covariant=True)


class Candidates(Protocol[W_co]):
    """Workers at positions, some of them candidates; a pool of the registry."""

    @property
    def members(self) -> Sequence[W_co]:
        """All of them, by position."""

    def next_open(self, after: int) -> int:
        """The next position from `after` on that holds a candidate, or -1."""


class Turn(Protocol[W_co]):
    """Who can take such tasks, and whose turn is next; an eligibility class of the registry."""

    cursor: tuple[int, int]  # which of the groups, and which position in it

    @property
    def pools(self) -> Sequence[Candidates[W_co]]:
        """The groups, in the order of the turn."""


def next_in_turn(eligible: Turn[W], acceptable: Callable[[W], bool]) -> W | None:
    """The next candidate after the last one chosen, or None when there is none.

    The turn goes through the class's pools one after the other, and within a pool by position; every candidate gets its
    turn once per round. Needs no key and no score, so it works when those fail.
    """
    pools = eligible.pools
    if not pools:
        return None
    which, at = eligible.cursor
    # The pool at the cursor is looked at twice: from the cursor on, and at the end of the round up to it.
    for offset in range(len(pools) + 1):
        index = (which + offset) % len(pools)
        pool = pools[index]
        pos = pool.next_open(at if offset == 0 else 0)
        while pos >= 0:
            record = pool.members[pos]
            if acceptable(record):
                eligible.cursor = (index, pos + 1)
                return record
            pos = pool.next_open(pos + 1)
    return None
