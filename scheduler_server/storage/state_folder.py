"""One folder, one server: made, tried and locked before anything is written into it."""

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType

_LOCK = "lock"
_LONGEST_PID = 20  # bytes that are read of a lock file; a pid has at most 7 digits on Linux


class StateFolderError(Exception):
    """The folder cannot be used; one line that names it and says why. The server exits with code 2."""


class StateFolder:
    """The folder of one running server, held by an exclusive flock on its file `lock`.

    Invariant: while this object is open no other process holds the same folder. The kernel drops the lock
    with the process, so a killed server leaves nothing to clean up, and a pid left in `lock` means nothing by
    itself. A child made by fork without exec shares the lock: start other processes by exec.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> "StateFolder":
        """Create `path` (0700; missing parents too), check that it can be written to, lock it.

        Raises:
            StateFolderError: it cannot be made, is no directory, is not writable, or another server has it.
        """
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise StateFolderError(f"state folder {path}: is not a directory") from None
        except OSError as error:
            raise StateFolderError(f"state folder {path}: cannot be created: {_reason(error)}") from None
        except ValueError as error:  # a null character
            raise StateFolderError(f"state folder {path}: is no path: {error}") from None
        try:
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateFolderError(f"state folder {path}: is not writable: {_reason(error)}") from None
        try:
            _hold(path, lock)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, lock)

    def file(self, name: str) -> Path:
        """The path of a file in the folder."""
        return self.path / name

    def close(self) -> None:
        """Give the folder free; twice is once. The lock file stays: unlinking it would be a race."""
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> "StateFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _hold(path: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(lock, _LONGEST_PID, 0).decode("ascii", "replace").strip()
        holder = f"pid {pid}" if pid.isdigit() else "pid unknown"
        raise StateFolderError(f"state folder {path}: is in use by another server ({holder})") from None
    except OSError as error:
        raise StateFolderError(f"state folder {path}: cannot be locked: {_reason(error)}") from None
    # The lock file may be ours from yesterday in a folder that is read-only today: only a new name proves it.
    probe = path / f".probe-{os.getpid()}"
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        probe.unlink()
    except OSError as error:
        raise StateFolderError(f"state folder {path}: is not writable: {_reason(error)}") from None
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same, only the pid is not told
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
