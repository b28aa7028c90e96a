"""What is counted by the minute."""

import pytest

from scheduler_server.history.minute import Minute


def test_a_minute_in_which_nothing_happened_says_nothing() -> None:
    minute = Minute(5.0)
    assert (minute.mean_waiting, minute.mean_wait_ms, minute.p99_wait_ms) == (None, None, None)


def test_tasks_that_did_not_wait_count_in_the_mean_and_the_quantile() -> None:
    minute = Minute(0.0)
    minute.started = 200
    minute.waited(4.0)
    assert minute.mean_wait_ms == pytest.approx(20.0)
    assert minute.p99_wait_ms == 0.0
    minute.started = 50
    assert 4_000.0 <= (minute.p99_wait_ms or 0.0) <= 4_000.0 * 1.19


def test_minutes_add_up() -> None:
    one, other = Minute(0.0), Minute(60.0)
    one.ended, other.ended = 60.0, 90.0
    one.started, one.completed, one.failed, one.waiting_s, one.counted_s = 10, 7, 1, 30.0, 60.0
    other.started, other.completed, other.waiting_s, other.counted_s = 10, 2, 0.0, 30.0
    other.waited(1.0)
    total = Minute.sum([one, other])
    assert (total.began, total.ended, total.started, total.completed, total.failed) == (0.0, 90.0, 20, 9, 1)
    assert total.mean_waiting == pytest.approx(1 / 3)
    assert total.mean_wait_ms == pytest.approx(50.0)
