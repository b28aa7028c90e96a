"""The one place that constructs and connects the parts."""

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import grpc

from scheduler_server.alerts.board import ALERT, Board
from scheduler_server.alerts.readings import Readings, Watched
from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.events import Shutdown
from scheduler_server.config.loader import given_by
from scheduler_server.config.origin import Origin, Source
from scheduler_server.dispatch.consumer import consumer_name
from scheduler_server.dispatch.dispatcher import Dispatcher
from scheduler_server.history.history import History
from scheduler_server.history.learned import PART as LEARNED
from scheduler_server.history.learned import Learned
from scheduler_server.kept_journal import KeptJournal
from scheduler_server.model.clock import Now
from scheduler_server.predictor.strategies import PREDICTORS
from scheduler_server.rpc import overriding
from scheduler_server.rpc.access import Access, AccessError
from scheduler_server.rpc.admin import AdminCalls
from scheduler_server.rpc.applying import Applying
from scheduler_server.rpc.audit import Audit
from scheduler_server.rpc.audited import Sight
from scheduler_server.rpc.collector import nothing_goes
from scheduler_server.rpc.config_calls import ConfigCalls
from scheduler_server.rpc.configuring import Configuring, Kept, open_config
from scheduler_server.rpc.connections import Connections
from scheduler_server.rpc.health import NOT_SERVING, SERVING, Health
from scheduler_server.rpc.log_levels import LogLevelCalls, LogLevels
from scheduler_server.rpc.lookout import Lookout, store_health
from scheduler_server.rpc.measured import sources
from scheduler_server.rpc.outlets import OutletError, Outlets
from scheduler_server.rpc.override_calls import OverrideCalls
from scheduler_server.rpc.overriding import Overriding
from scheduler_server.rpc.schedule import ScheduleCalls
from scheduler_server.rpc.server import ADMIN, SCHEDULE, add_services, make_server
from scheduler_server.rpc.shadow_calls import ShadowCalls
from scheduler_server.rpc.shadow_history import ShadowHistory
from scheduler_server.rpc.shell import Shell, system_now
from scheduler_server.rpc.stores import Stores
from scheduler_server.rpc.streams import WorkerStreams
from scheduler_server.rpc.watch import severity_name
from scheduler_server.scorer.strategies import SCORERS
from scheduler_server.settings import Settings, state_path
from scheduler_server.shadow.observing import Shadow
from scheduler_server.storage.redis_snapshot import RedisSnapshots
from scheduler_server.storage.redis_url import parse
from scheduler_server.storage.snapshot import SnapshotFile
from scheduler_server.storage.snapshot_keeper import Memory, Pace, SnapshotKeeper
from scheduler_server.storage.snapshot_store import SnapshotStore
from scheduler_server.storage.state_folder import StateFolder
from scheduler_server.telemetry.calls import Calls

_LOG = logging.getLogger(__name__)

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
    return Scheduler(
        core_settings,
        PREDICTORS[settings.predictor.strategy](core_settings.predictor),
        SCORERS[core_settings.scorer_name](core_settings.scorer),
        time.perf_counter,
        incarnation,
        now,
    )


