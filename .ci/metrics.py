"""Writes the table of instruments into docs/metrics.md; with --check, says whether it is current."""

import sys
from pathlib import Path

from scheduler_server.telemetry.manual import render_markdown

_BEGIN = "<!-- instruments: make metrics -->\n"
_END = "<!-- end of instruments -->\n"
_PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"


def current(text: str) -> str:
    """The page with the table as the code has it."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + render_markdown() + _END + after


def main() -> int:
    """Write, or check."""
    text = _PAGE.read_text()
    if "--check" in sys.argv:
        if current(text) == text:
            return 0
        sys.stderr.write("docs/metrics.md: the table of instruments is not current; run make metrics\n")
        return 1
    _PAGE.write_text(current(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
