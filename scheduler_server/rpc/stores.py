"""How the stores are doing, for the status: what there is, and what was found at start."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

_LOG = logging.getLogger(__name__)

_MOST_WARNINGS = 100

SNAPSHOT, JOURNAL = "snapshot", "journal"


class Stores:
    """Journal and snapshots, as the status tells them. Filled by `app`."""

    def __init__(self) -> None:
        self.journal: Any = None  # a JournalWriter, or what stands in for it
        self.journal_backend = "none"
        self.journal_location = ""
        self.snapshots: Any = None  # a SnapshotWriter, or None where nothing survives
        self.snapshot_location = ""
        self.snapshot_restored_at: float | None = None  # wall seconds at which the restored one was made
        self.write_snapshot: Callable[[], Awaitable[int]] | None = None  # how many records were written
        self.warnings: list[tuple[str, str]] = []  # which store, and what was found

    def warn(self, message: str, store: str = SNAPSHOT) -> None:
        """Log a warning and keep it for the status."""
        _LOG.warning("%s", message)
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append((store, message))
