"""How the log is doing, for status and metrics."""

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler_server.storage.decision_log.rows import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatus:
    """Counts are of entries since start: a decision with its candidates is one, under `decisions`.

    At every moment `taken + dropped_full` is what was handed over, and `taken` is `written + refused + abandoned +
    pending`. `dropped_full` found no room, `refused` could not be stored for what is in them, `abandoned` waited when
    the log was closed. `healthy` is False from a failure until the next success; `last_error` stays. `last_success_at`
    is a wall second, None before the first. `warnings` were told by the store: the last few. `pid` is the process that
    writes, 0 where it is the server itself, or is not there just now; it was started anew `restarts` times.
    """

    backend: str
    location: str
    taken: int
    pending: int
    written: int
    dropped_full: int
    refused: int
    abandoned: int
    written_by_table: Mapping[Table, int]
    lost_by_table: Mapping[Table, int]
    batches: int
    failures: int
    consecutive_failures: int
    last_error: str | None
    healthy: bool
    oldest_pending_age_s: float
    last_success_at: float | None
    warnings: tuple[str, ...]
    pid: int = 0
    restarts: int = 0

    @property
    def dropped(self) -> int:
        """All that was handed over and is not, and will not be, in the log."""
        return self.dropped_full + self.refused + self.abandoned
