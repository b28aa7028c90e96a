"""The default predictor: which keys it goes by, how it follows changes, and what its quantiles are worth."""

import json
from math import exp, inf, nan
from random import Random

import pytest

from scheduler_server.model.task import Hints, Task
from scheduler_server.predictor.adaptive import AdaptivePredictor
from scheduler_server.predictor.settings import LONGEST_MS, PredictorSettings

TASK = Task("", "t", 1, "a")


def fresh(**changed: object) -> AdaptivePredictor:
    return AdaptivePredictor(PredictorSettings(**changed))  # type: ignore[arg-type]


def learned(*history: tuple[Task, float]) -> AdaptivePredictor:
    predictor = fresh()
    for task, duration_ms in history:
        predictor.predict(task)
        predictor.observe(task, duration_ms)
    return predictor


def copied(predictor: AdaptivePredictor) -> AdaptivePredictor:
    copy = fresh()
    for record in predictor.state():
        copy.restore(json.loads(json.dumps(record)))
    return copy


def test_what_always_takes_the_same_is_predicted_exactly() -> None:
    said = learned(*[(TASK, 4_000.0)] * 30).predict(TASK)
    assert said.point_ms == pytest.approx(4_000.0)
    assert said.mean_ms == pytest.approx(4_000.0)
    assert 4_000.0 * 0.9 < said.p50_ms <= said.p90_ms < 4_000.0 * 1.1
    assert said.confidence > 0.9


def test_the_point_is_near_to_the_most_and_not_their_mean() -> None:
    said = learned(*[(TASK, duration_ms) for duration_ms in (3_000.0, 4_000.0, 90_000.0) * 12]).predict(TASK)
    assert 3_200 <= said.point_ms <= 3_750
    assert said.mean_ms == pytest.approx(32_333, rel=0.15)


@pytest.mark.parametrize("factor", [10.0, 0.1, 3.0, 1 / 3])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_after_a_step_three_outcomes_are_enough_however_long_the_past(factor: float, noise: float) -> None:
    random, predictor = Random(3), fresh()
    for prefix in range(1, 1_001):
        predictor.predict(TASK)
        predictor.observe(TASK, 5_000.0 * exp(random.gauss(0.0, noise)))
        if prefix < 10:
            continue
        copy = copied(predictor)
        for _ in range(3):
            copy.predict(TASK)
            copy.observe(TASK, factor * 5_000.0 * exp(random.gauss(0.0, noise)))
        assert copy.predict(TASK).point_ms == pytest.approx(factor * 5_000.0, rel=0.25), prefix


def test_a_drift_is_reported_with_before_and_after_and_forgets_what_was_before_the_last_dozen() -> None:
    predictor = learned(*[(TASK, 5_000.0)] * 100, *[(TASK, 50_000.0)] * 3)
    (drift,) = predictor.take_drifts()
    assert (drift.key, drift.direction, drift.samples) == ("type=a", "longer", 91)
    assert (drift.before_ms, drift.after_ms) == pytest.approx((5_000.0, 50_000.0))
    assert predictor.predict(TASK).sample_count == 12
    assert predictor.predict(TASK).p90_ms > 50_000.0 * 1.1
    assert predictor.take_drifts() == []


def test_a_drift_downwards_is_shorter_and_two_outcomes_are_none() -> None:
    predictor = learned(*[(TASK, 5_000.0)] * 100, *[(TASK, 500.0)] * 2)
    assert predictor.take_drifts() == []
    assert predictor.predict(TASK).point_ms == pytest.approx(5_000.0)
    predictor.observe(TASK, 500.0)
    assert [each.direction for each in predictor.take_drifts()] == ["shorter"]


def test_an_outlier_throws_nothing_away() -> None:
    predictor = learned(*[(TASK, 5_000.0)] * 50, (TASK, 5_000_000.0))
    said = predictor.predict(TASK)
    assert said.point_ms == pytest.approx(5_000.0)
    assert said.sample_count == 51
    assert predictor.take_drifts() == []


def test_after_a_short_spell_the_first_outcome_of_the_old_kind_turns_back() -> None:
    predictor = learned(*[(TASK, 5_000.0)] * 50, *[(TASK, 60_000.0)] * 3)
    assert predictor.predict(TASK).point_ms == pytest.approx(60_000.0)
    predictor.observe(TASK, 5_000.0)
    assert predictor.predict(TASK).point_ms == pytest.approx(5_000.0, rel=0.05)


