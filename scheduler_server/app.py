"""The one place that constructs and connects the parts."""

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import grpc

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.events import Shutdown
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.assignment.queue_settings import OBJECTIVES
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.state import lease_to_bytes, restore_lease, restore_waiting, waiting_to_bytes
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.dispatch import outbox
from scheduler_server.dispatch.consumer import consumer_name
from scheduler_server.dispatch.dispatcher import Dispatcher
from scheduler_server.dispatch.outbox import Settled, settled_of
from scheduler_server.model.clock import Now
from scheduler_server.predictor.strategies import PREDICTORS
from scheduler_server.rpc.admin import AdminCalls
from scheduler_server.rpc.collector import nothing_goes
from scheduler_server.rpc.entry import Entries
from scheduler_server.rpc.health import NOT_SERVING, SERVING, Health
from scheduler_server.rpc.measured import sources
from scheduler_server.rpc.schedule import ScheduleCalls
from scheduler_server.rpc.server import ADMIN, SCHEDULE, add_services, make_server
from scheduler_server.rpc.shell import WAITING, Shell, system_now, waiting_id
from scheduler_server.rpc.stores import Stores
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
from scheduler_server.storage.redis_snapshot import RedisSnapshots
from scheduler_server.storage.redis_url import parse
from scheduler_server.storage.snapshot import SnapshotFile
from scheduler_server.storage.snapshot_keeper import Memory, Pace, SnapshotKeeper
from scheduler_server.storage.snapshot_store import SnapshotStore
from scheduler_server.storage.state_folder import StateFolder
from scheduler_server.telemetry.exposition import PrometheusText
from scheduler_server.telemetry.meter import resource
from scheduler_server.telemetry.scrape import MetricsServer
from scheduler_server.telemetry.settings import host_and_port

_LOG = logging.getLogger(__name__)

SCORERS: dict[str, Callable[[CoreSettings], Scorer]] = {
    "weighted": lambda settings: WeightedScorer(settings.scorer),
    "capability": lambda settings: CapabilityScorer(settings.scorer),
    "specialist": lambda settings: SpecialistScorer(settings.scorer),
    "earliest_finish": lambda _settings: EarliestFinishScorer(),
}

_SNAPSHOT_FORMAT, _SNAPSHOT_VERSION = "scheduler-snapshot", 1

_RECORDS_OF_NOTHING = 1_000
"""A predictor that has learned nothing may have this many records all the same (defaults, calibration)."""

_LAST_FLUSH_S = 5.0
"""Time for journal and snapshot at shutdown; a disk that hangs must not hang the exit."""


class StartError(Exception):
    """The server cannot start; one line that says why."""


