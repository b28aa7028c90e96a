"""Revisions of a configuration: what each changed, and what the settings were in each that is kept.

Values are *plain* here: what JSON has. A secret's value stands in `overlay` alone, and only where a change at run time
has set it: of any other the file or the environment is the one place.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from pathlib import Path
from typing import Any

MOST_KEPT = 1_000
"""Revisions kept; the oldest goes first. One is some 300 bytes, and all are written with each change."""

_LARGEST = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A setting that differs; None for a secret, and where there is no value."""

    path: str
    before: object
    after: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One revision: `at` in wall seconds, `overlay` all that is changed at run time as of it, by path."""

    number: int
    at: float
    author: str
    reason: str = ""
    changes: tuple[Change, ...] = ()
    overlay: Mapping[str, object] = field(default_factory=dict)
    rolled_back_to: int = 0

    def to_bytes(self) -> bytes:
        """As it is kept."""
        return _encoded(
            {
                "revision": self.number,
                "at": self.at,
                "author": self.author,
                "reason": self.reason,
                "changes": [[each.path, each.before, each.after] for each in self.changes],
                "overlay": self.overlay,
                "rolled_back_to": self.rolled_back_to,
            }
        )


def plain(value: object) -> object:
    """A setting's value as JSON has it; `from_toml` reads it back."""
    match value:
        case Enum():
            return value.value
        case Path():
            return str(value)
        case tuple() | list():
            return [plain(item) for item in value]
        case dict() | Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case _:
            return value


class History:
    """Revisions, oldest first, and the plain values of the newest (without secrets).

    Invariants: numbers rise; `values` less the changes of the newest revisions, newest first, is what it was before
    them.
    """

    def __init__(self, values: Mapping[str, object], revisions: Iterable[Revision] = ()) -> None:
        self.values = dict(values)
        self._kept = list(revisions)
        self._encoded = [each.to_bytes() for each in self._kept]  # encoded once: all are written with each change

    @property
    def newest(self) -> Revision | None:
        """The revision in force; None where there has been none."""
        return self._kept[-1] if self._kept else None

    def __iter__(self) -> Iterator[Revision]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, number: int) -> Revision | None:
        """A revision that is kept."""
        return next((each for each in reversed(self._kept) if each.number == number), None)

    def values_at(self, number: int) -> dict[str, object]:
        """The plain values of a revision that is kept, without secrets."""
        values = dict(self.values)
        for each in reversed(self._kept):
            if each.number <= number:
                break
            for change in each.changes:
                if change.path in values:
                    values[change.path] = change.before
        return values

    def with_next(self, values: Mapping[str, object], revision: Revision) -> "History":
        """This and one revision more; itself stays as it is, so that what could not be written is not."""
        made = History(values)
        made._kept = [*self._kept, revision][-MOST_KEPT:]
        made._encoded = [*self._encoded, revision.to_bytes()][-MOST_KEPT:]
        return made

    # ------------------------------------------------------------------ kept

    def records(self) -> list[bytes]:
        """As it is kept: the values, then the revisions."""
        return [_encoded({"values": self.values}), *self._encoded]

    @classmethod
    def from_records(cls, records: Iterable[bytes]) -> "History":
        """Read it back; ValueError where it makes no sense."""
        try:
            read = [_decoded(record) for record in records]
            revisions = [_revision(each) for each in read[1:]]
        except ValueError as error:
            raise ValueError(f"no history of a configuration: {error}") from None
        numbers = [each.number for each in revisions]
        if not numbers or numbers != sorted(set(numbers)) or not isinstance(read[0].get("values"), dict):
            raise ValueError("no history of a configuration: it lacks its values, or its revisions do not rise")
        return cls(read[0]["values"], revisions)


def _encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _decoded(record: bytes) -> dict[str, Any]:
    value = json.loads(record)
    if not isinstance(value, dict):
        raise ValueError("a record is no object")  # noqa: TRY004 -- what is read is wrong, not how it is called
    return value


def _revision(kept: Mapping[str, Any]) -> Revision:
    number, at, overlay, changes = (kept.get(name) for name in ("revision", "at", "overlay", "changes"))
    author, reason, back = kept.get("author"), kept.get("reason"), kept.get("rolled_back_to")
    if not (
        type(number) is int
        and 0 < number < _LARGEST
        and isinstance(at, (int, float))
        and isfinite(at)
        and isinstance(author, str)
        and isinstance(reason, str)
        and type(back) is int
        and isinstance(overlay, dict)
        and isinstance(changes, list)
        and all(isinstance(each, list) and len(each) == 3 and isinstance(each[0], str) for each in changes)  # noqa: PLR2004 -- path, before, after
    ):
        raise ValueError(f"not a revision: {str(kept)[:80]!r}")
    told = tuple(Change(path=path, before=before, after=after) for path, before, after in changes)
    return Revision(
        number=number,
        at=float(at),
        author=author,
        reason=reason,
        changes=told,
        overlay=overlay,
        rolled_back_to=back,
    )
