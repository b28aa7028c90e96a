"""What `schedctl bench` counts, and how it is told."""

import math

from hypothesis import given
from hypothesis import strategies as some

from scheduler_api.v1 import task_pb2
from scheduler_server.schedctl.bench.latencies import Latencies
from scheduler_server.schedctl.bench.load import Plan
from scheduler_server.schedctl.bench.tally import Fault, Tally
from scheduler_server.schedctl.commands import bench

PLAN = Plan(task=task_pb2.Task(), run="r", duration_s=3_600.0, callers=1_000, timeout_s=5.0)

TIMES = some.lists(some.floats(min_value=1e-6, max_value=10_000.0), min_size=1)


@given(TIMES, some.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_the_true_one_or_up_to_a_hundredth_longer(times: list[float], share: float) -> None:
    taken = Latencies()
    for each in times:
        taken.add(each)
    true = sorted(times)[math.ceil(share * len(times) - 1e-9) - 1]
    found = taken.quantile_s(share)
    assert found is not None
    assert true * (1 - 1e-9) <= found <= true * 1.01 * (1 + 1e-9)
    assert taken.longest_s == max(times)
    assert taken.count == len(times)


def test_nothing_measured_has_no_quantile_and_no_ratio() -> None:
    assert Latencies().quantile_s(0.5) is None
    tally = Tally()
    assert (tally.latency_ratio, tally.throughput_ratio, tally.idle.per_second) == (None, None, None)


def test_times_too_short_to_be_true_count_as_the_shortest() -> None:
    taken = Latencies()
    taken.add(0.0)
    assert (taken.quantile_s(1.0), taken.longest_s) == (0.0, 0.0)
    taken.add(2e-6)
    assert taken.quantile_s(0.5) == 1e-6


def test_ratios_compare_with_a_call_that_does_nothing() -> None:
    tally = Tally()
    for _ in range(100):
        tally.assign.taken.add(0.003)
        tally.end.taken.add(0.003)
        tally.idle.taken.add(0.002)
    tally.assign.spent_s = tally.end.spent_s = 1.0
    tally.idle.spent_s = 0.25
    assert tally.latency_ratio is not None
    assert abs(tally.latency_ratio - 1.5) < 0.03
    assert tally.throughput_ratio == 200 / 400  # two calls a task, per second, against 100 in a quarter of one


def test_faults_are_counted_by_call_code_and_reason() -> None:
    tally = Tally()
    full = Fault("Assign", "RESOURCE_EXHAUSTED", "NO_FREE_SLOT")
    for fault in (full, full, Fault("Assign", "UNAVAILABLE", "")):
        tally.failed(tally.assign, fault)
    assert tally.assign.failed == 3
    assert tally.faults.most_common(1) == [(full, 2)]


def test_the_bar_stays_on_one_line_whatever_it_counts() -> None:
    longest = bench.bar(9_999.0, PLAN, 360_000_000, 100_000.0, 360_000_000)
    assert len(longest) < 80
    assert "#" * 10 in longest
    assert bench.bar(0.0, PLAN, 0, 0.0, 0).startswith("[..........] 0s of 1h15m  0 tasks")
