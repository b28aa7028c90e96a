"""Settings of the fallback."""

from dataclasses import dataclass

from scheduler_server.model.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackSettings:
    """When predictor and scorer are given up for a while."""

    failure_threshold: int = setting(3, "failures in a row after which the breaker opens", minimum=1, maximum=1_000_000)
    retry_after_s: float = setting(10.0, "time from opening to the trial", unit="s", above=0, maximum=86_400)
