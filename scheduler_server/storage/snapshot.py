"""A snapshot on disk: written whole or not at all, proven when read, with the previous one behind it."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

from scheduler_server.storage.snapshot_frame import (
    Damaged,
    Header,
    NewerVersion,
    framed,
    header_line,
    parse,
    read_header,
    trailer_line,
)

_KEPT_DAMAGED = 3  # files set aside per snapshot: enough to look into, never enough to fill a disk
_HEADER_BYTES = 4096


class SnapshotError(Exception):
    """A snapshot could not be written; one line. What was there before is still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotContent:
    """What was read. Without any usable file: no records, `created_at` (s since 1970) and `version` None.

    `warnings` are one line each, for the log: what was set aside, refused, or used instead.
    """

    records: list[bytes]
    created_at: float | None
    version: int | None
    warnings: tuple[str, ...]


class SnapshotFile:
    """`path` and its previous edition `path.1`.

    Invariant: `path` is only ever replaced by a complete, synced file; between the two renames of a write
    `path` may be missing, and then `path.1` is whole. One writer at a time: the state folder's lock sees to
    that.
    """

    def __init__(self, path: Path, *, format: str, version: int) -> None:  # noqa: A002 -- the header's word
        self.path = path
        self.previous = path.with_name(f"{path.name}.1")
        self._format = format
        self._version = version

    def write(self, records: Iterable[bytes], *, created_at: float) -> None:
        """Write all `records` as the new edition. Raises SnapshotError; blocks for the disk."""
        session = self.begin(created_at=created_at)
        try:
            session.append(records)
            session.commit()
        except BaseException:
            session.abort()
            raise

    def begin(self, *, created_at: float) -> "SnapshotSession":
        """Start an edition that is written in pieces. `created_at` in s since 1970. Does no I/O yet."""
        return SnapshotSession(self, Header(format=self._format, version=self._version, created_at=created_at))

    def read(self) -> SnapshotContent:
        """The newest usable edition. Never raises for what it finds: damage is set aside and told.

        A newer version is left where it is, and the previous edition is tried.
        """
        warnings: list[str] = []
        for path in (self.path, self.previous):
            try:
                header, records = parse(path.read_bytes(), self._format, self._version)
            except FileNotFoundError:
                continue
            except OSError as error:
                warnings.append(f"snapshot {path}: cannot be read: {error.strerror}; left as it is")
            except NewerVersion as newer:
                known = f"this server knows up to {self._version}"
                warnings.append(f"snapshot {path}: has version {newer.version}, {known}; left as it is")
            except Damaged as damage:
                warnings.append(f"snapshot {path}: is damaged: {damage}; {self._set_aside(path)}")
            else:
                if path == self.previous:
                    warnings.append(f"snapshot {path}: the previous edition is used")
                return SnapshotContent(
                    records=records,
                    created_at=float(header.created_at),
                    version=header.version,
                    warnings=tuple(warnings),
                )
        if warnings:
            warnings.append(f"snapshot {self.path}: starting without it")
        return SnapshotContent(records=[], created_at=None, version=None, warnings=tuple(warnings))

    def rotate(self, finished: Path) -> None:
        """Put `finished` in place; a file of a newer version moves to `path.version-N`, not to `.1`."""
        with contextlib.suppress(FileNotFoundError):
            self.path.replace(self._newer_name() or self.previous)
        finished.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _newer_name(self) -> Path | None:
        with self.path.open("rb") as file, contextlib.suppress(Damaged):
            try:
                read_header(file.read(_HEADER_BYTES), self._format, self._version)
            except NewerVersion as newer:
                return self.path.with_name(f"{self.path.name}.version-{newer.version}")
        return None

    def _set_aside(self, path: Path) -> str:
        """Rename to the next free `damaged-N`, keep the newest few; what happened, for the warning."""
        prefix = f"{self.path.name}.damaged-"
        numbers = sorted(
            int(found.name.removeprefix(prefix))
            for found in self.path.parent.glob("*.damaged-*")
            if found.name.startswith(prefix) and found.name.removeprefix(prefix).isdecimal()
        )
        aside = self.path.with_name(f"{prefix}{numbers[-1] + 1 if numbers else 1}")
        try:
            path.rename(aside)
            for number in numbers[: max(0, len(numbers) + 1 - _KEPT_DAMAGED)]:
                self.path.with_name(f"{prefix}{number}").unlink()
        except OSError as error:
            return f"it could not be set aside: {error.strerror}"
        return f"set aside as {aside.name}"


class SnapshotSession:
    """One edition being written to `path.tmp`, which a later session overwrites if this one never ends.

    Not safe for two threads at once; each call may come from another thread than the one before.
    """

    def __init__(self, file: SnapshotFile, header: Header) -> None:
        self._file = file
        self._temporary = file.path.with_name(f"{file.path.name}.tmp")
        self._hash = hashlib.sha256()
        self._records = 0
        self._header = header
        self._out: BufferedWriter | None = None  # opened at the first write: beginning is free of I/O

    def append(self, records: Iterable[bytes]) -> None:
        """Add records of any bytes. Raises SnapshotError."""
        pieces = [framed(record) for record in records]
        self._records += len(pieces)
        self._add(b"".join(pieces))

    def commit(self) -> int:
        """Sync and put in place; the number of records. Raises SnapshotError."""
        out = self._add(b"")
        with _as_snapshot_error(self._file.path):
            out.write(trailer_line(self._records, self._hash.hexdigest()))
            out.flush()
            os.fsync(out.fileno())
            out.close()
            self._file.rotate(self._temporary)
        return self._records

    def abort(self) -> None:
        """Give up: the temporary file goes, what was in place stays. Does nothing after `commit`."""
        if self._out is None or self._out.closed:
            return
        with contextlib.suppress(OSError):
            self._out.close()  # flushes first, which fails on a full disk
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def _add(self, data: bytes) -> BufferedWriter:
        with _as_snapshot_error(self._file.path):
            if self._out is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
                self._out = os.fdopen(os.open(self._temporary, flags, 0o600), "wb")
                data = header_line(self._header) + data
            self._out.write(data)
        self._hash.update(data)
        return self._out


@contextlib.contextmanager
def _as_snapshot_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SnapshotError(f"snapshot {path}: cannot be written: {error.strerror or error}") from None
