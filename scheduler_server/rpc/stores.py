"""How the stores are doing, for the status: what there is, and what was found at start."""

import logging
from typing import Any

from scheduler_server.dispatch.dispatcher import Dispatcher
from scheduler_server.history.history import History
from scheduler_server.storage.snapshot_keeper import SnapshotKeeper

_LOG = logging.getLogger(__name__)

_MOST_WARNINGS = 100

SNAPSHOT, JOURNAL, TASKS, DECISION_LOG = "snapshot", "journal", "tasks", "decision_log"


class Stores:
    """Journal, snapshots and task streams, as the status tells them. Filled by `app`."""

    def __init__(self) -> None:
        self.journal: Any = None  # a JournalWriter, or what stands in for it
        self.journal_backend = "none"
        self.journal_location = ""
        self.snapshots: SnapshotKeeper | None = None  # None where nothing survives
        self.journal_warnings: list[str] = []
        self.tasks: Dispatcher | None = None  # None where tasks come by Assign only
        self.history: History | None = None

    def warn(self, message: str) -> None:
        """Log a warning about the journal and keep it for the status."""
        _LOG.warning("%s", message)
        if len(self.journal_warnings) < _MOST_WARNINGS:
            self.journal_warnings.append(message)
