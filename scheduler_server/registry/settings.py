"""Settings of the registry."""

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler_server.model.setting import setting

YEAR_S = 365 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """When a worker counts as healthy, degraded, unhealthy, and when it is forgotten."""

    healthy_within_s: float = setting(30.0, "a heartbeat at most this old is timely", unit="s", above=0, maximum=YEAR_S)
    unhealthy_after_s: float = setting(
        30.0,
        "silence after which a worker gets no tasks; between healthy_within_s and this it is degraded",
        unit="s",
        above=0,
        maximum=YEAR_S,
    )
    remove_after_s: float = setting(
        300.0,
        "silence after which a worker is forgotten and its leases are lost",
        unit="s",
        above=0,
        maximum=YEAR_S,
    )
    lost_after_s: float | None = setting(
        None,
        "silence after which a worker is lost: what it had not begun is placed again, what it had begun follows its"
        " loss policy; none: when it is removed, or would be without health.cleanup",
        unit="s",
        above=0,
        maximum=YEAR_S,
    )
    restart_grace_s: float = setting(
        300.0,
        "after a restart with leases, no worker is lost or removed for this long",
        unit="s",
        minimum=0,
        maximum=YEAR_S,
    )
    degraded_load: float = setting(
        0.9,
        "load from which a worker is degraded: a candidate, but after all healthy ones",
        above=0,
        maximum=1,
    )
    recovered_load: float = setting(
        0.85, "load below which a worker degraded by load is healthy again", minimum=0, maximum=1
    )
    slow_below: float = setting(
        0.2,
        "learned speed below which a worker is a candidate only after those that are healthy and faster, however it"
        " scores; 1 is the fleet's middle; 0: none",
        minimum=0,
        maximum=1,
    )
    cpu_weight: float = setting(0.6, "weight of cpu in the load", minimum=0, maximum=1)
    memory_weight: float = setting(0.4, "weight of memory in the load", minimum=0, maximum=1)
    cleanup: bool = setting(True, "remove silent workers at all")
    cleanup_interval_s: float = setting(
        1.0, "how often silent workers are looked for", unit="s", minimum=0.05, maximum=3_600
    )
    heartbeat_min_s: float = setting(
        1.0, "shortest heartbeat interval asked for", unit="s", minimum=0.05, maximum=3_600
    )
    heartbeat_max_s: float = setting(
        10.0, "longest heartbeat interval asked for", unit="s", minimum=0.05, maximum=3_600
    )
    heartbeats_per_s: float = setting(
        1_000.0, "heartbeats per second of the whole fleet that the interval aims at", above=0, maximum=1e6
    )

    def faults(self) -> Iterable[tuple[str, str]]:
        """Contradictions between fields, as (field, message)."""
        if self.unhealthy_after_s < self.healthy_within_s:
            yield "unhealthy_after_s", f"must not be below healthy_within_s ({self.healthy_within_s:g})"
        if self.remove_after_s < self.unhealthy_after_s:
            yield "remove_after_s", f"must not be below unhealthy_after_s ({self.unhealthy_after_s:g})"
        if self.lost_after_s is not None and self.lost_after_s < self.unhealthy_after_s:
            yield "lost_after_s", f"must not be below unhealthy_after_s ({self.unhealthy_after_s:g})"
        if self.lost_after_s is not None and self.cleanup and self.lost_after_s > self.remove_after_s:
            limit = f"must not be above remove_after_s ({self.remove_after_s:g})"
            yield "lost_after_s", f"{limit}: a worker that is removed is lost"
        if self.recovered_load > self.degraded_load:
            yield "recovered_load", f"must not be above degraded_load ({self.degraded_load:g})"
        if self.heartbeat_max_s < self.heartbeat_min_s:
            yield "heartbeat_max_s", f"must not be below heartbeat_min_s ({self.heartbeat_min_s:g})"
        if self.heartbeat_max_s * 2 > self.unhealthy_after_s:
            yield (
                "heartbeat_max_s",
                f"must be at most half of unhealthy_after_s ({self.unhealthy_after_s:g}), or one lost beat is silence",
            )
        if abs(self.cpu_weight + self.memory_weight - 1.0) > 1e-6:  # noqa: PLR2004 -- float32 noise
            yield "memory_weight", f"must make 1 together with cpu_weight ({self.cpu_weight:g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What a worker has where it does not say."""

    default_slots: int = setting(
        5, "tasks at once on a worker that does not say", unit="tasks", minimum=1, maximum=10_000
    )
    max_workers: int = setting(200_000, "workers known at once; one more is refused", minimum=1, maximum=10_000_000)
    type_specializations: dict[str, tuple[str, ...]] = setting(
        {}, "specializations of workers that name a worker_type and no specializations of their own"
    )
    hand_over_s: float = setting(
        1.0,
        "time a granted task may take to show in a sampled worker's queue_depth",
        unit="s",
        minimum=0,
        maximum=600,
    )
    lost_track_after_s: float = setting(
        600.0,
        "shortest time after which a lease nobody speaks of is taken as lost track",
        unit="s",
        above=0,
        maximum=YEAR_S,
    )
    default_prefetch: int = setting(
        0,
        "tasks staged beyond its slots on a worker that does not say",
        unit="tasks",
        minimum=0,
        maximum=10_000,
    )
    probe_interval_s: float | None = setting(
        30.0,
        "how often a worker that takes tasks from its stream is sent a probe; none: never",
        unit="s",
        above=0,
        maximum=86_400,
    )
    probe_within_s: float = setting(
        30.0,
        "time for a probe to come back in a heartbeat; then the worker gets no tasks until one does",
        unit="s",
        above=0,
        maximum=86_400,
    )
    within_shift: str = setting(
        "start",
        "what of a task has to lie within its worker's shift: only its start; or its predicted end too, by the P50"
        " (end) or the P90 (end_p90) of the prediction",
        choices=("start", "end", "end_p90"),
    )
    hand_over_at_shift_end: bool = setting(
        True, "tasks that a worker has not started when its shift ends go back, and to others"
    )
    max_offers: int = setting(
        256,
        "tasks handed to one worker and not acknowledged; from then on it gets none until it has acknowledged some",
        unit="tasks",
        minimum=1,
        maximum=10_000,
    )
    reconcile_grace_s: float = setting(
        30.0,
        "how long a lease may be missing from its worker's running list before its slot is freed",
        unit="s",
        minimum=0,
        maximum=YEAR_S,
    )
