"""Time zones by name: the one place that reads their rules, from the system or from the package `tzdata`.

What comes out is a table of offsets for the years around now. The core works with that, reads no files, and replays the
same wherever it runs. Offsets beyond the table are the last one's: a calendar is read anew whenever its worker
registers, and an operator's with each start of the server, so nobody gets there.
"""

from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

from scheduler_server.model.calendar import Calendar, Zone

YEARS_BEFORE, YEARS_AFTER = 1, 10
"""Years that a table covers besides the present one. It takes a millisecond to make, and every worker of a zone shares
it."""

_STEP_S = 7 * 86_400
"""Two changes of one clock are further apart: the shortest that is known of lasted 28 days (Morocco, Ramadan)."""

_GRAIN_S = 60
"""Clocks change at whole minutes."""

_ZONES_KEPT = 1_024
"""More than there are names of zones (about 600), each for this year."""


class UnknownZone(ValueError):
    """There is no such zone; `near` are names that look like it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown time zone {name!r}")
        self.near = tuple(get_close_matches(name, _names(), n=3, cutoff=0.6))


def zone_of(name: str, wall: float) -> Zone:
    """The zone of this name, for the years around an instant. Raises UnknownZone."""
    if name.startswith(_PRIVATE) or name in _NO_PLACES:
        raise UnknownZone(name)  # they mean other things, or nothing, on other machines
    try:
        return _table(name, datetime.fromtimestamp(wall, UTC).year)
    except (LookupError, ValueError, OSError):  # no such name, no name at all, a folder's
        raise UnknownZone(name) from None


def resolved(calendar: Calendar, wall: float) -> Calendar:
    """The calendar with its zone's rules as they are now; as it was where this machine does not know them any more."""
    try:
        return calendar._replace(zone=zone_of(calendar.zone.name, wall))
    except UnknownZone:
        return calendar


@lru_cache(maxsize=_ZONES_KEPT)
def _table(name: str, year: int) -> Zone:
    info = ZoneInfo(name)
    start, end = (int(datetime(at, 1, 1, tzinfo=UTC).timestamp()) for at in (year - YEARS_BEFORE, year + YEARS_AFTER))
    since, offset_s = [start], [_offset_s(info, start)]
    for at in range(start, end, _STEP_S):
        after = _offset_s(info, at + _STEP_S)
        if after == offset_s[-1]:
            continue
        low, high = at, at + _STEP_S  # it changes after `low`, and has at `high`
        while high - low > _GRAIN_S:
            middle = (low + high) // (2 * _GRAIN_S) * _GRAIN_S
            if _offset_s(info, middle) == offset_s[-1]:
                low = middle
            else:
                high = middle
        since.append(high)
        offset_s.append(after)
    return Zone(name, tuple(since), tuple(offset_s))


def _offset_s(info: ZoneInfo, at: int) -> int:
    offset = datetime.fromtimestamp(at, info).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    """What can be meant, as the package lists it: to search the system's folders for it would take long."""
    try:
        return tuple(resources.files("tzdata").joinpath("zones").read_text("utf-8").split())
    except (ModuleNotFoundError, OSError):  # a distribution that leaves the package out has the system's zones
        return ("UTC",)


_PRIVATE = ("posix/", "right/", "SystemV/")
_NO_PLACES = frozenset({"localtime", "posixrules", "Factory"})
