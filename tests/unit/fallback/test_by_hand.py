"""The breaker in an operator's hand."""

from math import inf

import pytest

from scheduler_server.fallback.breaker import ALL, BreakerState, CircuitBreaker
from scheduler_server.fallback.settings import FallbackSettings
from scheduler_server.model.decision import Cause


@pytest.fixture
def breaker() -> CircuitBreaker:
    return CircuitBreaker(FallbackSettings(failure_threshold=2, retry_after_s=10.0))


def test_a_forced_fallback_is_told_before_any_circuit(breaker: CircuitBreaker) -> None:
    breaker.trip(ALL, 0.0, inf)
    breaker.force("a", on=True)
    assert breaker.keeps_out("a", 1.0) is Cause.FORCED_FALLBACK
    assert breaker.keeps_out("b", 1.0) is Cause.BREAKER_OPEN
    breaker.force("a", on=False)
    breaker.untrip(ALL)
    assert breaker.calm
    assert breaker.keeps_out("a", 1.0) is None


def test_a_trip_ends_at_its_instant_even_before_anybody_takes_it_away(breaker: CircuitBreaker) -> None:
    breaker.trip("a", 0.0, 5.0)
    assert breaker.would_keep_out("a", 4.999) is Cause.TYPE_BREAKER_OPEN
    assert breaker.would_keep_out("a", 5.0) is None


def test_what_was_counted_is_there_again_after_a_trip(breaker: CircuitBreaker) -> None:
    breaker.failed("a", 0.0)
    breaker.trip(ALL, 0.0, inf)
    breaker.failed("a", 0.0)  # a trial that was under way
    breaker.untrip(ALL)
    assert breaker.blocks("a", 1.0) == ALL
    assert {(name, state) for name, state, _, _ in breaker.states(1.0)} == {
        (ALL, BreakerState.OPEN),
        ("a", BreakerState.OPEN),
    }


def test_a_reset_closes_and_forgets_and_tells_so(breaker: CircuitBreaker) -> None:
    for _ in range(2):
        breaker.failed("a", 0.0)
    breaker.take_transitions()
    assert breaker.reset("a")
    assert not breaker.reset("a")
    told = breaker.take_transitions()
    assert [(each.circuit, each.after, each.by_hand) for each in told] == [("a", BreakerState.CLOSED, True)]
