"""Carries changes of the configuration out: one at a time, checked, written down, and only then in force.

    propose  everything that can be refused is refused here, and nothing has changed
    commit   the revision goes to disk, then every part is told in one turn of the loop

A kill in between leaves a change on disk that nobody was told of: the next start has it. What was answered is there.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scheduler_server.assignment import harm
from scheduler_server.assignment.events import Configured
from scheduler_server.config.live import LiveConfig, Proposal
from scheduler_server.config.loader import Loaded
from scheduler_server.config.revisions import History, Revision
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.live_settings import FIXED, needs_restart
from scheduler_server.rpc.shell import Shell
from scheduler_server.storage.one_thread import OneThread
from scheduler_server.storage.snapshot import SnapshotFile
from scheduler_server.storage.snapshot_store import SnapshotError

_LOG = logging.getLogger(__name__)

FILE, _FORMAT, _VERSION = "config", "scheduler-config", 1

IGNORED = "changes made at run time are left out, as --ignore-live-changes says"

NOT_KEPT = "not kept over a restart: storage.state_folder is empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The configuration as a start finds it. `unwritten`: it made a revision that is not on disk yet."""

    live: LiveConfig[Any]
    store: SnapshotFile | None
    unwritten: bool


def open_config(loaded: Loaded[Any], folder: Path | None, wall: float, *, ignore: bool = False) -> Kept:
    """Read what was changed at run time, and put it over what was loaded; without a folder nothing was.

    Never raises for what it finds: what cannot be used is left out, and told in `live.notes`.
    """
    live = LiveConfig(loaded, needs_restart=needs_restart, fixed=FIXED)
    if folder is not None and "\0" in str(folder):
        folder = None  # told when the folder is opened
    store = None if folder is None else SnapshotFile(folder / FILE, format=_FORMAT, version=_VERSION)
    history: History | None = None
    lost: list[str] = []
    if store is not None:
        content = store.read()
        try:
            history = History.from_records(content.records) if content.records else None
        except ValueError as error:
            store.keep()
            lost = [f"configuration {store.location}: makes no sense: {error}"]
        # A kill between the two renames of a write leaves the edition before: nothing that was answered is lost.
        if len(content.warnings) > 1 or history is None:
            lost += [f"configuration: {warning}" for warning in content.warnings]
    unwritten = live.begin(history, wall, ignore=IGNORED if ignore else "", lost=lost)
    return Kept(live=live, store=store, unwritten=unwritten)


class Configuring:
    """One server's configuration and whoever is told of changes. `apply` tells the parts outside the core.

    Invariant: while `_changing` is held, nobody else proposes or commits; `live` is what runs.
    """

    def __init__(self, kept: Kept, shell: Shell, apply: Callable[[Any, Any], None]) -> None:
        self.live = kept.live
        self.store = kept.store
        self._unwritten = kept.unwritten
        self._shell = shell
        self._apply = apply
        self._changing = asyncio.Lock()
        self._commits: set[asyncio.Task[Revision]] = set()

    @property
    def changing(self) -> asyncio.Lock:
        """To be held from the first look to the end of a commit."""
        return self._changing

    async def begin(self) -> None:
        """Write down what the start itself brought, and say what was odd about what was kept."""
        for note in self.live.notes:
            _LOG.warning("%s", note)
        overlay = self.live.overlay
        if overlay:
            _LOG.info("revision %d, with changes made at run time: %s", self.live.revision, ", ".join(sorted(overlay)))
        if self._unwritten and self.store is not None:
            try:
                await self._write(self.live.history)
            except SnapshotError as error:
                _LOG.error("the configuration's revision could not be written down: %s", error)

    def check_base(self, based_on: int) -> None:
        """Refuse what is based on another revision than the one in force; 0: on whatever it is."""
        revision = self.live.revision
        if based_on and based_on != revision:
            message = f"the configuration is at revision {revision}, not {based_on}: read it, merge, and try again"
            about = (("revision", str(revision)), ("based_on_revision", str(based_on)))
            raise Refused(Refusal(Reason.REVISION_STALE, message, about))

    def judged(self, proposal: Proposal[Any]) -> harm.Outcome:
        """What it would do to the fleet as it is."""
        return harm.judge(self._shell.core, self._shell.now(), proposal.running.core())

    @staticmethod
    def refuse(proposal: Proposal[Any], judged: harm.Outcome, *, force: bool, accept_restart: bool) -> None:
        """Refuse what needs a restart, and what does harm, unless that is meant."""
        for refusal in refusals(proposal, judged):
            meant = accept_restart if refusal.reason is Reason.RESTART_NEEDED else force
            if not meant:
                raise Refused(refusal)

    async def commit(self, proposal: Proposal[Any], author: str, reason: str, rolled_back_to: int = 0) -> Revision:
        """Write it down and let it be so. Carried to its end even where whoever asked has gone meanwhile."""
        task = asyncio.get_running_loop().create_task(self._commit(proposal, author, reason, rolled_back_to))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])  # whoever comes next is to find it done
            raise

    async def _commit(self, proposal: Proposal[Any], author: str, reason: str, rolled_back_to: int) -> Revision:
        live, core = self.live, self._shell.core
        # Overrides make revisions of the policy too, so ours leave theirs out.
        number = max(live.revision, core.placement.policy_revision) + 1
        history = live.recorded(proposal, number, self._shell.now().wall, author, reason, rolled_back_to)
        if self.store is not None:
            try:
                await self._write(history)
            except SnapshotError as error:
                message = f"the change could not be written down, and nothing has changed: {error}"
                raise Refused(Refusal(Reason.STORE_UNAVAILABLE, message, (("store", "config"),))) from None
        in_force = core.placement.policy_revision  # an override may have made one while ours was written
        before = live.running
        live.adopt(proposal, history)
        self._shell.handle(Configured(live.running.core(), max(number, in_force + 1)))
        self._apply(before, live.running)
        _LOG.info(
            "configuration revision %d by %s: %s (%s)",
            number, author, ", ".join(change.path for change in proposal.changes), reason or "no reason given",
        )  # fmt: skip
        revision = history.newest
        assert revision is not None  # noqa: S101 -- it has just been recorded
        return revision

    async def _write(self, history: History) -> None:
        if self.store is not None:
            at = self._shell.now().wall
            thread = OneThread("config")  # of its own: changes are rare, and a disk that hangs must not hang the exit
            try:
                await thread.run(self.store.write, history.records(), created_at=at)
            finally:
                thread.close()

    async def close(self, within_s: float) -> None:
        """Let what is being written come to its end, unless the disk takes too long."""
        if self._commits:
            await asyncio.wait(self._commits, timeout=within_s)


def refusals(proposal: Proposal[Any], judged: harm.Outcome) -> list[Refusal]:
    """Why it is not done unless it is meant."""
    found = []
    if proposal.restart:
        names = ", ".join(proposal.restart)
        message = f"takes effect at the next start only: {names}; send accept_restart to let it wait for that"
        found.append(Refusal(Reason.RESTART_NEEDED, message, (("settings", names),)))
    if judged.harms:
        what = "; ".join(f"{each.setting} {each.message}" for each in judged.harms)
        about = (("settings", ", ".join(each.setting for each in judged.harms)),)
        found.append(Refusal(Reason.CONFIG_HARMFUL, f"{what}: send force if that is meant", about))
    return found
