"""What survives?

A folder of this server's own (`StateFolder`), and in it two things: a *snapshot* now and then of what can be
lost for a minute (what the predictor learnt, the breaker), and a *journal* of what must not be lost at all
(live leases; later, accepted tasks). Both work beside the event loop: encoding in slices, files and SQLite in
a thread, and every failure is a status, a count and a retry, never an exception on the loop. Losing either
stops no decision.

    folder = StateFolder.open(path)                                       StateFolderError: one line, exit 2
    content = SnapshotFile(folder.file("predictor"), format="predictor", version=1).read()
    journal = Journal.open(folder.file("journal.sqlite"))                 JournalError: one line, with a
    reason writer = JournalWriter(journal, restored=journal.load(), encode=..., persisted=..., loop=loop)

Why SQLite and not a log of our own: group commit, checksummed frames and recovery after kill -9 are solved
there. Why snapshots are not in it: they are rewritten as a whole, and a file can be set aside, copied and
compared. May import: the standard library and `model`. Nothing here knows what a lease or a prediction is.
"""

from scheduler_server.storage.entries import Entry, JournalError, JournalFault, JournalStore
from scheduler_server.storage.journal import Journal
from scheduler_server.storage.journal_status import JournalStatus
from scheduler_server.storage.journal_writer import JournalWriter
from scheduler_server.storage.memory_journal import MemoryJournal, UnavailableJournal
from scheduler_server.storage.snapshot import SnapshotContent, SnapshotError, SnapshotFile
from scheduler_server.storage.snapshot_writer import SnapshotWriter
from scheduler_server.storage.state_folder import StateFolder, StateFolderError

__all__ = [
    "Entry",
    "Journal",
    "JournalError",
    "JournalFault",
    "JournalStatus",
    "JournalStore",
    "JournalWriter",
    "MemoryJournal",
    "SnapshotContent",
    "SnapshotError",
    "SnapshotFile",
    "SnapshotWriter",
    "StateFolder",
    "StateFolderError",
    "UnavailableJournal",
]
