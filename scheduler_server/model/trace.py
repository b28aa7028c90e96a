"""Which trace something belongs to."""

from enum import IntEnum
from typing import NamedTuple


class Trace(NamedTuple):
    """A span that others are to hang below, as W3C's `traceparent` and `tracestate` have it.

    `parent` is well-formed: whoever makes one has read it, or made it.
    """

    parent: str
    state: str = ""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.parent[3:35]

    @property
    def sampled(self) -> bool:
        """Did whoever began the trace want it recorded?"""
        return bool(int(self.parent[53:55], 16) & 1)


_VERSION_00 = 55  # characters of a traceparent; later versions may append to it, after a dash
_LONGEST_STATE = 512
_HEX = frozenset("0123456789abcdef")


def trace_of(parent: str, state: str = "") -> Trace | None:
    """What the two headers say; None where `parent` is malformed, which W3C wants ignored.

    Version 00 is exactly 55 characters; of later versions the part that is as in 00 is read, and 00 is passed on. A
    state that is too long, or has anything but printable ASCII, is left out: the span stands without it.
    """
    if len(parent) != _VERSION_00 and (len(parent) < _VERSION_00 or parent[:2] == "00" or parent[_VERSION_00] != "-"):
        return None
    version, trace_id, span_id, flags = parent[:2], parent[3:35], parent[36:52], parent[53:55]
    if not (
        parent[2] == parent[35] == parent[52] == "-"
        and _HEX.issuperset(version + trace_id + span_id + flags)
        and version != "ff"
        and trace_id.strip("0")
        and span_id.strip("0")
    ):
        return None
    if len(state) > _LONGEST_STATE or not (state.isascii() and state.isprintable()):
        state = ""
    return Trace(f"00-{trace_id}-{span_id}-{flags}", state)


class Part(IntEnum):
    """What a task goes through below its own span, each a span."""

    WAIT = 1
    DISPATCH = 2
    OUTCOME = 3


def child(trace: Trace, attempt: int, part: Part) -> Trace:
    """The span of this part of this attempt: worked out, not drawn, so that nobody has to remember it.

    A worker is told of the span of its dispatch before there is one, and a server that was restarted in between makes
    the same. Multiples of an odd number are all different, and the golden ratio's spread evenly.
    """
    number = int(trace.parent[36:52], 16) + (4 * attempt + part) * _GOLDEN & _MOST
    return Trace(f"{trace.parent[:36]}{number or 1:016x}{trace.parent[52:]}", trace.state)


_GOLDEN, _MOST = 0x9E3779B97F4A7C15, 0xFFFF_FFFF_FFFF_FFFF
