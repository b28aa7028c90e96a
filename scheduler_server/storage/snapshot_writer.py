"""Snapshots beside a busy event loop: the loop makes the records in small steps, a thread writes them."""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from scheduler_server.storage.snapshot import SnapshotFile


class SnapshotWriter:
    """Writes editions of one file, one at a time, and remembers how the last one went.

    Invariant: at most one chunk is on its way to the thread, so memory stays at one chunk however slow the
    disk.
    """

    def __init__(self, file: SnapshotFile, *, wall: Callable[[], float]) -> None:
        self._file = file
        self._wall = wall
        self._busy = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="snapshot")
        self.written_at: float | None = None
        self.last_error: str | None = None

    async def write(self, chunks: Iterable[Iterable[bytes]]) -> int:
        """Write one edition of all `chunks`; the number of records.

        Each `next()` of `chunks` runs on the loop and should take well below a millisecond (a few hundred
        records); between two the loop gets its turn. The state may therefore change between chunks: whoever
        yields them sees to it that each record is true by itself. A second call waits for the first.

        Raises:
            SnapshotError: the disk refused; `last_error` keeps the line, the edition before stays in place.
        """
        async with self._busy:
            try:
                count = await self._write(chunks)
            except Exception as error:
                self.last_error = str(error) or type(error).__name__
                raise
            self.written_at, self.last_error = self._wall(), None
            return count

    @property
    def busy(self) -> bool:
        """Is an edition being written?"""
        return self._busy.locked()

    def close(self) -> None:
        """Let the thread end; a write that is under way is finished first. Files need nothing."""
        self._thread.shutdown(wait=False)

    async def _write(self, chunks: Iterable[Iterable[bytes]]) -> int:
        loop = asyncio.get_running_loop()
        session = self._file.begin(created_at=self._wall())  # as old as its first record
        try:
            for chunk in chunks:
                await loop.run_in_executor(self._thread, session.append, list(chunk))
            return await loop.run_in_executor(self._thread, session.commit)
        except BaseException:
            # Also when cancelled, perhaps while the thread still writes: the one thread does it after that.
            self._thread.submit(session.abort)
            raise
