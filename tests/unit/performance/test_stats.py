"""The statistics that every benchmark's figures go through."""

import numpy as np
import pytest

from tests.performance.stats import OpenLoop, median_interval, quantile


def test_the_interval_of_equal_values_is_that_value() -> None:
    assert median_interval([0.9] * 20) == (0.9, 0.9, 0.9)


def test_the_median_of_an_even_number_of_values_lies_between_the_middle_two() -> None:
    assert median_interval([1.0, 2.0, 4.0, 8.0]).median == 3.0


def test_one_value_is_its_own_interval() -> None:
    assert median_interval([0.5]) == (0.5, 0.5, 0.5)


def test_no_values_have_no_median() -> None:
    with pytest.raises(ValueError, match="no values"):
        median_interval([])


def test_the_interval_agrees_with_the_exact_order_statistics_of_known_data() -> None:
    # For 25 values the binomial 95 % interval of the median runs from the 8th to the 18th value.
    found = median_interval([float(value) for value in range(1, 26)])
    assert found.median == 13.0
    assert 7.0 <= found.lo <= 9.0
    assert 17.0 <= found.hi <= 19.0


def test_the_same_figures_always_give_the_same_interval() -> None:
    values = [0.8, 0.9, 1.1, 0.7, 0.95]
    assert median_interval(values) == median_interval(list(values))


def test_the_interval_holds_the_true_median_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    samples = [random.lognormal(0.0, 0.2, size=24).tolist() for _ in range(300)]
    held = sum(1 for values in samples if (found := median_interval(values, 500)).lo <= 1.0 <= found.hi)
    assert 0.90 <= held / 300 <= 0.99


def test_the_interval_narrows_with_more_values() -> None:
    random = np.random.default_rng(7)
    few, many = random.normal(1.0, 0.1, size=20).tolist(), random.normal(1.0, 0.1, size=500).tolist()
    narrow, wide = median_interval(many), median_interval(few)
    assert narrow.hi - narrow.lo < (wide.hi - wide.lo) / 2


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, 1.0), (0.01, 1.0), (0.011, 2.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (0.999, 100.0), (1.0, 100.0)],
)
def test_a_quantile_is_the_smallest_value_that_the_share_does_not_exceed(share: float, expected: float) -> None:
    assert quantile([float(value) for value in range(100, 0, -1)], share) == expected


def test_no_values_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


def test_calls_are_due_at_their_instants_and_not_before() -> None:
    plan = OpenLoop(10.0, 100.0, 5)
    assert list(plan.due(9.999)) == []
    assert list(plan.due(10.0)) == [0]
    assert list(plan.due(10.0099)) == []
    assert list(plan.due(10.0201)) == [1, 2]
    assert plan.next_at() == pytest.approx(10.03)
    assert list(plan.due(99.0)) == [3, 4]
    assert plan.next_at() is None


def test_a_call_that_was_sent_late_is_as_slow_as_its_caller_felt() -> None:
    plan = OpenLoop(0.0, 1_000.0, 10)
    assert list(plan.due(0.005)) == [0, 1, 2, 3, 4, 5]
    assert plan.latency(2, 0.006) == pytest.approx(0.004)


def test_a_stall_shows_in_every_call_that_it_held_up() -> None:
    """A server that answers in 1 ms and stops once for 100 ms: a closed loop sees one slow call, callers see 100."""
    plan = OpenLoop(0.0, 1_000.0, 1_000)
    stall_from, stall_to = 0.3, 0.4
    latencies: list[float] = []
    now = 0.0
    while plan.next_at() is not None:
        now += 0.001
        for number in plan.due(now):
            begun = stall_to if stall_from <= now < stall_to else now
            latencies.append(plan.latency(number, begun + 0.001))
    slow = [latency for latency in latencies if latency > 0.002 + 1e-9]
    assert 97 <= len(slow) <= 100
    assert max(slow) == pytest.approx(0.101, abs=0.002)
    assert quantile(latencies, 0.99) > 0.08
