"""How many wait ahead, and how much work is that? For any set of classes, in logarithmic time.

A sorted list in blocks, as Grant Jenks' Sorted Containers have it, with one more thing per block: how many of its
entries, and how much of its work, belong to each class. What is ahead of a key is then the sum over whole blocks, one
product of a matrix and a vector, and a look into one block.
"""

from array import array
from bisect import bisect_left, insort
from typing import Any

import numpy as np

_MOST = 1_024
"""Entries in a block before it is halved. Moving half of them for an insertion costs less than 0.3 us, and 100,000
entries make some two hundred blocks, whose sums cost 3 us."""

_LEAST = 128
"""Entries below which a block joins its neighbour."""

Floats = np.ndarray[Any, np.dtype[np.float64]]
Key = tuple[float, int]
"""What orders entries, and a number that tells equal ones apart."""


class _Block:
    __slots__ = ("classes", "keys", "work")

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.classes = array("H")
        self.work = array("d")


class RankIndex:
    """Entries with a key, a class (a small number) and an amount of work.

    Invariants: keys are distinct and rise through the blocks; `_count[b, c]` and `_work[b, c]` are the number and the
    work of class c's entries in block b; `_last[b]` is the greatest key of block b.
    """

    def __init__(self) -> None:
        self._blocks = [_Block()]
        self._last: list[Key] = []
        self._count: Floats = np.zeros((8, 8))
        self._work: Floats = np.zeros((8, 8))
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, key: Key, class_index: int, work: float) -> None:
        """Take in an entry."""
        if class_index >= self._count.shape[1]:
            self._widen(class_index)
        at = min(bisect_left(self._last, key), len(self._blocks) - 1)
        block = self._blocks[at]
        keys = block.keys
        insort(keys, key)
        pos = bisect_left(keys, key)
        block.classes.insert(pos, class_index)
        block.work.insert(pos, work)
        self._count[at, class_index] += 1.0
        self._work[at, class_index] += work
        self._size += 1
        if len(self._last) <= at:
            self._last.append(key)
        elif pos == len(keys) - 1:
            self._last[at] = key
        if len(keys) > _MOST:
            self._halve(at)

    def remove(self, key: Key) -> None:
        """Let an entry go; KeyError where there is none."""
        at = bisect_left(self._last, key)
        if at == len(self._last):
            raise KeyError(key)
        block = self._blocks[at]
        keys = block.keys
        pos = bisect_left(keys, key)
        if keys[pos] != key:
            raise KeyError(key)
        del keys[pos]
        class_index = block.classes.pop(pos)
        self._count[at, class_index] -= 1.0
        self._work[at, class_index] -= block.work.pop(pos)
        self._size -= 1
        if keys and pos == len(keys):
            self._last[at] = keys[-1]
        if len(keys) < _LEAST and len(self._last) > 1:
            self._join(at)
        elif not keys:
            del self._last[at]

    def ahead(self, key: Key, weights: Floats) -> tuple[float, float]:
        """How many entries have a smaller key, and their work; each times its class's weight.

        `weights` has an element for each class; classes beyond it weigh nothing.
        """
        at = bisect_left(self._last, key)
        width = min(len(weights), self._count.shape[1])
        weights = weights[:width]
        count = work = 0.0
        if at:
            count = float((self._count[:at, :width] @ weights).sum())
            work = float((self._work[:at, :width] @ weights).sum())
        if at < len(self._last):
            block = self._blocks[at]
            pos = bisect_left(block.keys, key)
            if pos:
                classes = np.frombuffer(block.classes, dtype=np.uint16)[:pos]
                within = self._weights_of(weights, classes)
                count += float(within.sum())
                work += float(within @ np.frombuffer(block.work, dtype=np.float64)[:pos])
        return count, work

    @staticmethod
    def _weights_of(weights: Floats, classes: "np.ndarray[Any, np.dtype[np.uint16]]") -> Floats:
        if len(classes) and classes.max() >= len(weights):
            return np.where(classes < len(weights), weights[np.minimum(classes, len(weights) - 1)], 0.0)
        chosen: Floats = weights[classes]
        return chosen

    # ------------------------------------------------------------------ blocks

    def _widen(self, class_index: int) -> None:
        rows, columns = self._count.shape
        while columns <= class_index:
            columns *= 2
        more = columns - self._count.shape[1]
        self._count = np.hstack([self._count, np.zeros((rows, more))])
        self._work = np.hstack([self._work, np.zeros((rows, more))])

    def _halve(self, at: int) -> None:
        block, upper = self._blocks[at], _Block()
        middle = len(block.keys) // 2
        for name in ("keys", "classes", "work"):
            values = getattr(block, name)
            setattr(upper, name, values[middle:])
            setattr(block, name, values[:middle])
        self._blocks.insert(at + 1, upper)
        self._last.insert(at, block.keys[-1])
        used = len(self._blocks)
        if used > len(self._count):
            self._count = np.vstack([self._count, np.zeros_like(self._count)])
            self._work = np.vstack([self._work, np.zeros_like(self._work)])
        for table in (self._count, self._work):
            table[at + 2 : used] = table[at + 1 : used - 1].copy()
        self._sum(at)
        self._sum(at + 1)

    def _join(self, at: int) -> None:
        """Put a small block and a neighbour into one, unless that would soon be halved again."""
        first = at - 1 if at else 0
        block, upper = self._blocks[first], self._blocks[first + 1]
        if block.keys and upper.keys and len(block.keys) + len(upper.keys) > _MOST - _LEAST:
            return
        block.keys += upper.keys
        block.classes.extend(upper.classes)
        block.work.extend(upper.work)
        used = len(self._blocks)
        del self._blocks[first + 1], self._last[first]
        if block.keys:
            self._last[first] = block.keys[-1]
        for table in (self._count, self._work):
            table[first + 1 : used - 1] = table[first + 2 : used].copy()
            table[used - 1] = 0.0
        self._sum(first)

    def _sum(self, at: int) -> None:
        block = self._blocks[at]
        columns = self._count.shape[1]
        classes = np.frombuffer(block.classes, dtype=np.uint16) if block.classes else np.zeros(0, dtype=np.uint16)
        work = np.frombuffer(block.work, dtype=np.float64) if block.work else np.zeros(0)
        self._count[at] = np.bincount(classes, minlength=columns)
        self._work[at] = np.bincount(classes, weights=work, minlength=columns)
