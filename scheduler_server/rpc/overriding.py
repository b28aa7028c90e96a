"""Carries changes of the overrides out: one at a time, written down, and only then in force.

They share one sequence of revisions with the configuration, and so its turn: of two changes the one that is written
first is in force first. A kill between the two leaves an override on disk that nobody was told of: the next start has
it. What was answered is there. How often each applied is written with each change and when the server goes down; after
a kill it is what it was at the last change.
"""

import asyncio
import logging
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.events import CreateOverride, EndOverride, Event
from scheduler_server.assignment.override_rules import Rule
from scheduler_server.model.clock import Now
from scheduler_server.model.override import Override
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc.configuring import Configuring
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.shell import Shell
from scheduler_server.storage.one_thread import OneThread
from scheduler_server.storage.snapshot import SnapshotFile
from scheduler_server.storage.snapshot_store import SnapshotError

_LOG = logging.getLogger(__name__)

FILE, _FORMAT, _VERSION = "overrides", "scheduler-overrides", 1

NOT_KEPT = "not kept over a restart: storage.state_folder is empty"

_LARGEST_REVISION = 2**53


class _Head(NamedTuple):
    """The first record: the revision of the policy that the overrides make."""

    revision: int


class _Kept(NamedTuple):
    """One override as it is kept; `ended_at` 0: in force. What an older version did not write has a default."""

    override: Override
    applied: int
    last_applied: float
    ended_at: float


_ENCODE = msgspec.json.Encoder()
_HEAD = msgspec.json.Decoder(_Head)
_KEPT = msgspec.json.Decoder(_Kept)


def _record(rule: Rule) -> bytes:
    return _ENCODE.encode(_Kept(rule.override, rule.applied, rule.last_applied, rule.ended_at))


def store_in(folder: Path | None) -> SnapshotFile | None:
    """Where overrides are kept; None without a folder."""
    return None if folder is None else SnapshotFile(folder / FILE, format=_FORMAT, version=_VERSION)


def restore(core: Scheduler, store: SnapshotFile, now: Now) -> list[str]:
    """Take back what an earlier run had, after its leases; answers what is odd. Blocks for the disk."""
    content = store.read()
    notes: list[str] = []
    in_force: list[Rule] = []
    ended: list[Rule] = []
    revision = 0
    try:
        if content.records:
            revision = _HEAD.decode(content.records[0]).revision
            if not 0 <= revision < _LARGEST_REVISION:
                raise ValueError(f"revision {revision} is none")
        for record in content.records[1:]:
            rule = _rule(_KEPT.decode(record))
            (ended if rule.ended_at else in_force).append(rule)
    except (ValueError, msgspec.MsgspecError) as error:
        store.keep()
        notes.append(f"overrides {store.location}: make no sense, and none of them applies: {error}")
        in_force, ended, revision = [], [], 0
    # A kill between the two renames of a write leaves the edition before: nothing that was answered is lost.
    if len(content.warnings) > 1 or (content.warnings and not content.records):
        notes += [f"overrides: {warning}" for warning in content.warnings]
    expired = core.overrides.restore(now, in_force, ended)
    placement = core.placement
    placement.policy_revision = max(placement.policy_revision, revision + expired)
    return notes


def _rule(kept: _Kept) -> Rule:
    times = (kept.last_applied, kept.ended_at, kept.override.created_at, kept.override.expires_at or 0.0)
    if not all(map(isfinite, times)) or kept.applied < 0 or not kept.override.override_id:
        raise ValueError(f"not an override: {str(kept)[:80]!r}")
    rule = Rule(kept.override, 0)
    rule.applied, rule.last_applied, rule.ended_at = kept.applied, kept.last_applied, kept.ended_at
    return rule


class Overriding:
    """One server's overrides and their file.

    Invariant: `changing` is held from the first look to the end of a change.
    """

    def __init__(self, shell: Shell, configuring: Configuring, store: SnapshotFile | None) -> None:
        self._shell = shell
        self._core = shell.core
        self._configuring = configuring
        self._store = store
        self._commits: set[asyncio.Task[None]] = set()

    @property
    def changing(self) -> asyncio.Lock:
        """The configuration's turn, which is also ours."""
        return self._configuring.changing

    @property
    def most(self) -> int:
        """How many may be in force at once."""
        most: int = self._configuring.live.running.limits.overrides
        return most

    @property
    def kept(self) -> bool:
        """Do they survive a restart?"""
        return self._store is not None

    def next_revision(self) -> int:
        """The number that the next change gets."""
        return max(self._configuring.live.revision, self._core.placement.policy_revision) + 1

    async def create(self, override: Override) -> None:
        """Write a new one down and let it apply."""
        await self._carried_out(CreateOverride(override, self.next_revision()))

    async def end(self, override_id: str, why: str) -> None:
        """Write down that one has ended, and let it be so."""
        await self._carried_out(EndOverride(override_id, self.next_revision(), why))

    async def _carried_out(self, event: CreateOverride | EndOverride) -> None:
        """Carried to its end even where whoever asked has gone meanwhile."""
        task = asyncio.get_running_loop().create_task(self._commit(event))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])  # whoever comes next is to find it done
            raise

    async def _commit(self, event: CreateOverride | EndOverride) -> None:
        try:
            await self._write(event.revision, event)
        except SnapshotError as error:
            message = f"the change could not be written down, and nothing has changed: {error}"
            raise Refused(Refusal(Reason.STORE_UNAVAILABLE, message, (("store", FILE),))) from None
        placement = self._core.placement
        told: Event = event._replace(revision=max(event.revision, placement.policy_revision + 1))
        self._shell.handle(told)
        if placement.policy_revision != event.revision:  # another ended by itself while this was written
            try:
                await self._write(placement.policy_revision)
            except SnapshotError as error:
                _LOG.error("overrides are in force and written down, their revision is not: %s", error)

    async def _write(self, revision: int, event: CreateOverride | EndOverride | None = None) -> None:
        """All of them, as they are after this event."""
        if self._store is None:
            return
        records = self._records(revision, event)
        thread = OneThread("overrides")  # of its own: changes are rare, and a disk that hangs must not hang the exit
        try:
            await thread.run(self._store.write, records, created_at=self._shell.now().wall)
        finally:
            thread.close()

    def _records(self, revision: int, event: CreateOverride | EndOverride | None) -> list[bytes]:
        overrides = self._core.overrides
        records = [_ENCODE.encode(_Head(revision)), *map(_record, overrides.ended.values())]
        for name, rule in overrides.in_force.items():
            if isinstance(event, EndOverride) and name == event.override_id:
                kept = _Kept(rule.override, rule.applied, rule.last_applied, self._shell.now().wall)
                records.append(_ENCODE.encode(kept))
            else:
                records.append(_record(rule))
        if isinstance(event, CreateOverride):
            records.append(_record(Rule(event.override, 0)))
        return records

    async def close(self, within_s: float) -> None:
        """Let what is being written come to its end, and write down how often each applied; not for ever."""
        if self._commits:
            await asyncio.wait(self._commits, timeout=within_s)
        overrides = self._core.overrides
        if self._store is None or not (overrides.in_force or overrides.ended):
            return
        try:
            async with asyncio.timeout(within_s):
                await self._write(self._core.placement.policy_revision)
        except (SnapshotError, TimeoutError) as error:
            _LOG.error("how often overrides applied could not be written down: %s", error)


def opened(core: Scheduler, folder: Path | None, now: Now) -> tuple[SnapshotFile | None, list[str]]:
    """The file, and what is odd about it, with what it holds in force."""
    store: Any = store_in(folder)
    return store, [] if store is None else restore(core, store, now)
