"""The last comparisons of each policy: a row each, overwritten in turn, filled in when the decision is judged."""

from typing import Any, NamedTuple

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

_FIRST = 256


class Column:
    """Places in a row. Waits and ends are seconds from the decision; the `*_later` are NaN until it is judged."""

    AT, AGREED, LIVE_WAIT, WAIT, LIVE_FINISH, FINISH, WAIT_LATER, FINISH_LATER = range(8)


_COLUMNS = 8

FAILED = (np.nan,) * (_COLUMNS - 1)
"""A row, but for its instant, of a decision on which the policy failed."""


class Rows(NamedTuple):
    """Rows in the order of their decisions, and the type of each."""

    values: Floats
    types: list[str]


class Kept:
    """The last `most` comparisons of one policy.

    Invariant: row n of `total` (counted from 0) is at place n modulo the capacity while `total - capacity <= n`; the
    capacity grows up to `most`, and only while no row was overwritten. A number given out is n less `_before`, the rows
    that were put before all others since.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.total = self._before = 0
        self._values: Floats = np.zeros((min(_FIRST, most), _COLUMNS))
        self._types: list[str] = [""] * len(self._values)

    def __len__(self) -> int:
        return min(self.total, len(self._values))

    def add(self, at: float, task_type: str, row: tuple[float, ...]) -> int:
        """Take in a row; its number."""
        capacity = len(self._values)
        if self.total == capacity < self.most:
            more = min(capacity, self.most - capacity)
            self._values = np.concatenate([self._values, np.zeros((more, _COLUMNS))])
            self._types += [""] * more
            capacity += more
        number, place = self.total, self.total % capacity
        self._values[place] = (at, *row)
        self._types[place] = task_type
        self.total += 1
        return number - self._before

    def judge(self, number: int, wait_s: float, finish_s: float) -> None:
        """Fill in what happened; nothing where the row is gone."""
        capacity = len(self._values)
        number += self._before
        if number >= self.total - capacity:
            row = self._values[number % capacity]
            row[Column.WAIT_LATER], row[Column.FINISH_LATER] = wait_s, finish_s

    @property
    def room(self) -> int:
        """How many older ones could be put before those that there are."""
        return 0 if self.total > len(self._values) else self.most - self.total

    def put_before(self, older: Rows) -> None:
        """Take in rows from before all others, the last ones of them where there is no room for all."""
        count = min(self.room, len(older.types))
        if not count:
            return
        values, types = older.values[-count:], older.types[-count:]
        self._values = np.concatenate([values, self._values[: self.total]])
        self._types = types + self._types[: self.total]
        self.total += count
        self._before += count

    def resize(self, most: int) -> "Kept":
        """The same with room for another number; of too many the last ones stay. Numbers given out are no more."""
        if most == self.most:
            return self
        other = Kept(most)
        rows = self.rows()
        values, types = rows.values[-most:], rows.types[-most:]
        room = max(len(values), len(other._values))
        other._values = np.concatenate([values, np.zeros((room - len(values), _COLUMNS))])
        other._types = types + [""] * (room - len(types))
        other.total = len(values)
        return other

    def rows(self) -> Rows:
        """All there are, oldest first: copies."""
        capacity = len(self._values)
        if self.total <= capacity:
            return Rows(self._values[: self.total].copy(), self._types[: self.total])
        cut = self.total % capacity
        return Rows(np.concatenate([self._values[cut:], self._values[:cut]]), self._types[cut:] + self._types[:cut])
