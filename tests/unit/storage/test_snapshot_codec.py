"""Encoding and decoding in steps."""

from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.storage.snapshot_codec import STEP_S, Encoder, decode, steps_of

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def jumping(by: float) -> Any:
    """A clock that goes on by so much at each look."""
    ticks = count()
    return lambda: next(ticks) * by


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_what_was_encoded_is_decoded(record: dict[str, Any]) -> None:
    encoder = Encoder()
    assert [decode(each) for step in encoder.steps([record]) for each in step] == [record]
    assert encoder.left_out == 0


def test_a_step_ends_when_its_time_is_over_and_nothing_is_lost() -> None:
    records = [{"n": number} for number in range(1_000)]
    quick = list(Encoder(lambda: 0.0).steps(records))
    assert [len(step) for step in quick] == [1_000]
    slow = list(Encoder(jumping(STEP_S * 1.01)).steps(records))
    assert {len(step) for step in slow[:-1]} == {16}
    assert [decode(each) for step in slow for each in step] == records


def test_a_step_has_at_most_2000_records_however_fast_they_are_made() -> None:
    assert [len(step) for step in Encoder(lambda: 0.0).steps({} for _ in range(4_001))] == [2_000, 2_000, 1]


def test_a_record_that_is_no_json_is_left_out_and_counted() -> None:
    encoder = Encoder()
    loop: dict[str, Any] = {}
    loop["self"] = loop
    steps = list(encoder.steps([{"a": 1}, {"b": object()}, loop, {"c": 2}]))
    assert [decode(each) for step in steps for each in step] == [{"a": 1}, {"c": 2}]
    assert encoder.left_out == 2


def test_what_earlier_versions_wrote_is_read() -> None:
    assert decode(b'{"type":"a\\u00e9","mean_ms":1.5}') == {"type": "a\u00e9", "mean_ms": 1.5}
    assert decode(b'{"x":Infinity}') == {"x": float("inf")}


def test_what_is_no_record_is_one_of_an_unknown_part() -> None:
    for odd in (b"", b"5", b"[]", b"{", b"\xff", b"[" * 100_000):
        assert decode(odd) == {"part": "unreadable"}


def test_decoding_pauses_between_steps_and_loses_nothing() -> None:
    lines = [b'{"n":%d}' % number for number in range(100)]
    sizes, seen = [], []
    for step in steps_of(lines, jumping(STEP_S * 1.01)):
        taken = list(step)
        sizes.append(len(taken))
        seen += taken
    assert seen == [{"n": number} for number in range(100)]
    assert sizes == [16] * 6 + [4]
    assert [list(step) for step in steps_of([])] == [[]]
