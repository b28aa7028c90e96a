"""Opening a SQLite file that is ours alone, and what SQLite's errors mean: for the journal and the decision log."""

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

_WAL_KEPT_BYTES = 16 << 20  # what a burst leaves behind in the log file

# By primary result code; sqlite_errorname may be an extended one such as SQLITE_IOERR_WRITE.
_FAULTS = {
    "SQLITE_NOTADB": "CORRUPT",
    "SQLITE_CORRUPT": "CORRUPT",
    "SQLITE_BUSY": "LOCKED",
    "SQLITE_LOCKED": "LOCKED",
    "SQLITE_CANTOPEN": "UNWRITABLE",
    "SQLITE_READONLY": "UNWRITABLE",
    "SQLITE_PERM": "UNWRITABLE",
    "SQLITE_FULL": "DISK_FULL",
}
_SENTENCES = {
    "CORRUPT": "is corrupt",
    "LOCKED": "is locked by another process",
    "UNWRITABLE": "cannot be written",
    "DISK_FULL": "has no room left",
}


class Stamp(NamedTuple):
    """What a file says of itself: the version of its tables, whether it has none yet, and whether it is of our kind."""

    version: int
    empty: bool
    ours: bool


def connect(path: Path, *, busy_timeout_s: float, cached_statements: int) -> sqlite3.Connection:
    """Open or make a file that only its owner may read. Raises OSError and sqlite3.Error.

    Transactions are the caller's. Used by one thread at a time, not by one only.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its side files the same mode
    return sqlite3.connect(
        path,
        timeout=busy_timeout_s,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=cached_statements,
    )


def stamp(connection: sqlite3.Connection, application_id: int) -> Stamp:
    """Read it. Nothing is changed, so that a file that is not ours, or newer, stays as it is."""
    run = connection.execute
    version = run("PRAGMA user_version").fetchone()[0]
    application = run("PRAGMA application_id").fetchone()[0]
    tables = run("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return Stamp(version, not tables, application == application_id or not (tables or application or version))


def write_ahead(connection: sqlite3.Connection, *, synchronous: str) -> None:
    """Write changes ahead into a log; `synchronous` says when they are on disk: FULL with each commit, NORMAL later."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")


def fault(error: Exception) -> str:
    """What it means: CORRUPT, LOCKED, UNWRITABLE, DISK_FULL, or IO for the rest."""
    return _FAULTS.get("_".join(_name(error).split("_")[:2]), "IO")


def told(what: str, error: Exception, sentence: str = "") -> str:
    """One line about it; `what` names the file."""
    sentence = sentence or _SENTENCES.get(fault(error), "failed")
    name = _name(error)
    return f"{what}: {sentence}: {error}" + (f" ({name})" if name else "")


def _name(error: Exception) -> str:
    return getattr(error, "sqlite_errorname", "") or ""
