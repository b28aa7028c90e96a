"""Settings of the scorers."""

from dataclasses import dataclass

from scheduler_server.model.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerSettings:
    """How workers are ranked."""

    strategy: str = setting(
        "",
        "which scorer; empty: what assignment.objective says",
        choices=("", "weighted", "capability", "specialist", "earliest_finish"),
    )
    wait_weight: float = setting(0.4, "weighted: weight of the wait term", minimum=0, maximum=1)
    load_weight: float = setting(0.4, "weighted: weight of the load term", minimum=0, maximum=1)
    priority_weight: float = setting(0.2, "weighted: weight of the priority term", minimum=0, maximum=1)
    max_wait_ms: float = setting(
        60_000.0, "weighted: wait at which its term is 0", unit="ms", above=0, maximum=86_400_000
    )
    capacity_weight: float = setting(0.5, "capability: weight of the free share of slots", minimum=0, maximum=1)
    success_weight: float = setting(0.3, "capability: weight of the success rate", minimum=0, maximum=1)
    speed_weight: float = setting(0.2, "capability: weight of the speed", minimum=0, maximum=1)
    specialization_bonus: float = setting(
        0.3, "specialist: added where a specialization names the task's category", minimum=0, maximum=1
    )
    room_weight: float = setting(0.2, "specialist: weight of the free share of slots", minimum=0, maximum=1)
    health_score_floor: float = setting(
        0.5, "specialist: workers with a lower health score are no candidates", minimum=0, maximum=1
    )
