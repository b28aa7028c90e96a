"""What a journal holds, and what every journal promises."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """One thing that must survive: named by `kind` and `id`, ordered by `seq`; `body` is its owner's."""

    kind: str
    id: str
    seq: int
    body: bytes


class JournalFault(Enum):
    """Why a journal cannot be used: stable words for status, metrics and error details."""

    CORRUPT = "corrupt"
    NEWER_VERSION = "newer_version"
    LOCKED = "locked"
    UNWRITABLE = "unwritable"
    DISK_FULL = "disk_full"
    IO = "io"


class JournalError(Exception):
    """The journal refused; one line that names it, and a stable `reason`. Nothing of the batch was kept."""

    def __init__(self, reason: JournalFault, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class JournalStore(Protocol):
    """A map from (kind, id) to (seq, body) that survives.

    Every implementation passes the same contract suite. Used by one thread at a time, which may block. What
    `apply` returned from is there after a kill -9.
    """

    def load(self) -> list[Entry]:
        """Everything there is, in the order of `seq`. Raises JournalError."""

    def apply(self, puts: Sequence[Entry], deletes: Sequence[tuple[str, str]]) -> None:
        """Put and delete, all or nothing; no key twice. Raises JournalError, and then nothing changed."""

    def close(self) -> None:
        """Give everything free. A second call does nothing."""
