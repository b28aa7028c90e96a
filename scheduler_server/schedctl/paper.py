"""What a command prints on: the one place where text goes out, made safe, coloured and cut to the width."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, TextIO, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from scheduler_server.schedctl import text
from scheduler_server.schedctl.table import Column, Line, Segment, lay_out

R = TypeVar("R")

STYLES = {
    "head": "1",
    "strong": "1",
    "dim": "2",
    "good": "32",
    "warn": "33",
    "bad": "31",
    "note": "36",
    "chosen": "7",
}
"""By name, codes of ECMA-48's Select Graphic Rendition; of the 8 colours, so that they follow the terminal's theme."""

_LABEL = 16  # columns of the names in `facts`


class Paper:
    """A place to print on. `wide` is None where lines may be of any length: files and pipes."""

    def __init__(
        self, stream: TextIO, *, wide: int | None, colour: bool, form: str = "table", letters: bool = True
    ) -> None:
        self.wide, self.colour, self.form = wide, colour, form
        self.lines = 0  # written as text so far
        self._stream = stream
        self._letters = letters
        self._ellipsis = text.ELLIPSIS if letters else "~"

    def safe(self, value: str) -> str:
        """A value as it may be shown here."""
        value = text.shown(value)
        return value if self._letters else text.ascii_only(value)

    def line(self, *parts: str | Segment, cut: bool = False) -> None:
        """One line of parts, each text or text and style; cut at the width where that is asked for."""
        safe = [(self.safe(part), "") if isinstance(part, str) else (self.safe(part[0]), part[1]) for part in parts]
        if cut and self.wide is not None and self.form != "wide":
            safe = clipped(safe, self.wide, self._ellipsis)
        self._write(safe)

    def facts(self, pairs: Sequence[tuple[str, str | Segment]], label: int = _LABEL) -> None:
        """Names and values, one below the other; long values go on below themselves."""
        for name, value in pairs:
            said, style = (value, "") if isinstance(value, str) else value
            room = None if self.wide is None else max(self.wide - label, 10)
            lines = [self.safe(said)] if room is None else text.wrapped(self.safe(said), room)
            for number, line in enumerate(lines):
                lead = text.fitted(text.cut("" if number else name, label - 1), label)
                self._write([(lead, "dim"), (line, style)])

    def table(self, columns: Sequence[Column[R]], rows: Sequence[R]) -> None:
        """A table, and what had no room in it."""
        everything = self.form == "wide"
        laid = lay_out(
            columns,
            rows,
            columns_wide=None if everything else self.wide,
            everything=everything,
            safe=self.safe,
            ellipsis=self._ellipsis,
        )
        self._write(laid.head)
        for row in laid.rows:
            self._write(row)
        if laid.left_out:
            self.line((f"no room for: {', '.join(laid.left_out)} (-o wide shows all)", "dim"), cut=True)

    def message(self, message: Message) -> None:
        """A message as JSON, with the contract's names."""
        self.json(as_json(message))

    def json(self, value: Any) -> None:
        """JSON in ASCII: whatever is in it, a terminal is safe."""
        self._stream.write(json.dumps(value, indent=2) + "\n")

    def json_line(self, value: Any) -> None:
        """The same as one line of many."""
        self._stream.write(json.dumps(value) + "\n")
        self._stream.flush()

    def take_back(self, lines: int) -> None:
        """Let what comes next stand in place of the last so many lines; for terminals."""
        if lines:
            self._stream.write(f"\x1b[{lines}A\x1b[J")

    def _write(self, line: Line) -> None:
        self.lines += 1
        self._stream.write(coloured(line, colour=self.colour).rstrip() + "\n")


def as_json(message: Message) -> Mapping[str, Any]:
    """A message as plain values, with the contract's names; what is 0 is left out, as its absence means the same."""
    plain: Mapping[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return plain


def coloured(line: Line, *, colour: bool) -> str:
    """A line with its styles as codes, or without."""
    if not colour:
        return "".join(said for said, _ in line)
    return "".join(f"\x1b[{STYLES[style]}m{said}\x1b[0m" if style else said for said, style in line)


def clipped(line: Line, columns: int, ellipsis: str = text.ELLIPSIS) -> Line:
    """A line of at most so many columns."""
    kept: Line = []
    for said, style in line:
        wide = text.width(said)
        if wide > columns:
            return [*kept, (text.cut(said, columns, ellipsis), style)]
        kept.append((said, style))
        columns -= wide
    return kept


def paper_for(stream: TextIO, environment: Mapping[str, str], *, form: str, colour: str) -> Paper:
    """What is known of a stream: its width, whether it takes colours, and which letters it has."""
    terminal = stream.isatty()
    wanted = terminal and not environment.get("NO_COLOR") and environment.get("TERM", "") != "dumb"
    letters = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")
    return Paper(
        stream,
        wide=terminal_width(stream, environment) if terminal else None,
        colour=colour == "always" or (colour == "auto" and wanted),
        form=form,
        letters=letters,
    )


def terminal_width(stream: TextIO, environment: Mapping[str, str]) -> int:
    """Columns of a terminal; COLUMNS comes first."""
    try:
        columns = int(environment["COLUMNS"])
    except (KeyError, ValueError):
        columns = 0
    if columns <= 0:
        try:
            columns = os.get_terminal_size(stream.fileno()).columns
        except (OSError, ValueError):
            columns = 0
    return columns if columns > 0 else shutil.get_terminal_size().columns
