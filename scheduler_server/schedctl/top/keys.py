"""Bytes from a terminal, as keys: a letter is itself, the others have names."""

import codecs
from collections.abc import Iterator
from typing import Final

_NAMED: Final = {
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down",
    "\x1b[C": "right", "\x1bOC": "right", "\x1b[D": "left", "\x1bOD": "left",
    "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end",
    "\x1b[Z": "back tab", "\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "erase", "\x08": "erase", "\x1b": "escape",
    "\x15": "erase all",
}  # fmt: skip
_LONGEST = max(map(len, _NAMED))


class Keys:
    """Reads keys. Letters may come in parts; a sequence comes whole, or its first byte was the escape key."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self, data: bytes) -> Iterator[str]:
        """The keys in what was typed. Controls and sequences that nobody knows are left out."""
        text = self._decoder.decode(data)
        at = 0
        while at < len(text):
            length = next((n for n in range(min(_LONGEST, len(text) - at), 0, -1) if text[at : at + n] in _NAMED), 0)
            if text[at] == "\x1b" and length == 1 and text[at + 1 : at + 2] in {"[", "O"}:
                at = _past(text, at)
                continue
            if length:
                yield _NAMED[text[at : at + length]]
            elif text[at].isprintable():
                yield text[at]
            at += length or 1


def _past(text: str, at: int) -> int:
    """The end of a control sequence (ECMA-48: parameters, then one letter) that has no name here."""
    at += 2
    while at < len(text) and not "\x40" <= text[at] <= "\x7e":
        at += 1
    return at + 1
