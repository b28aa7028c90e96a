"""The densest durations of a key, against a plain second version; and its worked examples."""

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.predictor.densest import BIN, BINS, FIRST_CENTRE, HORIZONS, MOST, TOTALS, Densest, bin_of


def plain_shares(bins: list[int]) -> dict[int, int]:
    """Weight per window, from the definition."""
    shares: dict[int, int] = {}
    for back, each in enumerate(reversed(bins), start=1):
        weight = sum(weight for age, weight in HORIZONS if back <= age)
        for window in range(each - BINS + 1, each + 1):
            shares[window] = shares.get(window, 0) + weight
    return {window: weight for window, weight in shares.items() if weight}


def filled(bins: list[int]) -> Densest:
    densest = Densest()
    densest.begin(bins[0])
    for each in bins[1:]:
        densest.add(each)
    return densest


BINS_OF_A_KEY = st.lists(st.integers(-40, 40) | st.integers(-260, 470), min_size=1, max_size=120)


@given(BINS_OF_A_KEY)
def test_the_weights_of_windows_are_those_of_the_definition(bins: list[int]) -> None:
    densest, kept = filled(bins), bins[-MOST:]
    counted = {densest.base + place: weight for place, weight in enumerate(densest.counts) if weight}
    assert counted == plain_shares(kept)
    assert densest.recent.tolist() == kept
    assert densest.total == TOTALS[len(kept)] == sum(plain_shares(kept).values()) // BINS
    assert densest.most == max(counted.values())


@given(BINS_OF_A_KEY)
def test_the_stretch_found_is_one_of_the_densest_and_holds_the_newest_duration_if_any_does(bins: list[int]) -> None:
    densest, shares = filled(bins), plain_shares(bins[-MOST:])
    most = max(shares.values())
    stretch = range(densest.low, densest.high + 1)
    assert all(shares[window] == most for window in stretch)
    assert len(stretch) <= BINS
    if len(stretch) < BINS:
        assert shares.get(densest.low - 1) != most
        assert shares.get(densest.high + 1) != most
    newest = range(bins[-1] - BINS + 1, bins[-1] + 1)
    if any(shares[window] == most for window in newest):
        assert set(stretch) & set(newest)


@given(BINS_OF_A_KEY)
def test_what_is_worked_out_anew_is_what_was_kept_up_to_date(bins: list[int]) -> None:
    kept, anew = filled(bins), filled(bins)
    anew.rebuild()
    assert (anew.low, anew.high, anew.most, anew.total) == (kept.low, kept.high, kept.most, kept.total)


@given(BINS_OF_A_KEY, st.integers(1, 60))
def test_what_is_forgotten_leaves_what_had_never_been_more(bins: list[int], but: int) -> None:
    forgetful, fresh = filled(bins), filled(bins[-MOST:][-but:])
    forgetful.forget(but)
    assert forgetful.recent == fresh.recent
    assert (forgetful.low, forgetful.high, forgetful.total) == (fresh.low, fresh.high, fresh.total)


@given(st.integers(-260, 470))
def test_the_first_duration_is_a_key_like_any_other(first: int) -> None:
    begun, rebuilt = filled([first]), filled([first])
    rebuilt.rebuild()
    assert (begun.low, begun.high, begun.total, begun.most) == (rebuilt.low, rebuilt.high, rebuilt.total, rebuilt.most)
    assert begun.base + begun.counts.index(begun.most) == first - BINS + 1


def test_no_sum_of_weights_exceeds_a_byte() -> None:
    assert max(TOTALS) == TOTALS[MOST] == 144
    assert [age * weight for age, weight in HORIZONS] == [48, 48, 48]


def test_a_window_holds_exactly_what_its_point_is_within_a_quarter_of() -> None:
    point_log = 7 * BIN + FIRST_CENTRE
    first, last = (7 - 0.5) * BIN, (7 + BINS - 0.5) * BIN  # the outer edges of its bins
    assert exp(point_log) / exp(first) == pytest.approx(1.25)
    assert exp(point_log) / exp(last) == pytest.approx(0.75)


def test_of_three_and_four_seconds_the_point_is_near_to_both() -> None:
    densest = filled([bin_of(log(1000.0 * seconds)) for seconds in (3, 4, 3, 4, 10, 10, 11, 11, 3, 4)])
    point = exp(0.5 * (densest.low + densest.high) * BIN + FIRST_CENTRE)
    assert 3_200 < point < 3_750


def test_durations_below_a_nanosecond_count_as_one() -> None:
    assert bin_of(log(1e-6)) == bin_of(log(1e-300))
    assert bin_of(log(1e-5)) > bin_of(log(1e-6))
