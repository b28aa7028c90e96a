"""The journal on disk: one SQLite table, write-ahead log, synced at each commit.

One statement per kind of change and batch: beside a busy event loop every step of `executemany` waits for the
interpreter lock (432 rows/s here). Several rows of VALUES rather than `json_each`: SQLite 3.40 cuts a JSON
string at its first NUL and knows no unhex(), and bound values cost less: alone 1.3 to 1.8 times faster
(327,000 against 208,000 rows/s in batches of 1,000); beside a spinning loop equal up to batches of 1,000
(44,000 against 43,000), then 1.9 times (143,000 against 76,000 at 5,000). One run each, 2 cores, synced
commits.
"""

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from scheduler_server.storage.entries import Entry, JournalError, JournalFault

_VERSION = 1
_APPLICATION_ID = 0x53434A31  # "SCJ1": tells this journal from any other SQLite file
_ROWS = 1000  # per statement; 4,000 values, far below SQLite's 32,766
_BUSY_TIMEOUT_S = (
    1.0  # somebody reads with the sqlite3 shell: wait that long, then say `locked` and try again
)
_WAL_KEPT_BYTES = 16 << 20  # what a burst leaves behind in the log file

_SCHEMA = """
    CREATE TABLE entries (
        kind TEXT NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, id)
    ) WITHOUT ROWID
"""


class Journal:
    """A `JournalStore` in one SQLite file, WAL, `synchronous=FULL`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open or create the journal at `path`, and prove that it can be read and written.

        Raises:
            JournalError: corrupt (also: somebody else's file), newer_version (left as it is), locked,
            unwritable,
                disk_full or io.
        """
        try:
            os.close(
                os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            )  # SQLite gives its side files the same mode
        except OSError as error:
            reason = JournalFault.UNWRITABLE
            raise JournalError(reason, f"journal {path}: cannot be opened: {error.strerror}") from None
        try:
            # Autocommit (isolation_level=None): transactions are ours. Used by one thread at a time, not by
            # one only.
            connection = sqlite3.connect(
                path,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=8,
            )
        except sqlite3.Error as error:
            raise _journal_error(path, error) from None
        try:
            _prepare(path, connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise _journal_error(path, error) from None
            raise
        return cls(path, connection)

    def load(self) -> list[Entry]:
        """See `JournalStore`."""
        try:
            rows = self._connection.execute("SELECT kind, id, seq, body FROM entries ORDER BY seq, kind, id")
            return [Entry(*row) for row in rows]
        except sqlite3.Error as error:
            raise _journal_error(self._path, error) from None

    def apply(self, puts: Sequence[Entry], deletes: Sequence[tuple[str, str]]) -> None:
        """See `JournalStore`."""
        run = self._connection.execute
        try:
            run("BEGIN IMMEDIATE")
            for kind, ids in _by_kind(deletes).items():
                for at in range(0, len(ids), _ROWS):
                    some = ids[at : at + _ROWS]
                    run(delete_statement(len(some)), [kind, *some])
            for at in range(0, len(puts), _ROWS):
                rows = puts[at : at + _ROWS]
                run(
                    f"INSERT OR REPLACE INTO entries VALUES {_places(4, len(rows))}",  # noqa: S608 -- only question marks
                    list(chain.from_iterable(rows)),
                )
            run("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):  # after some failures SQLite has rolled back already
                run("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise _journal_error(self._path, error) from None
            raise

    def close(self) -> None:
        """See `JournalStore`."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    run = connection.execute
    version = run("PRAGMA user_version").fetchone()[0]
    application = run("PRAGMA application_id").fetchone()[0]
    tables = run("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if (tables or application or version) and application != _APPLICATION_ID:
        raise JournalError(
            JournalFault.CORRUPT, f"journal {path}: is a SQLite file, but no journal of this server"
        )
    if version > _VERSION:
        known = f"this server knows up to {_VERSION}"
        raise JournalError(JournalFault.NEWER_VERSION, f"journal {path}: has version {version}, {known}")
    damage = run("PRAGMA quick_check(1)").fetchone()[0]
    if damage != "ok":
        raise JournalError(JournalFault.CORRUPT, f"journal {path}: is corrupt: {' '.join(damage.split())}")
    run("PRAGMA journal_mode = WAL")
    run("PRAGMA synchronous = FULL")
    run(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    run("BEGIN IMMEDIATE")
    if not tables:
        run(_SCHEMA)
        run(f"PRAGMA application_id = {_APPLICATION_ID}")
    # Writes a page even where nothing changes: a full or read-only disk is found now, not at the first lease.
    run(f"PRAGMA user_version = {_VERSION}")
    run("COMMIT")


def delete_statement(ids: int) -> str:
    """Deletes so many ids of one kind. (kind, id) IN (VALUES ...) would scan the table."""
    return f"DELETE FROM entries WHERE kind = ? AND id IN {_places(ids, 1)}"  # noqa: S608 -- only question marks


def _by_kind(keys: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for kind, name in keys:
        grouped.setdefault(kind, []).append(name)
    return grouped


def _places(width: int, rows: int) -> str:
    row = f"({','.join('?' * width)})"
    return ",".join([row] * rows)


# By primary result code; sqlite_errorname may be an extended one such as SQLITE_IOERR_WRITE.
_REASONS = {
    "SQLITE_NOTADB": JournalFault.CORRUPT,
    "SQLITE_CORRUPT": JournalFault.CORRUPT,
    "SQLITE_BUSY": JournalFault.LOCKED,
    "SQLITE_LOCKED": JournalFault.LOCKED,
    "SQLITE_CANTOPEN": JournalFault.UNWRITABLE,
    "SQLITE_READONLY": JournalFault.UNWRITABLE,
    "SQLITE_PERM": JournalFault.UNWRITABLE,
    "SQLITE_FULL": JournalFault.DISK_FULL,
}
_SENTENCES = {
    JournalFault.CORRUPT: "is corrupt",
    JournalFault.LOCKED: "is locked by another process",
    JournalFault.UNWRITABLE: "cannot be written",
    JournalFault.DISK_FULL: "has no room left",
}


def _journal_error(path: Path, error: sqlite3.Error) -> JournalError:
    name = getattr(error, "sqlite_errorname", "") or ""
    primary = "_".join(name.split("_")[:2])
    reason = _REASONS.get(primary, JournalFault.IO)
    sentence = _SENTENCES.get(reason, "failed")
    return JournalError(reason, f"journal {path}: {sentence}: {error}" + (f" ({name})" if name else ""))
