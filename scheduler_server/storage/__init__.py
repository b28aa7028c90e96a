"""What survives?

Two things: a *snapshot* now and then of what can be lost for a minute (what the predictor learnt, the breaker),
in a folder of this server's own (`StateFolder`) or in a Redis, and a *journal* in that folder of what must not be
lost at all (live leases, accepted tasks). Both work beside the event loop: encoding in slices, files, Redis
and SQLite in a thread, and every failure is a status, a count and a retry, never an exception on the loop. Losing
either stops no decision.

    folder = StateFolder.open(path)                                       StateFolderError: one line, exit 2
    store = SnapshotFile(folder.file("snapshot"), format="scheduler-snapshot", version=1)
    store = RedisSnapshots(parse("redis://..."), ...)                     RedisUrlError: what is wrong, no password
    keeper = SnapshotKeeper(store, memory, pace, ...)                     when it is read and written, and retried
    journal = Journal.open(folder.file("journal.sqlite"))                 JournalError: one line, with a reason
    writer = JournalWriter(journal, restored=journal.load(), encode=..., persisted=..., loop=loop)

`decision_log/` keeps decisions and what came of them; `url_hosts.py` reads the hosts of every store's URL,
`sqlite_file.py` opens SQLite files.

Why SQLite and not a log of our own: group commit, checksummed frames and recovery after kill -9 are solved
there. Why snapshots are not in it: they are rewritten as a whole, and a file can be set aside, copied and
compared. May import: the standard library, `msgspec`, `redis` and `model`. Nothing here knows what a lease or a
prediction is.
"""

from typing import TYPE_CHECKING, Any

from scheduler_server.storage.entries import Entry, JournalError, JournalFault, JournalStore
from scheduler_server.storage.journal import Journal
from scheduler_server.storage.journal_status import JournalStatus
from scheduler_server.storage.journal_writer import JournalWriter
from scheduler_server.storage.memory_journal import MemoryJournal, UnavailableJournal
from scheduler_server.storage.redis_url import RedisAddress, RedisUrlError, parse
from scheduler_server.storage.snapshot import SnapshotFile
from scheduler_server.storage.snapshot_keeper import Memory, Pace, SnapshotKeeper
from scheduler_server.storage.snapshot_store import Edition, SnapshotContent, SnapshotError, SnapshotStore
from scheduler_server.storage.snapshot_writer import SnapshotWriter
from scheduler_server.storage.state_folder import StateFolder, StateFolderError

if TYPE_CHECKING:
    from scheduler_server.storage.redis_snapshot import RedisSnapshots

__all__ = [
    "Edition",
    "Entry",
    "Journal",
    "JournalError",
    "JournalFault",
    "JournalStatus",
    "JournalStore",
    "JournalWriter",
    "Memory",
    "MemoryJournal",
    "Pace",
    "RedisAddress",
    "RedisSnapshots",
    "RedisUrlError",
    "SnapshotContent",
    "SnapshotError",
    "SnapshotFile",
    "SnapshotKeeper",
    "SnapshotStore",
    "SnapshotWriter",
    "StateFolder",
    "StateFolderError",
    "UnavailableJournal",
    "parse",
]


def __getattr__(name: str) -> Any:
    """RedisSnapshots, when it is wanted.

    Its client takes 0.3 s and 11 MiB, and the process that writes the decision log passes here too.
    """
    if name == "RedisSnapshots":
        from scheduler_server.storage.redis_snapshot import RedisSnapshots  # noqa: PLC0415 -- see above

        return RedisSnapshots
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
