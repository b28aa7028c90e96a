"""How many wait ahead, and how much work is that? For any set of classes, in logarithmic time.

A sorted list in blocks, as Grant Jenks' Sorted Containers have it, with one more thing per block: how many entries, and
how much work, of each class stand in all the blocks before it. What is ahead of a key is then one product of two
vectors, and a look into one block.
"""

from array import array
from typing import Any, NamedTuple

import numpy as np

from scheduler_server.assignment.keys import Key, Keys
from scheduler_server.registry.columns import elements

_MOST = 512
"""Entries in a block before it is halved: looking into one costs about as much as adding an entry to the sums of all
later blocks, of which 100,000 entries make some three hundred."""

_LEAST = 64
"""Entries below which a block joins its neighbour."""

_FEW = 24
"""Classes up to which their sums are read one by one (0.12 us each) and not as columns (3 us, more where the processor
has not seen them for a while)."""

_AT_ONCE = 10
"""Sums beyond which adding to all of them at once (1 to 2 us) is faster than one by one."""

_INDEX, _FLOAT = np.dtype(np.int64), np.dtype(np.float64)

Floats = np.ndarray[Any, np.dtype[np.float64]]
Complexes = np.ndarray[Any, np.dtype[np.complex128]]


class Among(NamedTuple):
    """Classes to look at.

    `shares` by class: above 0 where it counts, 0 elsewhere. `alike`: where it does, as bytes, which are read one by one
    in no time. `few`: the classes that count with their shares, unless there are many.
    """

    shares: Floats
    alike: bytes
    few: list[tuple[int, float]] | None

    @classmethod
    def of(cls, shares: Floats) -> "Among":
        """From the shares alone."""
        counting = np.flatnonzero(shares).tolist()
        few = [(each, float(shares[each])) for each in counting] if len(counting) <= _FEW else None
        return cls(shares, (shares > 0.0).tobytes(), few)


class _Block:
    __slots__ = ("classes", "keys", "work")

    def __init__(self) -> None:
        self.keys = Keys()
        self.classes = array("q")  # what numpy indexes by: a narrower type would be widened for every question
        self.work = array("d")