def test_drifts_that_nobody_takes_are_bounded() -> None:
    predictor = fresh()
    for name in range(400):
        for duration_ms in [100.0] * 8 + [9_000.0] * 3:
            predictor.observe(TASK._replace(task_type=str(name)), duration_ms)
    assert len(predictor.take_drifts()) == 256


@pytest.mark.parametrize(
    ("fast", "slow", "key"),
    [
        (TASK._replace(user="u"), TASK._replace(user="v"), "type=a, user=v"),
        (TASK._replace(tenant="x"), TASK._replace(tenant="y"), "type=a, tenant=y"),
        (TASK._replace(resources=(("cpus", 1.0),)), TASK._replace(resources=(("cpus", 8.0),)), "type=a, cpus=8"),
        (
            TASK._replace(attributes=(("input", "small"),)),
            TASK._replace(attributes=(("input", "whole"),)),
            "type=a, input=whole",
        ),
        (
            TASK._replace(features=(("input_bytes", 1_000.0),)),
            TASK._replace(features=(("input_bytes", 2_000.0),)),
            "type=a, input_bytes=2000",
        ),
    ],
)
def test_what_tells_durations_apart_becomes_a_key(fast: Task, slow: Task, key: str) -> None:
    predictor = learned(*[(fast, 1_000.0), (slow, 9_000.0)] * 20)
    assert predictor.predict(fast).point_ms == pytest.approx(1_000.0)
    assert predictor.predict(slow).point_ms == pytest.approx(9_000.0)
    assert predictor.predict(slow).key == key


def test_sizes_that_never_recur_are_classes() -> None:
    random, predictor, near = Random(5), fresh(), 0
    for count in range(2_000):
        size = float(round(exp(random.uniform(10.0, 20.0))))
        task, duration_ms = TASK._replace(features=(("input_bytes", size),)), size / 1_000.0
        if count >= 1_000:
            near += abs(predictor.predict(task).point_ms - duration_ms) <= 0.25 * duration_ms
        predictor.observe(task, duration_ms)
    assert near >= 950
    assert predictor.predict(TASK._replace(features=(("input_bytes", 2.0**20),))).key == "type=a, input_bytes~2^20"


def test_what_changes_nothing_costs_no_accuracy_and_does_not_fill_the_memory() -> None:
    random, plain, worded = Random(7), fresh(), fresh()
    near_plain = near_worded = 0
    for count in range(3_000):
        duration_ms = 5_000.0 * exp(random.gauss(0.0, 0.15))
        task = TASK._replace(attributes=(("request", f"id-{count}"), ("shard", str(random.randrange(1_000)))))
        near_plain += abs(plain.predict(TASK).point_ms - duration_ms) <= 0.25 * duration_ms
        near_worded += abs(worded.predict(task).point_ms - duration_ms) <= 0.25 * duration_ms
        plain.observe(TASK, duration_ms)
        worded.observe(task, duration_ms)
    assert near_worded >= near_plain - 60  # two in a hundred
    assert sum("key" in record for record in worded.state()) < 1_500


def test_a_new_value_goes_by_the_coarser_key() -> None:
    predictor = learned(*[(TASK._replace(user=user), 1_000.0) for user in "uvwuvwuvwuvw"])
    said = predictor.predict(TASK._replace(user="new"))
    assert said.point_ms == pytest.approx(1_000.0)
    assert said.key == "type=a"


def test_one_outcome_of_a_new_value_goes_before_many_of_the_coarser_key() -> None:
    history = [
        (TASK._replace(user=user), 1_000.0 * factor)
        for _ in range(10)
        for user, factor in zip("uvw", (1, 5, 25), strict=True)
    ]
    predictor = learned(*history, (TASK._replace(user="new"), 700_000.0))
    assert predictor.predict(TASK._replace(user="new")).point_ms == pytest.approx(700_000.0)


def test_ground_truth_is_not_read() -> None:
    labelled = [
        TASK._replace(attributes=(("label_slow", str(slow)),), features=(("label_run", slow),)) for slow in (0.0, 1.0)
    ]
    predictor = learned(*[(labelled[0], 1_000.0), (labelled[1], 9_000.0)] * 20)
    assert predictor.predict(labelled[0])[:4] == predictor.predict(labelled[1])[:4]
    assert predictor.predict(labelled[0]).key == "type=a"


