"""The one place that constructs and connects the parts."""

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import grpc

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.events import Shutdown
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.state import lease_to_bytes, restore_lease
from scheduler_server.model.clock import Now
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.rpc.admin import AdminCalls
from scheduler_server.rpc.health import NOT_SERVING, SERVING, Health
from scheduler_server.rpc.schedule import ScheduleCalls
from scheduler_server.rpc.server import ADMIN, SCHEDULE, add_services, make_server
from scheduler_server.rpc.shell import Shell, system_now
from scheduler_server.rpc.stores import JOURNAL, Stores
from scheduler_server.rpc.streams import WorkerStreams
from scheduler_server.scorer import Scorer
from scheduler_server.scorer.capability import CapabilityScorer
from scheduler_server.scorer.earliest_finish import EarliestFinishScorer
from scheduler_server.scorer.specialist import SpecialistScorer
from scheduler_server.scorer.weighted import WeightedScorer
from scheduler_server.settings import Settings, state_path
from scheduler_server.storage.entries import Entry, JournalError
from scheduler_server.storage.journal import Journal
from scheduler_server.storage.journal_writer import JournalWriter
from scheduler_server.storage.memory_journal import MemoryJournal, UnavailableJournal
from scheduler_server.storage.snapshot import SnapshotError, SnapshotFile
from scheduler_server.storage.snapshot_writer import SnapshotWriter
from scheduler_server.storage.state_folder import StateFolder

_LOG = logging.getLogger(__name__)

SCORERS: dict[str, Callable[[CoreSettings], Scorer]] = {
    "weighted": lambda settings: WeightedScorer(settings.scorer),
    "capability": lambda settings: CapabilityScorer(settings.scorer),
    "specialist": lambda settings: SpecialistScorer(settings.scorer),
    "earliest_finish": lambda _settings: EarliestFinishScorer(),
}
PREDICTORS: dict[str, Callable[[CoreSettings], Predictor]] = {
    "ema": lambda settings: EmaPredictor(settings.predictor),
}

_SNAPSHOT_VERSION = 1
_SNAPSHOT_CHUNK = 200
"""Records made between two turns of the loop: about 2 us each, so well below a millisecond."""

_LAST_FLUSH_S = 5.0
"""Time for journal and snapshot at shutdown; a disk that hangs must not hang the exit."""


class StartError(Exception):
    """The server cannot start; one line that says why."""


def make_core(settings: Settings, now: Now, incarnation: str) -> Scheduler:
    """The core with the strategies that the settings name."""
    core_settings = settings.core()
    return Scheduler(
        core_settings,
        PREDICTORS[settings.predictor.strategy](core_settings),
        SCORERS[settings.scorer.strategy](core_settings),
        time.perf_counter,
        incarnation,
        now,
    )


