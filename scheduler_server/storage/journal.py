"""The journal on disk: batches of changes in one SQLite file, write-ahead log, synced at each commit.

One row per batch, not per entry: a lease that is granted, written and ended would cost two searches of a table by its
id (15 us of processor time, measured), and its part of a row costs one. What a row holds that is still true is known in
memory; when more than half of the file is history, the oldest rows go, and what is still true of them moves to the
newest. Rows go oldest first only, so a delete is never forgotten before the put that it is about.
"""

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import msgspec

from scheduler_server.storage.entries import Entry, JournalError, JournalFault
from scheduler_server.storage.sqlite_file import connect, fault, stamp, told, write_ahead

_VERSION = 1
_APPLICATION_ID = 0x53434A31  # "SCJ1": tells this journal from any other SQLite file
_BUSY_TIMEOUT_S = 1.0  # somebody reads with the sqlite3 shell: wait that long, then say `locked` and try again
_HISTORY_BYTES = 256 << 10  # history that is always allowed: below it, cleaning would cost more than it frees
_CLEANED_AT_ONCE = 64  # rows; bounds what one commit moves

_SCHEMA = "CREATE TABLE batches (number INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, body BLOB NOT NULL)"

Key = tuple[str, str]

_Batch = tuple[list[Entry], list[Key]]
_DECODE = msgspec.msgpack.Decoder(_Batch)
_ENCODE = msgspec.msgpack.Encoder()


class Journal:
    """A `JournalStore` in one SQLite file, WAL, `synchronous=FULL`.

    Invariants, between calls: `_homes` names for each entry that is true the row that holds it, and its size; `_rows`
    has the size of each row, oldest first. Numbers are never used twice while a higher one exists.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._homes: dict[Key, tuple[int, int]] = {}
        self._rows: dict[int, int] = {}
        self._live_bytes = self._bytes = 0

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open or create the journal at `path`, and prove that it can be read and written.

        Raises:
            JournalError: corrupt (also: somebody else's file), newer_version (left as it is), locked,
            unwritable,
                disk_full or io.
        """
        try:
            connection = connect(path, busy_timeout_s=_BUSY_TIMEOUT_S, cached_statements=8)
        except OSError as error:
            why = f"journal {path}: cannot be opened: {error.strerror}"
            raise JournalError(JournalFault.UNWRITABLE, why) from None
        except sqlite3.Error as error:
            raise _journal_error(path, error) from None
        try:
            _prepare(path, connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise _journal_error(path, error) from None
            raise
        journal = cls(path, connection)
        try:
            journal.load()  # also without anybody asking: what is there must be known before the first change
        except BaseException:
            connection.close()
            raise
        return journal

    def load(self) -> list[Entry]:
        """See `JournalStore`."""
        found: dict[Key, Entry] = {}
        self._homes, self._rows, self._live_bytes, self._bytes = {}, {}, 0, 0
        try:
            for number, checksum, body in self._connection.execute("SELECT * FROM batches ORDER BY number"):
                puts, deletes = self._decoded(number, checksum, body)
                for key in deletes:
                    found.pop(key, None)
                found.update(((entry.kind, entry.id), entry) for entry in puts)
                self._took(number, len(body), puts, deletes)
        except sqlite3.Error as error:
            raise _journal_error(self._path, error) from None
        return sorted(found.values(), key=lambda entry: (entry.seq, entry.kind, entry.id))

    def apply(self, puts: Sequence[Entry], deletes: Sequence[Key]) -> None:
        """See `JournalStore`."""
        homes = self._homes
        known = [key for key in deletes if key in homes]
        run = self._connection.execute
        try:
            run("BEGIN IMMEDIATE")
            gone, moved = self._clean({*known, *((entry.kind, entry.id) for entry in puts)})
            if gone:
                run("DELETE FROM batches WHERE number <= ?", [gone[-1]])
            body, number = b"", 0
            if puts or known or moved:
                body = _ENCODE.encode(([*moved, *puts], known))
                inserted = run("INSERT INTO batches VALUES (NULL, ?, ?)", [crc32(body), body])
                number = inserted.lastrowid or 0
            run("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):  # after some failures SQLite has rolled back already
                run("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise _journal_error(self._path, error) from None
            raise
        for old in gone:
            self._bytes -= self._rows.pop(old)
        if number:
            self._took(number, len(body), [*moved, *puts], known)

    def _clean(self, changing: set[Key]) -> tuple[list[int], list[Entry]]:
        """The oldest rows that are to go, and what of them is still true and not about to change."""
        gone: list[int] = []
        moved: list[Entry] = []
        size = self._bytes
        for number, row_bytes in self._rows.items():
            if size <= 2 * self._live_bytes + _HISTORY_BYTES or len(gone) == _CLEANED_AT_ONCE:
                break
            checksum, body = self._connection.execute(
                "SELECT checksum, body FROM batches WHERE number = ?", [number]
            ).fetchone()
            for entry in self._decoded(number, checksum, body)[0]:
                key = (entry.kind, entry.id)
                if key not in changing and self._homes.get(key, (0, 0))[0] == number:
                    moved.append(entry)
            gone.append(number)
            size -= row_bytes
        return gone, moved

    def _took(self, number: int, size: int, puts: Sequence[Entry], deletes: Sequence[Key]) -> None:
        """Remember what a row holds."""
        homes = self._homes
        for key in deletes:
            self._live_bytes -= homes.pop(key, (0, 0))[1]
        for entry in puts:
            key = (entry.kind, entry.id)
            entry_bytes = len(entry.body) + len(entry.id)
            self._live_bytes += entry_bytes - homes.get(key, (0, 0))[1]
            homes[key] = (number, entry_bytes)
        self._rows[number] = size
        self._bytes += size

    def _decoded(self, number: int, checksum: int, body: bytes) -> _Batch:
        if crc32(body) == checksum:
            with contextlib.suppress(msgspec.MsgspecError):
                batch: _Batch = _DECODE.decode(body)
                return batch
        raise JournalError(JournalFault.CORRUPT, f"journal {self._path}: is corrupt: batch {number} is damaged")

    def close(self) -> None:
        """See `JournalStore`."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    run = connection.execute
    version, empty, ours = stamp(connection, _APPLICATION_ID)
    if not ours:
        raise JournalError(JournalFault.CORRUPT, f"journal {path}: is a SQLite file, but no journal of this server")
    if version > _VERSION:
        known = f"this server knows up to {_VERSION}"
        raise JournalError(JournalFault.NEWER_VERSION, f"journal {path}: has version {version}, {known}")
    damage = run("PRAGMA quick_check(1)").fetchone()[0]
    if damage != "ok":
        raise JournalError(JournalFault.CORRUPT, f"journal {path}: is corrupt: {' '.join(damage.split())}")
    write_ahead(connection, synchronous="FULL")
    run("BEGIN IMMEDIATE")
    if empty:
        run(_SCHEMA)
        run(f"PRAGMA application_id = {_APPLICATION_ID}")
    # Writes a page even where nothing changes: a full or read-only disk is found now, not at the first lease.
    run(f"PRAGMA user_version = {_VERSION}")
    run("COMMIT")


def _journal_error(path: Path, error: sqlite3.Error) -> JournalError:
    return JournalError(JournalFault[fault(error)], told(f"journal {path}", error))
