"""Snapshots beside a busy event loop: the loop makes the records in small steps, a thread writes them."""

from collections.abc import Callable, Iterable

from scheduler_server.storage.one_thread import OneThread
from scheduler_server.storage.snapshot_store import Edition, SnapshotContent, SnapshotStore


class SnapshotWriter:
    """Reads and writes editions of one store; whoever calls sees to it that it is one at a time.

    Invariant: at most one chunk is on its way to the thread, so memory stays at one chunk however slow the
    store.
    """

    def __init__(self, store: SnapshotStore, *, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._thread = OneThread("snapshot")

    async def read(self) -> SnapshotContent:
        """What the store holds. Raises SnapshotError."""
        return await self._thread.run(self._store.read)

    async def write(self, chunks: Iterable[Iterable[bytes]]) -> Edition:
        """Write one edition of all `chunks`.

        Each `next()` of `chunks` runs on the loop and should take well below a millisecond; between two the loop
        gets its turn. The state may therefore change between chunks: whoever yields them sees to it that each
        record is true by itself.

        Raises:
            SnapshotError: the store refused; the edition before stays in place.
        """
        session = self._store.begin(created_at=self._wall())  # as old as its first record
        try:
            for chunk in chunks:
                await self._thread.run(session.append, list(chunk))
            return await self._thread.run(session.commit)
        except BaseException:
            # Also when cancelled, perhaps while the thread still writes: the one thread does it after that.
            self._thread.submit(session.abort)
            raise

    def close(self) -> None:
        """Let the thread end; a write that is under way is finished first. Files need nothing."""
        self._thread.close()
