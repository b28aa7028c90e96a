"""When a key last learned, and when drift made it forget: as whoever teaches says, kept over a restart."""

from typing import Any

import pytest

from scheduler_server.model.task import Task
from scheduler_server.predictor.dated import Dated
from scheduler_server.predictor.learned import Learned
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.predictor.strategies import PREDICTORS

WALL = 1_700_000_000.0

each = pytest.mark.parametrize("name", sorted(PREDICTORS))


def taught(name: str, *walls: float) -> Any:
    predictor: Any = PREDICTORS[name](PredictorSettings())
    for number, wall in enumerate(walls):
        predictor.wall = wall
        predictor.observe(Task("", f"t{number}", 1, "encode"), 1_000.0)
    return predictor


def known(predictor: Any) -> Learned:
    found: Learned = next(one for one in predictor.learned() if one.task_type == "encode")
    return found


@each
def test_it_is_the_newest_outcome_that_counts_whatever_is_taught_after_it(name: str) -> None:
    predictor = taught(name, WALL, WALL + 9.0, WALL + 3.0)
    assert isinstance(predictor, Dated)
    assert known(predictor).learned_at == WALL + 9.0


@each
def test_it_is_not_known_where_nobody_says_what_time_it_is(name: str) -> None:
    predictor = taught(name, 0.0, 0.0)
    assert known(predictor).learned_at == 0.0
    assert not any("at" in record for record in predictor.state())


@each
def test_it_is_kept_and_forgotten_with_what_was_learned(name: str) -> None:
    predictor = taught(name, WALL, WALL)
    again: Any = PREDICTORS[name](PredictorSettings())
    for record in predictor.state():
        again.restore(record)
    assert known(again).learned_at == WALL
    again.forget("encode")
    again.observe(Task("", "t", 1, "encode"), 1_000.0)
    assert known(again).learned_at == 0.0


@each
@pytest.mark.parametrize("at", ["yesterday", -1.0, float("nan"), True, 1e12])
def test_an_instant_that_makes_no_sense_is_refused_with_its_record(name: str, at: object) -> None:
    dated = [record for record in taught(name, WALL, WALL).state() if "at" in record]
    assert dated
    for record in dated:
        with pytest.raises(ValueError, match="at is no instant"):
            PREDICTORS[name](PredictorSettings()).restore({**record, "at": at})


def test_drift_is_counted_and_dated_and_kept() -> None:
    predictor: Any = PREDICTORS["adaptive"](PredictorSettings())
    for number in range(60):
        predictor.wall = WALL + number
        predictor.observe(Task("", f"t{number}", 1, "encode"), 1_000.0 if number < 50 else 60_000.0)
    (drift,) = predictor.take_drifts()
    assert drift.direction == "longer"
    told = known(predictor)
    assert told.drifts == 1
    assert WALL + 50 <= told.drifted_at <= WALL + 59
    again: Any = PREDICTORS["adaptive"](PredictorSettings())
    for record in predictor.state():
        again.restore(record)
    assert known(again)[2:] == told[2:]
