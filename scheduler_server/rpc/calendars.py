"""Calendars between wire and core. Messages are `Any`: a registration and an operator's request carry the same."""

from math import floor
from typing import Any

from scheduler_api.v1 import worker_pb2
from scheduler_server.model.calendar import (
    DAY_MINUTES,
    MAX_ABSENCES,
    MAX_HOURS,
    UTC,
    Absence,
    Calendar,
    WorkingHours,
    Zone,
)
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.rpc import checks, encode
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.zones import UnknownZone, zone_of

_SUNDAY = 7


def calendar_of(message: Any, at: str, checker: Checker, wall: float, most_slots: int = checks.MAX_SLOTS) -> Calendar:
    """A Calendar read and checked; `at` is its field path, `most_slots` the worker's."""
    return Calendar(
        _zone(message.time_zone, f"{at}.time_zone", checker, wall),
        _hours(message.hours, f"{at}.hours", checker, most_slots),
        _absences(message.absences, f"{at}.absences", checker),
    )


def _zone(name: str, field: str, checker: Checker, wall: float) -> Zone:
    known = len(checker.faults)
    checker.text(field, name, required=True)
    if len(checker.faults) > known:
        return UTC
    try:
        return zone_of(name, wall)
    except UnknownZone as error:
        near = f"; there are {', '.join(error.near)}" if error.near else ""
        checker.fault(field, f'must be the IANA name of a time zone, such as "Europe/Berlin" (got {name!r}){near}')
        return UTC


def _hours(messages: Any, field: str, checker: Checker, most_slots: int) -> tuple[WorkingHours, ...]:
    if len(messages) > MAX_HOURS:
        checker.fault(field, f"has {len(messages):,} entries; the limit is {MAX_HOURS}")
        return ()
    read = []
    for nth, message in enumerate(messages):
        at = f"{field}[{nth}]"
        if not message.days:
            checker.fault(f"{at}.days", "is required: the days on which it begins, 1 Monday to 7 Sunday")
        for place, day in enumerate(message.days[: _SUNDAY + 1]):
            checker.count(f"{at}.days[{place}]", day, 1, _SUNDAY)
        if len(message.days) > _SUNDAY:
            checker.fault(f"{at}.days", f"has {len(message.days):,} entries; the limit is {_SUNDAY}")
        start = checker.count(f"{at}.start_minute", message.start_minute, 0, DAY_MINUTES - 1)
        end = checker.count(f"{at}.end_minute", message.end_minute, 1, DAY_MINUTES)
        slots = None
        if message.HasField("slots"):
            slots = checker.count(f"{at}.slots", message.slots, 1, most_slots)
        read.append(WorkingHours(tuple(sorted(set(message.days))), start, end, slots))
    return tuple(read)


def _absences(messages: Any, field: str, checker: Checker) -> tuple[Absence, ...]:
    if len(messages) > MAX_ABSENCES:
        checker.fault(field, f"has {len(messages):,} entries; the limit is {MAX_ABSENCES}")
        return ()
    read = []
    for nth, message in enumerate(messages):
        at = f"{field}[{nth}]"
        start, end = (_instant(message, name, at, checker) for name in ("start", "end"))
        if start is not None and end is not None and end <= start:
            checker.fault(f"{at}.end", f"must be after start, {start:.3f} (got {end:.3f})")
        checker.text(f"{at}.reason", message.reason)
        read.append(Absence(start or 0.0, end or 0.0, message.reason))
    return tuple(read)


def _instant(message: Any, name: str, at: str, checker: Checker) -> float | None:
    if not message.HasField(name):
        checker.fault(f"{at}.{name}", "is required")
        return None
    given = getattr(message, name)
    known = len(checker.faults)
    instant = checker.instant_s(f"{at}.{name}", given.seconds, given.nanos)
    return instant if len(checker.faults) == known else None


def calendar_message(calendar: Calendar) -> worker_pb2.Calendar:
    """The same on the wire."""
    message = worker_pb2.Calendar()
    fill(message, calendar)
    return message


def fill(message: Any, calendar: Calendar) -> None:
    """Fill a Calendar."""
    message.time_zone = calendar.zone.name
    for days, start, end, slots in calendar.hours:
        hours = message.hours.add(days=days, start_minute=start, end_minute=end)
        if slots is not None:
            hours.slots = slots
    for since, until, reason in calendar.absences:
        absence = message.absences.add(reason=reason)
        for instant, seconds in ((absence.start, since), (absence.end, until)):
            instant.seconds = whole = min(floor(seconds), checks.LAST_SECOND)  # the last one rounds up
            instant.nanos = min(int((seconds - whole) * 1e9), checks.MAX_NANOS)


def fill_shift(message: Any, record: WorkerRecord, wall: float, *, by_operator: bool) -> None:
    """Fill what a Worker says of its hours."""
    if record.registration.accept_within_s is not None:
        encode.set_span(message.accept_within, record.registration.accept_within_s)
    if record.timetable is None:
        return
    fill(message.calendar, record.timetable.calendar)
    message.calendar_set_by_operator = by_operator
    turn = record.timetable.next_turn(wall)
    if turn <= checks.LAST_SECOND:
        encode.set_instant(message.next_shift_change, turn)
