import pytest

from scheduler_server.demo.waits import Start, halves, starts, waits
from tests.unit.demo.tapes import tape, wait


def start(began: float, p50: float = 1.0, p90: float = 2.0, due: float = 0.0) -> Start:
    return Start(due=due, p50=p50, p90=p90, began=began)


@pytest.mark.parametrize(
    ("began", "by_p50", "by_p90"), [(0.999, 1, 1), (1.0, 1, 1), (1.001, 0, 1), (2.0, 0, 1), (2.001, 0, 0)]
)
def test_a_start_holds_up_to_the_instant_that_was_told(began: float, by_p50: int, by_p90: int) -> None:
    found = waits([start(began)])
    assert found is not None
    assert (found.by_p50, found.by_p90) == (by_p50, by_p90)


def test_figures_are_over_all_starts_and_distances_count_in_both_directions() -> None:
    found = waits([start(0.5), start(1.2), start(5.0, due=4.0, p50=4.0, p90=4.5)])
    assert found is not None
    assert found.count == 3
    assert found.by_p50 == pytest.approx(1 / 3)
    assert found.by_p90 == pytest.approx(2 / 3)
    assert found.median_off_s == pytest.approx(0.5)
    assert found.mean_wait_s == pytest.approx(0.9)
    assert found.longest_wait_s == pytest.approx(1.2)


def test_without_starts_there_are_no_figures() -> None:
    assert waits([]) is None


def test_only_tasks_that_were_told_an_expected_start_and_have_begun_are_judged_in_the_order_in_which_they_came() -> (
    None
):
    made = tape(0.0, 1.0, 2.0, 3.0, 4.0)
    wait(made, 1, 102.0, 103.0)
    wait(made, 2, None, None)  # nobody could tell
    wait(made, 3, 104.0, 105.0)
    wait(made, 4, 105.0, 106.0)  # has not begun
    for number, began in ((3, 103.5), (0, 100.0), (2, 107.0), (1, 101.5)):
        made.began("large-1", f"t-{number:04d}", began)
    assert [(each.due, each.p50, each.p90, each.began) for each in starts(made.runs.values())] == [
        (101.0, 102.0, 103.0, 101.5),
        (103.0, 104.0, 105.0, 103.5),
    ]


@pytest.mark.parametrize(("count", "first", "later"), [(0, 0, 0), (1, 0, 1), (2, 1, 1), (5, 2, 3)])
def test_halves_are_those_that_came_first_and_the_others(count: int, first: int, later: int) -> None:
    found = [start(float(number)) for number in range(count)]
    assert halves(found) == (found[:first], found[first:])
    assert len(found[first:]) == later
