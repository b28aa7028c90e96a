import itertools
from statistics import fmean

import pytest

from scheduler_server.demo import arrivals
from scheduler_server.demo.fleet import FLEET, SLOTS
from scheduler_server.demo.work import KINDS

UNIT_S = {kind.task_type: 0.001 for kind in KINDS}


def test_the_same_seed_makes_the_same_stream_and_another_seed_another() -> None:
    assert arrivals.plan(7, 100, 5.0, 16.0, UNIT_S) == arrivals.plan(7, 100, 5.0, 16.0, UNIT_S)
    assert arrivals.plan(7, 100, 5.0, 16.0, UNIT_S) != arrivals.plan(8, 100, 5.0, 16.0, UNIT_S)


@pytest.mark.parametrize(("tasks", "span_s"), [(60, 2.0), (300, 10.0), (5_000, 200.0)])
def test_the_work_in_the_stream_is_the_stated_load_of_what_the_fleet_can_do(tasks: int, span_s: float) -> None:
    items = arrivals.plan(1, tasks, span_s, 16.0, UNIT_S)
    assert sum(item.nominal_s for item in items) / (16.0 * span_s) == pytest.approx(arrivals.LOAD, abs=0.01)


def test_arrivals_are_in_order_and_within_the_span() -> None:
    at = [item.at_s for item in arrivals.plan(1, 300, 10.0, 16.0, UNIT_S)]
    assert at == sorted(at)
    assert min(at) >= 0.0
    assert max(at) <= 10.0


def test_before_the_first_burst_gaps_vary_as_those_of_a_poisson_process_do() -> None:
    before = arrivals.FIRST_BURST * 200.0
    at = [item.at_s for item in arrivals.plan(1, 5_000, 200.0, 16.0, UNIT_S) if item.at_s < before]
    assert len(at) == pytest.approx((1 - arrivals.BURSTS) * arrivals.FIRST_BURST * 5_000, rel=0.1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
    mean = fmean(gaps)
    variation = fmean((gap - mean) ** 2 for gap in gaps) ** 0.5 / mean
    assert variation == pytest.approx(1.0, abs=0.15)  # exponential; evenly spaced ones would have 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bursts_of_more_tasks_than_there_are_slots_come_again_and_again(seed: int) -> None:
    at = [item.at_s for item in arrivals.plan(seed, 300, 10.0, 16.0, UNIT_S)]
    together = [sum(begin <= other < begin + arrivals.BURST_S for other in at) for begin in at]
    busy = [begin for begin, number in zip(at, together, strict=True) if number >= SLOTS]
    bursts = 1 + sum(later - earlier > arrivals.BURST_S for earlier, later in itertools.pairwise(busy))
    assert bursts >= 3
    assert busy[0] >= arrivals.FIRST_BURST * 10.0 - arrivals.BURST_S


def test_a_span_shorter_than_a_stretch_still_has_its_burst() -> None:
    at = [item.at_s for item in arrivals.plan(1, 40, 1.3, 16.0, UNIT_S)]
    assert max(sum(begin <= other < begin + arrivals.BURST_S for other in at) for begin in at) >= arrivals.BURSTS * 40
    assert max(at) <= 1.3


def test_no_task_is_larger_than_its_share_of_the_span() -> None:
    items = arrivals.plan(3, 40, 4.0, 16.0, UNIT_S)
    assert max(item.nominal_s for item in items) <= arrivals.LARGEST * 4.0 + 0.001


def test_sizes_are_uneven() -> None:
    sizes = sorted(item.nominal_s for item in arrivals.plan(1, 300, 10.0, 16.0, UNIT_S))
    assert sum(sizes[-30:]) > 0.25 * sum(sizes)  # the largest tenth carries more than a quarter of the work


def test_shares_of_the_kinds_add_up_and_each_kind_can_be_done_by_two_workers() -> None:
    assert sum(kind.share for kind in KINDS) == pytest.approx(1.0)
    for kind in KINDS:
        assert sum(set(kind.requires) <= set(spec.capabilities) for spec in FLEET) >= 2, kind.task_type


def test_chunks_are_the_same_for_the_same_seed_and_fit_into_a_payload() -> None:
    chunks = arrivals.chunks(5)
    assert chunks == arrivals.chunks(5)
    assert chunks != arrivals.chunks(6)
    assert max(map(len, chunks.values())) <= 60 * 1024
