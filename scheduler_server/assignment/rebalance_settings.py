"""Settings of rebalancing."""

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler_server.model.setting import setting

_LEAST_INTERVAL_S = 0.1
"""Below this the rounds of a large fleet would follow each other without a rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebalanceSettings:
    """How often free slots and staged tasks are looked at again, and when a staged task moves."""

    interval_s: float = setting(
        5.0, "how often waiting and staged tasks are looked at again; 0: only when asked", unit="s", minimum=0,
        maximum=3_600,
    )  # fmt: skip
    max_tasks: int = setting(
        10, "tasks placed at most per round, and staged tasks asked back at most", unit="tasks", minimum=1,
        maximum=1_000,
    )  # fmt: skip
    move_staged: bool = setting(True, "move staged tasks that would start sooner elsewhere in these rounds, too")
    least_gain_s: float = setting(
        1.0, "a staged task moves only where it starts sooner by as much", unit="s", minimum=0, maximum=86_400
    )
    least_gain_ratio: float = setting(
        0.2, "and by this share of the wait that is left where it is; each move of a task doubles both", minimum=0,
        maximum=1,
    )  # fmt: skip
    rest_s: float = setting(
        10.0, "time after a move before the same task may move again", unit="s", minimum=0, maximum=86_400
    )
    max_moves: int = setting(3, "moves of one task at most", unit="moves", minimum=0, maximum=100)
    confirm_within_s: float = setting(
        5.0, "time for a worker to hand a task back; then the task stays where it is", unit="s", minimum=0.1,
        maximum=3_600,
    )  # fmt: skip

    def faults(self) -> Iterable[tuple[str, str]]:
        """A round that would follow the one before at once, as (field, message)."""
        if 0 < self.interval_s < _LEAST_INTERVAL_S:
            yield "interval_s", f"must be 0 or at least {_LEAST_INTERVAL_S:g} (got {self.interval_s:g})"
