import pytest

from scheduler_server.worker.backoff import Backoff


def ceilings(backoff: Backoff, count: int) -> list[float]:
    return [backoff.next_s() for _ in range(count)]


def test_ceilings_double_from_the_base_up_to_the_cap() -> None:
    highest = Backoff(uniform=lambda _, high: high)
    assert ceilings(highest, 9) == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0])


def test_a_wait_may_be_anything_from_nothing_on() -> None:
    lowest = Backoff(uniform=lambda low, _: low)
    assert ceilings(lowest, 3) == [0.0, 0.0, 0.0]


def test_after_a_session_that_lived_waits_are_short_again() -> None:
    backoff = Backoff(uniform=lambda _, high: high)
    ceilings(backoff, 5)
    backoff.reset()
    assert backoff.next_s() == 0.2


def test_the_longest_wait_is_the_upper_half_of_the_cap_and_stays_long() -> None:
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    backoff = Backoff(uniform=uniform)
    assert backoff.longest_s() == 15.0
    assert backoff.next_s() == 15.0
    assert bounds == [(7.5, 15.0), (0.0, 15.0)]