class App:
    """A whole server: `start`, then `stop`. One per event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], Now] = system_now,
        core: Scheduler | None = None,
        config: Kept | None = None,
    ) -> None:
        self._config = config or _opened(settings, now().wall)
        self.settings = settings = self._config.live.running
        self._now = now
        # 32 bits of randomness: ids of two runs of one server must differ, and they are read by people.
        self.core = core or make_core(settings, now(), secrets.token_hex(4))
        self.core.placement.policy_revision = max(1, self._config.live.revision)
        self.levels = LogLevels(settings.log.level)
        self.address = ""
        self.metrics_url = ""
        self.stores = Stores()
        self.counted = Calls()
        self.connections = Connections()
        self._server: grpc.aio.Server | None = None
        self._health = Health()
        self._folder: StateFolder | None = None
        self._journal: KeptJournal | None = None
        self._snapshots: SnapshotKeeper | None = None
        self.outlets = Outlets(settings.metrics, settings.traces, self.core.incarnation, now)
        self._unlearned = self._predictor_records(_RECORDS_OF_NOTHING)
        self.alerts = Board(settings.alerts.rules(), self.core.incarnation, settings.alerts.clear_after_s)
        self.lookout: Lookout | None = None
        self.learned = Learned(self.core.incarnation, now().wall, self.core.predictor.name)
        self.access = Access()
        self.configuring: Configuring
        self.overriding: Overriding
        self.shadow: Shadow
        self.shadowed: ShadowHistory
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
            self.access = self._access()
            if path is not None:
                self._folder = StateFolder.open(path)
            self._snapshots = self._snapshot_keeper(path)
            if self._snapshots is not None:
                self.stores.snapshots = self._snapshots
                with nothing_goes():
                    await self._snapshots.load()
                    self._warm()
            self.shell = self._shell(path)
            self.outlets.begin()
            self.calls = self.outlets.calls(self.shell)
            self.streams = self.outlets.streams(self.shell)
            self.stores.tasks = self._dispatcher(path)
            self.stores.history = self._history(path)
            self.lookout = self._lookout()
            self.configuring = self._configuring(self.lookout)
            self.overriding = self._overriding(path)
            await self.configuring.begin()
            self.admin = self._admin()
            self.access.attach(self.shell, self.calls, self.streams)
            self.admin.access = self.access
            await self.outlets.open(
                sources(self.shell, self.calls, self.streams, self.admin, self.stores, self.counted, self.connections)
            )
            self.metrics_url = self.outlets.url
            await self._listen()
        except (OutletError, AccessError) as error:
            await self._close_stores()
            raise StartError(str(error)) from None
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
        self.stores.history.start()
        if self._begins_cold():
            self.stores.history.learn_at_start()
        for part in (self.shadow, self.shadowed, self.lookout, self.admin.demand):
            part.start()
        _LOG.info("serving on %s as incarnation %s", self.address, self.core.incarnation)

    async def _listen(self) -> None:
        server = self.connections.of(lambda: make_server(self.settings.server))
        guard, audit = self.access.guard, self._audit()
        if guard is not None:
            guard.on_refused.append(audit.refused)
        add_services(server, self.calls, self.streams, self.admin, self._health, self.counted, guard, audit)
        self.address = self._bind(server)
        self._server = server
        for service in ("", SCHEDULE, ADMIN):  # "" would be SERVING by default
            await self._health.set(service, NOT_SERVING)
        await server.start()
        self.connections.start()

    def _audit(self) -> Audit:
        history = self.stores.history
        writer = None if history is None else history.writer
        sight = Sight(self.core, self.stores, self.admin.config)
        return Audit(sight, self._now, None if writer is None else writer.put)

    def _access(self) -> Access:
        settings = self.settings
        clocks = {"wall": lambda: self._now().wall, "monotonic": lambda: self._now().monotonic}
        return Access(settings.access, settings.tls, settings.limits, **clocks)

    def _bind(self, server: "grpc.aio.Server") -> str:
        listen = self.settings.server.listen
        host, _, port = listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004 -- the highest port there is
            raise StartError(f"server.listen: {listen!r} is not host:port with a port of 0 to 65535")
        try:
            bound = self.access.bind(server, listen, allow_plaintext=self.settings.server.allow_plaintext)
        except AccessError as error:
            raise StartError(str(error)) from None
        except RuntimeError:
            bound = 0
        if not bound:
            raise StartError(f"server.listen: cannot listen on {listen}: the port is taken, or the address is not ours")
        return f"{host}:{bound}"

    def _lookout(self) -> Lookout:
        watched = Watched(core=self.core, stores=lambda: store_health(self.stores))
        settings = self.settings.alerts
        readings = Readings(watched, self.alerts, settings.window_s, self._now())
        return Lookout(self.shell, self.alerts, readings, settings.interval_s)

    def _admin(self) -> AdminCalls:
        config, levels = ConfigCalls(self.configuring, self.shell), LogLevelCalls(self.levels, self.shell)
        common = self.shell, self.calls, self.streams, self.stores
        overrides = OverrideCalls(self.overriding, self.shell, lambda: self.admin.refuse_when_draining())  # noqa: PLW0108 -- made below
        others = levels, overrides, ShadowCalls(self.shell, self.shadow, self.shadowed)
        return AdminCalls(*common, self.settings, self.alerts, config, others)

    def _overriding(self, path: Path | None) -> Overriding:
        """Those of the last run apply again, over the leases and the waiting tasks that it left."""
        store, notes = overriding.opened(self.core, path, self._now())
        for note in notes:
            self.stores.warn(note)
        return Overriding(self.shell, self.configuring, store)

    def _configuring(self, lookout: Lookout) -> Configuring:
        self.shadow = self._shadow()
        self.shadowed = ShadowHistory(self.shadow, self.stores.history, self.core.started.wall)
        parts = self.stores, self.alerts, lookout, self.outlets, self.levels, self.access, self.shadow
        told = Applying(*parts, self._settle)
        return Configuring(self._config, self.shell, told)

    def _settle(self, settings: Settings) -> None:
        """Settings have changed, and the core goes by them."""
        if settings.predictor.strategy != self.settings.predictor.strategy:
            self.learned.switch(settings.predictor.strategy, self.core.predictors.since, self._now().wall)
        self.settings = settings

    def _history(self, path: Path | None) -> History:
        chance = random.Random()  # noqa: S311 -- spreads retries
        settings = self.settings.history
        return History(self.shell, settings, path, learned=self.learned, severity=severity_name, random=chance)

    def _shadow(self) -> Shadow:
        chance = random.Random()  # noqa: S311 -- what policies draw that choose by chance
        history = self.stores.history
        put = None if history is None or history.writer is None else history.writer.put
        return Shadow(self.shell, self.settings.shadow, put=put, random=chance, stopwatch=time.perf_counter)

    def _begins_cold(self) -> bool:
        """Was there nothing to take over? A store that could not be read may have something."""
        kept = self._snapshots
        nothing = kept is None or (kept.last_success_at is not None and kept.restored_at is None)
        return nothing and self._predictor_records(self._unlearned + 1) <= self._unlearned

    def _shell(self, path: Path | None) -> Shell:
        self._journal = kept = KeptJournal(self.core, self.stores, self._now)
        journal = kept.open(path, persisted=self._persisted, flush_interval_s=self.settings.storage.journal_flush_s)
        return Shell(self.core, journal, self._now)

    def _persisted(self, sequence: int) -> None:
        self.shell.persisted(sequence)  # there is one before the first put

    def _dispatcher(self, path: Path | None) -> Dispatcher | None:
        settings = self.settings.dispatch
        if not settings.url:
            return None
        name = consumer_name(settings.consumer, path)
        chance = random.Random()  # noqa: S311 -- spreads retries
        settled = [] if self._journal is None else self._journal.settled
        return Dispatcher(self.shell, self.outlets.entries(), settings, name, restored=settled, random=chance)

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
            records=lambda: chain(
                self.core.snapshot(self._now()), self.alerts.state(self._now()), self.learned.state(self._now().wall)
            ),
            restore=self._restore,
            untouched=lambda: self._predictor_records(self._unlearned + 1) <= self._unlearned,
        )
        pace = Pace(interval_s=storage.snapshot_interval_s, max_age_s=storage.max_age_s)
        return SnapshotKeeper(store, memory, pace, wall=lambda: self._now().wall, random=random.Random())  # noqa: S311 -- spreads retries

    def _predictor_records(self, most: int) -> int:
        return sum(1 for _ in islice(self.core.predictor.state(), most))

    def _restore(self, records: Iterable[dict[str, Any]], late: bool) -> list[str]:
        faults: list[str] = []
        learned = self._without_alerts(records, faults)
        faults += self.core.restore(self._now(), self._still_true(learned) if late else learned)
        return faults

    def _without_alerts(self, records: Iterable[dict[str, Any]], faults: list[str]) -> Iterator[dict[str, Any]]:
        """What is the core's; alerts are taken back on the way."""
        for record in records:
            if record.get("part") not in {ALERT, LEARNED}:
                yield record
                continue
            try:
                if record["part"] == LEARNED:
                    self.learned.restore(record)
                else:
                    self.alerts.restore(record, self._now())
            except ValueError as error:
                faults.append(str(error))

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
        if self.lookout is not None:
            await self.lookout.close()
        await self.admin.demand.close()
        await self.shadowed.close()
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
        await self.connections.close()  # the transport knows nothing of a server that has stopped
        if self._server is not None:
            await self._server.stop(grace)
        if self.stores.tasks is not None:
            await self.stores.tasks.close(_LAST_FLUSH_S)
        self.shell.stop()
        self.shadow.close()
        await self.configuring.close(_LAST_FLUSH_S)
        await self.overriding.close(_LAST_FLUSH_S)
        self.levels.close()
        await self._close_stores()
        _LOG.info("stopped")

    async def _close_stores(self) -> None:
        await self.access.close()
        await self.connections.close()
        await self.outlets.close()
        if self._snapshots is not None:
            await self._snapshots.close(_LAST_FLUSH_S)
        if self._journal is not None:
            await self._journal.close(_LAST_FLUSH_S)
        if self.stores.history is not None:
            await self.stores.history.close(_LAST_FLUSH_S)
        if self._folder is not None:
            self._folder.close()


def _opened(settings: Settings, wall: float) -> Kept:
    """The configuration of a program that has made its settings itself."""
    try:
        path = state_path(settings.storage)
    except RuntimeError:  # told when the folder is opened
        path = None
    return open_config(given_by(settings, Origin(Source.FLAG, "the program")), path, wall)
