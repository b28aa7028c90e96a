"""A snapshot on disk: written whole or not at all, proven when read, with the previous one behind it."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from io import BufferedWriter
from pathlib import Path

from scheduler_server.storage.snapshot_frame import (
    Damaged,
    Header,
    NewerVersion,
    Unframer,
    framed,
    header_line,
    read_header,
    trailer_line,
)
from scheduler_server.storage.snapshot_store import Edition, SnapshotContent, SnapshotError

_KEPT_DAMAGED = 3  # files set aside per snapshot: enough to look into, never enough to fill a disk
_HEADER_BYTES = 4096
_PIECE_BYTES = 64 * 1024  # read at a time: some 100 us of work under the interpreter lock


class SnapshotFile:
    """`path` and its previous edition `path.1`; beside them what must not be lost: `path.version-N`, `path.kept`.

    Invariant: `path` is only ever replaced by a complete, synced file; between the two renames of a write
    `path` may be missing, and then `path.1` is whole. One writer at a time: the state folder's lock sees to
    that.
    """

    backend = "file"

    def __init__(self, path: Path, *, format: str, version: int) -> None:  # noqa: A002 -- the header's word
        self.path = path
        self.previous = path.with_name(f"{path.name}.1")
        self.location = str(path)
        self._keep = True  # what nobody has read
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

    def begin(self, *, created_at: float) -> "FileSession":
        """Start an edition that is written in pieces. `created_at` in s since 1970. Does no I/O yet."""
        return FileSession(self, Header(format=self._format, version=self._version, created_at=created_at))

    def read(self) -> SnapshotContent:
        """The newest usable edition. Never raises for what it finds: damage is set aside and told.

        A newer version is left where it is, and the previous edition is tried.
        """
        warnings: list[str] = []
        self._keep = False
        for path in (self.path, self.previous):
            try:
                header, records, size_bytes = self._load(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                warnings.append(f"snapshot {path}: cannot be read: {error.strerror}; left as it is")
                self._keep = self._keep or path == self.path  # it may be good, only not today
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
                    size_bytes=size_bytes,
                )
        if warnings:
            warnings.append(f"snapshot {self.path}: starting without it")
        return SnapshotContent(records=[], created_at=None, version=None, warnings=tuple(warnings))

    def keep(self) -> None:
        """What stands there was not taken over: the next edition moves it to `path.kept`."""
        self._keep = True

    def rotate(self, finished: Path) -> tuple[str, ...]:
        """Put `finished` in place, and what stands there behind it or beside it; notes on the latter."""
        notes = []
        if beside := self._beside(self.path):
            self.path.replace(beside)
            notes.append(f"snapshot {self.path}: what stood there was not used, and is kept as {beside.name}")
        elif self.path.exists():
            if newer := self._newer_name(self.previous):
                self.previous.replace(newer.with_name(f"{newer.name}.1"))
            self.path.replace(self.previous)
        finished.replace(self.path)
        self._keep = False
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return tuple(notes)

    def _load(self, path: Path) -> tuple[Header, list[bytes], int]:
        reading = Unframer(self._format, self._version)
        with path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE_BYTES):
                reading.feed(piece)
        return *reading.finish(), reading.size_bytes

    def _beside(self, path: Path) -> Path | None:
        """Where `path` goes if it must not become the previous edition, which the edition after next replaces."""
        if newer := self._newer_name(path):
            return newer
        kept = path.with_name(f"{path.name}.kept")
        if not self._keep or not path.exists():
            return None
        return kept if self._count(kept) <= self._count(path) else None  # what is kept already may be worth more

    def _count(self, path: Path) -> int:
        try:
            return len(self._load(path)[1])
        except (OSError, Damaged, NewerVersion):
            return -1

    def _newer_name(self, path: Path) -> Path | None:
        with contextlib.suppress(OSError, Damaged), path.open("rb") as file:
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


class FileSession:
    """One edition being written to `path.tmp`, which a later session overwrites if this one never ends.

    Not safe for two threads at once; each call may come from another thread than the one before.
    """

    def __init__(self, file: SnapshotFile, header: Header) -> None:
        self._file = file
        self._temporary = file.path.with_name(f"{file.path.name}.tmp")
        self._hash = hashlib.sha256()
        self._records = 0
        self._bytes = 0
        self._header = header
        self._out: BufferedWriter | None = None  # opened at the first write: beginning is free of I/O

    def append(self, records: Iterable[bytes]) -> None:
        """Add records of any bytes. Raises SnapshotError."""
        pieces = [framed(record) for record in records]
        self._records += len(pieces)
        self._add(b"".join(pieces))

    def commit(self) -> Edition:
        """Sync and put in place. Raises SnapshotError."""
        out = self._add(b"")
        with _as_snapshot_error(self._file.path):
            trailer = trailer_line(self._records, self._hash.hexdigest())
            out.write(trailer)
            out.flush()
            os.fsync(out.fileno())
            out.close()
            notes = self._file.rotate(self._temporary)
        return Edition(records=self._records, size_bytes=self._bytes + len(trailer), notes=notes)

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
        self._bytes += len(data)
        return self._out


@contextlib.contextmanager
def _as_snapshot_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SnapshotError(f"snapshot {path}: cannot be written: {error.strerror or error}") from None
