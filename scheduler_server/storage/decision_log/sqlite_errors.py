"""What SQLite says, in the words of the log."""

import sqlite3
from pathlib import Path

from scheduler_server.storage.decision_log.port import LogError, LogFault

# By primary result code; sqlite_errorname may be an extended one such as SQLITE_IOERR_WRITE.
_REASONS = {
    "SQLITE_NOTADB": LogFault.CORRUPT,
    "SQLITE_CORRUPT": LogFault.CORRUPT,
    "SQLITE_BUSY": LogFault.LOCKED,
    "SQLITE_LOCKED": LogFault.LOCKED,
    "SQLITE_CANTOPEN": LogFault.UNWRITABLE,
    "SQLITE_READONLY": LogFault.UNWRITABLE,
    "SQLITE_PERM": LogFault.UNWRITABLE,
    "SQLITE_FULL": LogFault.DISK_FULL,
    "SQLITE_INTERRUPT": LogFault.TOO_SLOW,
}
_SENTENCES = {
    LogFault.CORRUPT: "is corrupt",
    LogFault.LOCKED: "is locked by another process",
    LogFault.UNWRITABLE: "cannot be written",
    LogFault.DISK_FULL: "has no room left",
    LogFault.UNSUITABLE_ROW: "cannot hold a value",
    LogFault.TOO_SLOW: "was asked for more than it can read in time",
}


def log_error(path: Path, error: Exception) -> LogError:
    """The error of the log for one of SQLite, or of a value that does not fit."""
    name = getattr(error, "sqlite_errorname", "") or ""
    reason = _REASONS.get("_".join(name.split("_")[:2]), LogFault.IO)
    if isinstance(error, sqlite3.InterfaceError | OverflowError | UnicodeError) or "TOOBIG" in name:
        reason = LogFault.UNSUITABLE_ROW
    sentence = _SENTENCES.get(reason, "failed")
    return LogError(reason, f"decision log {path}: {sentence}: {error}" + (f" ({name})" if name else ""))
