"""A terminal's screen as SVG: text stays text, and every run of letters is held to the columns that it had."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from wcwidth import wcwidth

WIDE, HIGH = 8.43, 18.0  # of a letter, at the size of font below
_SIZE = 14
_FONTS = "DejaVu Sans Mono,Menlo,Consolas,monospace"
_MARGIN = 14.0
_HEAD = 30.0  # the line above, with the command

_PAPER, _INK, _DIM = "#1b1e24", "#d4d7dd", "#868d98"
_COLOURS = {
    "black": "#3b4048", "red": "#f2777a", "green": "#8fce8f", "brown": "#e8c06d", "blue": "#79a8e0",
    "magenta": "#cc99cc", "cyan": "#66c6c6", "white": "#e6e8ec", "brightblack": _DIM,
}  # fmt: skip


class Run(NamedTuple):
    """Letters that look alike, from a column on."""

    column: int
    columns: int
    text: str
    ink: str
    bold: bool
    reverse: bool


def picture(screen: Any, title: str, lines: int | None = None) -> str:
    """The screen, or its first lines, under a line that names the command."""
    lines = screen.lines if lines is None else lines
    wide = screen.columns * WIDE + 2 * _MARGIN
    high = lines * HIGH + _HEAD + _MARGIN
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}">',
        f'<rect width="100%" height="100%" rx="8" fill="{_PAPER}"/>',
        f'<g font-family="{_FONTS}" font-size="{_SIZE}" fill="{_INK}" xml:space="preserve">',
        f'<text x="{_MARGIN:g}" y="20" fill="{_DIM}">$ {escape(title)}</text>',
    ]
    for number in range(lines):
        for run in _runs(screen.buffer[number], screen.columns):
            drawn += _drawn(run, _HEAD + number * HIGH)
    return "\n".join([*drawn, "</g>", "</svg>", ""])


def _drawn(run: Run, top: float) -> Iterator[str]:
    left, length = _MARGIN + run.column * WIDE, run.columns * WIDE
    ink = run.ink
    if run.reverse:
        yield f'<rect x="{left:.1f}" y="{top:g}" width="{length:.1f}" height="{HIGH:g}" fill="{ink}"/>'
        ink = _PAPER
    kind = ' font-weight="bold"' if run.bold else ""
    fill = "" if ink == _INK else f' fill="{ink}"'
    column = run.column
    for piece in _GAPS.split(run.text):  # not all programs hold letters to a length, so gaps are not drawn
        columns = sum(map(_columns, piece))
        if piece.strip():
            left, hold = _MARGIN + column * WIDE, f' textLength="{columns * WIDE:.1f}"'
            yield f'<text x="{left:.1f}" y="{top + 13.5:g}"{hold}{kind}{fill}>{escape(piece)}</text>'
        column += columns


_GAPS = re.compile(r"( {2,}|^ )")


def _columns(letter: str) -> int:
    return max(0, wcwidth(letter))


def _runs(line: Any, columns: int) -> Iterator[Run]:
    """Neighbours of one look; spaces between words of a line are not drawn, unless they are reversed."""
    begun: Run | None = None
    column = 0
    while column < columns:
        cell = line[column]
        wide = 2 if column + 1 < columns and line[column + 1].data == "" else 1
        look = (_COLOURS.get(cell.fg, _INK), cell.bold, cell.reverse)
        if (
            begun is not None
            and look == (begun.ink, begun.bold, begun.reverse)
            and (cell.reverse or (cell.data != " " or not begun.text.endswith(" ")))
        ):
            begun = begun._replace(columns=begun.columns + wide, text=begun.text + cell.data)
        else:
            if begun is not None:
                yield _trimmed(begun)
            begun = Run(column, wide, cell.data, *look)
        column += wide
    if begun is not None:
        yield _trimmed(begun)


def _trimmed(run: Run) -> Run:
    if run.reverse:
        return run
    ahead = len(run.text) - len(run.text.lstrip(" "))
    text = run.text.strip(" ")
    behind = len(run.text) - ahead - len(text)
    return run._replace(column=run.column + ahead, columns=run.columns - ahead - behind, text=text)
