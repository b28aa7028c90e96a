"""Traces as tests write them."""

from collections.abc import Iterable, Iterator, Sequence

from scheduler_server.simulation.trace_layout import columns
from scheduler_server.simulation.trace_row import TraceRow
from scheduler_server.simulation.traces import REORDERED_ROWS, BadRows, read_trace

HEADER = "task_id,submit_time_s,task_type,duration_ms"


def numbered(lines: Iterable[bytes | str | None]) -> Iterator[tuple[int, bytes | None]]:
    """Lines as a file gives them."""
    for number, line in enumerate(lines, 1):
        yield number, line.encode() if isinstance(line, str) else line


def rows(
    *lines: bytes | str | None,
    mapped: Sequence[str] = (),
    features: Sequence[str] = (),
    bad: BadRows | None = None,
    reordered_rows: int = REORDERED_ROWS,
) -> list[TraceRow]:
    """Every row of these lines, the header being the first. Without `bad`, none may be bad."""
    found = BadRows()
    read = list(read_trace(numbered(lines), columns(mapped, features), bad or found, reordered_rows=reordered_rows))
    assert found.listed == []
    return read


def reason(line: bytes | str | None, header: str = HEADER) -> str:
    """Why this line is no row, beside one that is."""
    bad = BadRows()
    good = ",".join(
        {"submit_time_s": "1", "task_type": "a", "duration_ms": "5"}.get(name, "") for name in header.split(",")
    )
    assert len(rows(header, good, line, bad=bad)) == 1
    (found,) = bad.listed
    assert found.line == 3
    return found.reason
