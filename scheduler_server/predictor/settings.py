"""Settings of the predictors."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

from scheduler_server.model.setting import setting

LONGEST_MS = 365 * 86_400_000.0
"""A year: what is said to last longer is a mistake of units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorSettings:
    """How durations are predicted."""

    strategy: str = setting("adaptive", "which predictor", choices=("adaptive", "ema", "last_two", "median"))
    ema_alpha: float = setting(0.3, "weight of the newest duration in the moving average", above=0, maximum=1)
    default_ms: float = setting(
        5_000.0, "prediction for a type of which nothing is known", unit="ms", above=0, maximum=LONGEST_MS
    )
    type_defaults_ms: dict[str, float] = setting({}, "the same by task type", unit="ms")
    category_defaults_ms: dict[str, float] = setting(
        {}, "the same by task category, where the type has no default of its own", unit="ms"
    )
    max_types: int = setting(
        100_000, "task types remembered; the least recently learned goes first", minimum=1, maximum=10_000_000
    )
    max_keys: int = setting(
        100_000,
        "keys remembered by the adaptive predictor, a type having one or more; rare and old ones go first",
        minimum=1,
        maximum=10_000_000,
    )
    budget_ms: float = setting(
        50.0, "prediction and scoring that take longer count as failures", unit="ms", above=0, maximum=60_000
    )
    stale_after_s: float = setting(
        60.0, "a published prediction older than this counts as a failure", unit="s", above=0, maximum=86_400
    )

    distrust_after: int = setting(
        20, "outcomes of a task type before its predictions can lose trust", minimum=1, maximum=50
    )
    distrust_below: float = setting(
        0.25,
        "a type with a smaller share of predictions within a factor of two is placed by counts instead",
        minimum=0,
        maximum=1,
    )
    trust_above: float = setting(
        0.4, "share above which predictions for such a type are used again", minimum=0, maximum=1
    )

    def faults(self) -> Iterable[tuple[str, str]]:
        """Defaults outside 0 to a year, and limits of trust in the wrong order, as (field, message)."""
        if self.trust_above < self.distrust_below:
            yield (
                "trust_above",
                f"must be at least predictor.distrust_below, {self.distrust_below:g} (got {self.trust_above:g})",
            )
        for field, table in (
            ("type_defaults_ms", self.type_defaults_ms),
            ("category_defaults_ms", self.category_defaults_ms),
        ):
            for name, value in table.items():
                if not (isfinite(value) and 0 < value <= LONGEST_MS):
                    yield (
                        field,
                        f"{name!r} must be above 0 and at most a year, {LONGEST_MS:.0f} (got {value:g})",
                    )
