"""Journals without a disk: one that forgets at exit, and one that was never there."""

from collections.abc import Sequence

from scheduler_server.storage.entries import Entry
from scheduler_server.storage.journal_status import JournalStatus


class MemoryJournal:
    """A `JournalStore` for a server without a state folder, and for tests. Nothing survives the process."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Entry] = {}

    def load(self) -> list[Entry]:
        """See `JournalStore`."""
        return sorted(self._entries.values(), key=lambda entry: (entry.seq, entry.kind, entry.id))

    def apply(self, puts: Sequence[Entry], deletes: Sequence[tuple[str, str]]) -> None:
        """See `JournalStore`."""
        for key in deletes:
            self._entries.pop(key, None)
        for entry in puts:
            self._entries[entry.kind, entry.id] = entry

    def close(self) -> None:
        """See `JournalStore`."""


class UnavailableJournal:
    """Stands where a `JournalWriter` would, when the journal could not be opened: refuses, and says why."""

    persisted, healthy = 0, False

    def __init__(self, reason: str) -> None:
        self._reason = reason
        self._dropped = 0

    def put(self, kind: str, id: str, value: object, *, always: bool = False) -> int:  # noqa: A002 -- the column's name
        """Refused and counted: 0."""
        self._dropped += 1
        return 0

    def delete(self, kind: str, id: str) -> int:  # noqa: A002 -- the column's name
        """Nothing to delete: 0."""
        return 0

    def hurry(self) -> None:
        """Nothing waits."""

    def status(self) -> JournalStatus:
        """Never healthy."""
        return JournalStatus(
            pending=0,
            written=0,
            coalesced=0,
            dropped=self._dropped,
            failures=0,
            last_error=self._reason,
            healthy=False,
            oldest_pending_age_s=0.0,
            sequence=0,
            persisted=0,
        )

    async def close(self, timeout_s: float) -> bool:
        """At once: nothing was ever accepted."""
        return True
