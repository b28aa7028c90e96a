"""Figures by hand on small runs, quantiles and intervals against plain second versions."""

from itertools import pairwise
from math import ceil
from random import Random
from statistics import mean, stdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.simulation import sketch
from scheduler_server.simulation.engine import World
from scheduler_server.simulation.fleet import FleetPlan
from scheduler_server.simulation.intervals import mean_interval, ratio_interval
from scheduler_server.simulation.measures import Measures, jain
from scheduler_server.simulation.names import choice
from scheduler_server.simulation.pieces import recorded
from scheduler_server.simulation.sketch import EXACT, Sketch
from tests.unit.simulation.simulated import pieces


def figures(policy: str, *tasks: tuple[float, float], machines: int = 1) -> dict[str, Any]:
    given_tasks = pieces(*tasks)
    facts = recorded("t", lambda: iter(given_tasks)).facts
    measures = Measures(facts)
    world = World(FleetPlan(machines=machines, slots=1), iter(given_tasks), measures, "1")
    world.run(choice(policy).make(world, CoreSettings(), "1"))
    return measures.figures(world)


def test_the_figures_of_three_tasks_in_a_row() -> None:
    """Durations 20, 40, 20 at 0, 10, 20 on one slot: waits of 0, 10 and 40; the median duration is 20."""
    found = figures("central_fifo", (0.0, 20.0), (10.0, 40.0), (20.0, 20.0))
    assert found["tasks"] == 3
    assert found["mean_wait_s"] == pytest.approx(50 / 3)
    assert (found["p50_wait_s"], found["p99_wait_s"]) == (10.0, 40.0)
    assert found["excess"] == pytest.approx((0 + 10 / 40 + 40 / 20) / 3)
    assert found["excess_long"] == pytest.approx(10 / 40)
    assert found["excess_short"] == pytest.approx((0 + 40 / 20) / 2)
    assert found["slowdown"] == pytest.approx((1 + 50 / 40 + 60 / 20) / 3)
    assert found["makespan_s"] == 80.0
    assert found["utilization"] == pytest.approx(1.0)
    assert found["busy_cov"] == 0.0


def test_a_short_task_counts_as_ten_seconds_in_slowdown_and_as_the_median_in_excess() -> None:
    """On one slot: 100 s, then 1 s and 100 s that came with it."""
    found = figures("central_fifo", (0.0, 100.0), (0.0, 1.0), (0.0, 100.0))
    assert found["excess"] == pytest.approx((0 + 100 / 100 + 101 / 100) / 3)
    assert found["slowdown"] == pytest.approx((1 + 101 / 10 + 201 / 100) / 3)


def test_one_task_alone_has_no_evenness() -> None:
    found = figures("default", (0.0, 5.0))
    assert (found["utilization"], found["mean_wait_s"]) == (None, 0.0)


def test_jain_is_one_where_all_are_equal_and_a_share_where_one_has_everything() -> None:
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain([9.0, 0.0, 0.0]) == pytest.approx(1 / 3)
    assert jain([]) is None
    assert jain([0.0]) is None


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=300), st.floats(0.001, 1))
def test_few_values_have_exact_quantiles(values: list[float], share: float) -> None:
    found = Sketch()
    for value in values:
        found.add(value)
    assert found.quantile(share) == sorted(values)[max(0, ceil(share * len(values) - 1e-9) - 1)]


def test_many_values_have_quantiles_within_a_tenth_of_a_per_cent_in_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sketch, "EXACT", 1_000)
    chance = Random(1)
    values = [0.0 if chance.random() < 0.2 else chance.lognormvariate(3.0, 2.0) for _ in range(20_500)]
    found = Sketch()
    for value in values:
        found.add(value)
        found.settle()
    assert found.total == len(values)
    assert found.count >= 20_000
    ordered = sorted(values)
    for share in (0.1, 0.3, 0.5, 0.9, 0.99, 1.0):
        exact = ordered[ceil(share * len(values)) - 1]
        assert found.quantile(share) == pytest.approx(exact, rel=1.1e-3)
    assert EXACT > 1_000


def test_the_mean_of_seeds_lies_within_students_interval() -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    found = mean_interval(values)
    assert found.value == 2.5
    assert found.lo == pytest.approx(2.5 - 3.182 * stdev(values) / 2)
    assert found.hi == pytest.approx(2.5 + 3.182 * stdev(values) / 2)
    assert mean_interval([7.0]) == (7.0, None, None)


def test_a_paired_ratio_knows_what_two_policies_have_in_common() -> None:
    """The seeds differ by a factor of a hundred, the ratio by next to nothing."""
    wholes = [1.0, 10.0, 100.0, 3.0, 30.0]
    found = ratio_interval([0.5 * whole for whole in wholes], wholes)
    assert found is not None
    assert found.lo == pytest.approx(0.5)
    assert found.hi == pytest.approx(0.5)
    assert ratio_interval([1.0], [0.0]) is None
    assert ratio_interval([1.0], [4.0]) == (0.25, None, None)


def test_a_ratio_of_means_is_not_the_mean_of_ratios() -> None:
    found = ratio_interval([1.0, 30.0], [10.0, 30.0])
    assert found is not None
    assert found.value == pytest.approx(mean([1.0, 30.0]) / mean([10.0, 30.0]))
    assert found.lo is not None
    assert found.hi is not None
    assert 0.1 <= found.lo <= found.value <= found.hi <= 1.0


def test_the_curve_of_waits_never_falls() -> None:
    chance = Random(2)
    given_tasks = pieces(*((at * 1.0, chance.expovariate(0.5)) for at in range(500)))
    measures = Measures(recorded("t", lambda: iter(given_tasks)).facts)
    world = World(FleetPlan(machines=2, slots=1), iter(given_tasks), measures, "1")
    world.run(choice("p2c").make(world, CoreSettings(), "1"))
    assert all(one <= other for one, other in pairwise(measures.curve()))
