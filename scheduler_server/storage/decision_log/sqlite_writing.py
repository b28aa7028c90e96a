"""The writing side of the log in SQLite: one connection, one transaction per batch, retention in short steps.

A batch is stored once: its number is remembered with its rows, in the same transaction. Rows go in by statements of
many rows, never by `executemany`, which hands the interpreter lock over for every row and crawls beside a busy loop
where no process of its own writes (in one it is no faster).
"""

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

from scheduler_server.storage.decision_log.port import LogError, LogFault, Retention
from scheduler_server.storage.decision_log.rows import ROWS, Batch, Table
from scheduler_server.storage.decision_log.sqlite_blocks import FORGET, BlockWriter
from scheduler_server.storage.decision_log.sqlite_errors import log_error
from scheduler_server.storage.decision_log.sqlite_schema import (
    APPLICATION_ID,
    ROLLUPS,
    RUN_BITS,
    STRETCH_BITS,
    SUMS,
    VERSION,
    migrate,
)
from scheduler_server.storage.sqlite_file import connect, stamp, write_ahead

_BUSY_TIMEOUT_S = 1.0  # somebody works in the file with the sqlite3 shell: wait that long, then say `locked`
_CACHE_KIB = 8_192  # the right edges of all indexes, and the pages that task ids fall on
_SIZES = (128, 16, 1)
"""Rows per statement. Binding holds the interpreter lock: 128 decisions take half a millisecond."""

_DAY_S = 86_400.0
_FORGOTTEN_AT_ONCE = 500
"""Rows per step of retention: a few milliseconds of a disk's time."""

_SET_ASIDE = ".damaged"
_BREATH_S = 2e-5  # between statements: asleep, a thread cannot take the interpreter lock back before the loop had it


