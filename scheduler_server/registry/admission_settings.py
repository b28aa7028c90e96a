"""Settings of who is kept out for failing, and of how slowly newcomers start."""

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler_server.model.setting import setting

_WEEK_S = 604_800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EjectionSettings:
    """When a worker whose tasks fail out of line is given none, and for how long."""

    enabled: bool = setting(True, "eject workers that fail out of line with the same kinds of task elsewhere")
    certainty: float = setting(
        1e6,
        "outcomes that it takes a worker like the others, at least and on average, to be ejected by mistake; a tenth of"
        " it ejects black holes one or two failures earlier",
        unit="outcomes",
        minimum=1e3,
        maximum=1e12,
    )
    tolerated: float = setting(
        0.05,
        "share of failures elsewhere that a worker is held against at least; at 0.05 nobody is ejected who fails less"
        " than about a fifth",
        minimum=0.001,
        maximum=0.5,
    )
    first_s: float = setting(30.0, "how long a worker is out the first time", unit="s", minimum=1, maximum=_WEEK_S)
    growth: float = setting(2.0, "factor of that from each time to the next", minimum=1, maximum=100)
    longest_s: float = setting(1_800.0, "how long it is out at most", unit="s", minimum=1, maximum=_WEEK_S)
    max_share: float = setting(
        0.2,
        "share of the workers that may be out at once, and always one; whoever is beyond it stays, and that is said",
        minimum=0,
        maximum=1,
    )
    trial_tasks: int = setting(
        3,
        "tasks, one at a time, that a worker has to do well after its time before it is in again; one failure, and it"
        " is out longer",
        unit="tasks",
        minimum=1,
        maximum=1_000,
    )
    forget_after_s: float = setting(
        3_600.0,
        "time after which an ejection no longer makes the next one longer",
        unit="s",
        minimum=1,
        maximum=_WEEK_S,
    )

    def faults(self) -> Iterable[tuple[str, str]]:
        """Contradictions between fields, as (field, message)."""
        if self.longest_s < self.first_s:
            yield "longest_s", f"must not be below first_s ({self.first_s:g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class RampSettings:
    """How slowly a worker starts that nobody knows yet, while others can do what it can."""

    over_s: float = setting(
        10.0,
        "time in which a new worker comes to have the use of all its slots; 0: it has from the start",
        unit="s",
        minimum=0,
        maximum=86_400,
    )
    first_share: float = setting(
        0.25, "share of its slots that it begins with, at least one slot", minimum=0, maximum=1
    )
    tasks: int = setting(20, "or sooner, as so many of its tasks succeed", unit="tasks", minimum=1, maximum=1_000_000)
