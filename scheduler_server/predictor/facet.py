"""Does an aspect of the tasks of one type tell them apart, and is it worth a key?

A tenant that never changes makes no finer key; nor does a word that never recurs, such as the id of a run. A number is
taken as it is when its values recur (the same input again and again), and by its size otherwise.
"""

from math import isfinite, log2
from zlib import crc32

_BITS = 1024
"""Size of the set of values seen, as a bitmap: values are told apart up to about this many."""

MOST_DIGITS = _BITS // 4
"""Hexadecimal digits of such a bitmap."""

_FULL = _BITS * 3 // 4
"""With so many bits set about 1,400 values have been seen, and new ones can no longer be told from old: too many to be
worth a key each, for good."""

_PATIENCE = 16
"""Outcomes before words are given up because they do not recur: twelve data sets in turn are not an id."""

_NUMBER_PATIENCE = 8
"""Outcomes before numbers are taken as they are because they recur; sizes do well until then."""

_CLASSES_PER_OCTAVE = 2
"""Size classes: a factor of 1.41 from one to the next, so that even where duration grows in proportion to size the
middle of a class is within 25 % of all of it."""


class Facet:
    """The values that one aspect has had: whether they differ, and whether they recur. In 200 bytes, whatever they are.

    Invariant: `values` counts the distinct ones, the first included, exactly up to one and nearly up to `_FULL`.
    """

    __slots__ = ("bits", "first", "full", "values")

    def __init__(self, first: int = 0, values: int = 0, bits: int = 0) -> None:
        self.first = first
        self.values = values
        self.bits = bits
        self.full = bits.bit_count() >= _FULL

    def see(self, value: object) -> bool:
        """Note a value, and say whether it is new. Its text stands for it: hashes of words differ between runs."""
        if self.full:
            return False
        code = crc32(repr(value).encode("utf-8", "surrogatepass"))
        bit = 1 << code % _BITS
        if not self.values:
            self.first = code
        elif code == self.first or (self.values > 1 and self.bits & bit):
            return False
        self.values += 1
        self.bits |= bit
        self.full = self.bits.bit_count() >= _FULL
        return True

    def tells_words_apart(self, outcomes: int) -> bool:
        """Whether the words differ, and recur: half of the outcomes at most brought a new one."""
        return self.values > 1 and not self.full and (outcomes < _PATIENCE or 2 * self.values <= outcomes)

    def tells_numbers_apart(self, outcomes: int) -> bool:
        """Whether each number is worth a key of its own, rather than one per size class."""
        return self.values > 1 and not self.full and outcomes >= _NUMBER_PATIENCE and 2 * self.values <= outcomes


def size_class(number: float) -> str:
    """The size class of a number in words: `~2^20.5` for what lies around that, `-~2^3` below 0; `0`, `inf`, `nan`."""
    if not number or not isfinite(number):
        return f"{number:g}"
    exponent = round(log2(abs(number)) * _CLASSES_PER_OCTAVE) / _CLASSES_PER_OCTAVE
    return f"{'-' if number < 0 else ''}~2^{exponent:g}"
