"""What the server says of a waiting task, as the demo keeps it: position, expected start, what keeps it from starting.

The server tells instants by the calendar's clock, the workers tell beginnings by the machine's monotonic one. All run
on one machine, so the difference between the two clocks, read when the answer comes, brings both together.
"""

import time
from dataclasses import dataclass
from datetime import datetime

from scheduler_server.client import BlockingReason, Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """`ahead`: tasks that could take the same slots and go first. Instants are monotonic seconds; None: not said."""

    ahead: int
    p50: float | None
    p90: float | None
    blocking: BlockingReason
    detail: str


def clocks_apart_s() -> float:
    """What to add to an instant of the calendar's clock, in seconds since 1970, for one of the monotonic clock."""
    return time.monotonic() - time.time()


def prospect_of(said: Waiting, apart_s: float) -> Prospect:
    """What the server said, with its instants on the monotonic clock."""

    def at(instant: datetime | None) -> float | None:
        return None if instant is None else instant.timestamp() + apart_s

    return Prospect(
        ahead=said.position,
        p50=at(said.expected_start_p50),
        p90=at(said.expected_start_p90),
        blocking=said.blocking,
        detail=said.blocking_detail,
    )
