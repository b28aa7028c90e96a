"""The log beside the event loop: entries collect in a queue, one thread packs them into batches and has them written.

Who writes is a `Writing`: a process of its own, so that the loop does not wait for the interpreter meanwhile.

Overflow policy: *drop the newest*, counted by table. Samples of workers find no room once the queue is half full, audit
entries still find some when it is full: what a person did is worth more than how a worker was.

A batch that fails is written again as it is, with the same number, until it is stored or the log is closed: a store
knows a batch that it has, so nothing is doubled where only the answer was lost, or whoever wrote it has died. What
waits behind it keeps its order.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from scheduler_server.storage.decision_log.entries import Audited, Entry, Sampled
from scheduler_server.storage.decision_log.packing import MAIN, Parcel, pack
from scheduler_server.storage.decision_log.port import DecisionLog, LogError
from scheduler_server.storage.decision_log.rows import Table
from scheduler_server.storage.decision_log.scribe import Scribe, Writing
from scheduler_server.storage.decision_log.scribe_remote import Portable, ScribeProcess
from scheduler_server.storage.decision_log.status import LogStatus

_LOG = logging.getLogger(__name__)

_SLICE = 64
"""Entries packed between two breaths: that holds the interpreter lock for a tenth of a millisecond, and for half of one
where every decision comes with its explanation."""

_BREATH_S = 2e-5  # asleep, a thread cannot take the interpreter lock back before the loop had it

AUDIT_RESERVE = 1_000
"""Room that only audit entries find: an hour of a busy operator's script."""

_WARNINGS = 8
_LAST_S = 0.5  # beyond its time, for the thread to say that it gives up
_LEAST_END_S = 0.2  # for the process to end, whatever is left of the time for closing
_MOST_BYTES = 8 << 20
"""A batch is closed beyond this, so that a few long texts or explanations make no pile in two processes."""


