"""When asking again is worth it: by numbers, without a clock."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.client.patience import FIRST_PAUSE_S, MAX_PAUSE_S, SPREAD_RATIO, Patience

SECOND = timedelta(seconds=1)
spans = st.timedeltas(min_value=timedelta(), max_value=timedelta(days=1))
chances = st.floats(min_value=0, max_value=1, exclude_max=True)


def patience(limit: timedelta, chance: float = 0.0) -> Patience:
    return Patience(limit, now_s=100.0, chance=lambda: chance)


@pytest.mark.parametrize(
    ("limit_s", "expected"), [(2.999, None), (3.0, 3.0), (3.001, 3.0)], ids=["below", "at", "above"]
)
def test_a_pause_may_end_with_the_patience_but_not_after(limit_s: float, expected: float | None) -> None:
    assert patience(timedelta(seconds=limit_s)).pause_s(3 * SECOND, now_s=100.0) == expected


def test_time_that_calls_took_counts() -> None:
    assert patience(10 * SECOND).pause_s(3 * SECOND, now_s=107.0) == 3.0
    assert patience(10 * SECOND).pause_s(3 * SECOND, now_s=107.1) is None


def test_no_patience_allows_no_pause() -> None:
    assert patience(timedelta()).pause_s(timedelta(), now_s=100.0) is None
    assert patience(timedelta()).pause_s(None, now_s=100.0) is None


def test_a_server_that_says_now_is_not_asked_in_a_tight_loop() -> None:
    assert patience(60 * SECOND).pause_s(timedelta(), now_s=100.0) == FIRST_PAUSE_S


def test_without_a_told_instant_pauses_double_up_to_a_limit() -> None:
    asked = patience(60 * SECOND, chance=1.0)
    pauses = [asked.pause_s(None, now_s=100.0) for _ in range(7)]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, MAX_PAUSE_S, MAX_PAUSE_S]


@given(told=spans, chance=chances)
def test_nobody_comes_before_the_told_instant_nor_much_later(told: timedelta, chance: float) -> None:
    pause_s = patience(timedelta(days=9), chance).pause_s(told, now_s=100.0)
    assert pause_s is not None
    assert told.total_seconds() <= pause_s
    assert pause_s <= max(told.total_seconds(), FIRST_PAUSE_S) * (1 + SPREAD_RATIO)


@given(limit=spans, told=st.lists(st.none() | spans, max_size=20), chance=chances)
def test_no_pause_ends_after_the_patience(limit: timedelta, told: list[timedelta | None], chance: float) -> None:
    asked, now_s = patience(limit, chance), 100.0
    for retry_after in told:
        pause_s = asked.pause_s(retry_after, now_s=now_s)
        if pause_s is None:
            break
        assert pause_s > 0
        now_s += pause_s
        assert now_s <= 100.0 + limit.total_seconds()
