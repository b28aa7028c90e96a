"""Settings of the core, composed of its parts'."""

from dataclasses import dataclass, field

from scheduler_server.assignment.demand_settings import DemandSettings
from scheduler_server.assignment.queue_settings import OBJECTIVES, QueueSettings
from scheduler_server.assignment.rebalance_settings import RebalanceSettings
from scheduler_server.fallback.settings import FallbackSettings
from scheduler_server.model.setting import setting
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.registry.admission_settings import EjectionSettings, RampSettings
from scheduler_server.registry.settings import HealthSettings, WorkerSettings
from scheduler_server.scorer.settings import ScorerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentSettings:
    """How tasks, leases and their memory are handled."""

    ended_kept: int = setting(
        100_000,
        "ended tasks remembered, for repeated requests and late outcomes",
        minimum=0,
        maximum=10_000_000,
    )
    ended_kept_s: float = setting(900.0, "the same, by age", unit="s", minimum=0, maximum=604_800)
    ack_within_s: float = setting(
        5.0,
        "time for a worker to acknowledge a task handed over on its stream",
        unit="s",
        above=0,
        maximum=3_600,
    )
    max_workers_lost: int = setting(
        3,
        "workers lost while they ran a task after which it is set aside as the likely cause",
        minimum=1,
        maximum=1_000,
    )
    avoid_decliner_s: float = setting(
        30.0,
        "a task that a worker declined goes to other workers for this long, and then to any",
        unit="s",
        minimum=0,
        maximum=86_400,
    )
    drain_stop_within_s: float = setting(
        30.0,
        "time for workers to stop what a drain's deadline cancels; what has not ended then is given up",
        unit="s",
        minimum=0,
        maximum=86_400,
    )
    drains_kept_s: float = setting(
        86_400.0,
        "ended drains are remembered for so long, the last 1,000 of them",
        unit="s",
        minimum=0,
        maximum=31_536_000,
    )
    lease_factor: float = setting(
        5.0,
        "a lease nobody speaks of is lost track of after this many times its predicted P90",
        minimum=1,
        maximum=1e6,
    )
    objective: str = setting(
        "balanced",
        "what order and choice of worker are tuned for, where they are not set themselves",
        choices=("throughput", "latency", "even", "balanced"),
    )
    explained: int = setting(5, "candidates told in full by an explanation", minimum=1, maximum=1_000)
    explain_share: float = setting(
        0.01,
        "share of the decisions that are recorded with an explanation that nobody asked for: every n-th, and one"
        " fallback of each cause per minute; 0 for none",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """All that the core can be told."""

    assignment: AssignmentSettings = field(default_factory=AssignmentSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    ejection: EjectionSettings = field(default_factory=EjectionSettings)
    ramp: RampSettings = field(default_factory=RampSettings)
    predictor: PredictorSettings = field(default_factory=PredictorSettings)
    scorer: ScorerSettings = field(default_factory=ScorerSettings)
    fallback: FallbackSettings = field(default_factory=FallbackSettings)
    queue: QueueSettings = field(default_factory=QueueSettings)
    rebalance: RebalanceSettings = field(default_factory=RebalanceSettings)
    demand: DemandSettings = field(default_factory=DemandSettings)

    @property
    def scorer_name(self) -> str:
        """The scorer that is set, or that of the objective."""
        return self.scorer.strategy or OBJECTIVES[self.assignment.objective].scorer
