"""A running task corrects its own estimate."""

from math import exp, isfinite
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.model.prediction import Prediction
from scheduler_server.predictor.remaining import remaining


def prediction(p50: float, p90: float, mean: float | None = None) -> Prediction:
    return Prediction(p50, p50 if mean is None else mean, p50, p90, 0.5, 10, "type=t", "test")


def test_before_it_has_run_what_is_left_is_what_was_predicted() -> None:
    assert remaining(prediction(100.0, 200.0, 120.0), 1.0, 0.0) == (120.0, 100.0, 200.0)


def test_a_worker_of_double_speed_halves_it() -> None:
    assert remaining(prediction(100.0, 200.0, 120.0), 2.0, 0.0) == (60.0, 50.0, 100.0)
    slow, fast = remaining(prediction(100.0, 200.0), 1.0, 80.0), remaining(prediction(200.0, 400.0), 2.0, 80.0)
    assert slow == pytest.approx(fast)


@pytest.mark.parametrize("elapsed", [10.0, 50.0, 100.0, 150.0, 180.0])
def test_up_to_its_p90_it_is_the_log_normal_law_cut_at_the_time_it_has_run(elapsed: float) -> None:
    """Against a million draws of that law, of which those are kept that run longer."""
    draw = Random(7)
    spread = 0.5409  # log(2) / 1.28155: the P90 is twice the P50
    kept = sorted(value - elapsed for _ in range(200_000) if (value := 100.0 * exp(draw.gauss(0.0, spread))) > elapsed)
    left = remaining(prediction(100.0, 200.0, 100.0 * exp(spread**2 / 2)), 1.0, elapsed)
    assert left.p50_ms == pytest.approx(kept[len(kept) // 2], rel=0.03)
    assert left.p90_ms == pytest.approx(kept[len(kept) * 9 // 10], rel=0.03)
    assert left.mean_ms == pytest.approx(sum(kept) / len(kept), rel=0.05)


@pytest.mark.parametrize(("p50", "p90"), [(100.0, 100.0), (100.0, 110.0), (100.0, 1_000.0)])
def test_at_twice_its_p90_it_is_taken_to_last_as_long_again(p50: float, p90: float) -> None:
    elapsed = 2.0 * p90
    left = remaining(prediction(p50, p90), 1.0, elapsed)
    assert left.p50_ms == pytest.approx(elapsed, rel=0.01)
    assert left.p90_ms == pytest.approx(5.0 * elapsed, rel=0.01)


def test_an_overrunning_task_is_never_said_to_end_at_once() -> None:
    for elapsed in (150.0, 300.0, 1_000.0, 1e6, 1e12):
        assert remaining(prediction(100.0, 101.0), 1.0, elapsed).p50_ms > 0.1 * elapsed


@given(st.floats(1e-3, 3e10), st.floats(1.0, 1e6), st.floats(0.5, 1e3), st.floats(0.01, 100.0), st.floats(0.0, 1e12))
def test_it_is_finite_and_in_order_for_anything(p50: float, up: float, mean: float, speed: float, ran: float) -> None:
    left = remaining(prediction(p50, p50 * up, p50 * mean), speed, ran)
    assert all(isfinite(value) and value >= 0.0 for value in left)
    assert left.p50_ms <= left.p90_ms * (1 + 1e-9)


@given(st.floats(1.0, 1e6), st.floats(1.0, 50.0), st.floats(0.01, 50.0))
def test_the_predicted_end_never_moves_back_while_it_runs(p50: float, up: float, ran: float) -> None:
    at = ran * p50
    earlier, later = (at + remaining(prediction(p50, p50 * up), 1.0, at).p50_ms for at in (at, at * 1.01))
    assert later >= earlier * (1 - 1e-6)
