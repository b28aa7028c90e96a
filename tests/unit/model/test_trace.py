"""W3C's headers: what is well-formed, what is ignored, and the spans that are worked out of one."""

import pytest

from scheduler_server.model.trace import Part, Trace, child, trace_of

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_good_one_is_taken_as_it_is() -> None:
    trace = trace_of(GOOD, "vendor=1")
    assert trace == Trace(GOOD, "vendor=1")
    assert trace.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert trace.sampled


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_the_lowest_flag_says_whether_it_is_recorded(flags: str, sampled: bool) -> None:
    trace = trace_of(GOOD[:-2] + flags)
    assert trace is not None
    assert trace.sampled is sampled


@pytest.mark.parametrize(
    "parent",
    [
        "",
        GOOD[:-1],
        GOOD + "0",
        GOOD + "-00",  # only later versions may go on
        GOOD.upper(),
        GOOD.replace("0af7", "0ag7"),
        "ff" + GOOD[2:],
        "00-" + "0" * 32 + GOOD[35:],
        GOOD[:36] + "0" * 16 + GOOD[52:],
        GOOD.replace("-", "_"),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\n",
        "0" * 55,
        "é" * 55,
    ],
)
def test_a_malformed_one_is_ignored(parent: str) -> None:
    assert trace_of(parent) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert trace_of("cc" + GOOD[2:]) == Trace(GOOD)
    assert trace_of("cc" + GOOD[2:] + "-what-comes") == Trace(GOOD)
    assert trace_of("cc" + GOOD[2:] + "what-comes") is None


@pytest.mark.parametrize(("state", "kept"), [("a=b" + "c" * 509, True), ("a=b" + "c" * 510, False), ("a=\n", False)])
def test_a_state_that_cannot_be_is_left_out_alone(state: str, kept: bool) -> None:
    trace = trace_of(GOOD, state)
    assert trace is not None
    assert trace.state == (state if kept else "")


def test_the_parts_of_all_attempts_are_spans_of_their_own_in_the_same_trace() -> None:
    trace = Trace(GOOD, "vendor=1")
    parts = [child(trace, attempt, part) for attempt in range(1, 1_001) for part in Part]
    assert len({part.parent for part in parts} | {GOOD}) == 3_001
    assert all(trace_of(part.parent, part.state) == part for part in parts), "each is well-formed"
    assert {part.trace_id for part in parts} == {trace.trace_id}
    assert child(trace, 1, Part.WAIT) == child(trace, 1, Part.WAIT), "worked out, not drawn"
