"""Judging predictions by what happened."""

import json

import pytest

from scheduler_server.assignment.accuracy import Accuracy, Figures
from scheduler_server.model.prediction import Prediction
from scheduler_server.predictor.settings import PredictorSettings


def prediction(point: float, p90: float | None = None) -> Prediction:
    return Prediction(point, point, point, p90 or 2.0 * point, 0.5, 9, "type=t", "test")


def accuracy(after: int = 20, below: float = 0.25, above: float = 0.4) -> Accuracy:
    return Accuracy(PredictorSettings(distrust_after=after, distrust_below=below, trust_above=above))


def test_with_no_outcome_nothing_is_claimed() -> None:
    assert accuracy().overall() == Figures(0) == accuracy().of_type("t")


def test_the_figures_of_a_handful_are_those_worked_out_by_hand() -> None:
    judge = accuracy()
    for actual in (80.0, 100.0, 125.0, 50.0, 250.0):  # points of 100: ratios 1.25, 1, 0.8, 2, 0.4
        judge.judge("t", prediction(100.0, 200.0), actual)
    figures = judge.overall()
    assert figures == judge.of_type("t")
    assert figures.sample_count == 5
    assert figures.within_25_percent == pytest.approx(3 / 5)  # errors 25, 0, 20, 100, 60 %
    assert figures.within_factor_2 == pytest.approx(4 / 5)
    assert figures.median_relative_error == pytest.approx(0.25)
    assert figures.p50_coverage == pytest.approx(3 / 5)  # 80, 100 and 50 ended within 100
    assert figures.p90_coverage == pytest.approx(4 / 5)
    assert figures.mean_relative_bias == pytest.approx((0.25 + 0 - 0.2 + 1 - 0.6) / 5)


@pytest.mark.parametrize(
    ("point", "close", "near"),
    [
        (75.0, 1, 1),
        (74.9, 1, 0),
        (125.0, 1, 1),
        (125.1, 1, 0),
        (50.0, 1, 0),
        (49.9, 0, 0),
        (200.0, 1, 0),
        (200.1, 0, 0),
    ],
)
def test_the_limits_belong_to_what_they_bound(point: float, close: int, near: int) -> None:
    judge = accuracy()
    judge.judge("t", prediction(point), 100.0)
    assert (judge.overall().within_factor_2, judge.overall().within_25_percent) == (close, near)


def test_a_type_forgets_all_but_its_last_fifty_and_the_whole_all_but_its_last_thousand() -> None:
    judge = accuracy()
    for _ in range(50):
        judge.judge("t", prediction(100.0), 1_000.0)
    for _ in range(49):
        judge.judge("t", prediction(100.0), 100.0)
    assert judge.of_type("t").within_25_percent == pytest.approx(49 / 50)
    judge.judge("t", prediction(100.0), 100.0)
    assert judge.of_type("t")[:3] == (100, 1.0, 1.0)
    assert judge.overall().within_25_percent == pytest.approx(1 / 2)
    for _ in range(1_000 - 50):
        judge.judge("u", prediction(100.0), 100.0)
    assert judge.overall()[:3] == (1_050, 1.0, 1.0)


def test_a_prediction_beyond_all_bounds_is_counted_as_what_it_is() -> None:
    judge = accuracy()
    judge.judge("t", prediction(3e10), 1e-6)
    judge.judge("t", prediction(1e-9), 3e10)
    figures = judge.overall()
    assert (figures.within_factor_2, figures.p50_coverage, figures.p90_coverage) == (0.0, 0.5, 0.5)


def test_trust_is_lost_and_won_only_by_outcomes_enough_and_over_the_limits() -> None:
    judge = accuracy(after=20)
    bad, good = prediction(1.0), prediction(100.0)
    moved = [judge.judge("t", bad, 100.0) for _ in range(19)]
    assert moved == [None] * 19
    assert "t" not in judge.untrusted
    assert judge.judge("t", bad, 100.0) == 0.0
    assert judge.untrusted == {"t"}
    won = None
    good_ones = 0
    while won is None and good_ones < 50:
        good_ones += 1
        won = judge.judge("t", good, 100.0)
    # 14 of 34 are 41 %; 13 of 33 are 39 %.
    assert good_ones == 14
    assert won == pytest.approx(14 / 34)
    assert judge.untrusted == set()


def test_defaults_are_judged_and_cost_nobody_his_trust() -> None:
    """A large fleet that starts cold is full of tasks placed by a default."""
    judge = accuracy(after=4)
    cold, warm = prediction(1.0)._replace(sample_count=2), prediction(100.0)._replace(sample_count=3)
    for _ in range(45):
        assert judge.judge("t", cold, 100.0) is None
    assert judge.of_type("t").within_factor_2 == 0.0
    for _ in range(4):
        assert judge.judge("t", warm, 100.0) is None
    assert judge.of_type("t").within_factor_2 == pytest.approx(4 / 49)
    assert judge.untrusted == set()
    after = accuracy(after=4)
    for record in judge.state():
        after.restore(json.loads(json.dumps(record)))
    bad = prediction(1.0)._replace(sample_count=3)
    moved = [[each.judge("t", bad, 100.0) for _ in range(13)] for each in (judge, after)]
    assert moved[0] == moved[1] == [None] * 12 + [pytest.approx(4 / 17)]


def test_between_the_limits_nothing_changes() -> None:
    judge = accuracy(after=4)
    moved = [judge.judge("t", prediction(100.0 if at % 3 == 0 else 1.0), 100.0) for at in range(300)]  # a third
    assert moved == [None] * 300


def test_one_type_does_not_spoil_another() -> None:
    judge = accuracy(after=4)
    for _ in range(20):
        judge.judge("bad", prediction(1.0), 100.0)
        judge.judge("good", prediction(100.0), 100.0)
    assert judge.untrusted == {"bad"}


def test_types_beyond_the_bound_push_out_the_one_that_was_quiet_longest_and_its_distrust() -> None:
    judge = accuracy(after=1)
    judge.judge("first", prediction(1.0), 100.0)
    judge.judge("second", prediction(100.0), 100.0)
    judge.judge("first", prediction(1.0), 100.0)
    for at in range(9_999):
        judge.judge(f"t{at}", prediction(100.0), 100.0)
    assert len(judge.types()) == 10_000
    assert judge.of_type("second") == Figures(0)
    assert "first" in judge.untrusted
    judge.judge("one more", prediction(100.0), 100.0)
    assert "first" not in judge.untrusted


def test_what_was_judged_survives_a_restart() -> None:
    judge = accuracy(after=10)
    for at in range(1_234):
        judge.judge(f"t{at % 3}", prediction(100.0, 150.0), 100.0 + at % 7 if at % 3 else 1.0)
    after = accuracy(after=10)
    for record in judge.state():
        after.restore(json.loads(json.dumps(record)))
    assert after.untrusted == judge.untrusted == {"t0"}
    assert after.overall() == judge.overall()
    assert [after.of_type(name) for name in after.types()] == [judge.of_type(name) for name in judge.types()]
    for each in (judge, after):  # the windows go on where they were
        each.judge("t1", prediction(100.0), 7.0)
    assert after.of_type("t1") == judge.of_type("t1")
