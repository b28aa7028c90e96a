"""Which aspects of a task are worth a key."""

from math import inf

import pytest

from scheduler_server.predictor.facet import Facet, size_class


def seen(*values: object) -> Facet:
    facet = Facet()
    for value in values:
        facet.see(value)
    return facet


def test_what_is_always_the_same_makes_no_key() -> None:
    facet = seen(*["a"] * 100)
    assert facet.values == 1
    assert not facet.tells_words_apart(100)
    assert not facet.tells_numbers_apart(100)


def test_the_second_value_makes_one() -> None:
    assert seen("a", "b").tells_words_apart(2)


@pytest.mark.parametrize(("outcomes", "worth"), [(15, True), (16, False), (17, False), (23, False), (24, True)])
def test_words_that_do_not_recur_are_given_up_after_sixteen_outcomes_until_half_of_them_have(
    outcomes: int, worth: bool
) -> None:
    assert seen(*range(12)).tells_words_apart(outcomes) is worth


@pytest.mark.parametrize(("outcomes", "worth"), [(7, False), (8, True)])
def test_numbers_are_taken_by_size_until_eight_outcomes_have_shown_that_they_recur(outcomes: int, worth: bool) -> None:
    assert seen(1.0, 2.0, 3.0).tells_numbers_apart(outcomes) is worth
    assert not seen(*range(5)).tells_numbers_apart(8)


def test_a_thousand_values_that_recur_are_told_apart_and_three_thousand_never() -> None:
    thousand, more = seen(*range(1_000)), seen(*range(3_000))
    assert 600 < thousand.values <= 1_000  # of a bitmap of 1,024, some share a bit
    assert thousand.tells_words_apart(2_000)
    assert more.full
    assert not more.tells_words_apart(10**9)


def test_what_was_seen_comes_back_as_it_was() -> None:
    facet = seen(*range(50))
    again = Facet(facet.first, facet.values, facet.bits)
    for each in (3, 49, 50, 51):
        facet.see(each)
        again.see(each)
    assert (again.first, again.values, again.bits, again.full) == (facet.first, facet.values, facet.bits, facet.full)


@pytest.mark.parametrize(
    ("number", "words"),
    [(0.0, "0"), (1.0, "~2^0"), (1024.0, "~2^10"), (1448.0, "~2^10.5"), (-8.0, "-~2^3"), (0.25, "~2^-2"), (inf, "inf")],
)
def test_sizes_are_classes_of_half_an_octave(number: float, words: str) -> None:
    assert size_class(number) == words


def test_a_class_ends_a_quarter_of_an_octave_from_its_middle() -> None:
    assert size_class(1024 * 2**0.249) == "~2^10"
    assert size_class(1024 * 2**0.251) == "~2^10.5"