def test_an_unknown_type_goes_by_the_same_user_and_resources_then_by_what_is_usual() -> None:
    users = [TASK._replace(user=user, task_type=kind) for user in "uv" for kind in "xyz"]
    predictor = learned(*[(task, 1_000.0 if task.user == "u" else 60_000.0) for task in users * 5])
    said = predictor.predict(TASK._replace(task_type="new", user="v"))
    assert said.key == "any type, user=v"
    assert said.point_ms == pytest.approx(60_000.0)
    assert (said.sample_count, said.confidence) == (0, 0.0)
    said = predictor.predict(TASK._replace(task_type="new", user="w"))
    assert 1_000.0 < said.point_ms < 60_000.0
    assert said.key == "any type"


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.5, 1.5])
def test_quantiles_hold_as_often_as_they_say(sigma: float) -> None:
    random, predictor, below_p50, below_p90 = Random(11), fresh(), 0, 0
    for _ in range(2_000):
        duration_ms = 5_000.0 * exp(random.gauss(0.0, sigma))
        said = predictor.predict(TASK)
        below_p50 += duration_ms <= said.p50_ms
        below_p90 += duration_ms <= said.p90_ms
        predictor.observe(TASK, duration_ms)
    assert 0.45 <= below_p50 / 2_000 <= 0.55
    assert 0.88 <= below_p90 / 2_000 <= 0.92


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("factor", [3.0, 1 / 3])
def test_p90_holds_again_two_hundred_outcomes_after_a_threefold_shift(sigma: float, factor: float) -> None:
    random, predictor, held = Random(13), fresh(), 0
    for count in range(900):
        duration_ms = 5_000.0 * exp(random.gauss(0.0, sigma)) * (1.0 if count < 300 else factor)
        if count >= 500:
            held += duration_ms <= predictor.predict(TASK).p90_ms
        predictor.predict(TASK)
        predictor.observe(TASK, duration_ms)
    assert 0.85 <= held / 400 <= 0.95


def test_keys_that_are_rare_and_old_go_first() -> None:
    predictor = fresh(max_keys=100)
    often = [TASK._replace(task_type=f"often {index}") for index in range(20)]
    for _ in range(50):
        for task in often:
            predictor.observe(task, 100.0)
    for index in range(1_000):
        predictor.observe(TASK._replace(task_type=f"once {index}"), 100.0)
    assert all(predictor.predict(task).sample_count == 50 for task in often)
    assert predictor.predict(TASK._replace(task_type="once 999")).sample_count == 1
    assert predictor.predict(TASK._replace(task_type="once 0")).sample_count == 0
    assert predictor.evicted == 20 + 1_000 + 1 - 100


def test_a_type_that_was_forgotten_starts_anew() -> None:
    predictor = fresh(max_keys=3)
    kinds = [TASK._replace(task_type=str(index), user=user) for index in range(6) for user in "uv"]
    for task in kinds * 3:
        predictor.predict(task)
        predictor.observe(task, 1_000.0)
        assert predictor.predict(task).point_ms == pytest.approx(1_000.0)
    assert sum("key" in record for record in predictor.state()) == 3


@pytest.mark.parametrize("duration_ms", [0.0, -1.0, nan, inf, -inf, LONGEST_MS * 1.001])
def test_what_is_no_duration_is_refused_and_teaches_nothing(duration_ms: float) -> None:
    predictor = learned((TASK, 100.0))
    known = list(predictor.state())
    with pytest.raises(ValueError, match="at most a year"):
        predictor.observe(TASK, duration_ms)
    with pytest.raises(ValueError, match="at most a year"):
        predictor.observe(TASK._replace(task_type="new", hints=Hints(5.0)), duration_ms)
    assert list(predictor.state()) == known


@pytest.mark.parametrize("duration_ms", [5e-324, 1e-9, LONGEST_MS])
def test_the_shortest_and_the_longest_duration_are_learned(duration_ms: float) -> None:
    said = learned(*[(TASK, duration_ms)] * 20).predict(TASK)
    assert 0.0 < said.point_ms <= LONGEST_MS
    assert 0.0 < said.p90_ms <= LONGEST_MS


