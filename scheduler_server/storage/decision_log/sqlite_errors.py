"""What SQLite says, in the words of the log."""

import sqlite3
from pathlib import Path

from scheduler_server.storage.decision_log.port import LogError, LogFault
from scheduler_server.storage.sqlite_file import fault, told

_UNSUITABLE = ("SQLITE_TOOBIG", "SQLITE_CONSTRAINT")
_TOO_SLOW = "SQLITE_INTERRUPT"


def log_error(path: Path, error: Exception) -> LogError:
    """The error of the log for one of SQLite, or of a value that does not fit."""
    name = getattr(error, "sqlite_errorname", "") or ""
    what = f"decision log {path}"
    if isinstance(error, sqlite3.InterfaceError | OverflowError | UnicodeError) or name.startswith(_UNSUITABLE):
        return LogError(LogFault.UNSUITABLE_ROW, told(what, error, "cannot hold a value"))
    if name == _TOO_SLOW:
        return LogError(LogFault.TOO_SLOW, told(what, error, "was asked for more than it can read in time"))
    return LogError(LogFault[fault(error)], told(what, error))
