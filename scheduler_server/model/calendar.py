"""When a worker works: weekly hours by a local clock, and planned absences. `registry/timetable.py` reads them.

A calendar carries what its time zone's clock does, as a table of offsets, so that nobody has to look anything up: the
core reads no files, and an event log replays the same on a machine with other rules of time.
"""

from typing import NamedTuple

MAX_HOURS = 64
"""Weekly stretches of one calendar: nine for each day."""

MAX_ABSENCES = 366
"""Planned absences of one calendar: a year of single days."""

DAY_MINUTES = 1_440


class Zone(NamedTuple):
    """A time zone, for some years: from `since[n]` (wall seconds) on its clock is `offset_s[n]` ahead of UTC.

    `since` rises; before its first instant the first offset holds, after its last the last.
    """

    name: str
    since: tuple[int, ...] = (0,)
    offset_s: tuple[int, ...] = (0,)


UTC = Zone("UTC")


class WorkingHours(NamedTuple):
    """A stretch of work on each of `days` (1 Monday to 7 Sunday, rising), in minutes after local midnight.

    It ends on the next day where `end_minute` is not after `start_minute`. `slots` is None for all that there are.
    """

    days: tuple[int, ...]
    start_minute: int
    end_minute: int
    slots: int | None = None


class Absence(NamedTuple):
    """A planned absence: from `start` to `end`, wall seconds, the end not included."""

    start: float
    end: float
    reason: str = ""


class Calendar(NamedTuple):
    """A worker's hours and absences. Without any hours it works round the clock."""

    zone: Zone
    hours: tuple[WorkingHours, ...] = ()
    absences: tuple[Absence, ...] = ()
