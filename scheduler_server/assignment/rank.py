"""How many wait ahead, and how much work is that? For any set of classes, in logarithmic time.

A sorted list in blocks, as Grant Jenks' Sorted Containers have it, with one more thing per block: how many entries, and
how much work, of each class stand in all the blocks before it. What is ahead of a key is then one product of two
vectors, and a look into one block.
"""

from array import array
from bisect import bisect_left
from typing import Any

import numpy as np

_MOST = 512
"""Entries in a block before it is halved: looking into one costs about as much as adding an entry to the sums of all
later blocks, of which 100,000 entries make some three hundred."""

_LEAST = 64
"""Entries below which a block joins its neighbour."""

Floats = np.ndarray[Any, np.dtype[np.float64]]
Key = tuple[float, int]
"""What orders entries, and a number that tells equal ones apart."""

_ONES: Floats = np.ones(_MOST + 1)


class _Block:
    __slots__ = ("classes", "keys", "work")

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.classes = array("H")
        self.work = array("d")


class RankIndex:
    """Entries with a key, a class (a small number) and an amount of work.

    Invariants: keys are distinct and rise through the blocks; `_count[c, b]` and `_work[c, b]` are the number and the
    work of class c's entries in the blocks before b; `_last[b]` is the greatest key of block b.
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
        if class_index >= len(self._count):
            self._widen(class_index)
        blocks, last = self._blocks, self._last
        at = min(bisect_left(last, key), len(blocks) - 1)
        block = blocks[at]
        keys = block.keys
        pos = bisect_left(keys, key)
        keys.insert(pos, key)
        block.classes.insert(pos, class_index)
        block.work.insert(pos, work)
        if at + 1 < len(blocks):
            self._shift(class_index, at + 1, 1.0, work)
        self._size += 1
        if len(last) <= at:
            last.append(key)
        elif pos == len(keys) - 1:
            last[at] = key
        if len(keys) > _MOST:
            self._halve(at)

    def remove(self, key: Key) -> None:
        """Let an entry go; KeyError where there is none."""
        last = self._last
        at = bisect_left(last, key)
        if at == len(last):
            raise KeyError(key)
        block = self._blocks[at]
        keys = block.keys
        pos = bisect_left(keys, key)
        if keys[pos] != key:
            raise KeyError(key)
        del keys[pos]
        class_index = block.classes.pop(pos)
        work = block.work.pop(pos)
        if at + 1 < len(self._blocks):
            self._shift(class_index, at + 1, -1.0, -work)
        self._size -= 1
        if keys and pos == len(keys):
            last[at] = keys[-1]
        if len(keys) < _LEAST and len(last) > 1:
            self._join(at)
        elif not keys:
            del last[at]

    def ahead(self, key: Key, weights: Floats, work_weights: Floats) -> tuple[float, float]:
        """How many entries have a smaller key, and their work; each times its class's weight.

        The weights have an element for each class.
        """
        last = self._last
        at = bisect_left(last, key)
        count = work = 0.0
        if at == len(last):
            if not at:
                return count, work
            at -= 1  # beyond all: what is before the last block, and all of that
        if at:
            width = min(len(weights), len(self._count))
            count = float(weights[:width] @ self._count[:width, at])
            work = float(work_weights[:width] @ self._work[:width, at])
        block = self._blocks[at]
        pos = bisect_left(block.keys, key)
        if pos:
            classes = np.frombuffer(block.classes, np.uint16, pos)
            count += float(weights.take(classes) @ _ONES[:pos])
            work += float(work_weights.take(classes) @ np.frombuffer(block.work, np.float64, pos))
        return count, max(0.0, work)

    # ------------------------------------------------------------------ blocks

    def _shift(self, class_index: int, start: int, count: float, work: float) -> None:
        # Views, not `a[i] += b`, which writes what it has added a second time.
        used = len(self._blocks)
        counts, works = self._count[class_index, start:used], self._work[class_index, start:used]
        counts += count
        works += work

    def _widen(self, class_index: int) -> None:
        columns = self._count.shape[1]
        classes = len(self._count)
        while classes <= class_index:
            classes *= 2
        more = np.zeros((classes - len(self._count), columns))
        self._count = np.vstack([self._count, more])
        self._work = np.vstack([self._work, more])

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
        if used > self._count.shape[1]:
            self._count = np.hstack([self._count, np.zeros_like(self._count)])
            self._work = np.hstack([self._work, np.zeros_like(self._work)])
        for table in (self._count, self._work):
            table[:, at + 2 : used] = table[:, at + 1 : used - 1].copy()
        self._sum(at)

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
            table[:, first + 1 : used - 1] = table[:, first + 2 : used].copy()
            table[:, used - 1] = 0.0

    def _sum(self, at: int) -> None:
        """Say what stands before the block after this one."""
        block = self._blocks[at]
        classes = np.frombuffer(block.classes, dtype=np.uint16)
        work = np.frombuffer(block.work, dtype=np.float64)
        many = len(self._count)
        self._count[:, at + 1] = self._count[:, at] + np.bincount(classes, minlength=many)
        self._work[:, at + 1] = self._work[:, at] + np.bincount(classes, weights=work, minlength=many)
