"""When is what was learned read and written, and what if the store is not there?

At the start the store is read, for a bounded time. Then every interval an edition is written, and a last one at the
end. A store that fails is tried again after 1 to 60 s, whatever else happens: nobody waits for it, and the log tells
the change, not each attempt.

A store that could not be read at the start is read later, before the first write. What it holds is taken over as long
as nothing has been learned since the start: then nothing can be lost by it. Otherwise memory stays as it is and is
written; what the store held is not overwritten but kept beside (`SnapshotStore.keep`), and the log and the status say
where. Nothing is merged: two histories of one key cannot be told from one.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from scheduler_server.storage.snapshot_codec import Encoder, Record, steps_of
from scheduler_server.storage.snapshot_store import SnapshotContent, SnapshotError, SnapshotStore
from scheduler_server.storage.snapshot_writer import SnapshotWriter

_LOG = logging.getLogger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0

_READ_WITHIN_S = 30.0
"""At the start: 100,000 keys take below 2 s, ten times as many over a slow link below 30; then memory serves."""

_WRITE_WITHIN_S = 60.0
"""For an edition as a whole; each command has its own, shorter one."""

_MOST_FAULTS = 10  # records that could not be taken, told one by one; the rest is a number
_MOST_WARNINGS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a snapshot is of: given by `app`, so that storage need not know it.

    `records` may be interleaved with anything; `restore` takes records and answers what it could not take, `late` says
    that the server has been at work already; `untouched` is whether nothing has been learned since the start.
    """

    records: Callable[[], Iterable[Record]]
    restore: Callable[[Iterable[Record], bool], list[str]]
    untouched: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often (`interval_s`), and how old the newest edition may become before that is told (`max_age_s`)."""

    interval_s: float
    max_age_s: float


class SnapshotKeeper:
    """Keeps the snapshot of one server. All methods are for the loop's thread.

    Invariant: while `_unread`, nothing has been written; so what stands in the store is what stood there at the start.
    """

    def __init__(
        self, store: SnapshotStore, memory: Memory, pace: Pace, *, wall: Callable[[], float], random: Random
    ) -> None:
        self._store = store
        self._memory = memory
        self._pace = pace
        self._wall = wall
        self._random = random
        self._writer = SnapshotWriter(store, wall=wall)
        self._busy = asyncio.Lock()
        self._began = wall()
        self._unread = True
        self._told = ""  # the failure that the log has last told; "" while all is well
        self._task: asyncio.Task[None] | None = None
        self.restored_at: float | None = None  # when the edition was made that was taken over (s since 1970)
        self.last_success_at: float | None = None
        self.written_at: float | None = None
        self.records = self.size_bytes = 0  # of the newest edition that is known
        self.written = self.left_out = self.failures = 0  # records and editions since the start; failures in a row
        self.last_error = ""
        self.rival = ""
        self.warnings: list[str] = []

    @property
    def backend(self) -> str:
        """What the store is."""
        return self._store.backend

    @property
    def location(self) -> str:
        """Where, without secrets."""
        return self._store.location

    @property
    def busy(self) -> bool:
        """Is an edition being written, or read?"""
        return self._busy.locked()

    def age_s(self) -> float | None:
        """Age of the newest edition that is known, None without any."""
        made = self.written_at if self.written_at is not None else self.restored_at
        return None if made is None else max(0.0, self._wall() - made)

    def overdue(self) -> str:
        """Why the age is beyond its bound, or "". A server that has just started has the time of the bound."""
        since = max(0.0, self._wall() - (self.written_at if self.written_at is not None else self._began))
        if since <= self._pace.max_age_s:
            return ""
        return f"nothing was written for {since:.0f} s; storage.snapshot_max_age_s is {self._pace.max_age_s:g}"

    # ------------------------------------------------------------------ start, periodically, end

    def reconfigure(self, pace: Pace) -> None:
        """Write so often from the next edition on."""
        self._pace = pace

    async def load(self) -> None:
        """Read the store and take it over. Never raises, and ends after half a minute at the latest."""
        with contextlib.suppress(SnapshotError):
            async with self._busy:
                await self._read(late=False)

    def start(self) -> None:
        """Begin to write periodically."""
        self._task = asyncio.get_running_loop().create_task(self._periodically())

    async def write(self) -> int:
        """Write an edition now; the number of its records. Raises SnapshotError."""
        async with self._busy:
            if self._unread:
                await self._read(late=True)
            return await self._write()

    async def close(self, within_s: float) -> None:
        """Write a last edition, in bounded time."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            try:
                async with asyncio.timeout(within_s):
                    await self.write()
            except TimeoutError:
                _LOG.warning("the last snapshot was not written: %s did not take it in %g s", self.location, within_s)
            except SnapshotError as error:
                _LOG.warning("the last snapshot was not written: %s", error)
        self._writer.close()

    async def _periodically(self) -> None:
        while True:
            await asyncio.sleep(self._delay_s())
            with contextlib.suppress(SnapshotError):
                await self.write()

    def _delay_s(self) -> float:
        """The interval; after failures 1, 2, 4 ... 60 s less up to half, so that servers do not ask in step."""
        if not self.failures:
            return self._pace.interval_s
        ceiling = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self.failures, 10))
        return max(FIRST_RETRY_S, ceiling * self._random.uniform(0.5, 1.0))

    # ------------------------------------------------------------------ read

    async def _read(self, *, late: bool) -> None:
        try:
            async with asyncio.timeout(_READ_WITHIN_S):
                content = await self._writer.read()
        except (SnapshotError, TimeoutError) as error:
            raise self._failed(error, f"cannot be read: no answer within {_READ_WITHIN_S:g} s") from None
        self._unread = False
        self._well()
        for warning in content.warnings:
            self._warn(warning)
        if content.created_at is None:
            return
        if late and not self._memory.untouched():
            self._store.keep()
            self._warn(
                f"snapshot {self.location}: {len(content.records)} records were found there after this server had "
                "learned something without them: its memory stays as it is, and they are kept beside the next snapshot"
            )
            return
        await self._take_over(content, late=late)

    async def _take_over(self, content: SnapshotContent, *, late: bool) -> None:
        count, faults = len(content.records), 0
        for step in steps_of(content.records):
            try:
                found = self._memory.restore(step, late)
            except Exception as error:  # noqa: BLE001 -- a strategy may raise anything; the server starts without it
                _LOG.exception("records of the snapshot were left out")
                found = [f"{type(error).__name__}: {error}"]
                deque(step, maxlen=0)
            for fault in found:
                faults += 1
                if faults <= _MOST_FAULTS:
                    self._warn(f"snapshot: {fault}")
            await asyncio.sleep(0)
        if faults > _MOST_FAULTS:
            self._warn(f"snapshot: {faults} of {count} records were left out in all")
        self.left_out += faults
        self.restored_at = content.created_at
        self.records, self.size_bytes = count, content.size_bytes
        if count:
            _LOG.info("%d records taken from the snapshot %s", count, self.location)

    # ------------------------------------------------------------------ write

    async def _write(self) -> int:
        encoder = Encoder()
        try:
            async with asyncio.timeout(_WRITE_WITHIN_S):
                edition = await self._writer.write(encoder.steps(self._memory.records()))
        except (SnapshotError, TimeoutError) as error:
            raise self._failed(error, f"cannot be written: not done within {_WRITE_WITHIN_S:g} s") from None
        except Exception as error:  # noqa: BLE001 -- a strategy may raise anything; it is tried again all the same
            _LOG.exception("the snapshot was not written")
            raise self._failed(error, "") from None
        self._well()
        self.written_at = self._wall()
        self.records, self.size_bytes = edition.records, edition.size_bytes
        self.written += edition.records
        if encoder.left_out:
            self.left_out += encoder.left_out
            self._warn(f"snapshot: {encoder.left_out} records could not be encoded")
        for note in edition.notes:
            self._warn(note)
        if edition.rival and not self.rival:
            self._warn(f"snapshot {self.location}: {edition.rival}")
        self.rival = edition.rival
        return edition.records

    # ------------------------------------------------------------------ how it went

    def _failed(self, error: Exception, timed_out: str) -> SnapshotError:
        line = str(error)
        if not isinstance(error, SnapshotError):
            line = f"snapshot {self.location}: {timed_out or type(error).__name__}"
        self.failures += 1
        self.last_error = line
        if line != self._told:
            self._told = line
            _LOG.warning("%s; tried again every %g to %g s", line, FIRST_RETRY_S, LAST_RETRY_S)
        return SnapshotError(line)

    def _well(self) -> None:
        if self.failures:
            _LOG.info("snapshot %s: works again after %d failures", self.location, self.failures)
        self.failures, self.last_error, self._told = 0, "", ""
        self.last_success_at = self._wall()

    def _warn(self, message: str) -> None:
        _LOG.warning("%s", message)
        if len(self.warnings) < _MOST_WARNINGS and message not in self.warnings:
            self.warnings.append(message)
