"""What waiting tasks are told about their start holds as often as it says."""

import pytest

from scheduler_server.assignment.expected_start import ExpectedStarts
from tests.unit.assignment.queue_sim import Sim, Told

_WARM = 2_000  # tasks: the predictor learns, and so do the answers


def shares(told: list[Told]) -> tuple[float, float]:
    late = [each for each in told if each.number > _WARM]
    assert len(late) > 500
    return sum(each.held50 for each in late) / len(late), sum(each.held90 for each in late) / len(late)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("durations", "slots", "load", "order", "predictor", "classes"),
    [
        ("exponential", 4, 0.8, "fifo", "adaptive", 1),
        ("exponential", 32, 0.9, "shortest", "adaptive", 1),
        ("exponential", 200, 0.9, "fifo", "ema", 4),
        ("log-normal", 4, 0.9, "shortest", "adaptive", 1),
        ("log-normal", 32, 0.8, "fifo", "ema", 4),
        ("log-normal", 200, 0.9, "shortest", "adaptive", 4),
        ("bimodal", 4, 0.9, "fifo", "adaptive", 1),
        ("bimodal", 32, 0.8, "shortest", "ema", 4),
        ("bimodal", 200, 0.9, "fifo", "adaptive", 1),
    ],
)
def test_on_a_stationary_workload_p90_holds_nine_times_in_ten_and_p50_every_other_time(
    durations: str, slots: int, load: float, order: str, predictor: str, classes: int
) -> None:
    sim = Sim(durations, slots, load, order=order, predictor=predictor, classes=classes)
    share50, share90 = shares(sim.run(12_000))
    assert 0.40 <= share50 <= 0.60
    assert 0.85 <= share90 <= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("durations", ["exponential", "bimodal"])
def test_under_bursts_the_coverage_that_is_told_is_what_was_reached(durations: str) -> None:
    sim = Sim(durations, 32, 0.8, bursts=True)
    told = sim.run(15_000)
    assert len(sim.published) >= 10  # each of the answers judged since the one before
    reached = sum(each.held90 for each in told) / len(told)
    assert sum(sim.published) / len(sim.published) == pytest.approx(reached, abs=0.02)
    assert max(sim.published) - min(sim.published) > 0.05  # a burst is seen in it


def test_nothing_is_known_of_coverage_before_the_first_answer_was_judged() -> None:
    assert ExpectedStarts().coverage() == (None, None)


def test_an_answer_is_judged_once() -> None:
    starts = ExpectedStarts()
    expected, size = starts.expect("g", 10.0, 1.0, 1.0)
    answer = starts.promise(100.0, "g", size, expected)
    starts.judge(answer, answer.p90_at + 1.0)  # it waits on: counted at once, not when it starts at last
    starts.judge(answer, answer.p90_at + 500.0)
    assert starts.judged == 1
    assert starts.coverage() == (0.0, 0.0)


@pytest.mark.parametrize(("late_s", "held"), [(-1e-3, 1.0), (0.0, 1.0), (1e-3, 0.0)])
def test_a_start_at_its_p90_is_in_time(late_s: float, held: float) -> None:
    starts = ExpectedStarts()
    expected, size = starts.expect("g", 10.0, 1.0, 1.0)
    answer = starts.promise(100.0, "g", size, expected)
    starts.judge(answer, answer.p90_at + late_s)
    assert starts.coverage()[1] == held


def test_coverage_is_of_the_last_five_hundred_answers() -> None:
    starts = ExpectedStarts()
    for at in range(700):
        expected, size = starts.expect("g", 10.0, 1.0, 1.0)
        answer = starts.promise(0.0, "g", size, expected)
        starts.judge(answer, 1e9 if at < 250 else 0.0)
    assert starts.coverage() == (0.9, 0.9)


def test_answers_that_never_hold_grow_and_a_size_that_is_new_starts_from_what_others_taught() -> None:
    starts = ExpectedStarts()
    first, _ = starts.expect("g", 10.0, 1.0, 1.0)
    for _ in range(50):
        expected, size = starts.expect("g", 10.0, 1.0, 1.0)
        starts.judge(starts.promise(0.0, "g", size, expected), 1e6)
    again, _ = starts.expect("g", 10.0, 1.0, 1.0)
    assert again.p90_s > 2.0 * first.p90_s
    assert again.sample_count == 50
    other, _ = starts.expect("g", 1_000.0, 100.0, 1.0)
    assert other.sample_count == 0
    assert other.p90_s > 200.0 * first.p90_s / 1.1


def test_what_was_learned_comes_back_from_a_snapshot() -> None:
    starts = ExpectedStarts()
    for _ in range(50):
        expected, size = starts.expect("g", 10.0, 1.0, 1.0)
        starts.judge(starts.promise(0.0, "g", size, expected), 1e6)
    kept = list(starts.state())
    new = ExpectedStarts()
    for record in kept:
        new.restore(record)
    assert list(new.state()) == kept
    assert new.expect("h", 10.0, 1.0, 1.0)[0][:3] == starts.expect("h", 10.0, 1.0, 1.0)[0][:3]


@pytest.mark.parametrize("wrong", [{"size": 99}, {"size": -2}, {"low": float("nan")}, {"high": 8.0}, {"seen": 0}])
def test_a_snapshot_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not what was learned"):
        ExpectedStarts().restore({"size": 3, "low": 0.1, "high": 0.2, "seen": 5} | wrong)
