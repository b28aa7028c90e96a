"""What every place for snapshots promises, be it a file or a Redis."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


class SnapshotError(Exception):
    """A snapshot could not be written, or the store could not be asked; one line, without secrets.

    What was there before is still there.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotContent:
    """What was read. Without any usable edition: no records, `created_at` (s since 1970) and `version` None.

    `warnings` are one line each, for the log: what was set aside, refused, or used instead; and what is set up
    in the store so that it may lose what it holds.
    """

    records: list[bytes]
    created_at: float | None
    version: int | None
    warnings: tuple[str, ...]
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """What was written. `notes` are one line each, for the log: what was done with what stood there before.

    `rival` names another server that has written to the same place since this one did; "" without one.
    """

    records: int
    size_bytes: int
    notes: tuple[str, ...] = ()
    rival: str = ""


class SnapshotSession(Protocol):
    """One edition being written. Not safe for two threads at once; each call may come from another thread."""

    def append(self, records: Iterable[bytes]) -> None:
        """Add records of any bytes. Raises SnapshotError."""

    def commit(self) -> Edition:
        """Make it the newest edition, all or nothing, with the one before behind it. Raises SnapshotError."""

    def abort(self) -> None:
        """Give up; what was in place stays. Never raises. Does nothing after `commit`."""


class SnapshotStore(Protocol):
    """Two editions of one snapshot: the newest, and the one before as the fallback.

    Invariants: the newest is only ever replaced by a whole, proven one. An edition of a newer version is never
    deleted for ours, nor one that this server has not looked into (`keep`). Every method may block and belongs in a
    thread; `begin` does no I/O. Every implementation passes the same suite.
    """

    @property
    def backend(self) -> str:
        """`file` or `redis`."""

    @property
    def location(self) -> str:
        """Path or address, without secrets."""

    def read(self) -> SnapshotContent:
        """The newest usable edition, and else the one before; damage is set aside and told.

        Raises SnapshotError where the store cannot be asked: then nothing is known of what it holds.
        """

    def begin(self, *, created_at: float) -> SnapshotSession:
        """Start an edition. `created_at` in s since 1970."""

    def keep(self) -> None:
        """What stands there as the newest was not taken over: the next edition moves it to a place of its own.

        This is also so before the first `read`. One is kept; of two the one with more records.
        """
