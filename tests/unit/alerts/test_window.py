"""A count over the last while."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.alerts.window import Rise


@pytest.mark.parametrize(("after_s", "rose"), [(0.0, 4), (59.9, 4), (60.0, 0), (60.1, 0)])
def test_what_rose_leaves_the_window_when_it_is_as_old_as_that(after_s: float, rose: int) -> None:
    rise = Rise(60.0, 0.0)
    assert rise.over(100.0, 4) == 4
    assert rise.over(100.0 + after_s, 4) == rose


def test_what_rose_before_the_first_look_counts() -> None:
    assert Rise(60.0, 0.0).over(5.0, 3) == 3


def test_looks_further_apart_than_the_window_tell_what_rose_between_them() -> None:
    rise = Rise(1.0, 0.0)
    assert [rise.over(at, count) for at, count in ((5.0, 1), (10.0, 1), (15.0, 7), (20.0, 7))] == [1, 0, 6, 0]


@given(
    st.lists(st.tuples(st.floats(0.0, 40.0), st.integers(0, 5)), max_size=400),
    st.floats(1.0, 200.0),
)
def test_it_is_the_rise_of_the_window_to_a_sixtieth_and_takes_no_more_room(
    steps: list[tuple[float, int]], window_s: float
) -> None:
    rise = Rise(window_s, 0.0)
    seen = [(0.0, 0)]
    for after, more in steps:
        now, count = seen[-1][0] + after, seen[-1][1] + more
        seen.append((now, count))
        told = rise.over(now, count)
        step_s = window_s / 60 + 1e-6
        in_it = count - max(was for at, was in seen[:-1] if at <= max(0.0, now - window_s))
        longest = [was for at, was in seen[:-1] if at <= now - window_s - step_s]
        assert in_it <= told <= count - (longest[-1] if longest else 0)
        assert len(rise._marks) <= 123
