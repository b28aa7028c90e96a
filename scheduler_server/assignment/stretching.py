"""Slot-seconds to instants, where slots come and go with people's hours.

An expected start is so much work over so many slots. With shifts the slots are not the same all the time, so the work
is filled into them as they come and go: what is left when the last one leaves on Friday is done from Monday on.
"""

from math import inf

import numpy as np

from scheduler_server.assignment.expected_start import Expected
from scheduler_server.registry.agenda import Agenda, Turns
from scheduler_server.registry.eligibility import EligibilityClass

LEAST_SLOTS = 0.5
"""Slots are whole, and their sum is an estimate."""


class Stretching:
    """For one class of tasks: how the slots that could take them come and go. Kept until somebody's shift changes."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._version = (-1, -1)
        self._kept: dict[EligibilityClass, Turns] = {}

    def turns_of(self, eligible: EligibilityClass, moves: int) -> Turns:
        """Its turns; `moves` tells who is there."""
        version = (self._agenda.version, moves)
        if version != self._version:
            self._version = version
            self._kept.clear()
        turns = self._kept.get(eligible)
        if turns is None:
            turns = self._kept[eligible] = self._agenda.turns_of(eligible.pools)
        return turns


class Filling:
    """Slots from now on: so many now, others after each turn. What cannot be a slot is none.

    `until` are the wall seconds at which a number of slots ends, `there` that number, `done` the slot-seconds by then.
    Beyond the horizon there are as many slots as there were on average until then.
    """

    def __init__(self, turns: Turns, slots: float, wall: float) -> None:
        self._horizon = turns.horizon
        self._wall = wall
        self._until = until = np.maximum(turns.at, wall)
        levels = slots + np.concatenate([[0.0], np.cumsum(turns.slots)])
        self._last = float(levels[-1])
        self._lasts_s = np.diff(until, prepend=wall)
        self._there = np.where(levels[:-1] >= LEAST_SLOTS, levels[:-1], 0.0)
        self._done = np.cumsum(self._there * self._lasts_s)

    def usual(self) -> float:
        """How many slots there usually are while there are any; 0: never."""
        some_s = float(self._lasts_s[self._there > 0.0].sum())
        return float(self._done[-1]) / some_s if some_s > 0.0 else max(0.0, self._last)

    def at(self, slot_s: float) -> float:
        """The wall second by which so many slot-seconds have passed; infinity: never."""
        enough = (self._done >= slot_s) & (self._there > 0.0) & (self._lasts_s > 0.0)
        if enough.any():
            nth = int(enough.argmax())
            return float(self._until[nth] - (self._done[nth] - slot_s) / self._there[nth])
        done = float(self._done[-1]) if len(self._done) else 0.0
        left = slot_s - done
        if self._last >= LEAST_SLOTS and (left <= 0.0 or self._horizon == inf):
            return (float(self._until[-1]) if len(self._until) else self._wall) + left / self._last
        if not self._wall < self._horizon < inf:
            return inf
        usual = done / (self._horizon - self._wall)
        return self._horizon + left / usual if usual >= _TRICKLE else inf


def stretch(expected: Expected, filling: Filling, wall: float, usual: float) -> Expected | None:
    """An answer by `usual` slots as it is with those that there are, and come and go; None: it never comes to that."""
    p50_at, p90_at = filling.at(expected.p50_s * usual), filling.at(expected.p90_s * usual)
    if p90_at == inf:
        return None
    return expected._replace(p50_s=p50_at - wall, p90_s=p90_at - wall)


_TRICKLE = 1e-6
"""Slots on average below which there are none: a few minutes' work a year."""
