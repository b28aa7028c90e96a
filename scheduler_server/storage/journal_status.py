"""How the journal is doing, for status, metrics and the question whether a durable promise can be given."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStatus:
    """Counts are since start.

    `pending` entries wait or are being written; `written` puts and deletes were committed; `coalesced`
    entries came and went within one window and were never written; `dropped` puts were refused (no room,
    closed) or could not be encoded. `healthy` is False from a failure until the next success, and where there
    is no journal at all; `last_error` stays. `oldest_pending_age_s` is 0 while nothing waits. All up to
    `persisted` is on disk, of all up to `sequence`.
    """

    pending: int
    written: int
    coalesced: int
    dropped: int
    failures: int
    last_error: str | None
    healthy: bool
    oldest_pending_age_s: float
    sequence: int
    persisted: int
