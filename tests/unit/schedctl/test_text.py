"""Words from elsewhere: safe, and as wide as they are said to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.schedctl import text

ANY = st.text(max_size=60)
NASTY = st.text(alphabet=st.sampled_from("ab \x1b\x07\x9b\n\u202e\u200b\ufe0f界e\u0301👨\u200d🇩🇪🏽"), max_size=40)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain", "plain"),
        ("日本 é", "日本 é"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x7f", "\\x7f"),
        ("\u202eevil", "\\u202eevil"),
        ("a\u200bb", "a\\u200bb"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("♥\ufe0f", "♥\\ufe0f"),
        ("🇩🇪", "\\U0001f1e9\\U0001f1ea"),
        ("👨\u200d👩", "👨\\u200d👩"),
    ],
)
def test_what_a_terminal_would_obey_hide_reorder_or_join_is_shown_as_an_escape(said: str, shown: str) -> None:
    assert text.shown(said) == shown


@given(ANY | NASTY)
def test_nothing_unprintable_is_ever_shown(said: str) -> None:
    assert text.shown(said).isprintable()


@given(ANY | NASTY)
def test_a_shown_text_is_as_wide_as_its_letters(said: str) -> None:
    shown = text.shown(said)
    assert text.width(shown) == sum(text.width(letter) for letter in shown)


@given(NASTY, st.integers(0, 50))
def test_what_is_cut_fits_and_what_fits_is_not_cut(said: str, columns: int) -> None:
    shown = text.shown(said)
    for cut in (text.cut, text.cut_middle):
        short = cut(shown, columns)
        assert text.width(short) <= columns
        assert (short == shown) == (text.width(shown) <= columns)


def test_cut_in_the_middle_both_ends_stay() -> None:
    assert text.cut_middle("0123456789", 10) == "0123456789"
    assert text.cut_middle("0123456789", 9) == "0123…6789"
    assert text.cut_middle("0123456789", 8) == "0123…789"
    assert text.cut_middle("界界界界界", 6) == "界…界"
    assert text.cut_middle("0123456789", 1) == "…"
    assert text.cut_middle("0123456789", 0) == ""


def test_an_accent_does_not_lose_its_letter_at_a_cut() -> None:
    assert text.cut("e\u0301e\u0301e\u0301", 2) == "e\u0301…"
    assert text.cut_middle("ae\u0301bbe\u0301a", 4) == "ae\u0301…a"


@given(NASTY, st.integers(2, 50))
def test_wrapped_lines_fit_and_lose_nothing_but_spaces(said: str, columns: int) -> None:
    shown = text.shown(said)
    lines = text.wrapped(shown, columns)
    assert lines
    assert all(text.width(line) <= columns for line in lines)
    assert "".join(lines).replace(" ", "") == shown.replace(" ", "")


def test_a_text_is_wrapped_between_words_and_a_long_word_where_it_must() -> None:
    assert text.wrapped("one two three", 7) == ["one two", "three"]
    assert text.wrapped("abcdefghij k", 4) == ["abcd", "efgh", "ij k"]
    assert text.wrapped("", 4) == [""]


def test_a_terminal_without_other_letters_gets_ascii() -> None:
    assert text.ascii_only("a界é") == "a\\u754c\\xe9"
