"""Buckets: which one takes a value, at its bound, just below and just above."""

from math import inf, nan, nextafter

from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.model.histogram import Histogram

BOUNDS = (0.001, 0.01, 1.0)


def test_a_bound_is_the_last_value_of_its_bucket() -> None:
    for at, bound in enumerate(BOUNDS):
        for value, bucket in ((bound, at), (nextafter(bound, 0), at), (nextafter(bound, inf), at + 1)):
            histogram = Histogram(BOUNDS)
            histogram.observe(value)
            assert histogram.counts[bucket] == 1, value
            assert histogram.count == 1


def test_what_is_above_the_last_bound_and_below_the_first_is_counted_too() -> None:
    histogram = Histogram(BOUNDS)
    for value in (0.0, 1e9, inf):
        histogram.observe(value)
    assert histogram.counts == [1, 0, 0, 2]


def test_nan_has_no_size_and_is_left_out() -> None:
    histogram = Histogram(BOUNDS)
    histogram.observe(nan)
    assert (histogram.count, histogram.total) == (0, 0.0)


@given(st.lists(st.floats(0, 1e6)))
def test_buckets_are_those_of_a_plain_count(values: list[float]) -> None:
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.observe(value)
    below = [sum(value <= bound for value in values) for bound in BOUNDS] + [len(values)]
    assert [sum(histogram.counts[: at + 1]) for at in range(4)] == below
    assert histogram.total == sum(values)
