"""The last hour: what is summed up, what leaves it, and how evenly work was spread."""

from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.history import hour as hours
from scheduler_server.history.busy import Stretch
from scheduler_server.history.hour import MINUTES, Hour, Spread

WALL_S = 1_800_000_000.0


def done(busy_s: float, present_s: float, completed: int = 0, failed: int = 0) -> Stretch:
    return Stretch(60.0, busy_s, present_s, completed, failed)


def spread(hour: Hour, minutes: int = MINUTES, only: list[str] | None = None) -> Spread:
    last = len(hour.minutes) - 1
    found = list(hour.spread(hour.columns(max(0, last - minutes + 1), last), only))[-1]
    assert found is not None
    return found


def test_an_hour_of_nothing_says_nothing() -> None:
    assert spread(Hour(WALL_S)) == Spread()


def test_one_worker_has_a_utilisation_and_no_spread() -> None:
    hour = Hour(WALL_S)
    hour.add("w", done(30.0, 120.0))
    assert spread(hour) == Spread(0.25, None, None, 30.0, 120.0)


def test_a_worker_without_slots_is_no_part_of_the_spread() -> None:
    hour = Hour(WALL_S)
    hour.add("a", done(30.0, 60.0))
    hour.add("b", done(30.0, 60.0))
    hour.add("drained", done(0.0, 0.0))
    assert spread(hour) == Spread(0.5, 0.0, 1.0, 60.0, 120.0)


@given(st.lists(st.tuples(st.integers(0, 600), st.integers(1, 600)), min_size=2, max_size=12))
def test_spread_is_what_a_plain_second_version_says(workers: list[tuple[int, int]]) -> None:
    hour = Hour(WALL_S)
    for number, (busy, present) in enumerate(workers):
        hour.add(f"w{number}", done(min(busy, present), present))
    shares = [min(busy, present) / present for busy, present in workers]
    found = spread(hour)
    assert found.utilization == pytest.approx(
        sum(min(busy, present) for busy, present in workers) / sum(present for _, present in workers)
    )
    if not any(shares):
        assert (found.spread, found.max_over_mean) == (None, None)
        return
    assert found.spread == pytest.approx(pstdev(shares) / fmean(shares), abs=1e-5)
    assert found.max_over_mean == pytest.approx(max(shares) / fmean(shares))


def test_what_was_before_the_minutes_asked_about_does_not_count() -> None:
    hour = Hour(WALL_S)
    for minute in range(5):
        hour.add("w", done(60.0 if minute < 3 else 0.0, 60.0))
        if minute < 4:
            hour.begin(WALL_S + 60.0 * (minute + 1))
    assert spread(hour, 2).utilization == 0.0
    assert spread(hour, 3).utilization == pytest.approx(1 / 3)
    assert spread(hour).utilization == pytest.approx(3 / 5)


@pytest.mark.parametrize(("minutes_later", "known"), [(MINUTES - 1, True), (MINUTES, False)])
def test_a_minute_leaves_after_an_hour(minutes_later: int, known: bool) -> None:
    hour = Hour(WALL_S)
    hour.add("w", done(60.0, 60.0, completed=3, failed=1))
    for minute in range(minutes_later):
        hour.begin(WALL_S + 60.0 * (minute + 1))
    assert len(hour.minutes) == min(MINUTES, minutes_later + 1)
    assert spread(hour).utilization == (1.0 if known else None)
    found = hour.of_worker("w", hour.columns(0, len(hour.minutes) - 1))
    assert found is not None
    assert (found.completed, found.failed) == ((3, 1) if known else (0, 0))


def test_the_place_of_a_worker_that_left_is_used_again_an_hour_later_and_not_before() -> None:
    hour = Hour(WALL_S)
    hour.add("old", done(60.0, 60.0))
    hour.leave("old")
    for minute in range(MINUTES - 1):
        hour.begin(WALL_S + 60.0 * (minute + 1))
    assert hour.workers() == ["old"]
    hour.begin(WALL_S + 60.0 * MINUTES)
    assert hour.workers() == []
    hour.add("new", done(0.0, 60.0))
    assert spread(hour) == Spread(0.0, None, None, 0.0, 60.0)


def test_a_worker_that_left_and_came_back_keeps_its_place() -> None:
    hour = Hour(WALL_S)
    hour.add("w", done(60.0, 60.0))
    hour.leave("w")
    for minute in range(MINUTES):
        hour.begin(WALL_S + 60.0 * (minute + 1))
        hour.add("w", done(30.0, 60.0))
    assert spread(hour).utilization == 0.5


def test_more_workers_than_there_is_room_for_at_first_are_all_kept() -> None:
    hour = Hour(WALL_S)
    for number in range(3_000):
        hour.add(f"w{number:04}", done(float(number % 2) * 60.0, 60.0))
    found = spread(hour)
    assert (found.utilization, found.max_over_mean) == (0.5, 2.0)
    assert found.spread == pytest.approx(1.0)
    assert spread(hour, only=["w0001", "w0003", "nobody"]) == Spread(1.0, 0.0, 1.0, 120.0, 120.0)


def test_workers_beyond_the_bound_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hours, "MOST_WORKERS", 2)
    hour = Hour(WALL_S)
    for name in "abcc":
        hour.add(name, done(60.0, 60.0))
    assert hour.workers() == ["a", "b"]
    assert hour.left_out == 2