def test_fifteen_thousand_types_come_back_as_they_were() -> None:
    predictor = fresh()
    for index in range(20_000):
        predictor.observe(TASK._replace(task_type=str(index % 15_000), user=str(index % 3)), 100.0 + index)
    copy = copied(predictor)
    for index in range(20_000):
        task = TASK._replace(task_type=str(index % 15_000), user=str(index % 3))
        assert copy.predict(task) == predictor.predict(task)


def test_a_type_that_came_back_without_its_keys_is_an_unknown_one() -> None:
    predictor, copy = learned(*[(TASK, 100.0)] * 5), fresh()
    for record in predictor.state():
        if "key" not in record:
            copy.restore(record)
    assert copy.predict(TASK).sample_count == 0
    assert copy.predict(TASK).point_ms == pytest.approx(100.0)
    copy.observe(TASK, 700.0)
    assert copy.predict(TASK).point_ms == pytest.approx(700.0)


BASE_KEY = {
    "key": ["a", None, None, None],
    "recent": [160, 161],
    "outcomes": 2,
    "logs": [8.2, 8.2, 8.2, 0.1],
    "mean_ms": 5e3,
    "earned": 1,
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": ["a"]}, {"key": ["a", ["u"], None, None]}, {"key": [1, None, None, None]},
        {"key": [None, None, None, [["n", 1.0]]]}, {"key": ["a", None, [["cpus", "x"]], None]},
        {"key": ["a", None, [["cpus", nan]], None]}, {"key": ["a", None, None, [["n", None]]]},
        {"recent": []}, {"recent": [160] * 49}, {"recent": [160.5]}, {"recent": ["1"]}, {"recent": [100_000]},
        {"recent": [-100_000]}, {"recent": None}, {"outcomes": 1}, {"outcomes": 2.0}, {"outcomes": True},
        {"logs": [8.2, 8.2, 8.2, nan]}, {"logs": [inf, 8.2, 8.2, 0.1]}, {"logs": [8.2, 8.2, 0.1]}, {"logs": "1234"},
        {"logs": [8.2, 8.2, 8.2, -0.1]}, {"logs": [8.2, "8", 8.2, 0.1]}, {"mean_ms": -1.0},
        {"mean_ms": inf}, {"mean_ms": None}, {"earned": -1}, {"earned": None},
    ],
)  # fmt: skip
def test_a_key_that_is_none_is_refused_whole(wrong: dict[str, object]) -> None:
    predictor = fresh()
    with pytest.raises(ValueError, match="not an adaptive record"):
        predictor.restore({**BASE_KEY, **wrong})
    assert predictor.predict(TASK).sample_count == 0
    predictor.restore(BASE_KEY)
    assert predictor.predict(TASK).sample_count == 2


@pytest.mark.parametrize("field", ["outcomes", "odds", "gates", "ways", "quantiles", "facets", "plan"])
@pytest.mark.parametrize(
    "value",
    [None, -1, nan, "x", [], [1], {"who": 1}, {"who": [1, 2, "xyz"]}, [True, False, [["n"]], []], [0.5] * 5 + [nan]],
)
def test_a_type_that_is_none_is_refused_whole(field: str, value: object) -> None:
    predictor = learned(*[(TASK._replace(user=user), 100.0) for user in "uvuvuv"])
    before = list(predictor.state())
    record = next(each for each in before if each.get("type") == "a")
    with pytest.raises(ValueError, match="not an adaptive record"):
        predictor.restore({**record, field: value})
    assert list(predictor.state()) == before


def test_warming_builds_what_the_first_predictions_need_and_changes_nothing() -> None:
    draw = Random(5)
    tasks = [Task("", f"t{at}", 1, f"type-{draw.randrange(40)}", user=f"u{draw.randrange(3)}") for at in range(600)]
    before = learned(*((task, exp(draw.gauss(8.0, 1.0))) for task in tasks))
    cold, warm = copied(before), copied(before)
    warm.warm()
    assert len(warm._paths) == 40
    assert not cold._paths
    for task in tasks:
        assert warm.predict(task) == cold.predict(task) == before.predict(task)
    for task in tasks:
        took = exp(draw.gauss(8.0, 1.0))
        warm.observe(task, took)
        cold.observe(task, took)
        assert warm.predict(task) == cold.predict(task)
