"""Who works when: worked examples of daylight saving, and a plain second version that walks every minute."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import inf
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_server.model.calendar import Absence, Calendar, WorkingHours
from scheduler_server.registry.timetable import ALL, OFF, Timetable
from scheduler_server.rpc.zones import zone_of

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)
WEEKDAYS = (1, 2, 3, 4, 5)
MINUTE_S = 60


def wall(text: str, zone: str = "UTC") -> float:
    """An instant told by a local clock; `fold` by a trailing "*" for the second time it shows that."""
    fold = int(text.endswith("*"))
    return datetime.fromisoformat(text.rstrip("*")).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def table(zone: str, *hours: WorkingHours, absences: tuple[Absence, ...] = ()) -> Timetable:
    return Timetable(Calendar(zone_of(zone, wall("2026-06-01")), hours, absences))


def daily(start: int, end: int, slots: int | None = None) -> WorkingHours:
    return WorkingHours(EVERY_DAY, start, end, slots)


def shifts(timetable: Timetable, start: float, count: int) -> Iterator[tuple[float, float]]:
    at = start if timetable.slots_at(start) == OFF else timetable.next_turn(start)
    for _ in range(count):
        begins = timetable.next_turn(at)
        at = timetable.next_turn(begins)
        yield begins, at


# ---------------------------------------------------------------------- worked examples


def test_without_hours_it_works_round_the_clock() -> None:
    always = table(BERLIN)
    assert always.slots_at(wall("2026-03-29T02:30")) == ALL
    assert always.next_change(wall("2026-01-01")) == inf
    assert always.next_turn(wall("2026-01-01")) == inf


def test_office_hours_begin_and_end_by_the_local_clock_in_summer_and_winter() -> None:
    office = table(BERLIN, WorkingHours(WEEKDAYS, 9 * 60, 17 * 60))
    winter, summer = wall("2026-01-12T09:00", BERLIN), wall("2026-07-13T09:00", BERLIN)
    for monday in (winter, summer):
        assert office.slots_at(monday - 1e-3) == OFF
        assert office.slots_at(monday) == ALL
        assert office.slots_at(monday + 8 * 3_600 - 1e-3) == ALL
        assert office.slots_at(monday + 8 * 3_600) == OFF
    assert office.next_turn(wall("2026-01-16T17:00", BERLIN)) == wall("2026-01-19T09:00", BERLIN)
    assert datetime.fromtimestamp(winter, UTC).hour == 8
    assert datetime.fromtimestamp(summer, UTC).hour == 7


def test_what_begins_within_the_hour_that_is_left_out_begins_when_the_clock_jumps() -> None:
    early = table(BERLIN, daily(150, 360))  # 02:30 to 06:00; on 29 March 2026 the clock goes from 02:00 to 03:00
    begins, ends = next(shifts(early, wall("2026-03-29T00:00", BERLIN), 1))
    assert begins == wall("2026-03-29T03:00", BERLIN)
    assert ends == wall("2026-03-29T06:00", BERLIN)


def test_what_ends_within_the_hour_that_is_left_out_ends_when_the_clock_jumps() -> None:
    night = table(BERLIN, daily(22 * 60, 150))
    begins, ends = next(shifts(night, wall("2026-03-28T12:00", BERLIN), 1))
    assert begins == wall("2026-03-28T22:00", BERLIN)
    assert ends == wall("2026-03-29T03:00", BERLIN)
    assert ends - begins == 4 * 3_600


def test_what_lies_within_the_hour_that_is_left_out_is_left_out() -> None:
    short = table(BERLIN, daily(135, 165))
    found = list(shifts(short, wall("2026-03-27T12:00", BERLIN), 2))
    assert [datetime.fromtimestamp(begins, ZoneInfo(BERLIN)).day for begins, _ in found] == [28, 30]


def test_what_begins_or_ends_within_the_hour_that_comes_twice_does_so_the_first_time() -> None:
    night = table(BERLIN, daily(22 * 60, 150))  # on 25 October 2026 the clock goes from 03:00 to 02:00
    _, ends = next(shifts(night, wall("2026-10-24T12:00", BERLIN), 1))
    assert ends == wall("2026-10-25T02:30", BERLIN)
    assert night.slots_at(wall("2026-10-25T02:15*", BERLIN)) == OFF
    early = table(BERLIN, daily(150, 360))
    begins, ends = next(shifts(early, wall("2026-10-24T12:00", BERLIN), 1))
    assert begins == wall("2026-10-25T02:30", BERLIN)
    assert ends - begins == 4.5 * 3_600


def test_a_night_is_as_long_as_it_is() -> None:
    night = table(NEW_YORK, daily(22 * 60, 6 * 60))
    for day, hours in (("2026-03-07", 7), ("2026-10-31", 9), ("2026-07-01", 8)):
        begins, ends = next(shifts(night, wall(f"{day}T12:00", NEW_YORK), 1))
        assert ends - begins == hours * 3_600


def test_half_an_hour_can_come_twice() -> None:
    early = table(LORD_HOWE, daily(105, 180))  # on 5 April 2026 the clock goes from 02:00 to 01:30
    begins, ends = next(shifts(early, wall("2026-04-05T00:00", LORD_HOWE), 1))
    assert ends - begins == 105 * 60


def test_stretches_that_meet_leave_no_hole_on_any_day_of_the_year() -> None:
    rota = table(BERLIN, daily(150, 600), daily(600, 1_320), daily(1_320, 150))
    assert rota.next_change(wall("2026-01-01")) == inf


def test_twenty_four_hours_can_be_written_in_two_ways() -> None:
    for whole in (daily(0, 1_440), daily(540, 540)):
        assert table(BERLIN, whole).next_change(wall("2026-01-01")) == inf


def test_sunday_night_goes_on_into_monday() -> None:
    sunday = table("UTC", WorkingHours((7,), 22 * 60, 6 * 60))
    assert list(shifts(sunday, wall("2026-03-01T12:00"), 1)) == [(wall("2026-03-01T22:00"), wall("2026-03-02T06:00"))]


def test_where_stretches_overlap_the_greater_number_of_slots_counts() -> None:
    rota = table("UTC", daily(480, 960, 2), daily(600, 720, 4), daily(660, 690), daily(900, 1_000, 1))
    told = {480: 2, 600: 4, 660: ALL, 690: 4, 720: 2, 960: 1, 1_000: OFF}
    monday = wall("2026-03-02")
    changes = []
    at = monday
    while (at := rota.next_change(at)) < monday + 86_400:
        changes.append(at)
    assert {(at - monday) / 60: rota.slots_at(at) for at in changes} == told
    assert rota.next_turn(monday + 480 * 60) == monday + 1_000 * 60


def test_an_absence_is_off_from_its_first_instant_until_its_end() -> None:
    away = Absence(wall("2026-07-06T10:00", BERLIN), wall("2026-07-20T10:00", BERLIN), "leave")
    office = table(BERLIN, WorkingHours(WEEKDAYS, 9 * 60, 17 * 60), absences=(away,))
    assert office.slots_at(away.start - 1e-3) == ALL
    assert office.slots_at(away.start) == OFF
    assert office.slots_at(away.end - 1e-3) == OFF
    assert office.slots_at(away.end) == ALL
    assert office.next_turn(wall("2026-07-06T09:30", BERLIN)) == away.start
    assert office.next_turn(away.start) == away.end


def test_after_an_absence_that_ends_at_night_work_begins_in_the_morning() -> None:
    week = Absence(wall("2026-07-06"), wall("2026-07-12T22:00"))
    away = (week, Absence(wall("2026-07-12"), wall("2026-07-13T02:00")))
    office = table("UTC", WorkingHours(WEEKDAYS, 540, 1_020), absences=away)
    assert office.next_turn(wall("2026-07-05")) == wall("2026-07-13T09:00")
    assert office.next_change(wall("2026-07-08")) == wall("2026-07-13T09:00")


def test_slots_that_change_for_ever_are_no_turn() -> None:
    rota = table("UTC", daily(0, 720, 1), daily(720, 1_440, 2))
    assert rota.next_change(wall("2026-03-02")) == wall("2026-03-02T12:00")
    assert rota.next_turn(wall("2026-03-02")) == inf
    away = Absence(wall("2026-05-01"), wall("2026-05-02"))
    rota = table("UTC", daily(0, 720, 1), daily(720, 1_440, 2), absences=(away,))
    assert rota.next_turn(wall("2026-03-02")) == away.start
    assert rota.next_turn(away.start) == away.end
    assert rota.next_turn(away.end) == inf


# ---------------------------------------------------------------------- against a plain second version

ZONES = (BERLIN, NEW_YORK, LORD_HOWE, "Africa/Casablanca", "America/Havana", "Asia/Beirut", "Asia/Kathmandu", "UTC")


class Plain:
    """Walks the minutes of some days, and keeps the latest that the clock on the wall has shown."""

    def __init__(self, zone: str, hours: list[WorkingHours], absences: list[Absence]) -> None:
        self.zone, self.hours, self.absences = ZoneInfo(zone), hours, absences

    def walk(self, start: float, minutes: int) -> list[int]:
        latest = datetime(1, 1, 1)  # noqa: DTZ001 -- what a clock on the wall shows has no zone
        slots = []
        for minute in range(-2 * 1_440, minutes):  # two days before, for what the clock has shown already
            at = start + minute * MINUTE_S
            latest = max(latest, datetime.fromtimestamp(at, self.zone).replace(tzinfo=None))
            if minute >= 0:
                # The clock shows minutes: while it stands still it is just before the next one.
                stands = datetime.fromtimestamp(at, self.zone).replace(tzinfo=None) < latest
                slots.append(self._at(at, latest + timedelta(seconds=59) if stands else latest))
        return slots

    def _at(self, at: float, local: datetime) -> int:
        if any(start <= at < end for start, end, _ in self.absences):
            return OFF
        if not self.hours:
            return ALL
        there = []
        for days, start, end, slots in self.hours:
            for back in (0, 1):
                day = (local - timedelta(days=back)).replace(hour=0, minute=0, second=0)
                ends = end if end > start else end + 1_440
                if day.isoweekday() in days and timedelta(minutes=start) <= local - day < timedelta(minutes=ends):
                    there.append(ALL if slots is None else slots)
        return ALL if ALL in there else max(there, default=OFF)


HOURS = st.builds(
    WorkingHours,
    days=st.sets(st.integers(1, 7), min_size=1).map(lambda days: tuple(sorted(days))),
    start_minute=st.one_of(st.integers(0, 1_439), st.sampled_from([0, 60, 90, 119, 120, 121, 150, 179, 180, 1_439])),
    end_minute=st.one_of(st.integers(1, 1_440), st.sampled_from([1, 60, 90, 120, 150, 179, 180, 181, 1_440])),
    slots=st.one_of(st.none(), st.integers(1, 3)),
)
# Days around changes of these clocks, and others.
DAYS = st.sampled_from(
    ["2026-03-27", "2026-10-23", "2026-03-06", "2026-10-30", "2026-04-03", "2026-10-02", "2026-02-13", "2026-06-01"]
)


@settings(max_examples=60, deadline=None)
@given(zone=st.sampled_from(ZONES), hours=st.lists(HOURS, max_size=3), day=DAYS, data=st.data())
def test_every_minute_is_as_a_plain_second_version_says(
    zone: str, hours: list[WorkingHours], day: str, data: st.DataObject
) -> None:
    start, minutes = wall(day), 4 * 1_440
    minute = st.integers(-1_440, minutes + 1_440)
    absences = [
        Absence(start + first * MINUTE_S, start + (first + length) * MINUTE_S)
        for first, length in data.draw(st.lists(st.tuples(minute, st.integers(1, 2_000)), max_size=2))
    ]
    plain = Plain(zone, hours, absences).walk(start, minutes)
    asked = table(zone, *hours, absences=tuple(absences))
    assert [asked.slots_at(start + at * MINUTE_S) for at in range(minutes)] == plain

    changes = [at for at in range(1, minutes) if plain[at] != plain[at - 1]]
    turns = [at for at in changes if (plain[at] == OFF) != (plain[at - 1] == OFF)]
    for seen, ask in ((changes, asked.next_change), (turns, asked.next_turn)):
        found, at = [], start
        while (at := ask(at)) < start + minutes * MINUTE_S:
            found.append((at - start) / MINUTE_S)
        assert found == seen
    later = [start + at * MINUTE_S for at in turns]
    for at in (0, minutes // 3, minutes // 2, minutes // 4, 0):  # as time passes, and goes back
        expected = [turn for turn in later if turn > start + at * MINUTE_S]
        assert asked.turns(start + at * MINUTE_S, 8)[: len(expected)] == expected[:8]


@settings(max_examples=200, deadline=None)
@given(zone=st.sampled_from(ZONES), at=st.integers(int(wall("2025-01-01")), int(wall("2035-12-01"))))
def test_a_zones_table_says_what_its_clock_shows(zone: str, at: int) -> None:
    table = zone_of(zone, wall("2026-06-01"))
    nth = max(place for place, since in enumerate(table.since) if since <= at)
    offset = datetime.fromtimestamp(at, ZoneInfo(zone)).utcoffset()
    assert offset == timedelta(seconds=table.offset_s[nth])


@pytest.mark.parametrize("zone", ZONES)
def test_a_zones_table_changes_to_the_second_when_its_clock_does(zone: str) -> None:
    table = zone_of(zone, wall("2026-06-01"))
    for since, offset_s, before_s in zip(table.since[1:], table.offset_s[1:], table.offset_s, strict=False):
        for at, expected_s in ((since, offset_s), (since - 1, before_s)):
            assert datetime.fromtimestamp(at, ZoneInfo(zone)).utcoffset() == timedelta(seconds=expected_s)
