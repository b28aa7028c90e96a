"""What became of a task's earlier attempts, where the server itself has placed it again."""

from typing import NamedTuple

_MOST_AVOIDED = 16
"""Workers that a task avoids at most: who was declined by more of them is told nothing by their names."""


class Trail(NamedTuple):
    """Goes with a task from one attempt to the next.

    `losses` are attempts that ended without an outcome (what was only handed back is none), `workers_lost` those whose
    worker was lost while it ran them. `elapsed_s` is the longest that one ran. `avoid` are workers that declined it:
    until `avoid_until` (wall seconds) it goes to others. `asked` is the attempt that the caller asked for, whose place
    the later ones take; 0: nobody made another of it. `moves` are attempts that were staged and handed back to be
    rebalanced, the last `moved_at` (wall seconds); `moving`: that was the attempt before this one.
    """

    losses: int = 0
    workers_lost: int = 0
    elapsed_s: float = 0.0
    avoid: tuple[str, ...] = ()
    avoid_until: float = 0.0
    asked: int = 0
    moves: int = 0
    moved_at: float = 0.0
    moving: bool = False

    def covers(self, attempt: int, now: int) -> bool:
        """Has the server itself made the attempt `now` of this one? That is true whether it is still known or not."""
        return 0 < self.asked <= attempt < now

    def avoiding(self, worker_id: str, until: float) -> "Trail":
        """The same, and not to this worker before `until`; to the others, not before then either."""
        others = tuple(name for name in self.avoid if name != worker_id)
        return self._replace(avoid=(*others, worker_id)[-_MOST_AVOIDED:], avoid_until=until)


NO_TRAIL = Trail()
