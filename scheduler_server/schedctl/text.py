"""Words from elsewhere: safe for a terminal, and as wide as they will be there."""

from rich.cells import cell_len

ELLIPSIS = "…"

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_DISPUTED = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0), range(0x1F1E6, 0x1F200), range(0x1F3FB, 0x1F400))
"""Variation selectors, the letters of flags, colours of skin: they join the letter before into one of another width, in
some terminals and not in others. With them as escapes, as joiners are, a text is as wide as its letters."""


def shown(text: str) -> str:
    """`text` on one line: what a terminal would obey, hide or reorder (controls, formats, surrogates) as escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_letter, text))


def _letter(letter: str) -> str:
    code = ord(letter)
    if letter.isprintable() and not any(code in each for each in _DISPUTED):
        return letter
    return _SHORT.get(letter) or _escape(code)


def _escape(code: int) -> str:
    if code <= 0xFF:  # noqa: PLR2004 -- two hexadecimal digits
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 -- four of them


def ascii_only(text: str) -> str:
    """The same for a terminal that has no other letters."""
    return text if text.isascii() else "".join(each if each.isascii() else _escape(ord(each)) for each in text)


def width(text: str) -> int:
    """Columns that shown text takes."""
    return len(text) if text.isascii() else cell_len(text)


def cut(text: str, columns: int, ellipsis: str = ELLIPSIS) -> str:
    """At most `columns` wide, its end left out."""
    if width(text) <= columns:
        return text
    if columns < width(ellipsis):
        return ""
    return _begin(text, columns - width(ellipsis)) + ellipsis


def cut_middle(text: str, columns: int, ellipsis: str = ELLIPSIS) -> str:
    """At most `columns` wide, its middle left out: ids differ at their ends."""
    if width(text) <= columns:
        return text
    room = columns - width(ellipsis)
    if room < 2:  # noqa: PLR2004 -- a letter at each end
        return cut(text, columns, ellipsis)
    return _begin(text, room - room // 2) + ellipsis + _end(text, room // 2)


def fitted(text: str, columns: int, *, right: bool = False) -> str:
    """Exactly `columns` wide: spaces added."""
    spaces = " " * (columns - width(text))
    return spaces + text if right else text + spaces


def wrapped(text: str, columns: int) -> list[str]:
    """In lines of at most `columns` (1 or more), broken between words where there is a space; at least one line."""
    lines, line = [], ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if width(longer) <= columns:
            line = longer
            continue
        if line:
            lines.append(line)
        rest = word
        while width(rest) > columns:
            head = _begin(rest, columns) or rest[0]
            lines.append(head)
            rest = rest[len(head) :]
        line = rest
    return [*lines, line] if line or not lines else lines


def _begin(text: str, columns: int) -> str:
    if text.isascii():
        return text[:columns]
    count = min(len(text), columns)
    while cell_len(text[:count]) > columns:
        count -= 1
    while count < len(text) and cell_len(text[: count + 1]) <= columns:  # letters without a width of their own
        count += 1
    return text[:count]


def _end(text: str, columns: int) -> str:
    if text.isascii():
        return text[len(text) - columns :]
    start = max(0, len(text) - columns)
    while cell_len(text[start:]) > columns:
        start += 1
    while start < len(text) and not cell_len(text[start]):  # what belonged to the letter before
        start += 1
    return text[start:]
