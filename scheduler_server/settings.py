"""Every setting of the server, composed of its parts', and the named profiles."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from scheduler_server.access.settings import AccessSettings, LimitSettings, TlsSettings
from scheduler_server.alerts.settings import AlertSettings
from scheduler_server.assignment.demand_settings import DemandSettings
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.assignment.rebalance_settings import RebalanceSettings
from scheduler_server.assignment.settings import AssignmentSettings, CoreSettings
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.fallback.settings import FallbackSettings
from scheduler_server.history.settings import HistorySettings
from scheduler_server.model.setting import setting
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.registry.admission_settings import EjectionSettings, RampSettings
from scheduler_server.registry.settings import HealthSettings, WorkerSettings
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.scorer.settings import ScorerSettings
from scheduler_server.shadow.settings import ShadowSettings
from scheduler_server.storage.redis_url import RedisUrlError, parse
from scheduler_server.telemetry.settings import MetricsSettings, TraceSettings

_PREFIX = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
"""Of keys in Redis. No braces: those that the keys have decide which node of a cluster keeps them."""

_MISSED_INTERVALS = 3
"""One snapshot may be late and one may fail; after three nobody can call it a hiccup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """What survives a restart, and where."""

    state_folder: str = setting(
        "~/.local/state/scheduler-server",
        "folder of journal and snapshots, made where it is missing; empty: nothing survives a restart",
    )
    snapshot_url: str = setting(
        "",
        "Redis that snapshots go to: redis://, rediss://, unix://, redis+sentinel://host,host/service or "
        "redis+cluster://host,host, with user:password@ where it wants one; empty: a file in the state folder",
        secret=True,
    )
    snapshot_prefix: str = setting(
        "scheduler-server", "what the names of its keys in Redis begin with; each server needs its own"
    )
    snapshot_timeout_s: float = setting(
        5.0, "time for a connection to Redis, and for each answer on it", unit="s", minimum=0.1, maximum=60
    )
    snapshot_interval_s: float = setting(
        60.0, "how often what was learned is written", unit="s", minimum=1, maximum=86_400
    )
    snapshot_max_age_s: float = setting(
        0.0,
        "when nothing was written for so long the status says degraded; 0: three intervals",
        unit="s",
        minimum=0,
        maximum=604_800,
    )
    journal_flush_s: float = setting(
        0.05,
        "how long leases collect before they are committed together",
        unit="s",
        minimum=0.001,
        maximum=10,
    )

    def faults(self) -> Iterable[tuple[str, str]]:
        """A URL or prefix that cannot be used, as (field, message); never with anything of the URL."""
        if self.snapshot_url:
            try:
                parse(self.snapshot_url)
            except RedisUrlError as error:
                yield "snapshot_url", str(error)
        if not _PREFIX.fullmatch(self.snapshot_prefix):
            yield "snapshot_prefix", "must have 1 to 128 letters, digits or any of . _ : / - and nothing else"

    @property
    def max_age_s(self) -> float:
        """`snapshot_max_age_s`, or what its 0 stands for."""
        return self.snapshot_max_age_s or _MISSED_INTERVALS * self.snapshot_interval_s


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How the server logs."""

    level: str = setting("info", "least severe level told", choices=("debug", "info", "warning", "error"))
    format: str = setting("text", "one line of text or of JSON per record, on standard error", choices=("text", "json"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of it."""

    profile: str = setting(
        "default",
        "named set of defaults; slow is for fleets that beat every five minutes",
        choices=("default", "slow"),
    )
    server: ServerSettings = field(default_factory=ServerSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    log: LogSettings = field(default_factory=LogSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    traces: TraceSettings = field(default_factory=TraceSettings)
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
    dispatch: DispatchSettings = field(default_factory=DispatchSettings)
    history: HistorySettings = field(default_factory=HistorySettings)
    shadow: ShadowSettings = field(default_factory=ShadowSettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)

    def core(self) -> CoreSettings:
        """The core's part."""
        return CoreSettings(
            assignment=self.assignment,
            health=self.health,
            worker=self.worker,
            ejection=self.ejection,
            ramp=self.ramp,
            predictor=self.predictor,
            scorer=self.scorer,
            fallback=self.fallback,
            queue=self.queue,
            rebalance=self.rebalance,
            demand=self.demand,
        )


def state_path(settings: StorageSettings) -> Path | None:
    """The state folder, or None where nothing is to survive."""
    return Path(settings.state_folder).expanduser() if settings.state_folder else None


PROFILES: dict[str, dict[str, object]] = {
    "default": {},
    # The worker registry's thresholds of the specification: timely within 10 minutes, degraded until 15, then silent,
    # removed by a cleanup every 5 minutes.
    "slow": {
        "health.healthy_within_s": 600.0,
        "health.unhealthy_after_s": 900.0,
        "health.remove_after_s": 900.0,
        "health.cleanup_interval_s": 300.0,
        "health.heartbeat_min_s": 60.0,
        "health.heartbeat_max_s": 300.0,
    },
}
