"""Settings of the waiting tasks."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from scheduler_server.model.setting import setting


class Objective(NamedTuple):
    """What an objective chooses."""

    order: str
    patience: float
    backlog_patience: float
    scorer: str


OBJECTIVES: dict[str, Objective] = {
    "throughput": Objective("shortest", 100.0, 0.0, "earliest_finish"),
    "latency": Objective("shortest", 3.0, 0.5, "earliest_finish"),
    "even": Objective("fifo", 0.0, 0.0, "capability"),
    "balanced": Objective("shortest", 3.0, 1.0, "weighted"),
}
"""Throughput lets short tasks pass almost freely, latency bounds most what a long one pays for it, even keeps the order
of arrival and spreads the load. docs/simulator.md says what was compared."""

_MOST_WEIGHT = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """How tasks wait."""

    order: str = setting(
        "",
        "which waiting task is next; empty: what assignment.objective says",
        choices=("", "fifo", "priority", "shortest", "fair"),
    )
    patience: float | None = setting(
        None,
        "order shortest: a task is overtaken by nothing that came later than this many times its predicted duration,"
        " and what queue.backlog_patience adds; none: what assignment.objective says",
        minimum=0,
        maximum=1e6,
    )
    backlog_patience: float | None = setting(
        None,
        "order shortest: what the backlog adds to that, as a share of the wait that a task of usual length comes to;"
        " less for shorter ones, twice as much for longer ones; none: what assignment.objective says",
        minimum=0,
        maximum=1e3,
    )
    priority_worth_s: float = setting(
        600.0, "waiting time that the highest priority is worth against the lowest", unit="s", minimum=0, maximum=1e9
    )
    max_length: int = setting(100_000, "tasks that may wait; then they are refused", minimum=0, maximum=1_000_000)
    tenant_share: float = setting(0.5, "share of that which one tenant may have", above=0, maximum=1)
    max_payload_bytes: int = setting(
        256 * 1024 * 1024, "payload that may wait with them", unit="bytes", minimum=0, maximum=64 * 1024**3
    )
    tenant_weights: dict[str, float] = setting({}, "order fair: shares by tenant; 1 where nothing is said")

    @property
    def most_of_one_tenant(self) -> int:
        """Tasks of one tenant that may wait."""
        return max(1, int(self.max_length * self.tenant_share))

    def patience_for(self, objective: str) -> float:
        """The patience that is set, or that of the objective."""
        return OBJECTIVES[objective].patience if self.patience is None else self.patience

    def backlog_patience_for(self, objective: str) -> float:
        """What the backlog adds to it. A patience that was set is all that there is, unless this is set as well."""
        if self.backlog_patience is not None:
            return self.backlog_patience
        return OBJECTIVES[objective].backlog_patience if self.patience is None else 0.0

    def faults(self) -> Iterable[tuple[str, str]]:
        """Weights that are none, as (field, message)."""
        for name, weight in self.tenant_weights.items():
            if not (isfinite(weight) and 0 < weight <= _MOST_WEIGHT):
                yield "tenant_weights", f"{name!r} must be above 0 and at most 1e6 (got {weight:g})"
