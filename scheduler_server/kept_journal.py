"""The journal of a server: opened at its start, and what the last run has left in it is so again.

Leases, waiting tasks, operators' orders, and what Redis had not heard of. It knows how each is written; who owns them
says what is.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.drain_record import KeptDrain, KeptLine, drain_of, line_of
from scheduler_server.assignment.drain_record import to_bytes as drain_to_bytes
from scheduler_server.assignment.effects import Stands
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.standing import order_to_bytes, restore_order
from scheduler_server.assignment.state import lease_to_bytes, restore_lease, restore_waiting, waiting_to_bytes
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.dispatch import outbox
from scheduler_server.dispatch.outbox import Settled, settled_of
from scheduler_server.model.clock import Now
from scheduler_server.model.standing import StandingOrder
from scheduler_server.rpc import zones
from scheduler_server.rpc.shell import DRAIN, DRAINED, LEASE, ORDER, WAITING, Promises, drained_id, waiting_id
from scheduler_server.rpc.stores import Stores
from scheduler_server.storage.entries import Entry, JournalError
from scheduler_server.storage.journal import Journal
from scheduler_server.storage.journal_writer import JournalWriter
from scheduler_server.storage.memory_journal import MemoryJournal, UnavailableJournal

_LOG = logging.getLogger(__name__)


class KeptJournal:
    """`settled` is what Redis had not heard of when the last run ended."""

    def __init__(self, core: Scheduler, stores: Stores, now: Callable[[], Now]) -> None:
        self._core = core
        self._stores = stores
        self._now = now
        self._writer: JournalWriter | None = None
        self.settled: list[Settled] = []

    def open(self, folder: Path | None, *, persisted: Callable[[int], None], flush_interval_s: float) -> Promises:
        """Open it and take back what it has; without a folder, one in memory. One that cannot be used is told of."""
        stores = self._stores
        restored: list[Entry] = []
        if folder is None:
            store: Journal | MemoryJournal = MemoryJournal()
            stores.journal_backend = "memory"
        else:
            stores.journal_backend = "sqlite"
            stores.journal_location = str(folder / "journal.sqlite")
            try:
                store = Journal.open(folder / "journal.sqlite")
                restored = store.load()
            except JournalError as error:
                # Leases are still granted and counted; they just do not survive. The status says so.
                _LOG.error("the journal is not usable, leases will not survive a restart: %s", error)
                unavailable = UnavailableJournal(str(error))
                stores.journal = unavailable
                return unavailable
        doubled = self._take_back(restored)
        writer = JournalWriter(
            store,
            encode=_to_bytes,
            persisted=persisted,
            loop=asyncio.get_running_loop(),
            restored=restored,
            flush_interval_s=flush_interval_s,
        )
        self._writer = stores.journal = writer
        for entry in doubled:
            writer.delete(entry.kind, entry.id)
        if restored:
            core = self._core
            _LOG.info(
                "taken from the journal: %d leases, which wait for their workers, %d waiting tasks, and %d orders",
                len(core.ledger.leases),
                len(core.queue.waiting),
                len(core.standing.orders),
            )
        return writer

    def _take_back(self, restored: list[Entry]) -> list[Entry]:
        """Let what the journal has be so again; entries that mean nothing any more.

        Orders first, then leases, then drains, which count them. A task has one entry, since its place and its lease
        change in one batch; were there two all the same, it has been placed, and must not be placed again. A drain that
        is over has no workers; entries of some are left where a server was killed while it let them go.
        """
        core, now = self._core, self._now()
        for kind, restore in (
            (ORDER, _restore_order),
            (LEASE, restore_lease),
            (DRAIN, _restore_drain),
            (DRAINED, _restore_drained),
            (WAITING, restore_waiting),
            (outbox.KIND, self._restore_settled),
        ):
            for entry in restored:
                if entry.kind != kind:
                    continue
                try:
                    restore(core, now, entry.body)
                except ValueError as error:
                    self._stores.warn(f"journal entry {entry.id!r} was left out: {error}")
        core.drains.restored(now, now.monotonic + core.settings.health.restart_grace_s)
        placed = {waiting_id(record.task) for record in core.ledger.tasks.values()}
        covered = {drained_id(name, worker_id) for worker_id, by in core.drains.by_worker.items() for name in by}
        return [
            entry
            for entry in restored
            if (entry.kind == WAITING and entry.id in placed) or (entry.kind == DRAINED and entry.id not in covered)
        ]

    def _restore_settled(self, _core: Scheduler, _now: Now, kept: bytes) -> None:
        self.settled.append(settled_of(kept))

    async def close(self, within_s: float) -> None:
        """Write what waits, in bounded time. A second call does nothing."""
        if self._writer is not None:
            await self._writer.close(within_s)


def _restore_order(core: Scheduler, now: Now, kept: bytes) -> None:
    restore_order(core, now, kept, zones.resolved)


def _restore_drain(core: Scheduler, _now: Now, kept: bytes) -> None:
    core.drains.restore(drain_of(kept))


def _restore_drained(core: Scheduler, _now: Now, kept: bytes) -> None:
    core.drains.restore_line(line_of(kept))


def _to_bytes(kept: TaskRecord | Waiter | Settled | Stands | KeptDrain | KeptLine) -> bytes:
    if isinstance(kept, Settled):
        return kept.to_bytes()
    if isinstance(kept, Stands):
        return order_to_bytes(kept.about, kept.order or StandingOrder(0.0))
    if isinstance(kept, KeptDrain | KeptLine):
        return drain_to_bytes(kept)
    return waiting_to_bytes(kept) if isinstance(kept, Waiter) else lease_to_bytes(kept)
