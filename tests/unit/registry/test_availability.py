"""When a busy worker will be free."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.registry.availability import wait_s
from tests.unit.assignment.rig import Rig


@given(st.integers(0, 50), st.floats(0.001, 1e5))
def test_with_one_slot_and_no_leases_it_is_the_plain_formula(queue_depth: int, average_s: float) -> None:
    assert wait_s(1, [], queue_depth, average_s) == pytest.approx(queue_depth * average_s)


@pytest.mark.parametrize(
    ("slots", "residuals_s", "background", "expected"),
    [
        (2, [], 0, 0.0),
        (2, [7.0], 0, 0.0),
        (2, [7.0, 3.0], 0, 3.0),
        (2, [7.0, 3.0], 1, 7.0),  # 5 s of background go to the slot free at 3
        (2, [7.0, 3.0], 2, 8.0),
        (3, [0.0, 0.0, 0.0], 0, 0.0),
        (5, [], 4, 0.0),
        (5, [], 5, 5.0),
        (5, [], 10, 10.0),
    ],
)
def test_with_several_slots_the_work_is_spread_over_them(
    slots: int, residuals_s: list[float], background: int, expected: float
) -> None:
    assert wait_s(slots, residuals_s, background, 5.0) == expected


@given(st.integers(1, 6), st.lists(st.floats(0, 100), max_size=20), st.integers(0, 10))
def test_it_is_what_running_the_queue_gives(slots: int, residuals_s: list[float], background: int) -> None:
    free_at = [0.0] * slots
    for span in [*residuals_s, *[5.0] * background]:
        first = free_at.index(min(free_at))
        free_at[first] += span
    assert wait_s(slots, residuals_s, background, 5.0) == pytest.approx(min(free_at))


def test_a_workers_availability_counts_down_its_leases_and_then_takes_what_overruns_to_last_as_long_again() -> None:
    rig = Rig()
    rig.connect(slots=1)
    rig.place()
    assert rig.core.available_in_s(rig.worker(), rig.now) == 5.0
    rig.go(4.0)
    assert rig.core.available_in_s(rig.worker(), rig.now) == pytest.approx(1.0)
    rig.go(4.0)
    assert rig.core.available_in_s(rig.worker(), rig.now) == pytest.approx(0.6 * 2 * 8.0)  # 8 s is 1.6 times its P90
    rig.disconnect()
    assert rig.core.available_in_s(rig.worker(), rig.now) == float("inf")


def test_a_bare_workers_availability_is_depth_times_average() -> None:
    rig = Rig()
    rig.connect(bare=True)
    rig.worker().slots = 1
    rig.beat(queue_depth=3)
    assert rig.core.available_in_s(rig.worker(), rig.now) == pytest.approx(15.0)
