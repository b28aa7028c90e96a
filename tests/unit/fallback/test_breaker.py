"""Opens after exactly three in a row, tries once after ten seconds, closes on a success; for all and for each type."""

import json

import pytest

from scheduler_server.fallback.breaker import ALL, BreakerState, CircuitBreaker
from scheduler_server.fallback.settings import FallbackSettings


def broken(times: int = 3, at: float = 100.0, task_type: str = "a") -> CircuitBreaker:
    breaker = CircuitBreaker(FallbackSettings())
    for _ in range(times):
        assert breaker.blocks(task_type, at) is None
        breaker.failed(task_type, at)
    return breaker


def states(breaker: CircuitBreaker) -> dict[str, BreakerState]:
    return {name: state for name, state, _, _ in breaker.states(0.0)}


def test_two_failures_leave_it_closed_and_the_third_opens_it() -> None:
    assert broken(2).blocks("a", 100.0) is None
    assert broken(3).blocks("a", 100.0) == ALL
    assert broken(3).blocks("b", 100.0) == ALL


def test_a_success_starts_the_count_anew() -> None:
    breaker = broken(2)
    breaker.succeeded("a")
    assert breaker.calm
    for _ in range(2):
        breaker.failed("a", 100.0)
    assert breaker.blocks("a", 100.0) is None


@pytest.mark.parametrize(("after_s", "blocked"), [(0.0, True), (9.999, True), (10.0, False), (10.001, False)])
def test_the_trial_comes_after_ten_seconds_and_not_before(after_s: float, blocked: bool) -> None:
    assert (broken().blocks("a", 100.0 + after_s) is not None) is blocked


def test_a_trial_that_fails_opens_it_for_another_ten_seconds() -> None:
    breaker = broken()
    assert breaker.blocks("a", 110.0) is None
    breaker.failed("a", 110.0)
    assert breaker.blocks("a", 110.0) == ALL
    assert breaker.blocks("a", 119.999) == ALL
    assert breaker.blocks("a", 120.0) is None


def test_a_trial_that_succeeds_closes_it() -> None:
    breaker = broken()
    assert breaker.blocks("a", 110.0) is None
    assert states(breaker) == {ALL: BreakerState.HALF_OPEN, "a": BreakerState.HALF_OPEN}
    breaker.succeeded("a")
    assert breaker.calm
    assert states(breaker) == {}


def test_a_type_that_fails_alone_is_blocked_alone() -> None:
    breaker = CircuitBreaker(FallbackSettings())
    for _ in range(3):
        breaker.failed("a", 100.0)
        breaker.succeeded("b")
    assert breaker.blocks("a", 100.0) == "a"
    assert breaker.blocks("b", 100.0) is None


def test_one_types_trial_is_not_anothers() -> None:
    breaker = broken()
    assert breaker.blocks("b", 110.0) is None  # a trial of the whole, by b
    breaker.succeeded("b")
    assert states(breaker) == {"a": BreakerState.OPEN}
    assert breaker.blocks("a", 110.0) is None


def test_types_that_failed_are_remembered_up_to_a_bound_and_the_whole_always() -> None:
    breaker = CircuitBreaker(FallbackSettings())
    for number in range(3_000):
        breaker.failed(f"t{number}", 100.0)
    assert len(states(breaker)) <= 1_025
    assert breaker.blocks("new", 100.0) == ALL


@pytest.mark.parametrize("times", [1, 3])
def test_it_survives_a_snapshot_with_the_time_it_was_open(times: int) -> None:
    before, after = broken(times), CircuitBreaker(FallbackSettings())
    for record in before.state(104.0):
        after.restore(json.loads(json.dumps(record)), 7.0)  # another clock
    assert not after.calm
    if times == 1:
        after.failed("a", 7.0)
        assert after.blocks("a", 7.0) is None
        after.failed("a", 7.0)
    assert after.blocks("a", 12.9) == ALL
    assert (after.blocks("a", 13.0) is None) is (times == 3)


def test_a_trial_under_way_is_open_again_after_a_restart() -> None:
    before, after = broken(), CircuitBreaker(FallbackSettings())
    before.blocks("a", 110.0)
    for record in before.state(111.0):
        after.restore(record, 500.0)
    assert states(after)[ALL] is BreakerState.OPEN
    assert after.blocks("a", 500.0) is None
