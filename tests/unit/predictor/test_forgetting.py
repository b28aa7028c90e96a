"""What was learned can be forgotten: of one type, or of all."""

import pytest

from scheduler_server.model.task import Task
from scheduler_server.predictor.forgetting import Forgets
from scheduler_server.predictor.published import PublishedPredictor
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.predictor.strategies import PREDICTORS

SETTINGS = PredictorSettings()
EVERY = pytest.mark.parametrize("name", [*PREDICTORS, "published"])


def made(name: str) -> Forgets:
    if name == "published":
        predictor: object = PublishedPredictor("published", PREDICTORS["ema"](SETTINGS))
    else:
        predictor = PREDICTORS[name](SETTINGS)
    assert isinstance(predictor, Forgets)
    return predictor


def task(task_type: str) -> Task:
    return Task("", "t", 1, task_type, user="u", features=(("n", 1.0),))


def taught(name: str) -> Forgets:
    predictor = made(name)
    for number in range(20):
        for task_type in ("resize", "encode"):
            predictor.observe(task(task_type), 100.0 + number)  # type: ignore[attr-defined]
    return predictor


def samples(predictor: Forgets, task_type: str) -> int:
    found: int = predictor.predict(task(task_type)).sample_count  # type: ignore[attr-defined]
    return found


@EVERY
def test_a_type_is_forgotten_and_the_others_stay(name: str) -> None:
    predictor = taught(name)
    keys = predictor.keys  # type: ignore[attr-defined]
    other = predictor.predict(task("encode"))  # type: ignore[attr-defined]
    gone = predictor.forget("resize")
    assert gone >= 1
    assert predictor.keys == keys - gone  # type: ignore[attr-defined]
    assert samples(predictor, "resize") == 0
    assert predictor.predict(task("encode")) == other  # type: ignore[attr-defined]
    assert predictor.forget("resize") == 0


@EVERY
def test_a_type_that_was_forgotten_is_learned_anew(name: str) -> None:
    predictor = taught(name)
    predictor.forget("resize")
    predictor.observe(task("resize"), 5_000.0)  # type: ignore[attr-defined]
    assert samples(predictor, "resize") == 1
    assert predictor.predict(task("resize")).point_ms == pytest.approx(5_000.0, rel=0.3)  # type: ignore[attr-defined]


@EVERY
def test_all_is_forgotten(name: str) -> None:
    predictor = taught(name)
    keys = predictor.keys  # type: ignore[attr-defined]
    assert predictor.forget("") == keys
    assert predictor.keys == 0  # type: ignore[attr-defined]
    assert list(predictor.state()) == []  # type: ignore[attr-defined]
    assert samples(predictor, "resize") == samples(predictor, "encode") == 0