class LogWriter:
    """`put` costs a comparison and an append on the loop; all else happens in a thread.

    Invariants: `_taken` is counted on the loop's thread only, `_settled` (written, refused or abandoned) on the
    writer's only, and their difference is what is pending: at most `max_pending` and `AUDIT_RESERVE`. Entries are
    numbered and written in the order in which they were handed over.
    """

    def __init__(
        self,
        log: DecisionLog,
        *,
        incarnation: str,
        flush_interval_s: float = 0.25,
        max_pending: int = 100_000,
        batch_entries: int = 5_000,
        tidy_interval_s: float = 10.0,
        first_backoff_s: float = 0.1,
        longest_backoff_s: float = 10.0,
        writing: Writing | None = None,
        held: tuple[int, ...] = (),
        random: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Start the thread; the writing side of the log is the writer's from now on.

        Args:
            log: not prepared yet: a store that cannot be reached is a failure like any other, and tried again.
            incarnation: names this run, unlike any other that has written to the log.
            flush_interval_s: how long entries collect.
            max_pending: entries that may wait, those of the batch being written included.
            batch_entries: entries written at once, at most.
            tidy_interval_s: how often retention takes its turn.
            first_backoff_s: pause after a failure, doubled per failure up to `longest_backoff_s`; half to all of it,
                drawn at random.
            longest_backoff_s: see `first_backoff_s`.
            writing: who writes; None: a process of its own, or the writer's thread for a log that no other process can
                make.
            held: file descriptors that the process that writes keeps open as long as it lives, for locks on them.
            random: draws from 0 to 1.
            monotonic: clock for ages.
            wall: clock for what is told, and for retention.
        """
        self._log = log
        if writing is None:
            if isinstance(log, Portable):
                writing = ScribeProcess(log, log.recipe(), held=held)
            else:
                writing = Scribe(log, alone=False)
        self._writing = writing
        self._incarnation = incarnation
        self._interval_s = flush_interval_s
        self._max_pending = max_pending
        self._batch_entries = batch_entries
        self._tidy_interval_s = tidy_interval_s
        self._backoffs = (first_backoff_s, longest_backoff_s)
        self._random = random
        self._monotonic = monotonic
        self._wall = wall
        self._queue: deque[Entry] = deque()
        self._taken = self._settled = 0
        self._dropped: dict[Table, int] = dict.fromkeys(Table, 0)  # on the loop's thread
        self._written = dict.fromkeys(Table, 0)  # on the writer's thread
        self._refused = dict.fromkeys(Table, 0)
        self._abandoned = dict.fromkeys(Table, 0)
        self._sequence = self._batches = 0
        self._failures = self._consecutive = 0
        self._last_error: str | None = None
        self._last_success_at: float | None = None
        # Nothing that waits came before this: the last look that found nothing, or took all there was.
        self._oldest = self._looked = monotonic()
        self._warnings: deque[str] = deque(maxlen=_WARNINGS)
        self._wake = threading.Event()
        self._closing = self._hurried = False
        self._give_up_at = float("inf")
        self._waiting: list[tuple[int, asyncio.Future[None], asyncio.AbstractEventLoop]] = []
        self._ended = False
        self._told: tuple[asyncio.Future[None], asyncio.AbstractEventLoop] | None = None
        # A daemon, not an executor: a store that hangs must not hang the interpreter's exit too.
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------ on the loop

    def put(self, entry: Entry) -> bool:
        """Hand an entry over; False where it was dropped. It must not change afterwards."""
        if self._taken - self._settled >= self._max_pending:
            return self._overflow(entry)
        self._taken += 1
        self._queue.append(entry)
        return True

    def sample(self, entry: Sampled) -> bool:
        """Hand over a sample, which gives way to everything else."""
        if 2 * (self._taken - self._settled) >= self._max_pending:
            self._dropped[Table.HEARTBEATS] += 1
            return False
        self._taken += 1
        self._queue.append(entry)
        return True

    def _overflow(self, entry: Entry) -> bool:
        kind = type(entry)
        if kind is Audited and self._taken - self._settled < self._max_pending + AUDIT_RESERVE and not self._closing:
            self._taken += 1
            self._queue.append(entry)
            return True
        self._dropped[MAIN[kind]] += 1
        return False

    def reconfigure(self, flush_interval_s: float, max_pending: int) -> None:
        """Collect for so long, from the next batch on, and let so many wait, at once; those that wait stay."""
        self._interval_s = flush_interval_s
        if not self._closing:
            self._max_pending = max_pending

    def status(self) -> LogStatus:
        """How it is doing now. From any thread; exact on the loop's while nothing is being written."""
        written, refused = dict(self._written), dict(self._refused)
        abandoned, dropped = dict(self._abandoned), dict(self._dropped)
        settled = sum(written.values()) + sum(refused.values()) + sum(abandoned.values())
        taken = self._taken
        return LogStatus(
            backend=self._log.backend,
            location=self._log.location,
            taken=taken,
            pending=taken - settled,
            written=sum(written.values()),
            dropped_full=sum(dropped.values()),
            refused=sum(refused.values()),
            abandoned=sum(abandoned.values()),
            written_by_table=written,
            lost_by_table={table: refused[table] + abandoned[table] + dropped[table] for table in Table},
            batches=self._batches,
            failures=self._failures,
            consecutive_failures=self._consecutive,
            last_error=self._last_error,
            healthy=not self._consecutive,
            oldest_pending_age_s=0.0 if taken == settled else max(0.0, self._monotonic() - self._oldest),
            last_success_at=self._last_success_at,
            warnings=tuple(self._warnings),
            pid=self._writing.pid,
            restarts=max(0, self._writing.starts - 1),
        )

    async def flushed(self, timeout_s: float) -> bool:
        """Wait until all that was handed over so far can be read; False if `timeout_s` was too short."""
        if self._settled >= self._taken:
            return True
        if self._ended:
            return False
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((self._taken, done, loop))
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                await done
        except TimeoutError:
            return False
        return True

    async def close(self, timeout_s: float) -> bool:
        """Take nothing more, write what waits, close the writing side. False if `timeout_s` was too short for that.

        What is not written by then is counted as abandoned, or stays pending where the store hangs: then nobody knows.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        self._told = (ended, loop)
        self._give_up_at = self._monotonic() + timeout_s
        self._max_pending = -AUDIT_RESERVE  # nothing finds room
        self._closing = True
        self._wake.set()
        if not self._ended:
            try:
                async with asyncio.timeout(timeout_s + _LAST_S):
                    await ended
            except TimeoutError:
                return False
        return not sum(self._abandoned.values())

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        next_tidy = self._monotonic() + self._tidy_interval_s
        self._prepare()
        closing = False
        while not (closing and not self._queue):
            # What comes while a batch is being written waits for its interval too, or batches would be tiny.
            if len(self._queue) < self._batch_entries and not self._waiting and not self._closing:
                self._wake.wait(self._interval_s)
            self._wake.clear()
            closing = self._closing
            if self._queue:
                self._write(*self._take())
            else:
                self._oldest = self._looked = self._monotonic()
            self._tell()
            if self._monotonic() >= next_tidy and not self._consecutive and not closing:
                next_tidy = self._monotonic() + (0.0 if self._tidy() else self._tidy_interval_s)
        self._writing.close(max(_LEAST_END_S, self._give_up_at - self._monotonic()))
        self._ended = True  # before looking whether anybody waits: whoever comes later sees it
        if self._told is not None:
            _tell(self._told)

    def _prepare(self) -> None:
        self._attempt(self._writing.prepare, lambda: self._closing)

    def _tidy(self) -> bool:
        """A turn of retention; True if more is due."""
        try:
            return self._writing.tidy(self._wall())
        except Exception as error:  # noqa: BLE001 -- retention takes its turn again later; it says nothing of writing
            self._failures += 1
            self._last_error = str(error) or type(error).__name__
        return False

    def _take(self) -> tuple[Parcel, dict[Table, int]]:
        """The next entries as a parcel, and how many there are of each table."""
        queue, slices, size = self._queue, list[bytes](), 0
        counts = dict.fromkeys(Table, 0)
        self._oldest, self._looked = self._looked, self._monotonic()
        left, first = min(len(queue), self._batch_entries), self._sequence + 1
        while left and size < _MOST_BYTES:
            count = min(left, _SLICE)
            body, packed, refused = pack([queue.popleft() for _ in range(count)])
            self._sequence += count
            left -= count
            slices.append(body)
            size += len(body)
            for table, some in packed.items():
                counts[table] += some
            for table, why in refused:
                self._refuse(table, 1, why)
            if left:
                time.sleep(_BREATH_S)
        self._batches += 1
        return Parcel(self._incarnation, self._batches, first, False, slices), counts

    def _write(self, parcel: Parcel, counts: dict[Table, int]) -> None:
        tries = 0

        def write() -> list[str]:
            nonlocal tries
            tries += 1
            told, refused, why = self._writing.write(parcel._replace(again=tries > 1))
            for table, count in refused.items():
                counts[table] -= count
                self._refuse(table, count, why)
            return told

        stored = self._attempt(write, lambda: self._closing and self._monotonic() >= self._give_up_at)
        into = self._written if stored else self._abandoned
        for table, count in counts.items():
            into[table] += count
        self._settled += sum(counts.values())
        self._oldest = self._looked

    def _refuse(self, table: Table, count: int, why: str) -> None:
        self._refused[table] += count
        self._settled += count
        self._last_error = why
        _LOG.warning("decision log: %d of %s cannot be stored: %s", count, table, why)

    def _attempt(self, what: Callable[[], list[str]], give_up: Callable[[], bool]) -> bool:
        """Until it works, or until it is to be given up."""
        pause_s, longest_s = self._backoffs
        while not give_up():
            try:
                warnings = what()
            except Exception as error:  # noqa: BLE001 -- whatever it was, it is tried again
                self._failed(error)
            else:
                self._succeeded(warnings)
                return True
            self._pause(pause_s * (0.5 + 0.5 * self._random()))
            pause_s = min(2.0 * pause_s, longest_s)
        return False

    def _pause(self, seconds: float) -> None:
        """Until the time is over. Closing cuts it short once; the pauses after that are the shortest."""
        until = self._monotonic() + (min(seconds, self._backoffs[0]) if self._closing else seconds)
        while (left := min(until, self._give_up_at) - self._monotonic()) > 0:
            if self._closing and not self._hurried:
                self._hurried = True
                return
            self._wake.wait(left)
            self._wake.clear()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._consecutive += 1
        self._last_error = str(error) or type(error).__name__
        if self._consecutive == 1:
            _LOG.warning("%s", self._last_error)
        if not isinstance(error, LogError):
            _LOG.debug("decision log: unexpected", exc_info=error)

    def _succeeded(self, warnings: list[str]) -> None:
        if self._consecutive:
            _LOG.info("decision log %s: works again after %d failures", self._log.location, self._consecutive)
        self._consecutive = 0
        self._last_success_at = self._wall()
        for warning in warnings:
            _LOG.warning("%s", warning)
            self._warnings.append(warning)

    def _tell(self) -> None:
        for waiting in list(self._waiting):
            target, *whom = waiting
            if self._settled >= target:
                self._waiting.remove(waiting)
                _tell(whom)


def _tell(whom: Any) -> None:
    done, loop = whom
    try:
        loop.call_soon_threadsafe(_finish, done)
    except RuntimeError:  # the loop is closed: nobody is left to hear it
        return


def _finish(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)