def make_core(settings: Settings, now: Now, incarnation: str) -> Scheduler:
    """The core with the strategies that the settings name."""
    core_settings = settings.core()
    scorer = settings.scorer.strategy or OBJECTIVES[settings.assignment.objective][2]
    return Scheduler(
        core_settings,
        PREDICTORS[settings.predictor.strategy](core_settings.predictor),
        SCORERS[scorer](core_settings),
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
        self.metrics_url = ""
        self.stores = Stores()
        self._server: grpc.aio.Server | None = None
        self._health = Health()
        self._folder: StateFolder | None = None
        self._writer: JournalWriter | None = None
        self._snapshots: SnapshotKeeper | None = None
        self._metrics: MetricsServer | None = None
        self._settled: list[Settled] = []  # what Redis had not heard of when the last run ended
        self._unlearned = self._predictor_records(_RECORDS_OF_NOTHING)
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
            self._snapshots = self._snapshot_keeper(path)
            if self._snapshots is not None:
                self.stores.snapshots = self._snapshots
                with nothing_goes():
                    await self._snapshots.load()
                    self._warm()
            journal = self._open_journal(path)
            self.shell = Shell(self.core, journal, self._now)
            self.calls = ScheduleCalls(self.shell)
            self.streams = WorkerStreams(self.shell)
            self.stores.tasks = self._dispatcher(path)
            self.admin = AdminCalls(self.shell, self.calls, self.streams, self.stores, self.settings)
            await self._open_metrics()
            server = make_server(self.settings.server)
            add_services(server, self.calls, self.streams, self.admin, self._health)
            self.address = self._bind(server)
            self._server = server
            for service in ("", SCHEDULE, ADMIN):  # "" would be SERVING by default
                await self._health.set(service, NOT_SERVING)
            await server.start()
        except BaseException:
            await self._close_stores()
            raise
        self.shell.start()
        for service in ("", SCHEDULE, ADMIN):
            await self._health.set(service, SERVING)
        if self._snapshots is not None:
            self._snapshots.start()
        if self.stores.tasks is not None:
            self.stores.tasks.start()
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

    async def _open_metrics(self) -> None:
        listen = self.settings.metrics.listen
        if not listen:
            return
        measured = sources(self.shell, self.calls, self.streams, self.admin, self.stores)
        about = resource(version=self.admin.version, incarnation=self.core.incarnation)
        self._metrics = MetricsServer(PrometheusText(measured, about).text)
        try:
            await self._metrics.open(*host_and_port(listen))
        except ValueError as error:
            raise StartError(f"metrics.listen: {error}") from None
        except OSError:
            why = "the port is taken, or the address is not ours"
            raise StartError(f"metrics.listen: cannot listen on {listen}: {why}") from None
        self.metrics_url = self._metrics.url
        _LOG.info("metrics on %s", self.metrics_url)

    def _persisted(self, sequence: int) -> None:
        self.shell.persisted(sequence)  # there is one before the first put

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
        doubled = self._take_back(restored)
        writer = JournalWriter(
            store,
            encode=_to_bytes,
            persisted=self._persisted,
            loop=asyncio.get_running_loop(),
            restored=restored,
            flush_interval_s=self.settings.storage.journal_flush_s,
        )
        self._writer = writer
        self.stores.journal = writer
        for entry in doubled:
            writer.delete(entry.kind, entry.id)
        if restored:
            waiting = len(self.core.queue.waiting)
            _LOG.info(
                "taken from the journal: %d leases, which wait for their workers, and %d waiting tasks",
                len(restored) - waiting,
                waiting,
            )
        return writer

    def _take_back(self, restored: list[Entry]) -> list[Entry]:
        """Let what the journal has be so again; entries of tasks that wait although they have a lease.

        Leases first. A task has one entry, since its place and its lease change in one batch; were there two all the
        same, it has been placed, and must not be placed again.
        """
        now = self._now()
        for restore, entries in (
            (restore_lease, [entry for entry in restored if entry.kind not in {WAITING, outbox.KIND}]),
            (restore_waiting, [entry for entry in restored if entry.kind == WAITING]),
            (self._restore_settled, [entry for entry in restored if entry.kind == outbox.KIND]),
        ):
            for entry in entries:
                try:
                    restore(self.core, now, entry.body)
                except ValueError as error:
                    self.stores.warn(f"journal entry {entry.id!r} was left out: {error}")
        placed = {waiting_id(record.task) for record in self.core.ledger.tasks.values()}
        return [entry for entry in restored if entry.kind == WAITING and entry.id in placed]

    def _restore_settled(self, _core: Scheduler, _now: Now, kept: bytes) -> None:
        self._settled.append(settled_of(kept))

    def _dispatcher(self, path: Path | None) -> Dispatcher | None:
        settings = self.settings.dispatch
        if not settings.url:
            return None
        name = consumer_name(settings.consumer, path)
        chance = random.Random()  # noqa: S311 -- spreads retries
        return Dispatcher(self.shell, Entries(), settings, name, restored=self._settled, random=chance)

    # ------------------------------------------------------------------ what was learned

    def _snapshot_keeper(self, path: Path | None) -> SnapshotKeeper | None:
        storage = self.settings.storage
        about: dict[str, Any] = {"format": _SNAPSHOT_FORMAT, "version": _SNAPSHOT_VERSION}
        store: SnapshotStore
        if storage.snapshot_url:
            server, timeout_s = self.core.incarnation, storage.snapshot_timeout_s
            address, prefix = parse(storage.snapshot_url), storage.snapshot_prefix
            store = RedisSnapshots(address, prefix=prefix, timeout_s=timeout_s, server=server, **about)
        elif path is not None:
            store = SnapshotFile(path / "snapshot", **about)
        else:
            return None
        memory = Memory(
            records=lambda: self.core.snapshot(self._now()),
            restore=self._restore,
            untouched=lambda: self._predictor_records(self._unlearned + 1) <= self._unlearned,
        )
        pace = Pace(interval_s=storage.snapshot_interval_s, max_age_s=storage.max_age_s)
        return SnapshotKeeper(store, memory, pace, wall=lambda: self._now().wall, random=random.Random())  # noqa: S311 -- spreads retries

    def _predictor_records(self, most: int) -> int:
        return sum(1 for _ in islice(self.core.predictor.state(), most))

    def _restore(self, records: Iterable[dict[str, Any]], late: bool) -> list[str]:
        return self.core.restore(self._now(), self._still_true(records) if late else records)

    def _still_true(self, records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Without what this run knows better: the breaker, and workers that are here."""
        for record in records:
            part = record.get("part")
            if part != "breaker" and not (part == "worker" and record.get("worker_id") in self.core.fleet.records):
                yield record

    def _warm(self) -> None:
        """Let the predictor build what makes it fast, before the first decision is asked for."""
        try:
            self.core.predictor.warm()
        except Exception:  # noqa: BLE001 -- a predictor is a plug-in: its first answers are slower then, and nothing else
            _LOG.exception("the predictor could not be warmed")

    # ------------------------------------------------------------------ stop

    async def stop(self, grace_s: float | None = None) -> None:
        """Go down: NOT_SERVING, no new work, goodbye to workers, calls under way finished, state flushed."""
        grace = self.settings.server.grace_s if grace_s is None else grace_s
        self.calls.drain()
        for service in ("", SCHEDULE, ADMIN):
            await self._health.set(service, NOT_SERVING)
        self._health.drain()
        self.admin.drain()
        if self.stores.tasks is not None:
            self.stores.tasks.stop_reading()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):  # after the goodbyes there is no worker left to place on
                await self.calls.batches_done()
        self.streams.drain()
        self.shell.handle(Shutdown())
        if self._server is not None:
            await self._server.stop(grace)
        if self.stores.tasks is not None:
            await self.stores.tasks.close(_LAST_FLUSH_S)
        self.shell.stop()
        await self._close_stores()
        _LOG.info("stopped")

    async def _close_stores(self) -> None:
        if self._metrics is not None:
            await self._metrics.close()
        if self._snapshots is not None:
            await self._snapshots.close(_LAST_FLUSH_S)
        if self._writer is not None:
            await self._writer.close(_LAST_FLUSH_S)
        if self._folder is not None:
            self._folder.close()


def _to_bytes(kept: TaskRecord | Waiter | Settled) -> bytes:
    if isinstance(kept, Settled):
        return kept.to_bytes()
    return waiting_to_bytes(kept) if isinstance(kept, Waiter) else lease_to_bytes(kept)
