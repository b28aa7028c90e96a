"""Writes the tables that stand in documents as the code has them; with --check, says which are not current.

tables.py readme metrics alerts live [--check]
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from scheduler_server.alerts.manual import render_markdown as render_alerts
from scheduler_server.config import render_markdown_table
from scheduler_server.rpc.live_settings import markdown as render_live
from scheduler_server.settings import Settings
from scheduler_server.telemetry.manual import render_markdown

_ROOT = Path(__file__).resolve().parent.parent


class Table(NamedTuple):
    """A table of `what`, between two marks on a page; `make target` writes it."""

    what: str
    page: str
    target: str
    render: Callable[[], str]

    def current(self, text: str) -> str:
        """The page with the table as the code has it."""
        begin, end = f"<!-- {self.what}: make {self.target} -->\n", f"<!-- end of {self.what} -->\n"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        return before + begin + self.render() + end + after


_TABLES = {
    "readme": Table("settings", "README.md", "readme", lambda: render_markdown_table(Settings)),
    "metrics": Table("instruments", "docs/metrics.md", "metrics", render_markdown),
    "live": Table("live settings", "docs/configuration.md", "live", render_live),
    "alerts": Table("rules", "docs/alerts.md", "alerts", render_alerts),
}


def main(words: list[str]) -> int:
    """Write, or check."""
    stale = 0
    for name in [word for word in words if word != "--check"]:
        table = _TABLES[name]
        page = _ROOT / table.page
        text = page.read_text()
        current = table.current(text)
        if "--check" not in words:
            page.write_text(current)
        elif current != text:
            sys.stderr.write(f"{table.page}: the table of {table.what} is not current; run make {table.target}\n")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
