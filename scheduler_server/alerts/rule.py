"""One rule: what is watched, from where on it is trouble, and what to do then."""

from dataclasses import dataclass
from enum import Enum, IntEnum


class Severity(IntEnum):
    """How bad something is, by the contract's numbers."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3


class AlertState(IntEnum):
    """Where an alert stands, by the contract's numbers."""

    PENDING = 1
    RAISED = 2
    CLEARED = 3


class About(Enum):
    """What an alert's subject names; an alert of the whole has none."""

    WHOLE = "the whole"
    WORKER = "each worker"
    TASK_TYPE = "each task type"
    STORE = "each store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of `rules.RULES`.

    It is seen at `threshold` and beyond, raised once that has lasted `for_s` seconds, and well at `clear_threshold` and
    beyond in the other direction. `less_is_worse` turns the directions round. `most` is the greatest value that its
    figure, and so a limit, can have. `has_part`: GetStatus names the trouble among its degraded parts anyway.
    """

    name: str
    severity: Severity
    unit: str
    threshold: float
    clear_threshold: float
    for_s: float
    meaning: str
    advice: str
    about: About = About.WHOLE
    less_is_worse: bool = False
    most: float = 1e9
    has_part: bool = False

    def seen(self, value: float) -> bool:
        """Has it gone as far as the threshold? NaN has not."""
        return value <= self.threshold if self.less_is_worse else value >= self.threshold

    def well(self, value: float) -> bool:
        """Has it come back as far as the clear threshold? NaN has not."""
        return value >= self.clear_threshold if self.less_is_worse else value <= self.clear_threshold

    @property
    def in_order(self) -> bool:
        """Does it clear on the good side of where it is raised? Otherwise one figure would do both."""
        good = self.clear_threshold - self.threshold
        return good > 0 if self.less_is_worse else good < 0
