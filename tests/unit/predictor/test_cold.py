"""What is said of types that never ended here: defaults, hints and their corrections, in which order."""

import json
from math import exp, log

import pytest

from scheduler_server.model.task import Hints, Task
from scheduler_server.predictor.adaptive import AdaptivePredictor
from scheduler_server.predictor.settings import PredictorSettings


def fresh(**changed: object) -> AdaptivePredictor:
    return AdaptivePredictor(PredictorSettings(**changed))  # type: ignore[arg-type]


def task(task_type: str, category: str = "", expected_ms: float | None = None, **hints: int) -> Task:
    described = Hints(expected_ms, **hints) if expected_ms or hints else None
    return Task("", "t", 1, task_type, category, hints=described)


def test_the_caller_is_believed_before_the_category_and_the_operator_before_the_caller() -> None:
    predictor = fresh(type_defaults_ms={"a": 2.0}, category_defaults_ms={"bug": 3.0})
    assert predictor.predict(task("a", "bug", 700.0)).point_ms == 2.0
    said = predictor.predict(task("b", "bug", 700.0))
    assert (said.point_ms, said.confidence, said.sample_count, said.key) == (700.0, 0.0, 0, "expected by the caller")
    assert predictor.predict(task("b", "bug")).point_ms == 3.0


def test_expectations_are_corrected_by_how_they_erred_in_their_category_or_in_all() -> None:
    predictor = fresh()
    for index in range(200):
        predictor.observe(task(f"known {index}", "bug", 100.0), 300.0)
    said = predictor.predict(task("new", "bug", 1_000.0))
    assert said.point_ms == pytest.approx(3_000.0, rel=0.02)
    assert said.key == "expected by the caller, corrected"
    assert predictor.predict(task("new", "chore", 1_000.0)).point_ms == pytest.approx(3_000.0, rel=0.02)


def test_the_first_error_moves_the_correction_by_half() -> None:
    predictor = fresh()
    predictor.observe(task("known", "bug", 100.0), 400.0)
    assert predictor.predict(task("new", "bug", 100.0)).point_ms == pytest.approx(
        200.0
    )  # between 1 and 4, as logarithms


def test_the_base_estimate_of_a_category_is_corrected_too() -> None:
    predictor = fresh(category_defaults_ms={"bug": 1_000.0})
    predictor.observe(task("known", "bug"), 4_000.0)
    assert predictor.predict(task("new", "bug")).point_ms == pytest.approx(2_000.0)
    for index in range(100):
        predictor.observe(task(f"known {index}", "bug"), 4_000.0)
    said = predictor.predict(task("new", "bug"))
    assert said.point_ms == pytest.approx(4_000.0, rel=0.05)
    assert said.key == "corrected default of category bug"


def test_a_category_without_a_base_estimate_learns_one() -> None:
    predictor = fresh()
    for category, duration_ms in (("bug", 100.0), ("chore", 9_000.0)) * 5:
        predictor.observe(task(f"of {category}", category), duration_ms)
    assert predictor.predict(task("new", "bug")).point_ms == pytest.approx(100.0)
    assert predictor.predict(task("new", "chore")).key == "any type, category=chore"


def test_description_and_dependencies_tell_estimates_of_a_category_apart() -> None:
    predictor = fresh()
    for index in range(40):
        predictor.observe(task(f"s{index}", "bug", description_length=100, dependencies=0), 1_000.0)
        predictor.observe(task(f"l{index}", "bug", description_length=9_000, dependencies=8), 60_000.0)
    short = predictor.predict(task("new", "bug", description_length=120, dependencies=0)).point_ms
    long = predictor.predict(task("new", "bug", description_length=8_500, dependencies=9)).point_ms
    assert short == pytest.approx(1_000.0, rel=0.2)
    assert long == pytest.approx(60_000.0, rel=0.2)


def test_hints_count_for_nothing_once_a_task_of_the_type_has_ended() -> None:
    predictor = fresh()
    predictor.observe(task("a", "bug", 100.0), 900.0)
    assert predictor.predict(task("a", "bug", 100.0)).point_ms == pytest.approx(900.0)
    assert predictor.predict(task("a", "bug", 5.0)).point_ms == pytest.approx(900.0)


def test_without_anything_else_what_is_usual_goes_before_the_default() -> None:
    predictor = fresh()
    assert predictor.predict(task("new")).point_ms == 5_000.0
    predictor.observe(task("a"), 100.0)
    said = predictor.predict(task("new"))
    assert (said.key, said.sample_count) == ("any type", 0)
    assert said.point_ms == pytest.approx(100.0)


def test_p90_of_estimates_widens_until_it_holds() -> None:
    predictor, held = fresh(), 0
    for index in range(400):
        estimate = predictor.predict(task(f"type {index}", "", 1_000.0))
        duration_ms = 1_000.0 * exp((index * 7 % 13) / 6.0 - 1.0)
        held += duration_ms <= estimate.p90_ms
        predictor.observe(task(f"type {index}", "", 1_000.0), duration_ms)
    assert 0.85 <= held / 400 <= 0.95


def test_corrections_are_bounded() -> None:
    predictor = fresh(max_keys=10)
    for index in range(12_000):
        predictor.observe(task("a", f"category {index}"), 100.0)
    assert sum("hint" in record for record in predictor.state()) == 10_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"hint": ["expected", "bug", -1]}, {"hint": ["expected", 1, -1, -1]}, {"hint": ["expected", "bug", -1, True]},
        {"hint": "expected"}, {"count": 0}, {"count": 1.0}, {"log": None}, {"log": float("nan")}, {"log": 1e9},
    ],
)  # fmt: skip
def test_a_correction_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    predictor = fresh()
    with pytest.raises(ValueError, match="not an adaptive record"):
        predictor.restore({"hint": ["expected", "bug", -1, -1], "count": 3, "log": log(2.0), **wrong})
    assert predictor.predict(task("new", "bug", 100.0)).point_ms == 100.0
    predictor.restore({"hint": ["expected", "bug", -1, -1], "count": 3, "log": log(2.0)})
    assert predictor.predict(task("new", "bug", 100.0)).point_ms == pytest.approx(200.0)


def test_corrections_survive_a_snapshot() -> None:
    before, after = fresh(), fresh()
    for index in range(30):
        before.observe(task(f"{index}", "bug", 100.0, dependencies=index), 300.0 + index)
    for record in before.state():
        after.restore(json.loads(json.dumps(record)))
    asked = task("new", "bug", dependencies=7)
    assert after.predict(asked) == before.predict(asked)
    assert after.predict(task("new", "bug", 50.0)) == before.predict(task("new", "bug", 50.0))
