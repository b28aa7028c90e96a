"""Working hours as people write and read them: "mon-fri 9:00-17:00" and back."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from scheduler_api.v1 import worker_pb2
from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.figures import seconds_of

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY = {"daily": range(7), "weekdays": range(5), "weekends": range(5, 7)}
_CLOCK = re.compile(r"([0-9]{1,2})(?::([0-9]{2}))?")
_DAY_MINUTES = 1_440

WORDS = '"mon-fri 9:00-17:00", "sat,sun 22-6", "daily 0-24 slots 2"'


def hours_of(said: str) -> worker_pb2.WorkingHours:
    """One stretch, such as those in `WORDS`. Raises Asked where it is none."""
    words = said.lower().split()
    slots = None
    if len(words) == 4 and words[2] == "slots" and words[3].isdigit() and len(words[3]) < 10:  # noqa: PLR2004 -- fits int32
        slots = int(words[3])
        words = words[:2]
    if len(words) != 2:  # noqa: PLR2004 -- days and hours
        raise Asked(f"calendar: {said!r} are no hours; write them as {WORDS}")
    start, dash, end = words[1].partition("-")
    first, last = _minute(start), _minute(end)
    days = _days(words[0])
    if not days or not dash or first is None or last is None:
        raise Asked(f"calendar: {said!r} are no hours; write them as {WORDS}")
    made = worker_pb2.WorkingHours(days=days, start_minute=first, end_minute=last)
    if slots is not None:
        made.slots = slots
    return made


def _minute(said: str) -> int | None:
    found = _CLOCK.fullmatch(said)
    if found is None or int(found[2] or 0) > 59:  # noqa: PLR2004 -- minutes of an hour
        return None
    minute = int(found[1]) * 60 + int(found[2] or 0)
    return minute if minute <= _DAY_MINUTES else None


def _days(said: str) -> list[int]:
    """Numbers of days, 1 Monday to 7 Sunday; none where they are not days."""
    if said in _EVERY:
        return [day + 1 for day in _EVERY[said]]
    days: set[int] = set()
    for part in said.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            return []
        start = DAYS.index(first)
        length = (DAYS.index(last) - start) % 7 if dash else 0  # fri-mon goes over the weekend
        days.update((start + more) % 7 + 1 for more in range(length + 1))
    return sorted(days)


def absence_of(said: str, zone: str) -> worker_pb2.Absence:
    """One such as "2026-12-24", "2026-07-06..2026-07-26" (both days included), or two instants, by the zone's clock.

    After a blank comes the reason. Raises Asked where it is none.
    """
    span, _, reason = said.strip().partition(" ")
    first, dots, last = span.partition("..")
    start, end = _instant(first, zone, said), _instant(last if dots else first, zone, said)
    if "T" not in (last if dots else first):
        end = _next_day(end)
    made = worker_pb2.Absence(reason=reason.strip())
    made.start.FromDatetime(start.astimezone(UTC))
    made.end.FromDatetime(end.astimezone(UTC))
    return made


def _instant(said: str, zone: str, whole: str) -> datetime:
    try:
        moment = datetime.fromisoformat(said)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=_zone(zone))
    except (ValueError, OverflowError):
        raise Asked(
            f'calendar: {whole!r} is no absence; write it as "2026-12-24", "2026-07-06..2026-07-26 leave" or'
            ' "2026-07-06T12:00..2026-07-08T09:00"'
        ) from None


def _next_day(moment: datetime) -> datetime:
    return moment + timedelta(days=1)  # by the clock on the wall: a day is as long as it is


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Asked(f"calendar: unknown time zone {name!r}; write an IANA name, such as Europe/Berlin") from None


# ---------------------------------------------------------------------- read


def hours_text(hours: worker_pb2.WorkingHours) -> str:
    """The same in words."""
    slots = f" slots {hours.slots}" if hours.HasField("slots") else ""
    return f"{_days_text(hours.days)} {_clock(hours.start_minute)}-{_clock(hours.end_minute)}{slots}"


def _days_text(days: Iterable[int]) -> str:
    has = sorted({day for day in days if 1 <= day <= len(DAYS)})
    if has == list(range(1, 8)):
        return "daily"
    runs: list[list[int]] = []
    for day in has:
        if runs and day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    texts = [
        f"{DAYS[run[0] - 1]}-{DAYS[run[-1] - 1]}" if len(run) > 2 else ",".join(DAYS[day - 1] for day in run)  # noqa: PLR2004 -- two days are listed
        for run in runs
    ]
    return ",".join(texts)


def _clock(minute: int) -> str:
    return f"{minute // 60}:{minute % 60:02}"


def absence_text(absence: worker_pb2.Absence, zone: str) -> str:
    """An absence by the zone's clock."""
    start, end = (_shown(seconds_of(each), zone) for each in (absence.start, absence.end))
    return f"{start} to {end}" + (f": {absence.reason}" if absence.reason else "")


def _shown(wall: float, zone: str) -> str:
    try:
        clock = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        clock = ZoneInfo("UTC")
    try:
        return f"{datetime.fromtimestamp(wall, clock):%Y-%m-%d %H:%M %Z}"
    except (ValueError, OverflowError):
        return "-"


def calendar_text(calendar: worker_pb2.Calendar) -> str:
    """All of a calendar but its absences, on one line."""
    stretches = "; ".join(map(hours_text, calendar.hours)) or "round the clock"
    away = len(calendar.absences)
    absences = f"; {away} absence{'s' if away != 1 else ''}" if away else ""
    return f"{stretches} {calendar.time_zone}{absences}"
