"""Writes the table of settings into README.md; with --check, says whether it is current."""

import sys
from pathlib import Path

from scheduler_server.config import render_markdown_table
from scheduler_server.settings import Settings

_BEGIN = "<!-- settings: make readme -->\n"
_END = "<!-- end of settings -->\n"
_README = Path(__file__).resolve().parent.parent / "README.md"


def current(text: str) -> str:
    """The README with the table as the code has it."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + render_markdown_table(Settings) + _END + after


def main() -> int:
    """Write, or check."""
    text = _README.read_text()
    if "--check" in sys.argv:
        if current(text) == text:
            return 0
        sys.stderr.write("README.md: the table of settings is not current; run make readme\n")
        return 1
    _README.write_text(current(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
