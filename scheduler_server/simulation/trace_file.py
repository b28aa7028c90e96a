"""The lines of a trace: plain, gzip or standard input, one at a time, whatever the file turns out to be."""

import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from gzip import GzipFile
from io import BufferedReader, RawIOBase
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

LONGEST_LINE_BYTES = 1 << 20
"""A row of a trace has a few hundred bytes. What has no line break for a mebibyte is something else, and reading on for
one would let a file without any take all memory."""

STANDARD_INPUT = "-"
_READ_BYTES = 1 << 18
"""At a time. With the usual 8 KiB a reader and a writer of a pipe wake each other for every few rows: 49 s instead of 9
for 300,000 rows where waking is slow."""

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PAR1": "Parquet",
}
_PEEKED_BYTES = 8
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class UnusableTrace(Exception):
    """A file of which nothing can be replayed; one line that says why, without the file's name."""


class TraceFile:
    """One open file. `position` of `size` bytes have been read (as they lie there, compressed or not).

    Raises UnusableTrace, on opening as well as while reading.
    """

    def __init__(self, path: str, standard_input: BinaryIO) -> None:
        self.size: int | None = None
        self._lent = standard_input if path == STANDARD_INPUT else None  # kept: it closes what is below it when it goes
        try:
            self._raw = _opened(path) if self._lent is None else _buffered(self._lent)
            self._size()
            first = self._first_bytes()
        except (OSError, ValueError) as error:  # ValueError: a name with a NUL
            raise UnusableTrace(_said(error)) from None
        other = next((name for magic, name in _OTHERS.items() if first.startswith(magic)), None)
        fault = (
            "is UTF-16: save it as UTF-8"
            if first.startswith(_UTF_16)
            else f"is {other}: only plain text and gzip are read"
            if other
            else "is named .gz, but is not gzip"
            if path.endswith(".gz") and first and not first.startswith(_GZIP)
            else None
        )
        if fault is not None:
            self.close()
            raise UnusableTrace(fault)
        self._stream = self._raw
        if first.startswith(_GZIP):
            self._stream = BufferedReader(cast("RawIOBase", GzipFile(fileobj=self._raw, mode="rb")), _READ_BYTES)

    @property
    def position(self) -> int:
        """Bytes taken from the file; 0 where it cannot tell (a pipe)."""
        with suppress(OSError, ValueError):
            return self._raw.tell()
        return 0

    def lines(self) -> Iterator[tuple[int, bytes | None]]:
        """Each line with its number from 1, without its line break; None for one that is too long."""
        number = 0
        while line := self._read_line(number):
            number += 1
            if len(line) >= LONGEST_LINE_BYTES and not line.endswith(b"\n"):
                while (rest := self._read_line(number)) and not rest.endswith(b"\n"):
                    pass
                yield number, None
            else:
                yield number, line.rstrip(b"\r\n")

    def close(self) -> None:
        """Close what was opened here; standard input is somebody else's."""
        if self._lent is None:
            self._raw.close()
        else:
            with suppress(ValueError):  # again
                self._raw.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _size(self) -> None:
        with suppress(OSError):
            self.size = os.fstat(self._raw.fileno()).st_size or None

    def _first_bytes(self) -> bytes:
        return self._raw.peek(_PEEKED_BYTES)[:_PEEKED_BYTES]

    def _read_line(self, number: int) -> bytes:
        try:
            return self._stream.readline(LONGEST_LINE_BYTES)
        except EOFError:
            raise UnusableTrace(f"its gzip data ends early, after line {number}") from None
        except zlib.error as error:
            raise UnusableTrace(f"its gzip data is damaged after line {number}: {error}") from None
        except OSError as error:
            raise UnusableTrace(f"cannot be read after line {number}: {_said(error)}") from None


def _opened(path: str) -> BufferedReader:
    return cast("BufferedReader", Path(path).open("rb", buffering=_READ_BYTES))


def _buffered(stream: BinaryIO) -> BufferedReader:
    """The same bytes in larger pieces; nothing may have been read from it yet."""
    return BufferedReader(cast("RawIOBase", getattr(stream, "raw", stream)), _READ_BYTES)


def _said(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return f"{text[:1].lower()}{text[1:]}"
