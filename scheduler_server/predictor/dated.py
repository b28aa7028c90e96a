"""When did a key last learn? A predictor knows no time, so whoever teaches it says first what time it was."""

from math import isfinite
from typing import Any, Protocol, runtime_checkable

_LATEST = 4e11
"""A wall second beyond every clock: the year 14,600."""


@runtime_checkable
class Dated(Protocol):
    """A predictor that remembers it; every built-in one does.

    `wall` is the wall second of the outcomes that it is taught next; 0: nobody knows.
    """

    wall: float


def instant_of(record: dict[str, Any], name: str = "at") -> float:
    """An instant of a record that was kept, 0 where there is none; ValueError where it makes no sense."""
    value = record.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (isfinite(value) and 0 <= value < _LATEST):
        raise ValueError(f"{name} is no instant: {str(value)[:40]}")
    return float(value)
