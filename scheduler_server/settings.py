"""Every setting of the server, composed of its parts', and the named profiles."""

from dataclasses import dataclass, field
from pathlib import Path

from scheduler_server.assignment.settings import AssignmentSettings, CoreSettings
from scheduler_server.fallback.settings import FallbackSettings
from scheduler_server.model.setting import setting
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.registry.settings import HealthSettings, WorkerSettings
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.scorer.settings import ScorerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """What survives a restart, and where."""

    state_folder: str = setting(
        "~/.local/state/scheduler-server",
        "folder of journal and snapshots, made where it is missing; empty: nothing survives a restart",
    )
    snapshot_interval_s: float = setting(
        60.0, "how often what was learned is written", unit="s", minimum=1, maximum=86_400
    )
    journal_flush_s: float = setting(
        0.05,
        "how long leases collect before they are committed together",
        unit="s",
        minimum=0.001,
        maximum=10,
    )


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
    storage: StorageSettings = field(default_factory=StorageSettings)
    log: LogSettings = field(default_factory=LogSettings)
    assignment: AssignmentSettings = field(default_factory=AssignmentSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    predictor: PredictorSettings = field(default_factory=PredictorSettings)
    scorer: ScorerSettings = field(default_factory=ScorerSettings)
    fallback: FallbackSettings = field(default_factory=FallbackSettings)

    def core(self) -> CoreSettings:
        """The core's part."""
        return CoreSettings(
            assignment=self.assignment,
            health=self.health,
            worker=self.worker,
            predictor=self.predictor,
            scorer=self.scorer,
            fallback=self.fallback,
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