class SqliteWriting:
    """Writes one file. Invariant: `_runs` holds number and last stored batch of runs that were written to."""

    def __init__(self, path: Path, retention: Retention, *, alone: bool = True) -> None:
        """`alone`: no event loop waits for the interpreter while this writes."""
        self._breath_s = 0.0 if alone else _BREATH_S
        self._path = path
        self._retention = retention
        self._connection: sqlite3.Connection | None = None
        self._runs: dict[str, tuple[int, int]] = {}
        self._blocks = BlockWriter()
        self._cleaned = 0  # which table the next step of retention looks at

    # ------------------------------------------------------------------ opening

    def prepare(self) -> list[str]:
        """Open or make the file. One that is damaged is set aside, and a new one begun: history is no promise."""
        if self._connection is not None:
            return []
        try:
            self._open()
        except LogError as error:
            if error.reason is not LogFault.CORRUPT:
                raise
            return [str(error), self._set_aside()]
        return []

    def _open(self) -> None:
        path = self._path
        connection: sqlite3.Connection | None = None
        try:
            connection = connect(path, busy_timeout_s=_BUSY_TIMEOUT_S, cached_statements=64)
            _check_and_migrate(path, connection)
        except OSError as error:
            why = f"decision log {path}: cannot be opened: {error.strerror}"
            raise LogError(LogFault.UNWRITABLE, why) from None
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise log_error(path, error) from None
            raise
        self._connection = connection
        self._runs = {}
        self._blocks.forget()

    def _set_aside(self) -> str:
        self.close()
        aside = self._path.with_name(self._path.name + _SET_ASIDE)
        try:
            for end in ("-wal", "-shm"):
                side = self._path.with_name(self._path.name + end)
                if side.exists():
                    side.replace(aside.with_name(aside.name + end))
            self._path.replace(aside)
        except OSError as error:
            why = f"decision log {self._path}: is corrupt, and cannot be set aside: {error.strerror}"
            raise LogError(LogFault.CORRUPT, why) from None
        self._open()
        return f"decision log {self._path}: was set aside as {aside.name}, a new one was begun"

    # ------------------------------------------------------------------ writing

    def write(self, batch: Batch) -> list[str]:
        """One transaction; what should be told of it."""
        told = self.prepare()
        try:
            self._write(batch)
        except (sqlite3.Error, OverflowError, UnicodeError) as problem:
            self._roll_back()
            error = log_error(self._path, problem)
            if error.reason is LogFault.CORRUPT:
                return [*told, str(error), self._set_aside(), *self.write(batch)]
            raise error from None
        except BaseException:
            self._roll_back()
            raise
        return told

    def _write(self, batch: Batch) -> None:
        connection = self._opened()
        run = connection.execute
        run("BEGIN IMMEDIATE")
        number, last = self._run_of(batch.incarnation)
        if batch.number <= last:  # it is there: only the answer was lost
            run("ROLLBACK")
            return
        base = number << RUN_BITS
        low, high = 1 << 62, 0
        for table, rows in batch.rows.items():
            if rows:
                _insert(connection, table, rows, base, self._breath_s)
                low, high = min(low, rows[0][2]), max(high, rows[-1][2])
        self._blocks.note(run, batch.rows.get(Table.DECISIONS, ()), base)
        for stretch in range(base + low >> STRETCH_BITS, (base + high >> STRETCH_BITS) + 1):
            run("INSERT OR IGNORE INTO stretches VALUES (?)", [stretch])
        for rollup in ROLLUPS:
            run(rollup, {"low": base + low, "high": base + high})
        run("UPDATE runs SET last_batch = ? WHERE number = ?", [batch.number, number])
        run("COMMIT")
        self._runs[batch.incarnation] = (number, batch.number)

    def _run_of(self, incarnation: str) -> tuple[int, int]:
        known = self._runs.get(incarnation)
        if known is None:
            run = self._opened().execute
            run("INSERT OR IGNORE INTO runs VALUES (NULL, ?, 0)", [incarnation])
            row = run("SELECT number, last_batch FROM runs WHERE incarnation = ?", [incarnation]).fetchone()
            known = (int(row[0]), int(row[1]))
        return known

    def _roll_back(self) -> None:
        self._runs.clear()  # what was just read may be part of what is taken back
        self._blocks.forget()
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):  # after some failures SQLite has rolled back already
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    # ------------------------------------------------------------------ retention

    def tidy(self, now: float) -> bool:
        """Forget some of what is too old, or too much."""
        if self._connection is None:
            return False
        try:
            return self._forget_old(now) or self._forget_beyond_size()
        except sqlite3.Error as problem:
            self._roll_back()
            raise log_error(self._path, problem) from None

    def _forget_old(self, now: float) -> bool:
        kept = self._retention
        rows, audit, figures = (
            now - days * _DAY_S for days in (kept.rows_days, kept.audit_days, kept.figures_days)
        )  # fmt: skip
        due: list[tuple[str, str, int]] = [
            (table, "at", int(1e6 * (audit if table is Table.AUDIT else rows))) for table in Table
        ]
        due += [(table, "minute", int(figures // 60)) for table in SUMS]
        for _ in due:
            if self._forget(*due[self._cleaned % len(due)]):
                return True
            self._cleaned += 1
        return False

    def _forget_beyond_size(self) -> bool:
        most = self._retention.most_bytes
        if not most or self.used_bytes() <= most:
            return False
        oldest = self._one(
            "SELECT max(at) FROM (SELECT at FROM decisions ORDER BY at LIMIT ?)", _FORGOTTEN_AT_ONCE
        ) or self._one("SELECT max(at) FROM (SELECT at FROM heartbeats ORDER BY at LIMIT ?)", _FORGOTTEN_AT_ONCE)
        if oldest is None:
            return False
        gone = [self._forget(table, "at", oldest + 1) for table in Table if table is not Table.AUDIT]
        return any(gone)

    def _forget(self, table: str, column: str, before: int) -> bool:
        """Delete some rows of a table that are older; False where there were none."""
        connection = self._opened()
        if column == "minute":
            cut = self._one(f"SELECT minute FROM {table} WHERE minute < ? ORDER BY minute LIMIT 1", before)
            where, about = "minute = ?", cut
        elif table == Table.CANDIDATES:  # by their key, since at is no index of theirs: with their decisions
            cut = self._one("SELECT min(key) FROM candidates", None)
            at = self._one("SELECT at FROM candidates WHERE key = ? LIMIT 1", cut) if cut is not None else None
            if at is None or at >= before:
                return False
            oldest = f"SELECT DISTINCT key FROM candidates WHERE at < ? ORDER BY key LIMIT {_FORGOTTEN_AT_ONCE // 10}"
            where = f"key IN ({oldest})"
            about = before
        else:
            cut = self._one(f"SELECT at FROM {table} WHERE at < ? ORDER BY at LIMIT 1", before)
            where = f"key IN (SELECT key FROM {table} WHERE at < ? ORDER BY at LIMIT {_FORGOTTEN_AT_ONCE})"
            about = before
        if cut is None:
            return False
        connection.execute("BEGIN IMMEDIATE")
        gone = connection.execute(f"DELETE FROM {table} WHERE {where}", [about]).rowcount
        if table == Table.DECISIONS:
            connection.execute(
                f"DELETE FROM stretches WHERE number < (SELECT min(key) FROM decisions) >> {STRETCH_BITS}"
            )
            for statement in FORGET:
                connection.execute(statement)
        connection.execute("COMMIT")
        if self._breath_s:
            time.sleep(self._breath_s)
        return gone > 0

    def _one(self, sql: str, value: Any) -> Any:
        row = self._opened().execute(sql, [] if value is None else [value]).fetchone()
        return row[0] if row else None

    def used_bytes(self) -> int:
        """Bytes of the file that hold something; pages that were freed are used again."""
        pages, free = self._one("PRAGMA page_count", None), self._one("PRAGMA freelist_count", None)
        return (int(pages) - int(free)) * int(self._one("PRAGMA page_size", None))

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise LogError(LogFault.IO, f"decision log {self._path}: is not open")
        return self._connection

    def close(self) -> None:
        """Give the file free."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _check_and_migrate(path: Path, connection: sqlite3.Connection) -> None:
    version, _empty, ours = stamp(connection, APPLICATION_ID)
    if not ours:
        why = f"decision log {path}: is a SQLite file, but no decision log of this server; left as it is"
        raise LogError(LogFault.FOREIGN, why)
    if version > VERSION:
        known = f"this server knows up to {VERSION}; left as it is"
        raise LogError(LogFault.NEWER_VERSION, f"decision log {path}: has version {version}, {known}")
    write_ahead(connection, synchronous="NORMAL")  # a power cut may cost the last seconds of history, never the file
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    migrate(connection, version)


_COLUMNS = {table: len(row._fields) - 1 for table, row in ROWS.items()}  # run and sequence are one
_STATEMENTS = {
    (table, size): f"INSERT INTO {table} VALUES " + ", ".join([f"({', '.join('?' * columns)})"] * size)
    for table, columns in _COLUMNS.items()
    for size in _SIZES
}


def _insert(
    connection: sqlite3.Connection, table: Table, rows: list[tuple[Any, ...]], base: int, breath_s: float
) -> None:
    at, total = 0, len(rows)
    for size in _SIZES:
        statement = _STATEMENTS[table, size]
        while total - at >= size:
            values: list[Any] = []
            for row in rows[at : at + size]:
                values += (base + row[2], row[0])
                values += row[3:]
            connection.execute(statement, values)
            at += size
            if breath_s:
                time.sleep(breath_s)
