"""Nobody is on shift: who comes next, and when? For refusals and for those who wait."""

from collections.abc import Collection
from typing import NamedTuple

from scheduler_server.model.decision import Rejection
from scheduler_server.registry.eligibility import EligibilityClass
from scheduler_server.registry.fleet import Fleet


class NextShift(NamedTuple):
    """The first worker to come that could take a task, and when: wall seconds, and as its own clock shows it."""

    worker_id: str
    at: float
    clock: str


def next_shift(fleet: Fleet, eligible: EligibilityClass, but: Collection[str] = ()) -> NextShift | None:
    """The next shift of those that are off it, and that nothing else keeps out; None: nobody comes."""
    if not fleet.agenda.used:
        return None
    found = fleet.agenda.next_to_come(eligible.pools, but)
    if found is None:
        return None
    record, at = found
    timetable = record.timetable
    return None if timetable is None else NextShift(record.worker_id, at, timetable.clock(at))


def nobody_on_shift(eligible: EligibilityClass) -> bool:
    """Is there somebody off shift who could take such a task otherwise?"""
    return any(pool.counts[Rejection.OFF_SHIFT] for pool in eligible.pools)


def told(coming: NextShift | None) -> str:
    """Why it is not placed, for people."""
    if coming is None:
        return "nobody who could take it is on shift, and no shift is known to begin"
    return f"nobody who could take it is on shift; worker {coming.worker_id!r} is the first to come, at {coming.clock}"
