"""The emptiest of the next few in turn: a choice by counts alone, for tasks whose durations nobody can tell."""

from collections.abc import Callable
from typing import TypeVar

from scheduler_server.fallback.round_robin import Turn, next_in_turn

NAME = "least_busy"

_LOOKED_AT = 4
"""Candidates looked at. Two already take away nearly all that in turn loses (Mitzenmacher, The Power of Two Choices,
2001); four find the emptiest worker of a small fleet most of the time, and cost a large one no scan."""

W = TypeVar("W")


def least_busy(eligible: Turn[W], acceptable: Callable[[W], bool], free_share: Callable[[W], float]) -> W | None:
    """The one with the largest free share among the next candidates in turn; of equals the first. None: no candidate.

    The turn moves on past all that were looked at, so that other workers are compared the next time.
    """
    first = next_in_turn(eligible, acceptable)
    if first is None:
        return None
    best, most = first, free_share(first)
    for _ in range(_LOOKED_AT - 1):
        record = next_in_turn(eligible, acceptable)
        if record is None or record is first:  # all have been seen
            break
        share = free_share(record)
        if share > most:
            best, most = record, share
    return best
