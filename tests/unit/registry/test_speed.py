"""How fast a worker is beside the others: groups half an octave apart, shrunk at first, sticky, bounded."""

from math import exp, log
from random import Random

import pytest

from scheduler_server.model.worker import Registration
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.registry.speed import SPEEDS, Speeds


def worker() -> WorkerRecord:
    return WorkerRecord("w", Registration(), 1)


class Fleet:
    """One worker among many whose predictions hold."""

    def __init__(self) -> None:
        self.speeds, self.worker, self._others = Speeds(), worker(), [worker() for _ in range(20)]

    def learn(self, predicted_ms: float, actual_ms: float) -> bool:
        for other in self._others:
            self.speeds.learn(other, 1_000.0, 1_000.0)
        return self.speeds.learn(self.worker, predicted_ms, actual_ms)


def learned(predicted_ms: float, actual_ms: float, times: int) -> WorkerRecord:
    fleet = Fleet()
    for _ in range(times):
        fleet.learn(predicted_ms, actual_ms)
    return fleet.worker


def test_there_are_sixteen_groups_with_speed_1_among_them() -> None:
    assert len(SPEEDS) == 16
    assert SPEEDS[0] == 1.0
    assert (min(SPEEDS.values()), max(SPEEDS.values())) == (pytest.approx(1 / 16), pytest.approx(11.3137, rel=1e-4))


@pytest.mark.parametrize(("factor", "speed"), [(1.0, 1.0), (2.0, 2.0), (0.5, 0.5), (4.0, 4.0), (1.1, 1.0), (0.95, 1.0)])
def test_after_many_outcomes_the_group_is_that_of_the_true_factor(factor: float, speed: float) -> None:
    assert learned(1_000.0 * factor, 1_000.0, 200).speed == pytest.approx(speed)


@pytest.mark.parametrize(("factor", "speed"), [(1e9, max(SPEEDS.values())), (1e-9, min(SPEEDS.values()))])
def test_beyond_the_groups_it_is_the_outermost(factor: float, speed: float) -> None:
    assert learned(1_000.0 * factor, 1_000.0, 100).speed == speed


def test_one_outcome_says_little() -> None:
    assert learned(2_000.0, 1_000.0, 1).speed == 1.0


def test_a_group_is_left_only_when_the_estimate_is_well_beyond_it() -> None:
    fleet = Fleet()
    for _ in range(64):
        fleet.learn(2_000.0, 1_000.0)
    before, changes = fleet.worker.speed_group, 0
    for number in range(200):
        changes += fleet.learn(1_500.0 if number % 2 else 2_500.0, 1_000.0)
    assert abs(fleet.worker.speed_group - before) <= 1
    assert changes <= 1


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_what_all_are_off_by_is_no_speed_of_anybody(factor: float) -> None:
    speeds, fleet = Speeds(), [worker() for _ in range(10)]
    for _ in range(300):
        for record in fleet:
            speeds.learn(record, 1_000.0 * factor, 1_000.0)
    assert {record.speed for record in fleet} == {1.0}
    assert speeds.level == pytest.approx(log(factor), rel=0.05)


def test_a_worker_that_is_alone_has_speed_1() -> None:
    speeds, record = Speeds(), worker()
    for _ in range(1_000):
        speeds.learn(record, 300.0, 1_000.0)
    assert record.speed == 1.0


def test_speeds_keep_their_level_and_ratios_where_a_mean_is_predicted_of_durations_that_are_skewed() -> None:
    """A mean is above the mean of the logarithms: with what is learned of one going into the other, that adds up."""
    random, speeds = Random(7), Speeds()
    true = [0.5, 1.0, 1.0, 2.0]
    fleet = [worker() for _ in true]
    mean_ms = 1_000.0
    for _ in range(20_000):
        at = random.choices(range(4), weights=true)[0]
        actual_ms = 1_000.0 * exp(random.gauss(0.0, 1.0)) / true[at]
        learned_ms = actual_ms * fleet[at].speed
        speeds.learn(fleet[at], mean_ms, actual_ms)
        mean_ms += 0.05 * (learned_ms - mean_ms)
    slow, one, other, fast = (record.speed for record in fleet)
    assert 2.0 <= fast / slow <= 8.0
    assert one == pytest.approx(other, rel=0.5)
    assert 0.4 <= (slow * one * other * fast) ** 0.25 <= 2.0


@pytest.mark.parametrize(("predicted_ms", "actual_ms"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_what_is_no_duration_teaches_nothing(predicted_ms: float, actual_ms: float) -> None:
    record = learned(predicted_ms, actual_ms, 50)
    assert (record.speed_samples, record.speed) == (0, 1.0)