class App:
    """A whole server: `start`, then `stop`. One per event loop."""

    def __init__(
        self, settings: Settings, *, now: Callable[[], Now] = system_now, core: Scheduler | None = None
    ) -> None:
        self.settings = settings
        self._now = now
        # 32 bits of randomness: ids of two runs of one server must differ, and they are read by people.
        self.core = core or make_core(settings, now(), secrets.token_hex(4))
        self.address = ""
        self.stores = Stores()
        self._server: grpc.aio.Server | None = None
        self._health = Health()
        self._folder: StateFolder | None = None
        self._writer: JournalWriter | None = None
        self._snapshots: SnapshotWriter | None = None
        self._periodic: asyncio.Task[None] | None = None
        self.shell: Shell
        self.calls: ScheduleCalls
        self.streams: WorkerStreams
        self.admin: AdminCalls

    # ------------------------------------------------------------------ start

    async def start(self) -> None:
        """Open what survives, restore it, listen, and say SERVING. Raises StartError or StateFolderError."""
        try:
            path = state_path(self.settings.storage)
        except RuntimeError as error:  # "~" of somebody without a home
            raise StartError(f"storage.state_folder: {self.settings.storage.state_folder!r}: {error}") from None
        try:
            if path is not None:
                self._folder = StateFolder.open(path)
                self._restore_snapshot(path)
            journal = self._open_journal(path)
            self.shell = Shell(self.core, journal, self._now)
            self.calls = ScheduleCalls(self.shell)
            self.streams = WorkerStreams(self.shell)
            self.admin = AdminCalls(self.shell, self.calls, self.streams, self.stores, self.settings)
            server = make_server(self.settings.server)
            add_services(server, self.calls, self.streams, self.admin, self._health)
            self.address = self._bind(server)
            self._server = server
            await server.start()
        except BaseException:
            await self._close_stores()
            raise
        self.shell.start()
        for service in ("", SCHEDULE, ADMIN):
            await self._health.set(service, SERVING)
        if self._snapshots is not None:
            self._periodic = asyncio.get_running_loop().create_task(self._write_periodically())
        _LOG.info("serving on %s as incarnation %s", self.address, self.core.incarnation)

    def _bind(self, server: "grpc.aio.Server") -> str:
        listen = self.settings.server.listen
        host, _, port = listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004 -- the highest port there is
            raise StartError(f"server.listen: {listen!r} is not host:port with a port of 0 to 65535")
        try:
            bound = server.add_insecure_port(listen)
        except RuntimeError:
            bound = 0
        if not bound:
            raise StartError(f"server.listen: cannot listen on {listen}: the port is taken, or the address is not ours")
        return f"{host}:{bound}"

    def _open_journal(self, path: Path | None) -> Any:
        restored: list[Entry] = []
        if path is None:
            store: Journal | MemoryJournal = MemoryJournal()
            self.stores.journal_backend = "memory"
        else:
            self.stores.journal_backend = "sqlite"
            self.stores.journal_location = str(path / "journal.sqlite")
            try:
                store = Journal.open(path / "journal.sqlite")
                restored = store.load()
            except JournalError as error:
                # Leases are still granted and counted; they just do not survive. The status says so.
                _LOG.error("the journal is not usable, leases will not survive a restart: %s", error)
                unavailable = UnavailableJournal(str(error))
                self.stores.journal = unavailable
                return unavailable
        now = self._now()
        for entry in restored:
            try:
                restore_lease(self.core, now, entry.body)
            except ValueError as error:
                self.stores.warn(f"journal entry {entry.id!r} was left out: {error}", JOURNAL)
        writer = JournalWriter(
            store,
            encode=lease_to_bytes,
            persisted=lambda _sequence: None,  # nobody waits for a lease to be on disk: Assign does no I/O
            loop=asyncio.get_running_loop(),
            restored=restored,
            flush_interval_s=self.settings.storage.journal_flush_s,
        )
        self._writer = writer
        self.stores.journal = writer
        if restored:
            _LOG.info("%d leases taken from the journal wait for their workers", len(restored))
        return writer

    def _restore_snapshot(self, path: Path) -> None:
        file = SnapshotFile(path / "snapshot", format="scheduler-snapshot", version=_SNAPSHOT_VERSION)
        self._snapshots = SnapshotWriter(file, wall=time.time)
        self.stores.snapshots = self._snapshots
        self.stores.snapshot_location = str(file.path)
        self.stores.write_snapshot = self.write_snapshot
        try:
            content = file.read()
        except SnapshotError as error:
            self.stores.warn(f"the snapshot was not read: {error}")
            return
        self.stores.snapshot_restored_at = content.created_at
        for warning in content.warnings:
            self.stores.warn(warning)
        faults = self.core.restore(self._now(), _records(content.records))
        for fault in faults[:10]:
            self.stores.warn(f"snapshot: {fault}")
        if content.records:
            _LOG.info("%d records taken from the snapshot", len(content.records))

    # ------------------------------------------------------------------ while it runs

    async def _write_periodically(self) -> None:
        while True:
            await asyncio.sleep(self.settings.storage.snapshot_interval_s)
            await self.write_snapshot()

    async def write_snapshot(self) -> int:
        """Write what was learned; the number of records, or 0 where there is no folder or the disk refused."""
        if self._snapshots is None:
            return 0
        try:
            return await self._snapshots.write(_chunks(self.core.snapshot(self._now())))
        except SnapshotError as error:
            _LOG.warning("the snapshot was not written: %s", error)
            return 0

    # ------------------------------------------------------------------ stop

    async def stop(self, grace_s: float | None = None) -> None:
        """Go down: NOT_SERVING, no new work, goodbye to workers, calls under way finished, state flushed."""
        grace = self.settings.server.grace_s if grace_s is None else grace_s
        self.calls.draining = True
        for service in ("", SCHEDULE, ADMIN):
            await self._health.set(service, NOT_SERVING)
        self._health.drain()
        self.admin.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):  # after the goodbyes there is no worker left to place on
                await self.calls.batches_done()
        self.streams.drain()
        self.shell.handle(Shutdown())
        if self._server is not None:
            await self._server.stop(grace)
        if self._periodic is not None:
            self._periodic.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._periodic
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_FLUSH_S):
                await self.write_snapshot()
        self.shell.stop()
        await self._close_stores()
        _LOG.info("stopped")

    async def _close_stores(self) -> None:
        if self._snapshots is not None:
            self._snapshots.close()
        if self._writer is not None:
            await self._writer.close(_LAST_FLUSH_S)
        if self._folder is not None:
            self._folder.close()


def _records(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        yield record if isinstance(record, dict) else {"part": "unreadable"}


def _chunks(records: Iterable[dict[str, Any]]) -> Iterator[list[bytes]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, _SNAPSHOT_CHUNK)):
        yield [json.dumps(record, separators=(",", ":")).encode() for record in chunk]
