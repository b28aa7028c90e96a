"""What came of the calls of a load."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from scheduler_server.schedctl.bench.latencies import Latencies


class Fault(NamedTuple):
    """Calls that failed alike: the code, and the server's reason ("" where it gave none)."""

    call: str
    code: str
    reason: str


@dataclass(slots=True, kw_only=True)
class Calls:
    """Calls of one method. `spent_s`: the time in which they were made, which others were not made in."""

    taken: Latencies = field(default_factory=Latencies)
    failed: int = 0
    spent_s: float = 0.0

    @property
    def per_second(self) -> float | None:
        """Calls that were answered well, per second; None before any time has passed."""
        return self.taken.count / self.spent_s if self.spent_s else None


@dataclass(slots=True, kw_only=True)
class Tally:
    """All of a run. `unsent`: calls that the rate asked for and that were not made, as all callers were busy.

    `left`: leases that could not be ended. `interrupted`: somebody ended it before its time.
    """

    idle: Calls = field(default_factory=Calls)
    assign: Calls = field(default_factory=Calls)
    end: Calls = field(default_factory=Calls)
    faults: Counter[Fault] = field(default_factory=Counter)
    unsent: int = 0
    left: int = 0
    interrupted: bool = False

    def failed(self, calls: Calls, fault: Fault) -> None:
        """One call was not answered well."""
        calls.failed += 1
        self.faults[fault] += 1

    @property
    def latency_ratio(self) -> float | None:
        """Median time of an Assign, over that of a call that does nothing; None where one of them is not known."""
        assign, idle = self.assign.taken.quantile_s(0.5), self.idle.taken.quantile_s(0.5)
        return assign / idle if assign and idle else None

    @property
    def throughput_ratio(self) -> float | None:
        """Calls per second of tasks (two each), over those of calls that do nothing. As fast as it goes, that is."""
        if not self.idle.per_second or not self.assign.taken.count:
            return None
        return (self.assign.taken.count + self.end.taken.count) / self.assign.spent_s / self.idle.per_second
