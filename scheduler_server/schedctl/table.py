"""A table that fits: columns give way when the place is narrow, and say so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from scheduler_server.schedctl import text
from scheduler_server.schedctl.text import ELLIPSIS

R = TypeVar("R")

Segment = tuple[str, str]
"""Shown text and the name of its style, "" for none."""
Line = list[Segment]

GAP = 2  # columns between columns
SHORTEST = 20  # what a column that may be cut keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[R]):
    """One column. `cell` gives a row's text, or text and style.

    `spare`: 0 is never left out, of the others the greatest goes first when the place is narrow. `cuts`: its values may
    be cut in the middle. `wide`: only there when everything is wanted.
    """

    title: str
    cell: Callable[[R], str | Segment]
    right: bool = False
    cuts: bool = False
    spare: int = 0
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """A table laid out: its head, its rows, and the titles of columns that had no room."""

    head: Line
    rows: list[Line]
    left_out: list[str]


def lay_out(
    columns: Sequence[Column[R]],
    rows: Sequence[R],
    *,
    columns_wide: int | None,
    everything: bool = False,
    safe: Callable[[str], str] = text.shown,
    ellipsis: str = ELLIPSIS,
) -> Laid:
    """Rows under heads, at most `columns_wide` wide where that is possible; None: as wide as they are.

    `safe` is applied to every value. Only a last column that cannot be cut makes a line longer than the place.
    """
    chosen = [column for column in columns if everything or not column.wide]
    cells = [[_measured(column.cell(row), safe) for row in rows] for column in chosen]
    natural = [
        max([text.width(column.title), *(wide for _, _, wide in values)])
        for column, values in zip(chosen, cells, strict=True)
    ]
    kept = list(range(len(chosen)))
    widths = natural
    if columns_wide is not None:
        kept, widths = _fit(chosen, natural, columns_wide)
    head: Line = []
    lines: list[Line] = [[] for _ in rows]
    for place in kept:
        column, wide, last = chosen[place], widths[place], place == kept[-1]
        head += _cell((column.title, "head", text.width(column.title)), column, wide, ellipsis, last=last)
        for line, value in zip(lines, cells[place], strict=True):
            line.extend(_cell(value, column, wide, ellipsis, last=last))
    gone = set(range(len(chosen))) - set(kept)
    return Laid(head=head, rows=lines, left_out=[chosen[place].title for place in sorted(gone)])


_Measured = tuple[str, str, int]  # shown text, style, columns


def _measured(value: str | Segment, safe: Callable[[str], str]) -> _Measured:
    said, style = (value, "") if isinstance(value, str) else value
    said = safe(said)
    return said, style, text.width(said)


def _cell(value: _Measured, column: Column[R], wide: int, ellipsis: str, *, last: bool) -> Line:
    said, style, needed = value
    if needed > wide:
        said = text.cut_middle(said, wide, ellipsis)
        needed = text.width(said)
    padding = "" if last and not column.right else " " * (wide - needed)
    cell = [(padding, ""), (said, style)] if column.right else [(said, style), (padding, "")]
    return [segment for segment in cell if segment[0]] + ([] if last else [(" " * GAP, "")])


def _fit(columns: Sequence[Column[R]], natural: list[int], room: int) -> tuple[list[int], list[int]]:
    """Which columns stay, and how wide each is."""
    least = [min(wide, SHORTEST) if column.cuts else wide for column, wide in zip(columns, natural, strict=True)]
    kept = list(range(len(columns)))

    def needed(widths: list[int]) -> int:
        return sum(widths[place] for place in kept) + GAP * (len(kept) - 1)

    while needed(least) > room:
        spare = max(kept, key=lambda place: (columns[place].spare, place))
        if not columns[spare].spare:
            break
        kept.remove(spare)
    widths = list(natural)
    # What is too much is taken from the widest of those that may be cut, so that they end equally wide.
    excess = needed(widths) - room
    while excess > 0:
        cutting = [place for place in kept if columns[place].cuts and widths[place] > 1]
        if not cutting:
            break
        widest = max(cutting, key=lambda place: widths[place])
        others = [widths[place] for place in cutting if widths[place] < widths[widest]]
        equal = len(cutting) - len(others)
        step = max(1, min(-(-excess // equal), widths[widest] - max(others, default=1)))
        widths[widest] -= step
        excess -= step
    return kept, widths
