"""Next in turn among the workers that may take the task."""

from collections.abc import Callable

from scheduler_server.registry.eligibility import EligibilityClass
from scheduler_server.registry.record import WorkerRecord

NAME = "round_robin"


def next_in_turn(eligible: EligibilityClass, acceptable: Callable[[WorkerRecord], bool]) -> WorkerRecord | None:
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
