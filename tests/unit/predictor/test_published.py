"""The table that somebody else fills."""

from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.predictor.published import PublishedPredictor
from scheduler_server.predictor.settings import PredictorSettings

TASK = Task("", "t", 1, "a")


def entry(point_ms: float) -> Prediction:
    return Prediction(point_ms, point_ms, point_ms, point_ms, 0.5, 3, "type=a", "table", 1.0)


def test_what_is_published_goes_before_what_was_learned_and_the_rest_is_asked_behind() -> None:
    behind = EmaPredictor(PredictorSettings())
    table = PublishedPredictor("table", behind)
    table.observe(TASK, 300.0)
    assert table.predict(TASK).point_ms == 300.0
    table.publish([("a", entry(700.0))])
    assert table.predict(TASK) == entry(700.0)
    assert table.predict(TASK._replace(task_type="b")).point_ms == 5_000.0


def test_publishing_replaces_the_entries_that_it_names_and_no_others() -> None:
    table = PublishedPredictor("table", EmaPredictor(PredictorSettings()))
    table.publish([("a", entry(1.0)), ("b", entry(2.0))])
    table.publish([("a", entry(3.0))])
    assert table.predict(TASK).point_ms == 3.0
    assert table.predict(TASK._replace(task_type="b")).point_ms == 2.0


def test_its_state_is_that_of_the_predictor_behind() -> None:
    table = PublishedPredictor("table", EmaPredictor(PredictorSettings()))
    table.observe(TASK, 300.0)
    again = PublishedPredictor("table", EmaPredictor(PredictorSettings()))
    for record in table.state():
        again.restore(record)
    assert again.predict(TASK) == table.predict(TASK)
