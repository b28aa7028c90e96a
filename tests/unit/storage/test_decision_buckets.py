"""Histograms: where values fall, and quantiles out of them against the values themselves."""

import random
from collections import Counter
from math import inf, nan

import pytest

from scheduler_server.storage.decision_log.buckets import ERROR_LEAST, WAIT_LEAST_MS, bucket, quantile, upper


@pytest.mark.parametrize(
    ("value", "number"),
    [(0.0, 0), (-1.0, 0), (nan, 0), (0.999, 0), (1.0, 1), (1.18, 1), (1.19, 2), (2.0, 5), (4.0, 9), (1e308, 1_000),
     (inf, 1_000)],
)  # fmt: skip
def test_a_value_falls_into_its_bucket(value: float, number: int) -> None:
    assert bucket(value, 1.0) == number


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99])
def test_quantiles_are_within_a_few_per_cent_of_those_of_the_values(share: float) -> None:
    chance = random.Random(7)
    for least in (ERROR_LEAST, WAIT_LEAST_MS):
        values = sorted(least * chance.lognormvariate(4.0, 1.5) for _ in range(20_000))
        counts = Counter(bucket(value, least) for value in values)
        exact = values[int(share * len(values))]
        assert quantile(counts, share, least) == pytest.approx(exact, rel=0.06)
        above = upper(counts, share, least)
        assert above is not None
        assert exact * 0.999 <= above <= exact * 1.2


def test_nothing_has_no_quantile_and_what_is_next_to_nothing_is_nothing() -> None:
    assert quantile({}, 0.5, 1.0) is None
    assert upper({}, 0.99, 1.0) is None
    assert quantile({0: 10}, 0.5, 1.0) == upper({0: 10}, 0.99, 1.0) == 0.0
    assert upper({0: 99, 9: 1}, 0.99, 1.0) == 0.0
    assert upper({0: 98, 9: 2}, 0.99, 1.0) == pytest.approx(2.0 ** (9 / 4))
