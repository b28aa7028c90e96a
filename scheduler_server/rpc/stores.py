"""How the stores are doing, for the status: what there is, and what was found at start."""

import logging
from typing import Any

_LOG = logging.getLogger(__name__)

_MOST_WARNINGS = 100


class Stores:
    """Journal and snapshots, as the status tells them. Filled by `app`."""

    def __init__(self) -> None:
        self.journal: Any = None  # a JournalWriter, or what stands in for it
        self.journal_backend = "none"
        self.snapshots: Any = None  # a SnapshotWriter, or None where nothing survives
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        """Log a warning and keep it for the status."""
        _LOG.warning("%s", message)
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(message)
