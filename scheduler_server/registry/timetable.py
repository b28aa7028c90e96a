"""From a calendar to instants: who works when, and until when.

Hours go by **a local clock that never goes back**: what a clock on the wall shows, except that in the hour that comes
twice it stands still until it is right again. Of that follows all that daylight saving asks:

    a gap       (02:00 is followed by 03:00)  what begins or ends at 02:30 does so when the clock jumps
    an overlap  (03:00 is followed by 02:00)  what begins or ends at 02:30 does so the first time that it is 02:30

So each stretch begins once and ends once, one that ends where another begins leaves neither a hole nor an overlap, and
a night's work is as long as the night is. Where stretches overlap, the greater number of slots counts.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from datetime import datetime, timedelta, timezone
from math import inf

from scheduler_server.model.calendar import DAY_MINUTES, Absence, Calendar, WorkingHours

ALL = -1
"""Slots of a stretch that does not number them."""

OFF = 0

_DAY_S = DAY_MINUTES * 60
_WEEK_S = 7 * _DAY_S
_MONDAY_S = 3 * _DAY_S  # 1970 began on a Thursday: what to add to a local second to count weeks from Mondays

_LARGEST_OFFSET_S = 2 * _DAY_S
"""Further than any clock is from UTC: no zone is beyond 15 hours."""

_WEEKS = 3
"""Weeks that are looked ahead for the next change of hours: one, and two of which a zone may have skipped a day."""


class Timetable:
    """One calendar, ready to be asked. Instants are wall seconds."""

    __slots__ = (
        "_absent_from", "_absent_until", "_offset_s", "_points", "_rests", "_since", "_turns", "_turns_since",
        "_values", "calendar",
    )  # fmt: skip

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar
        self._since = calendar.zone.since
        self._offset_s = calendar.zone.offset_s
        self._points, self._values = _weekly(calendar.hours)
        self._rests = OFF in self._values
        self._absent_from, self._absent_until = _merged(calendar.absences)
        self._turns: list[float] = []  # all that follow `_turns_since`, as far as anybody has asked
        self._turns_since = inf

    # ------------------------------------------------------------------ asked

    def slots_at(self, wall: float) -> int:
        """Slots at an instant: OFF, ALL, or so many."""
        return OFF if self._absent(wall) is not None else self._hours_at(*self._local(wall))

    def next_change(self, wall: float) -> float:
        """The first instant after this one from which on the slots are others; infinity where they stay."""
        slots = self.slots_at(wall)
        at = wall
        for _ in range(2 * len(self._absent_from) + _WEEKS * len(self._points) + 2):
            at = self._next_look(at)
            if at == inf or self.slots_at(at) != slots:
                return at
        return inf

    def next_turn(self, wall: float) -> float:
        """The first instant after this one at which work begins, if it rests now, or ends; infinity: it never does."""
        works = self.slots_at(wall) != OFF
        at = wall
        while True:
            at = self.next_change(at)
            if at == inf or (self.slots_at(at) != OFF) != works:
                return at
            if works and not self._rests and at >= (self._absent_until or (-inf,))[-1]:
                return inf  # the number of slots changes for ever, and never to none

    def turns(self, wall: float, count: int) -> list[float]:
        """The next turns, at most so many. Asked as time passes, it finds one more each time: 12 us a turn."""
        turns = self._turns
        if wall < self._turns_since:
            turns.clear()
        self._turns_since = wall
        del turns[: bisect_right(turns, wall)]
        at = turns[-1] if turns else wall
        while len(turns) < count and (at := self.next_turn(at)) < inf:
            turns.append(at)
        return turns[:count]

    def clock(self, wall: float) -> str:
        """An instant as its local clock shows it, with the offset from UTC, for people."""
        nth = max(0, bisect_right(self._since, wall) - 1)
        zone = timezone(timedelta(seconds=self._offset_s[nth]))
        try:
            shown = datetime.fromtimestamp(wall, zone).isoformat(timespec="minutes")
        except (ValueError, OverflowError):  # beyond the year 9999
            return f"{wall:.0f} s after 1970"
        return f"{shown} ({self.calendar.zone.name})"

    def _next_look(self, wall: float) -> float:
        """The first instant after this one at which something may change."""
        absent_until = self._absent(wall)
        if absent_until is not None:
            return absent_until
        nth = bisect_right(self._absent_from, wall)
        away_from = self._absent_from[nth] if nth < len(self._absent_from) else inf
        return min(away_from, self._next_hours(wall))

    def _absent(self, wall: float) -> float | None:
        """When the absence is over that this instant falls into; None: it is in none."""
        nth = bisect_right(self._absent_from, wall) - 1
        return self._absent_until[nth] if nth >= 0 and wall < self._absent_until[nth] else None

    # ------------------------------------------------------------------ hours

    def _hours_at(self, local: float, before: bool) -> int:
        points = self._points
        if not points:
            return self._values[0]
        second = (local + _MONDAY_S) % _WEEK_S
        nth = bisect_left(points, second) if before else bisect_right(points, second)
        return self._values[nth - 1]

    def _next_hours(self, wall: float) -> float:
        """The first instant after this one from which on the weekly hours say something else."""
        points = self._points
        if not points:
            return inf
        local, before = self._local(wall)
        second = (local + _MONDAY_S) % _WEEK_S
        monday = local - second
        nth = bisect_left(points, second) if before else bisect_right(points, second)
        slots = self._values[nth - 1]
        for _ in range(_WEEKS * len(points)):
            if nth == len(points):
                nth = 0
                monday += _WEEK_S
            at = self._first(monday + points[nth])
            if at > wall and self._hours_at(*self._local(at)) != slots:
                return at
            nth += 1
        return inf

    # ------------------------------------------------------------------ the local clock

    def _local(self, wall: float) -> tuple[float, bool]:
        """What the clock that never goes back shows, in seconds; True: it stands still just before that."""
        since, offset_s = self._since, self._offset_s
        nth = max(0, bisect_right(since, wall) - 1)
        local = wall + offset_s[nth]
        if nth:
            reached = since[nth] + offset_s[nth - 1]
            if local < reached:
                return reached, True
        return local, False

    def _first(self, local: float) -> float:
        """The first instant at which the local clock shows this or later."""
        since, offset_s = self._since, self._offset_s
        nth = max(0, bisect_right(since, local - _LARGEST_OFFSET_S) - 1)
        while nth + 1 < len(since) and since[nth + 1] + offset_s[nth] <= local:
            nth += 1
        at = local - offset_s[nth]
        return max(at, since[nth]) if nth else at


def _weekly(hours: tuple[WorkingHours, ...]) -> tuple[list[int], list[int]]:
    """Seconds of the week from which on other slots are there than before, and these slots.

    Without any second, one value that always holds. The last value holds until the first second of the next week.
    """
    if not hours:
        return [], [ALL]
    begins: dict[int, list[int]] = {0: []}
    ends: dict[int, list[int]] = {}
    for each in hours:
        slots = ALL if each.slots is None else each.slots
        for day in each.days:
            start = (day - 1) * DAY_MINUTES + each.start_minute
            end = (day - 1) * DAY_MINUTES + each.end_minute
            if each.end_minute <= each.start_minute:
                end += DAY_MINUTES
            for first, last in _within_week(start * 60, end * 60):
                begins.setdefault(first, []).append(slots)
                ends.setdefault(last, []).append(slots)
    points: list[int] = []
    values: list[int] = []
    there: Counter[int] = Counter()
    for second in sorted(begins.keys() | ends.keys()):
        there.subtract(ends.get(second, ()))
        there.update(begins.get(second, ()))
        if second == _WEEK_S:
            break
        there = +there
        value = ALL if there[ALL] else max(there, default=OFF)
        if not values or value != values[-1]:
            points.append(second)
            values.append(value)
    if len(values) > 1 and values[0] == values[-1]:  # Sunday's midnight is no change
        del points[0], values[0]
    return (points, values) if len(values) > 1 else ([], values)


def _within_week(start: int, end: int) -> list[tuple[int, int]]:
    """A stretch of the week; two, where it goes from Sunday into Monday."""
    return [(start, end)] if end <= _WEEK_S else [(start, _WEEK_S), (0, end - _WEEK_S)]


def _merged(absences: tuple[Absence, ...]) -> tuple[list[float], list[float]]:
    """Beginnings and ends of absences, in order, without overlaps."""
    since: list[float] = []
    until: list[float] = []
    for start, end, _ in sorted(absences):
        if until and start <= until[-1]:
            until[-1] = max(until[-1], end)
        else:
            since.append(start)
            until.append(end)
    return since, until
