"""What every predictor has to do, whichever it is."""

import json
from collections.abc import Iterator
from dataclasses import fields
from math import exp, isfinite
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_server.model.setting import setting_of
from scheduler_server.model.task import Hints, Task
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.settings import LONGEST_MS, PredictorSettings
from scheduler_server.predictor.strategies import PREDICTORS

NAMES = sorted(PREDICTORS)
DURATIONS = st.floats(1e-3, LONGEST_MS)
WORDS = st.sampled_from(["", "a", "b", "c"])
NUMBERS = st.sampled_from([0.0, 1.0, 1.5, 1e6, -3.0])
TASKS = st.builds(
    lambda task_type, category, user, cpus, size, word, expected: Task(
        "", "t", 1, task_type, category, user=user, resources=(("cpus", cpus),), features=(("bytes", size),),
        attributes=(("input", word),), hints=Hints(expected, None, 3) if expected else None,
    ),
    WORDS, WORDS, WORDS, NUMBERS, NUMBERS, WORDS, st.none() | DURATIONS,
)  # fmt: skip


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fresh(name: str, **changed: object) -> Predictor:
    return PREDICTORS[name](PredictorSettings(**changed))  # type: ignore[arg-type]


def task(task_type: str = "a") -> Task:
    return Task("", "t", 1, task_type)


def test_the_setting_offers_exactly_these() -> None:
    declared = next(setting_of(field.metadata) for field in fields(PredictorSettings) if field.name == "strategy")
    assert declared is not None
    assert sorted(declared.choices) == NAMES
    assert PredictorSettings().strategy in NAMES


def test_each_bears_its_name(name: str) -> None:
    assert fresh(name).name == name
    assert fresh(name).predict(task()).predictor == name


def test_nothing_known_is_the_default_and_nobody_vouches_for_it(name: str) -> None:
    defaults = {"default_ms": 1.0, "type_defaults_ms": {"a": 2.0}, "category_defaults_ms": {"bug": 3.0}}
    predictor = fresh(name, **defaults)
    said = [predictor.predict(Task("", "t", 1, *which)) for which in (("a", "bug"), ("b", "bug"), ("b", "chore"))]
    assert [each.point_ms for each in said] == [2.0, 3.0, 1.0]
    assert {(each.confidence, each.sample_count) for each in said} == {(0.0, 0)}


def test_the_first_outcome_takes_the_place_of_the_default(name: str) -> None:
    predictor = fresh(name, type_defaults_ms={"a": 9_000.0})
    predictor.observe(task(), 100.0)
    assert predictor.predict(task()).point_ms == pytest.approx(100.0)
    assert predictor.predict(task()).sample_count == 1


def test_types_do_not_mix(name: str) -> None:
    predictor = fresh(name)
    for _ in range(20):
        predictor.observe(task("a"), 100.0)
        predictor.observe(task("b"), 900.0)
    assert predictor.predict(task("a")).point_ms == pytest.approx(100.0)
    assert predictor.predict(task("b")).point_ms == pytest.approx(900.0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(TASKS, DURATIONS), max_size=60), TASKS)
@pytest.mark.parametrize("name", NAMES)
def test_a_prediction_is_a_duration_with_quantiles_in_order(
    name: str, history: list[tuple[Task, float]], asked: Task
) -> None:
    predictor = fresh(name)
    for each, duration_ms in history:
        predictor.predict(each)
        predictor.observe(each, duration_ms)
    said = predictor.predict(asked)
    for value in (said.point_ms, said.mean_ms, said.p50_ms, said.p90_ms):
        assert isfinite(value)
        assert value > 0.0
    assert said.p50_ms <= said.p90_ms
    assert 0.0 <= said.confidence < 1.0
    assert said.as_of is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(TASKS, DURATIONS), max_size=60), st.lists(TASKS, max_size=5))
@pytest.mark.parametrize("name", NAMES)
def test_what_it_knows_survives_a_snapshot_and_goes_on_as_if_nothing_had_been(
    name: str, history: list[tuple[Task, float]], others: list[Task]
) -> None:
    before, after = fresh(name), fresh(name)
    for each, duration_ms in history:
        before.predict(each)
        before.observe(each, duration_ms)
    for record in before.state():
        after.restore(json.loads(json.dumps(record)))
    asked = [each for each, _ in history] + others
    assert [after.predict(each) for each in asked] == [before.predict(each) for each in asked]
    for each in asked:
        before.observe(each, 7_000.0)
        after.observe(each, 7_000.0)
        assert after.predict(each) == before.predict(each)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(TASKS, DURATIONS), max_size=30))
@pytest.mark.parametrize("name", NAMES)
def test_the_same_history_gives_the_same_predictions(name: str, history: list[tuple[Task, float]]) -> None:
    one, two = fresh(name), fresh(name)
    for each, duration_ms in history:
        one.observe(each, duration_ms)
        two.observe(each, duration_ms)
    assert list(one.state()) == list(two.state())


def test_records_are_small_and_of_json_types(name: str) -> None:
    predictor = fresh(name)
    for index in range(300):
        predictor.observe(task(f"type {index % 7}"), 100.0 + index)
    for record in predictor.state():
        assert len(json.dumps(record, allow_nan=False)) < 2_000


def test_a_snapshot_may_be_written_while_it_learns_and_forgets(name: str) -> None:
    predictor = fresh(name, max_types=10, max_keys=20)
    for index in range(10):
        predictor.observe(task(str(index)), 100.0)
    records: Iterator[dict[str, object]] = predictor.state()
    taken = [next(records), next(records), next(records)]
    for index in range(100, 200):
        predictor.observe(task(str(index)), 100.0)
    taken += records
    after = fresh(name)
    for record in taken:
        after.restore(json.loads(json.dumps(record)))


def test_memory_is_bounded_and_says_what_it_forgot(name: str) -> None:
    predictor = fresh(name, max_types=50, max_keys=51)  # adaptive keeps one key of any type
    for index in range(1_000):
        predictor.predict(task(str(index)))
        predictor.observe(task(str(index)), 100.0)
    assert predictor.evicted == 950
    assert sum(predictor.predict(task(str(index))).sample_count for index in range(1_000)) == 50


@pytest.mark.parametrize(
    "record",
    [{}, {"type": 1}, {"type": "a"}, {"type": None}, {"key": None}, {"key": []}, {"hint": []}, {"recent_ms": [1.0]}],
)
def test_nonsense_is_refused_and_changes_nothing(name: str, record: dict[str, object]) -> None:
    predictor = fresh(name)
    predictor.observe(task(), 100.0)
    known = list(predictor.state())
    with pytest.raises(ValueError, match="not a"):
        predictor.restore(record)
    assert list(predictor.state()) == known


def test_a_stationary_workload_of_deviation_0_17_is_predicted_within_a_quarter_in_four_cases_of_five(name: str) -> None:
    random, predictor, near = Random(17), fresh(name), 0
    for _ in range(1_000):
        duration_ms = 8_000 * exp(random.gauss(0.0, 0.17))
        near += abs(predictor.predict(task()).point_ms - duration_ms) <= 0.25 * duration_ms
        predictor.observe(task(), duration_ms)
    floor = {"last_two": 740}  # the mean of two is that noisy; the best constant reaches 867
    assert near >= floor.get(name, 800)


def test_only_adaptive_reports_drifts(name: str) -> None:
    predictor = fresh(name)
    for duration_ms in [100.0] * 20 + [1_000.0] * 5:
        predictor.observe(task(), duration_ms)
    assert len(predictor.take_drifts()) == (1 if name == "adaptive" else 0)
    assert predictor.take_drifts() == []
