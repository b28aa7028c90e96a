"""Files that hold secrets."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

_READ_BY_ALL = stat.S_IROTH
_WRITTEN_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_LARGEST = 16 * 1024 * 1024


class FileError(Exception):
    """A file that cannot be used; the message names it and says why."""


class Version(NamedTuple):
    """Tells one state of a file from another: a mounted secret is swapped as a whole, an editor writes in place."""

    device: int
    inode: int
    size: int
    changed_ns: int


def version(path: Path) -> Version:
    """The state that a file is in. Raises FileError."""
    return _version(_stat(path))


def read(path: Path, *, secret: bool, what: str) -> bytes:
    """The whole file. Raises FileError; a `secret` one that others may read, or write, is refused."""
    found = _stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise FileError(f"{what} {path}: is no regular file")
    mode = stat.S_IMODE(found.st_mode)
    if secret and mode & _READ_BY_ALL:
        raise FileError(f"{what} {path}: everybody on this machine may read it (mode {mode:04o}); chmod 600, or 640")
    if secret and mode & _WRITTEN_BY_OTHERS:
        raise FileError(f"{what} {path}: others than its owner may write it (mode {mode:04o}); chmod 600, or 640")
    try:
        with path.open("rb") as file:
            if _version(os.fstat(file.fileno()))[:2] != _version(found)[:2]:
                raise FileError(f"{what} {path}: was replaced while it was read")
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise FileError(f"{what} {path}: cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise FileError(f"{what} {path}: is larger than {_LARGEST:,} bytes")
    return data


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None


def _version(found: os.stat_result) -> Version:
    return Version(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
