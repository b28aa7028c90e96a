"""Which rows of a batch can no store hold? Looked for only when a store has said that there are some."""

from typing import Any

from scheduler_server.storage.decision_log.packing import MAIN
from scheduler_server.storage.decision_log.rows import Batch, Table

_LARGEST = 2**63 - 1
_LONGEST = 1 << 24  # characters of one value; SQLite's limit is a billion, a batch of such values nobody wants


def sieve(batch: Batch) -> tuple[Batch, dict[Table, int]]:
    """The batch without such rows, and how many entries went, by table. What goes takes its candidates with it."""
    rows: dict[Table, list[tuple[Any, ...]]] = {}
    bad: set[int] = set()
    for table, given in batch.rows.items():
        bad.update(row[2] for row in given if not all(map(_storable, row)))
        rows[table] = given
    kept = {table: [row for row in given if row[2] not in bad] for table, given in rows.items()}
    mains = set(MAIN.values())
    gone = {table: len(given) - len(kept[table]) for table, given in rows.items() if table in mains}
    return batch._replace(rows=kept), {table: count for table, count in gone.items() if count}


def _storable(value: Any) -> bool:
    if isinstance(value, str):
        try:
            value.encode()  # a lone surrogate
        except UnicodeError:
            return False
        return len(value) <= _LONGEST
    if isinstance(value, bool | int):
        return -_LARGEST <= value <= _LARGEST
    return value is None or isinstance(value, float)
