"""Settings of the policies that decide beside the live one."""

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler_server.model.setting import setting
from scheduler_server.scorer.strategies import SCORERS

CALLER = "caller"
"""The choice that came with the task."""

PLAIN = ("round_robin", "random", "best_of_two", "least_loaded")

NAMES: tuple[str, ...] = (*PLAIN, *SCORERS, CALLER)
"""Every policy there is."""

MOST_POLICIES = 8
"""Each takes its part of the loop's time, and a series of each metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowSettings:
    """Which policies decide beside the live one, and what that may cost."""

    policies: tuple[str, ...] = setting(
        (), f"policies that decide beside the live one and never act, at most {MOST_POLICIES}: {', '.join(NAMES)}"
    )
    loop_share: float = setting(
        0.02,
        "share of the server's time that they may take; decisions that come faster are left out, and counted",
        minimum=0.001,
        maximum=0.5,
    )
    kept: int = setting(
        20_000,
        "comparisons with the live policy kept in memory of each policy, the last ones",
        minimum=100,
        maximum=100_000,
    )

    def faults(self) -> Iterable[tuple[str, str]]:
        """Policies that there are not, as (field, message)."""
        if len(self.policies) > MOST_POLICIES:
            yield "policies", f"has {len(self.policies)} names; the limit is {MOST_POLICIES}"
        seen = set()
        for name in self.policies:
            if name not in NAMES:
                yield "policies", f"there is no policy {name!r}; there are {', '.join(NAMES)}"
            elif name in seen:
                yield "policies", f"{name!r} is named twice"
            seen.add(name)
