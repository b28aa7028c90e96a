"""The predictors that remember the last few durations."""

import pytest

from scheduler_server.model.task import Task
from scheduler_server.predictor.last_two import last_two
from scheduler_server.predictor.median import median_of_ten
from scheduler_server.predictor.settings import PredictorSettings

TASK = Task("", "t", 1, "a")


@pytest.mark.parametrize(
    ("durations_ms", "point_ms", "p90_ms"),
    [((100.0,), 100.0, 100.0), ((100.0, 300.0), 200.0, 300.0), ((9_000.0, 100.0, 300.0), 200.0, 300.0)],
)
def test_last_two_is_the_mean_of_the_last_two(durations_ms: tuple[float, ...], point_ms: float, p90_ms: float) -> None:
    predictor = last_two(PredictorSettings())
    for duration_ms in durations_ms:
        predictor.observe(TASK, duration_ms)
    prediction = predictor.predict(TASK)
    assert (prediction.point_ms, prediction.mean_ms, prediction.p90_ms) == (point_ms, point_ms, p90_ms)
    assert (prediction.key, prediction.predictor, prediction.sample_count) == ("type=a", "last_two", len(durations_ms))


@pytest.mark.parametrize(
    ("durations_ms", "point_ms"),
    [((100.0,), 100.0), ((100.0, 300.0), 200.0), (range(1, 11), 5.5), (range(1, 12), 6.5), ((1.0, 1.0, 1e9), 1.0)],
)
def test_median_is_the_median_of_the_last_ten(durations_ms: tuple[float, ...], point_ms: float) -> None:
    predictor = median_of_ten(PredictorSettings())
    for duration_ms in durations_ms:
        predictor.observe(TASK, float(duration_ms))
    assert predictor.predict(TASK).point_ms == predictor.predict(TASK).p50_ms == point_ms


def test_p90_of_ten_is_the_longest_and_of_twenty_that_of_the_last_ten() -> None:
    predictor = median_of_ten(PredictorSettings())
    for duration_ms in [*[9_999.0] * 10, *map(float, range(1, 11))]:
        predictor.observe(TASK, duration_ms)
    assert predictor.predict(TASK).p90_ms == 10.0


def test_confidence_grows_with_what_agrees() -> None:
    steady, wild = last_two(PredictorSettings()), last_two(PredictorSettings())
    for one, other in ((100.0, 100.0), (100.0, 400.0)):
        steady.observe(TASK, one)
        wild.observe(TASK, other)
    assert (steady.predict(TASK).confidence, wild.predict(TASK).confidence) == pytest.approx((2 / 3, 2 / 3 / 4))
