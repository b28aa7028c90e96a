"""The moving average: its formula, its defaults, its bounds, and its way through a snapshot."""

import json
from math import inf, nan, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.model.task import Task
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.predictor.settings import LONGEST_MS, PredictorSettings


def task(task_type: str = "a", category: str = "") -> Task:
    return Task("", "t", 1, task_type, category)


def taught(*durations_ms: float, settings: PredictorSettings | None = None) -> EmaPredictor:
    predictor = EmaPredictor(settings or PredictorSettings())
    for duration_ms in durations_ms:
        predictor.observe(task(), duration_ms)
    return predictor


def test_an_unknown_type_takes_five_seconds_and_nobody_vouches_for_it() -> None:
    prediction = EmaPredictor(PredictorSettings()).predict(task())
    assert (prediction.point_ms, prediction.p90_ms, prediction.confidence, prediction.sample_count) == (
        5_000,
        5_000,
        0,
        0,
    )


@pytest.mark.parametrize(
    ("durations_ms", "average_ms"),
    [
        ((1_000.0,), 1_000.0),
        ((1_000.0, 2_000.0), 0.3 * 2_000 + 0.7 * 1_000),
        ((1_000.0, 2_000.0, 500.0), 0.3 * 500 + 0.7 * 1_300),
        ((4_000.0,) * 20, 4_000.0),
    ],
)
def test_the_average_moves_by_three_tenths(durations_ms: tuple[float, ...], average_ms: float) -> None:
    assert taught(*durations_ms).predict(task()).point_ms == pytest.approx(average_ms)


@given(st.lists(st.floats(0.001, 1e9), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_the_average_and_its_spread_are_those_of_the_plain_formula(durations_ms: list[float], alpha: float) -> None:
    mean, variance = durations_ms[0], 0.0
    for duration_ms in durations_ms[1:]:
        variance = (1 - alpha) * (variance + alpha * (duration_ms - mean) ** 2)
        mean = alpha * duration_ms + (1 - alpha) * mean
    prediction = taught(*durations_ms, settings=PredictorSettings(ema_alpha=alpha)).predict(task())
    assert prediction.point_ms == prediction.mean_ms == pytest.approx(mean)
    assert prediction.p90_ms == pytest.approx(mean + 1.2816 * sqrt(variance), rel=1e-6)
    assert prediction.sample_count == len(durations_ms)
    assert 0.0 < prediction.confidence < 1.0


def test_confidence_grows_with_outcomes_and_falls_with_their_spread() -> None:
    few, many = taught(*[1_000.0] * 5).predict(task()), taught(*[1_000.0] * 50).predict(task())
    assert few.confidence == pytest.approx(0.5)
    assert many.confidence > few.confidence
    assert taught(*[100.0, 10_000.0] * 25).predict(task()).confidence < many.confidence


def test_the_default_is_that_of_the_type_then_of_the_category_then_of_all() -> None:
    predictor = EmaPredictor(
        PredictorSettings(default_ms=1.0, type_defaults_ms={"a": 2.0}, category_defaults_ms={"bug": 3.0})
    )
    assert predictor.predict(task("a", "bug")).point_ms == 2.0
    assert predictor.predict(task("b", "bug")).point_ms == 3.0
    assert predictor.predict(task("b", "chore")).point_ms == 1.0


def test_the_first_outcome_takes_the_place_of_the_default() -> None:
    predictor = EmaPredictor(PredictorSettings(type_defaults_ms={"a": 9_000.0}))
    predictor.observe(task(), 100.0)
    assert predictor.predict(task()).point_ms == 100.0


def test_types_do_not_mix() -> None:
    predictor = taught(100.0)
    predictor.observe(task("b"), 900.0)
    assert (predictor.predict(task("a")).point_ms, predictor.predict(task("b")).point_ms) == (100.0, 900.0)


def test_the_type_that_learned_nothing_for_longest_is_forgotten_first() -> None:
    predictor = EmaPredictor(PredictorSettings(max_types=2))
    for name in ("a", "b", "a", "c"):
        predictor.observe(task(name), 100.0)
    assert predictor.evicted == 1
    assert [predictor.predict(task(name)).sample_count for name in ("a", "b", "c")] == [2, 0, 1]


@given(st.dictionaries(st.text(min_size=1), st.lists(st.floats(0.001, 1e9), min_size=1, max_size=5), max_size=5))
def test_what_it_knows_survives_a_snapshot(known: dict[str, list[float]]) -> None:
    before, after = EmaPredictor(PredictorSettings()), EmaPredictor(PredictorSettings())
    for name, durations_ms in known.items():
        for duration_ms in durations_ms:
            before.observe(task(name), duration_ms)
    for record in before.state():
        after.restore(json.loads(json.dumps(record)))
    for name in known:
        assert after.predict(task(name)) == before.predict(task(name))
        before.observe(task(name), 5.0)
        after.observe(task(name), 5.0)
        assert after.predict(task(name)) == before.predict(task(name))


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": 1}, {"type": None}, {"mean_ms": 0.0}, {"mean_ms": -1.0}, {"mean_ms": nan}, {"mean_ms": inf},
        {"mean_ms": LONGEST_MS * 1.01}, {"mean_ms": "1"}, {"variance": -0.1}, {"variance": nan}, {"variance": inf},
        {"samples": 0}, {"samples": 1.5}, {"samples": None},
    ],
)  # fmt: skip
def test_a_record_that_is_none_is_refused_and_changes_nothing(wrong: dict[str, object]) -> None:
    predictor = EmaPredictor(PredictorSettings())
    with pytest.raises(ValueError, match="not an ema record"):
        predictor.restore({"type": "a", "mean_ms": 1.0, "variance": 0.0, "samples": 1, **wrong})
    assert predictor.predict(task()).sample_count == 0
