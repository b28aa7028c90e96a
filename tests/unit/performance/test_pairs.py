"""The order of windows, and the pairs that they make."""

import math
from collections import Counter

import pytest

from tests.performance.pairs import BASELINE, LEAST_PAIRS, compare, order, ratios_of

A = BASELINE


def test_a_block_stands_between_two_windows_of_the_baseline() -> None:
    assert order(2, ["v"]) == [A, "v", "v", A]


def test_few_blocks_get_two_more_windows_of_the_baseline_at_each_joint() -> None:
    assert order(4, ["v"]) == [A, "v", "v", A, A, A, A, "v", "v", A]


def test_many_blocks_stand_side_by_side() -> None:
    assert order(2 * LEAST_PAIRS, ["v"]) == [A, "v", "v", A] * LEAST_PAIRS
    assert len(order(2 * LEAST_PAIRS - 2, ["v"])) == 4 * (LEAST_PAIRS - 1) + 2 * (LEAST_PAIRS - 2)


def test_variants_take_turns() -> None:
    windows = order(24, ["v", "w"])
    assert windows[:8] == [A, "v", "v", A, A, "w", "w", A]
    assert windows.count("v") == windows.count("w") == 24


@pytest.mark.parametrize(("pairs", "variants"), [(20, 1), (24, 1), (40, 1), (42, 1), (20, 2), (24, 2), (30, 3)])
def test_every_variant_gets_its_pairs_and_the_baseline_nearly_as_many_with_itself(pairs: int, variants: int) -> None:
    names = [f"v{at}" for at in range(variants)]
    windows = order(pairs, names)
    found = ratios_of(windows, [1.0] * len(windows))
    assert {name: len(found[name]) for name in names} == dict.fromkeys(names, pairs)
    assert len(found[BASELINE]) >= LEAST_PAIRS - 2


def test_an_odd_number_of_pairs_is_rounded_up() -> None:
    assert Counter(order(3, ["v"]))["v"] == 4


def test_each_window_is_compared_with_its_neighbour() -> None:
    windows = order(4, ["v"])
    values = [10.0, 8.0, 6.0, 12.0, 24.0, 50.0, 100.0, 30.0, 20.0, 10.0]
    found = ratios_of(windows, values)
    assert found["v"] == [0.8, 0.5, 0.3, 2.0]
    assert found[BASELINE] == [2.0, 0.5]


def test_a_steady_drift_is_no_difference() -> None:
    """A machine that slows down by 1 % per window: both kinds of ratio stay at 1."""
    windows = order(40, ["v", "w"])
    found = ratios_of(windows, [0.99**at for at in range(len(windows))])
    for ratios in found.values():
        logs = [math.log(ratio) for ratio in ratios]
        assert sum(logs) / len(logs) == pytest.approx(0.0, abs=0.0004)


def test_a_variant_of_four_fifths_is_found_in_spite_of_a_drift() -> None:
    speed = iter(0.995**at for at in range(1_000))
    compared = compare(lambda name: next(speed) * (0.8 if name == "v" else 1.0), 24, ["v"])
    ratio = compared.ratio("v")
    assert ratio.lo <= 0.8 <= ratio.hi
    assert ratio.median == pytest.approx(0.8, rel=0.01)
    own = compared.ratio(BASELINE)
    assert own.lo <= 1.0 <= own.hi


def test_windows_are_measured_in_order_and_progress_is_told() -> None:
    asked: list[str] = []
    told: list[tuple[int, int]] = []

    def measure(name: str) -> float:
        asked.append(name)
        return 1.0

    compared = compare(measure, 2, ["v"], lambda done, of: told.append((done, of)))
    assert asked == [A, "v", "v", A]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert compared.windows == {A: [1.0, 1.0], "v": [1.0, 1.0]}
