"""What changes of settings mean outside the core: each part that has such settings is told."""

from collections.abc import Callable
from typing import Any

from scheduler_server.alerts.board import Board
from scheduler_server.rpc.access import Access
from scheduler_server.rpc.log_levels import LogLevels
from scheduler_server.rpc.lookout import Lookout
from scheduler_server.rpc.outlets import Outlets
from scheduler_server.rpc.stores import Stores
from scheduler_server.shadow.observing import Shadow
from scheduler_server.storage.journal_writer import JournalWriter
from scheduler_server.storage.snapshot_keeper import Pace


class Applying:
    """The parts. `settle` is told all settings that run from then on."""

    def __init__(
        self,
        stores: Stores,
        board: Board,
        lookout: Lookout,
        outlets: Outlets,
        levels: LogLevels,
        access: Access,
        shadow: Shadow,
        settle: Callable[[Any], None],
    ) -> None:
        self._stores = stores
        self._board = board
        self._lookout = lookout
        self._outlets = outlets
        self._levels = levels
        self._access = access
        self._shadow = shadow
        self._settle = settle

    def __call__(self, before: Any, settings: Any) -> None:
        """These settings hold from now on. In one turn of the loop, and nothing here can fail."""
        self._settle(settings)
        if before.log.level != settings.log.level:
            self._levels.configure(settings.log.level)
        if before.alerts != settings.alerts:
            self._board.reconfigure(settings.alerts.rules(), settings.alerts.clear_after_s)
            self._lookout.reconfigure(settings.alerts.interval_s)
        if (before.access, before.limits) != (settings.access, settings.limits):
            self._access.reconfigure(settings.access, settings.limits)
        if before.storage != settings.storage:
            self._storage(settings.storage)
        if before.history != settings.history and self._stores.history is not None:
            self._stores.history.reconfigure(settings.history)
        if before.shadow != settings.shadow:
            self._shadow.reconfigure(settings.shadow)
        if before.metrics != settings.metrics:
            self._outlets.reconfigure(settings.metrics)
        if before.traces != settings.traces and self._outlets.tracing is not None:
            self._outlets.tracing.reconfigure(settings.traces.sample_ratio)
        if before.dispatch != settings.dispatch and self._stores.tasks is not None:
            self._stores.tasks.reconfigure(settings.dispatch)

    def _storage(self, storage: Any) -> None:
        if self._stores.snapshots is not None:
            self._stores.snapshots.reconfigure(
                Pace(interval_s=storage.snapshot_interval_s, max_age_s=storage.max_age_s)
            )
        journal = self._stores.journal
        if isinstance(journal, JournalWriter):
            journal.reconfigure(storage.journal_flush_s)
