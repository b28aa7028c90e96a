"""What is counted by the minute: waits of the tasks that were placed, ends of tasks, and how many waited."""

from collections import Counter
from collections.abc import Iterable

from scheduler_server.storage.decision_log.buckets import WAIT_LEAST_MS, bucket, upper

_P99 = 0.99


class Minute:
    """About a minute of the fleet. `began` and `ended` are wall seconds.

    `started` are tasks placed; those of them that waited are in `waits`, by the bucket of their wait, and in
    `waited_ms` with its sum. `waiting_s` is how many tasks waited, summed over the seconds in `counted_s`.
    """

    __slots__ = (
        "began", "completed", "counted_s", "ended", "failed", "started", "waited_ms", "waiting_s", "waits",
    )  # fmt: skip

    def __init__(self, began: float) -> None:
        self.began = self.ended = began
        self.started = self.completed = self.failed = 0
        self.waited_ms = self.waiting_s = self.counted_s = 0.0
        self.waits: Counter[int] = Counter()

    def waited(self, wait_s: float) -> None:
        """A task was placed that had waited for so long."""
        wait_ms = wait_s * 1_000.0
        self.waited_ms += wait_ms
        self.waits[bucket(wait_ms, WAIT_LEAST_MS)] += 1

    @classmethod
    def sum(cls, minutes: Iterable["Minute"]) -> "Minute":
        """Several of them as one, from the first to the last."""
        total: Minute | None = None
        for each in minutes:
            if total is None:
                total = cls(each.began)
            total.ended = each.ended
            for name in ("started", "completed", "failed", "waited_ms", "waiting_s", "counted_s"):
                setattr(total, name, getattr(total, name) + getattr(each, name))
            total.waits.update(each.waits)
        return total or cls(0.0)

    @property
    def mean_waiting(self) -> float | None:
        """Mean number of tasks that waited."""
        return self.waiting_s / self.counted_s if self.counted_s else None

    @property
    def mean_wait_ms(self) -> float | None:
        """Mean wait of the tasks that were placed."""
        return self.waited_ms / self.started if self.started else None

    @property
    def p99_wait_ms(self) -> float | None:
        """At least 99 in 100 of the tasks that were placed waited no longer; at most 19 % too high."""
        counts = dict(self.waits)
        counts[0] = counts.get(0, 0) + max(0, self.started - sum(self.waits.values()))
        return upper(counts, _P99, WAIT_LEAST_MS)