class RankIndex:
    """Entries with a key, a class (a small number) and an amount of work.

    Invariants: keys are distinct and rise through the blocks; `_last` has the greatest key of each block;
    `_base[c] + _before[c, b]` is the number (real part) and the work (imaginary part) of class c's entries in the
    blocks before b, as one complex number because numpy then adds both at once. The bases make it cheap to let go what
    comes first: all later sums move by one number.
    """

    def __init__(self) -> None:
        self._blocks = [_Block()]
        self._last = Keys()
        self._base = [0j] * 8
        self._set(np.zeros((8, 8), dtype=np.complex128))
        self._size = 0
        self._added: tuple[Key, int, int] | None = None  # the newest key, if nothing has changed since, and its place

    def _set(self, before: Complexes) -> None:
        self._before = before
        self._rows = [elements(row) for row in before.view(np.float64)]  # number and work by turns

    def __len__(self) -> int:
        return self._size

    def add(self, key: Key, class_index: int, work: float) -> None:
        """Take in an entry."""
        if class_index >= len(self._base):
            self._widen(class_index)
        blocks, last = self._blocks, self._last
        used = len(blocks)
        at = last.find(key)
        if at >= used:
            at = used - 1
        block = blocks[at]
        keys = block.keys
        pos = keys.find(key)
        keys.insert(pos, key)
        block.classes.insert(pos, class_index)
        block.work.insert(pos, work)
        if at + 1 < used:
            self._shift(class_index, at + 1, complex(1.0, work))
        self._size += 1
        size = len(block.work)
        if pos == size - 1:
            if last.values:
                last.put(at, key)
            else:
                last.insert(0, key)
        self._added = key, at, pos
        if size > _MOST:
            self._halve(at)

    def remove(self, key: Key) -> None:
        """Let an entry go; KeyError where there is none."""
        last, blocks = self._last, self._blocks
        at = last.find(key)
        if at == len(last.values):
            raise KeyError(key)
        block = blocks[at]
        keys = block.keys
        pos = keys.find(key)
        if keys.values[pos] != key[0] or keys.numbers[pos] != key[1]:
            raise KeyError(key)
        self._added = None
        keys.delete(pos)
        class_index = block.classes.pop(pos)
        work = block.work.pop(pos)
        used = len(blocks)
        if at + 1 < used:
            self._shift(class_index, at + 1, complex(-1.0, -work))
        self._size -= 1
        size = len(block.work)
        if not size:
            if used == 1:
                last.delete(at)
        elif pos == size:
            last.put(at, keys.last())
        if size < _LEAST and used > 1:
            self._join(at)

    def ahead(self, key: Key, among: Among) -> tuple[int, float]:
        """How many entries of these classes have a smaller key, and the sum of their work times its class's share."""
        shares, _, few = among
        blocks = self._blocks
        added = self._added
        if added is not None and added[0] is key:
            _, at, pos = added
            block = blocks[at]
        else:
            at = self._last.find(key)
            if at >= len(blocks):
                at = len(blocks) - 1  # beyond all: what is before the last block, and all of that
            block = blocks[at]
            pos = block.keys.find(key)
        number = work = 0.0
        if at:
            base = self._base
            if few is not None:
                rows, column = self._rows, 2 * at
                for class_index, share in few:
                    if class_index < len(base):
                        row, basis = rows[class_index], base[class_index]
                        number += basis.real + row[column]
                        work += share * (basis.imag + row[column + 1])
            else:
                width = min(len(shares), len(base))
                before, shares_of = self._before[:width, at] + base[:width], shares[:width]
                number = float(np.where(shares_of > 0.0, before.real, 0.0).sum())
                work = float(shares_of.dot(before.imag))
        count = round(number)
        if pos:
            found = shares.take(np.frombuffer(block.classes, _INDEX, pos))
            count += int(np.count_nonzero(found))
            work += float(found.dot(np.frombuffer(block.work, _FLOAT, pos)))
        return count, max(0.0, work)

    def totals(self) -> Complexes:
        """By class, how many entries there are (real part) and their work (imaginary part)."""
        at = len(self._blocks) - 1
        block, many = self._blocks[at], len(self._before)
        sums: Complexes = self._before[:, at] + np.array(self._base)
        if block.work:
            classes = np.frombuffer(block.classes, _INDEX)
            sums += np.bincount(classes, minlength=many)
            sums += 1j * np.bincount(classes, np.frombuffer(block.work, _FLOAT), many)
        return sums

    # ------------------------------------------------------------------ blocks

    def _shift(self, class_index: int, start: int, more: complex) -> None:
        """Count an entry of block `start - 1` for all later blocks; or for all, and not for those up to it."""
        stop = len(self._blocks)
        if 2 * start <= stop:
            self._base[class_index] += more
            start, stop, more = 0, start, -more
        if stop - start > _AT_ONCE:
            before = self._before[class_index, start:stop]  # a view, not `a[i] += b`, which writes what it added again
            before += more
        else:
            row, number, work = self._rows[class_index], more.real, more.imag
            for column in range(2 * start, 2 * stop, 2):
                row[column] += number
                row[column + 1] += work

    def _widen(self, class_index: int) -> None:
        classes, columns = self._before.shape
        more = classes
        while classes + more <= class_index:
            more *= 2
        self._base += [0j] * more
        self._set(np.vstack([self._before, np.zeros((more, columns), dtype=np.complex128)]))

    def _halve(self, at: int) -> None:
        self._added = None
        block, upper = self._blocks[at], _Block()
        middle = len(block.work) // 2
        upper.keys = block.keys.split(middle)
        upper.classes, upper.work = block.classes[middle:], block.work[middle:]
        del block.classes[middle:], block.work[middle:]
        self._blocks.insert(at + 1, upper)
        self._last.insert(at, block.keys.last())
        used = len(self._blocks)
        before = self._before
        if used > before.shape[1]:
            self._set(before := np.hstack([before, np.zeros_like(before)]))
        before[:, at + 2 : used] = before[:, at + 1 : used - 1].copy()
        classes = np.frombuffer(block.classes, _INDEX)
        many = len(before)
        before[:, at + 1] = before[:, at] + np.bincount(classes, minlength=many)
        before[:, at + 1] += 1j * np.bincount(classes, np.frombuffer(block.work, _FLOAT), many)

    def _join(self, at: int) -> None:
        """Put a small block and a neighbour into one, unless that would soon be halved again."""
        first = at - 1 if at else 0
        block, upper = self._blocks[first], self._blocks[first + 1]
        if block.work and upper.work and len(block.work) + len(upper.work) > _MOST - _LEAST:
            return
        block.keys.extend(upper.keys)
        block.classes.extend(upper.classes)
        block.work.extend(upper.work)
        used = len(self._blocks)
        del self._blocks[first + 1]
        self._last.delete(first)
        if block.work:
            self._last.put(first, block.keys.last())
        self._before[:, first + 1 : used - 1] = self._before[:, first + 2 : used].copy()
