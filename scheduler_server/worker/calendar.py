"""When this worker works, as a program says it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time

from scheduler_api.v1 import worker_pb2

WEEKDAYS = (1, 2, 3, 4, 5)
EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)

MAX_HOURS = 64
MAX_ABSENCES = 366
MAX_REASON_CHARS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """A weekly stretch: on these days (1 Monday to 7 Sunday) from `start` to `end` by the local clock, to the minute.

    It goes on into the next day where `end` is not after `start`, so midnight is the end of a day. `slots`: tasks at
    once in this stretch; None: as many as ever.
    """

    start: time
    end: time
    days: Sequence[int] = WEEKDAYS
    slots: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """From `start` until work begins again. Both have a time zone."""

    start: datetime
    end: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Hours by the clock of a time zone (an IANA name); none: round the clock."""

    time_zone: str
    hours: Sequence[Hours] = ()
    absences: Sequence[Absence] = ()

    def message(self) -> worker_pb2.Calendar:
        """The same on the wire.

        Raises:
            ValueError: the server would refuse it. Whether there is such a time zone only the server knows.
        """
        if not 1 <= len(self.time_zone) <= MAX_REASON_CHARS:
            raise ValueError("calendar.time_zone: the IANA name of a time zone is needed, such as Europe/Berlin")
        for name, values, limit in (("hours", self.hours, MAX_HOURS), ("absences", self.absences, MAX_ABSENCES)):
            if len(values) > limit:
                raise ValueError(f"calendar.{name}: {len(values)} of them, the limit is {limit}")
        made = worker_pb2.Calendar(time_zone=self.time_zone)
        for nth, hours in enumerate(self.hours):
            made.hours.append(_hours(hours, f"calendar.hours[{nth}]"))
        for nth, absence in enumerate(self.absences):
            made.absences.append(_absence(absence, f"calendar.absences[{nth}]"))
        return made


def _hours(hours: Hours, at: str) -> worker_pb2.WorkingHours:
    days = sorted(set(hours.days))
    if not days or days[0] < EVERY_DAY[0] or days[-1] > EVERY_DAY[-1]:
        raise ValueError(f"{at}.days: days are 1 (Monday) to 7 (Sunday), at least one (got {list(hours.days)})")
    if any(each.second or each.microsecond or each.tzinfo for each in (hours.start, hours.end)):
        raise ValueError(f"{at}: whole minutes of the calendar's own clock are needed")
    if hours.slots is not None and hours.slots < 1:
        raise ValueError(f"{at}.slots: {hours.slots} is below 1")
    start, end = (each.hour * 60 + each.minute for each in (hours.start, hours.end))
    made = worker_pb2.WorkingHours(days=days, start_minute=start, end_minute=end or 24 * 60)
    if hours.slots is not None:
        made.slots = hours.slots
    return made


def _absence(absence: Absence, at: str) -> worker_pb2.Absence:
    if absence.start.tzinfo is None or absence.end.tzinfo is None:
        raise ValueError(f"{at}: instants with a time zone are needed")
    if absence.end <= absence.start:
        raise ValueError(f"{at}.end: it must be after {absence.start} (got {absence.end})")
    if len(absence.reason) > MAX_REASON_CHARS:
        raise ValueError(f"{at}.reason: {len(absence.reason)} characters, the limit is {MAX_REASON_CHARS}")
    made = worker_pb2.Absence(reason=absence.reason)
    made.start.FromDatetime(absence.start)
    made.end.FromDatetime(absence.end)
    return made
