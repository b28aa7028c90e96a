"""The configuration while the server runs: what was loaded, what was changed since, what waits for a restart.

    loaded    flags > environment > file > profile > defaults, as at start
    overlay   changes at run time; they lie over all of that, and over a restart
    wanted    both together: what GetConfig shows
    running   the same, but for settings that wait for a restart: those are as they were at start

A change is *proposed*, which does everything that can fail, then *recorded* as a revision, written down by whoever
keeps it, and *adopted*. Nothing here does I/O, and nothing knows any product setting.
"""

import dataclasses
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from scheduler_server.config.faults import BadValue, ConfigError, Fault, suggestion
from scheduler_server.config.loader import Loaded
from scheduler_server.config.options import Option
from scheduler_server.config.origin import Origin, Source
from scheduler_server.config.revisions import Change, History, Revision, plain
from scheduler_server.config.text import printable

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

START = "start"
"""Who makes the revisions that a start of the server brings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal(Generic[T]):
    """A change that is valid. `restart` are the settings among the changes that take effect at the next start only."""

    wanted: Loaded[T]
    running: T
    overlay: Mapping[str, object]
    values: Mapping[str, object]
    changes: tuple[Change, ...]
    restart: tuple[str, ...]


class LiveConfig(Generic[T]):
    """See above.

    `needs_restart` says of a path whether a change waits for the next start; `fixed` has, with the reason, those that
    cannot be changed at run time at all.
    """

    def __init__(
        self,
        loaded: Loaded[T],
        *,
        needs_restart: Callable[[str], bool],
        fixed: Mapping[str, str] | None = None,
    ) -> None:
        self._loaded = loaded
        self._needs_restart = needs_restart
        self._fixed = fixed or {}
        self.options: Mapping[str, Option] = {option.path: option for option in loaded.options}
        self._overlay: Mapping[str, object] = {}
        self._since: dict[str, int] = {}  # in which revision a setting was last changed at run time
        self.wanted = self.started = loaded
        self.running: T = loaded.config
        self.history = History(self._values(loaded))
        self.notes: tuple[str, ...] = ()  # what was odd about what was kept, for people

    # ------------------------------------------------------------------ a start

    def begin(self, kept: History | None, at: float, *, ignore: str = "", lost: Collection[str] = ()) -> bool:
        """Take up what was kept; True where that makes a new revision, which is to be written down.

        Args:
            kept: the history, None where there is none or it could not be read.
            at: wall seconds.
            ignore: why its changes are not to be taken; "" where they are.
            lost: what is wrong with what was kept; newer revisions than it has may have been in force.
        """
        notes = list(lost)
        newest = kept.newest if kept is not None else None
        overlay: Mapping[str, object] = {} if newest is None or ignore else newest.overlay
        wanted, overlay, faults = self._over(overlay)
        notes += faults
        if ignore:
            notes.append(ignore)
        values = self._values(wanted)
        defaults = {path: plain(each.default) for path, each in self.options.items() if not each.setting.secret}
        before = defaults if kept is None else kept.values
        changes = _differences(before, values)
        self.wanted = self.started = wanted
        self.running = wanted.config
        self._overlay = overlay
        self.notes = tuple(notes)
        new = newest is None or bool(changes) or bool(lost) or overlay != newest.overlay
        self.history = kept if kept is not None else self.history
        if new:
            number = 1 if newest is None else newest.number + 1
            if lost:
                number = max(number, int(at))  # more than anybody has counted: numbers only grow
            revision = Revision(
                number=number,
                at=at,
                author=START,
                reason="; ".join(notes)[:4_096],
                changes=changes,
                overlay=overlay,
            )
            self.history = self.history.with_next(values, revision)
        for each in self.history:
            self._note(each)
        return new

    def _over(self, overlay: Mapping[str, object]) -> tuple[Loaded[T], Mapping[str, object], list[str]]:
        """What was loaded under the changes that were kept; without them where they do not go together any more."""
        known = {path: value for path, value in overlay.items() if path in self.options and path not in self._fixed}
        faults = [
            f"the change of {printable(path)} at run time is left out: this version has no such setting"
            for path in overlay
            if path not in known
        ]
        if not known:
            return self._loaded, {}, faults
        try:
            return self._loaded.overlaid(known), known, faults
        except ConfigError as error:
            why = "; ".join(map(str, error.faults))
            faults.append(
                f"the changes made at run time are left out: with what was loaded now they are not valid: {why}"
            )
            return self._loaded, {}, faults

    # ------------------------------------------------------------------ what is

    @property
    def revision(self) -> int:
        """The configuration's revision."""
        newest = self.history.newest
        return newest.number if newest is not None else 1

    @property
    def overlay(self) -> Mapping[str, object]:
        """What is changed at run time, plain, by path."""
        return self._overlay

    @property
    def awaiting_restart(self) -> list[str]:
        """Settings that were changed and are still as they were at start."""
        return [path for path in self.options if self.waits(path) and self._differs(path, self.wanted)]

    def waits(self, path: str) -> bool:
        """Does a change of this setting take effect at the next start only?"""
        return path in self._fixed or self._needs_restart(path)

    def is_secret(self, path: str) -> bool:
        """Is its value never shown?"""
        return self.options[path].setting.secret

    def origin(self, path: str) -> Origin:
        """Where a value came from; of a change, the revision."""
        origin = self.wanted.origins[path]
        if origin.source is Source.UPDATE:
            return Origin(Source.UPDATE, f"revision {self._since.get(path, self.revision)}")
        return origin

    def shown(self) -> Loaded[T]:
        """All of it with the origins as `origin` tells them: for printing."""
        return dataclasses.replace(self.wanted, origins={path: self.origin(path) for path in self.options})

    def named(self, name: str) -> list[str]:
        """The settings of this name, or of the group that it begins; none where nothing is called so."""
        if name in self.options:
            return [name]
        return [path for path in self.options if path.startswith(f"{name}.")]

    def unknown(self, name: str) -> str:
        """In words, that there is no such setting."""
        groups = {path.rpartition(".")[0] for path in self.options} - {""}
        return f"there is no setting {name!r}{suggestion(name, [*self.options, *sorted(groups)])}"

    # ------------------------------------------------------------------ a change

    def propose(self, values: Mapping[str, object], back: Iterable[str] = ()) -> Proposal[T]:
        """These plain values, and these settings back to what was loaded; ConfigError with every fault."""
        overlay = dict(self._overlay)
        for path in back:
            overlay.pop(path, None)
        faults = [Fault(path, self._fixed[path]) for path in sorted(values.keys() & self._fixed.keys())]
        if faults:
            raise ConfigError(faults)
        for path, value in values.items():
            if path in overlay or path not in self.options or not self._is(path, value):
                overlay[path] = value
        return self._proposed(overlay)

    def propose_back_to(self, number: int) -> Proposal[T] | None:
        """The values of an older revision; None where it is not kept. ConfigError with every fault."""
        revision = self.history.find(number)
        if revision is None:
            return None
        overlay = dict(revision.overlay)
        reached = self._values(self._loaded.overlaid(overlay))
        values = self.history.values_at(number)
        overlay |= {  # what was loaded then may be loaded no more
            path: value
            for path, value in values.items()
            if path in reached and reached[path] != value and path not in self._fixed
        }
        return self._proposed(overlay)

    def _proposed(self, overlay: dict[str, object]) -> Proposal[T]:
        wanted = self._loaded.overlaid(overlay)
        for path in list(overlay):  # as the setting's type has it: 1 for 1.0 is no other value
            overlay[path] = plain(wanted.value(path))
        values = self._values(wanted)
        changes = list(_differences(self.history.values, values))
        changes += [
            Change(path=path, before=None, after=None)
            for path in self.options
            if self.is_secret(path) and wanted.value(path) != self.wanted.value(path)
        ]
        restart = [each.path for each in changes if self.waits(each.path) and self._differs(each.path, wanted)]
        running = _with(wanted.config, {path: self.started.value(path) for path in self.options if self.waits(path)})
        faults = list(_faults(running, ""))
        if faults:
            raise ConfigError(
                Fault(each.where, f"{each.message}, with what runs until the restart", each.evidence) for each in faults
            )
        return Proposal(
            wanted=wanted,
            running=running,
            overlay=overlay,
            values=values,
            changes=tuple(sorted(changes, key=lambda each: each.path)),
            restart=tuple(sorted(restart)),
        )

    def recorded(
        self, proposal: Proposal[T], number: int, at: float, author: str, reason: str, rolled_back_to: int = 0
    ) -> History:
        """The history with this change as its newest revision; to be written down, and then adopted."""
        revision = Revision(
            number=number,
            at=at,
            author=author,
            reason=reason,
            changes=proposal.changes,
            overlay=proposal.overlay,
            rolled_back_to=rolled_back_to,
        )
        return self.history.with_next(proposal.values, revision)

    def adopt(self, proposal: Proposal[T], history: History) -> None:
        """It is so from now on."""
        self.history = history
        self.wanted, self.running, self._overlay = proposal.wanted, proposal.running, proposal.overlay
        if history.newest is not None:
            self._note(history.newest)

    def _note(self, revision: Revision) -> None:
        for change in revision.changes:
            if change.path in revision.overlay:
                self._since[change.path] = revision.number

    # ------------------------------------------------------------------ values

    def _values(self, loaded: Loaded[T]) -> dict[str, object]:
        return {path: plain(loaded.value(path)) for path in self.options if not self.is_secret(path)}

    def _is(self, path: str, value: object) -> bool:
        try:
            return bool(plain(self._loaded.read(path, value)) == plain(self.wanted.value(path)))
        except BadValue:
            return False  # told with all the others

    def _differs(self, path: str, other: Loaded[T]) -> bool:
        return bool(other.value(path) != self.started.value(path))


def _differences(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[Change, ...]:
    return tuple(
        Change(path=path, before=before.get(path), after=after.get(path))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    )


def _with(config: Any, values: Mapping[str, object]) -> Any:
    """A dataclass of settings with other values, by path."""
    own = {path: value for path, value in values.items() if "." not in path}
    for name in {path.partition(".")[0] for path in values if "." in path}:
        inner = {path.partition(".")[2]: value for path, value in values.items() if path.startswith(f"{name}.")}
        own[name] = _with(getattr(config, name), inner)
    return dataclasses.replace(config, **own)


def _faults(config: Any, section: str) -> Iterable[Fault]:
    for each in dataclasses.fields(config):
        inner = getattr(config, each.name)
        if dataclasses.is_dataclass(inner):
            yield from _faults(inner, f"{section}.{each.name}" if section else each.name)
    check = getattr(config, "faults", None)
    for name, message in check() if callable(check) else ():
        yield Fault(f"{section}.{name}" if section else name, printable(message))
