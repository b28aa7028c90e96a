"""The ring of what happens: its newest entries, read from any number on."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.rpc.following import Ring


class Entry(NamedTuple):
    sequence: int


def ring_of(kept: int, added: int, newest: int = 0) -> Ring[Entry]:
    ring: Ring[Entry] = Ring(kept, newest)
    for number in range(newest + 1, newest + added + 1):
        ring.add(Entry(number))
    return ring


@given(kept=st.integers(1, 20), added=st.integers(0, 40), back=st.integers(0, 50), most=st.integers(0, 25))
def test_a_reader_gets_the_oldest_of_what_came_after_its_number(kept: int, added: int, back: int, most: int) -> None:
    ring = ring_of(kept, added, newest=100)
    position = ring.newest - back
    plain = [entry for entry in ring.entries if entry.sequence > position][:most]
    assert ring.after(position, most) == plain


@pytest.mark.parametrize(("position", "gone"), [(6, True), (7, False), (10, False)])
def test_what_is_not_kept_any_more_is_gone(position: int, gone: bool) -> None:
    assert ring_of(3, 10).gone(position) is gone
