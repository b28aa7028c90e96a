"""How fast a worker is: groups half an octave apart, shrunk at first, sticky, bounded."""

import pytest

from scheduler_server.model.worker import Registration
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.registry.speed import SPEEDS, learn_speed


def learned(predicted_ms: float, actual_ms: float, times: int) -> WorkerRecord:
    record = WorkerRecord("w", Registration(), 1)
    for _ in range(times):
        learn_speed(record, predicted_ms, actual_ms)
    return record


def test_there_are_sixteen_groups_with_speed_1_among_them() -> None:
    assert len(SPEEDS) == 16
    assert SPEEDS[0] == 1.0
    assert (min(SPEEDS.values()), max(SPEEDS.values())) == (pytest.approx(1 / 16), pytest.approx(11.3137, rel=1e-4))


@pytest.mark.parametrize(("factor", "speed"), [(1.0, 1.0), (2.0, 2.0), (0.5, 0.5), (4.0, 4.0), (1.1, 1.0), (0.95, 1.0)])
def test_after_many_outcomes_the_group_is_that_of_the_true_factor(factor: float, speed: float) -> None:
    assert learned(1_000.0 * factor, 1_000.0, 500).speed == pytest.approx(speed)


@pytest.mark.parametrize(("factor", "speed"), [(1e9, max(SPEEDS.values())), (1e-9, min(SPEEDS.values()))])
def test_beyond_the_groups_it_is_the_outermost(factor: float, speed: float) -> None:
    assert learned(1_000.0 * factor, 1_000.0, 100).speed == speed


def test_one_outcome_says_little() -> None:
    assert learned(2_000.0, 1_000.0, 1).speed == 1.0


def test_a_group_is_left_only_when_the_estimate_is_well_beyond_it() -> None:
    record = learned(2_000.0, 1_000.0, 64)
    before, changes = record.speed_group, 0
    for number in range(200):
        changes += learn_speed(record, 1_500.0 if number % 2 else 2_500.0, 1_000.0)
    assert abs(record.speed_group - before) <= 1
    assert changes <= 1


@pytest.mark.parametrize(("predicted_ms", "actual_ms"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_what_is_no_duration_teaches_nothing(predicted_ms: float, actual_ms: float) -> None:
    record = learned(predicted_ms, actual_ms, 50)
    assert (record.speed_samples, record.speed) == (0, 1.0)
