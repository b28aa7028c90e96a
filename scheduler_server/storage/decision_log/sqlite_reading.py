"""The reading side of the log in SQLite: a connection of its own, so that no question waits for a write."""

import contextlib
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scheduler_server.storage.decision_log.port import LogError, LogFault
from scheduler_server.storage.decision_log.rows import ROWS, Table
from scheduler_server.storage.decision_log.sqlite_blocks import stretches
from scheduler_server.storage.decision_log.sqlite_errors import log_error
from scheduler_server.storage.decision_log.sqlite_schema import APPLICATION_ID, RUN_BITS, TASK, VERSION

_BUSY_TIMEOUT_S = 1.0
_CACHE_KIB = 16_384
_FEW = 5_000
_STEPS = 20_000
"""Instructions of SQLite's machine, about a millisecond, between two looks at the clock."""


class SqliteReading:
    """The dialect of SQLite. A file that was set aside and begun anew, by whichever process, is opened anew."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._connection: sqlite3.Connection | None = None
        self._opened = (0, 0)
        self._runs: dict[int, str] = {}
        self._until = 0.0

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See Dialect."""
        try:
            connection = self._open()
            self._until = time.monotonic() + self._timeout_s
            return connection.execute(sql, values).fetchall()
        except (sqlite3.Error, OverflowError, UnicodeError) as problem:
            self.close()  # whatever it was, the next question begins afresh
            raise log_error(self._path, problem) from None

    def rows(self, table: Table, where: str, values: Sequence[Any], order: str, limit: int) -> list[tuple[Any, ...]]:
        """See Dialect."""
        columns = ", ".join(ROWS[table]._fields[3:])
        by = f" ORDER BY at {order}, key {order}" if order else ""
        found = self.ask(f"SELECT key, at, {columns} FROM {table} WHERE {where}{by} LIMIT {limit}", values)
        mask = (1 << RUN_BITS) - 1
        return [(row[1], self._run(row[0] >> RUN_BITS), row[0] & mask, *row[2:]) for row in found]

    def beyond(self, table: Table, sign: str, at: int, incarnation: str, sequence: int) -> tuple[str, list[Any]]:
        """See Dialect."""
        known = self.ask("SELECT number FROM runs WHERE incarnation = ?", [incarnation])
        key = (known[0][0] << RUN_BITS if known else 0) + sequence
        return f"(at, key) {sign} (?, ?)", [at, key]

    def instant(self) -> str:
        """See Dialect."""
        return "?"

    def quotient(self, dividend: str, divisor: int) -> str:
        """See Dialect."""
        return f"{dividend} / {divisor}"

    def of_task(self) -> str:
        """See Dialect."""
        return TASK

    def contains(self, column: str) -> str:
        """See Dialect."""
        return f"instr({column}, ?) > 0"

    def last_outcome(self, statuses: Sequence[str], since: int | None) -> tuple[str, list[Any]]:
        """See Dialect."""
        marks, after = ", ".join("?" * len(statuses)), [] if since is None else [since]
        behind = "" if since is None else " AND at >= ?"
        last = (
            "(SELECT status FROM outcomes WHERE outcomes.decision_id = decisions.decision_id"
            f"{behind} ORDER BY at DESC, key DESC LIMIT 1) IN ({marks})"
        )
        # Where few outcomes are like that they are gone through; otherwise decisions are, and a page is full soon.
        alike = f"FROM outcomes WHERE status IN ({marks}){behind}"
        if len(self.ask(f"SELECT 1 {alike} LIMIT {_FEW}", [*statuses, *after])) < _FEW:
            return f"decision_id IN (SELECT decision_id {alike}) AND {last}", [*statuses, *after, *after, *statuses]
        return last, [*after, *statuses]

    def stretches(
        self, start: int | None, end: int | None, words: Mapping[str, Sequence[Any]]
    ) -> list[tuple[int, int]] | None:
        """See Dialect."""
        return stretches(self.ask, start, end, words)

    def size_bytes(self) -> int:
        """Of the file and its log."""
        return sum(
            side.stat().st_size
            for end in ("", "-wal")
            if (side := self._path.with_name(self._path.name + end)).exists()
        )

    def close(self) -> None:
        """Give the file free."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _run(self, number: int) -> str:
        if number not in self._runs:
            self._runs.update({row[0]: row[1] for row in self.ask("SELECT number, incarnation FROM runs")})
        return self._runs.get(number, "")

    def _file(self) -> tuple[int, int]:
        """Which file it is that bears the name now: 2 us."""
        with contextlib.suppress(OSError):  # opening it says what is wrong
            found = self._path.stat()
            return found.st_dev, found.st_ino
        return 0, 0

    def _open(self) -> sqlite3.Connection:
        current = self._file()
        if self._connection is not None and self._opened == current:
            return self._connection
        self.close()
        # Read-only, so that no question makes an empty file, or changes one that is not ours.
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if application != APPLICATION_ID or version != VERSION:
                why = f"decision log {self._path}: is not one that this server can read (version {version})"
                raise LogError(LogFault.NEWER_VERSION if version > VERSION else LogFault.FOREIGN, why)
        except BaseException:
            connection.close()
            raise
        connection.set_progress_handler(lambda: time.monotonic() > self._until, _STEPS)
        self._connection, self._opened, self._runs = connection, current, {}
        return connection
