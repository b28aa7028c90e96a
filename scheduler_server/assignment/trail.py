"""What became of a task's earlier attempts, where the server itself has placed it again."""

from typing import NamedTuple


class Trail(NamedTuple):
    """Goes with a task from one attempt to the next.

    `losses` are attempts that ended without an outcome (what was only handed back is none), `workers_lost` those whose
    worker was lost while it ran them. `elapsed_s` is the longest that one ran. `avoid` are workers that declined it:
    until `avoid_until` (wall seconds) it goes to others.
    """

    losses: int = 0
    workers_lost: int = 0
    elapsed_s: float = 0.0
    avoid: tuple[str, ...] = ()
    avoid_until: float = 0.0


NO_TRAIL = Trail()
