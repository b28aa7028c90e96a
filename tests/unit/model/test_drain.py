import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.model.drain import DrainCounts, labels_like, like

WORDS = st.text(alphabet="ab*", max_size=12)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "anything at all", True),
        ("eu-*", "eu-", True),
        ("eu-*", "eu", False),
        ("*-1", "eu-1", True),
        ("*-1", "eu-11", False),
        ("a*a", "a", False),  # each of them is wanted
        ("a*a", "aa", True),
        ("a*b*c", "a-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("**", "x", True),
        ("a.c", "abc", False),  # a dot is a dot
        ("[a]", "a", False),
    ],
)
def test_a_star_stands_for_any_text_and_everything_else_for_itself(pattern: str, text: str, matches: bool) -> None:
    assert like(pattern, text) is matches


@given(WORDS, st.text(alphabet="ab", max_size=12))
def test_it_agrees_with_a_regular_expression(pattern: str, text: str) -> None:
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert like(pattern, text) is bool(re.fullmatch(expression, text, re.DOTALL))


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    assert not like("*a" * 120 + "*b", "a" * 256)  # a backtracking matcher would not come back


def test_every_label_asked_for_has_to_be_there() -> None:
    labels = (("zone", "eu-1"), ("kind", "gpu"))
    assert labels_like((("zone", "eu-*"),), labels)
    assert labels_like((("zone", "eu-*"), ("kind", "*")), labels)
    assert not labels_like((("zone", "eu-*"), ("rack", "*")), labels)
    assert not labels_like((("zone", "us-*"),), labels)


def test_counts_add_up() -> None:
    assert DrainCounts(1, 2, 3).plus(DrainCounts(finished=1)) == DrainCounts(1, 3, 3)
