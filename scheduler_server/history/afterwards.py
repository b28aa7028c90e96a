"""After a kill: what the log has not, as far as anybody knows.

A run leaves a file in the state folder while its log is open. Found at the next start, it says that the run was killed:
then the log lacks what had not been written. It is locked by the run and by the process that writes its log, which may
be at it for a moment longer: only when both are gone is it known what the log lacks. Decisions whose leases the journal
has are recorded now; ends of tasks that had ended, and decisions of those, are gone, and that is said.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.storage.decision_log import ByDecision, DecisionLog

_LOG = logging.getLogger(__name__)

MARK = "decisions.open"

_FOUND_IN_A_ROW = 32
"""The log is written in the order of decisions, a few of one turn aside: behind so many that it has, it has all."""


_LOOK_S = 0.05
_LAST_WORDS_S = 60.0
"""For the process that writes to end after its server: twice what a store may take for a batch. One that hangs longer
writes nothing that anybody waits for."""


class Mark:
    """The file that says: a log is open. A folder that cannot be written to keeps none, and nobody is told anything.

    `held` are file descriptors for the process that writes: with one of them open it counts as a part of this run.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / MARK
        self._file: int | None = None
        self.found = False

    def set(self, incarnation: str) -> None:
        """Begin; `found` says whether the run before did not end."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self.found = self._path.exists()
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                os.write(self._file, f"{incarnation}\n".encode())
                self._lock()

    @property
    def held(self) -> tuple[int, ...]:
        """See the class."""
        return () if self._file is None else (self._file,)

    def _lock(self) -> bool:
        if self._file is None:
            return True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def alone(self, within_s: float = _LAST_WORDS_S) -> bool:
        """Wait until nobody of the run before writes any more; False if `within_s` was too short for that."""
        ends = asyncio.get_running_loop().time() + within_s
        while not self._lock():
            if asyncio.get_running_loop().time() >= ends:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    def clear(self) -> None:
        """All is written."""
        if self._path is not None and self._file is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Give the file free; it stays where it was not cleared. A second call does nothing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def missing(log: DecisionLog, leases: list[TaskRecord]) -> list[TaskRecord]:
    """Those of these leases, newest first, whose decisions the log has not. May block; raises LogError."""
    lacking = []
    in_a_row = 0
    for record in leases:
        if log.find(ByDecision(record.decision.decision_id)) is None:
            lacking.append(record)
            in_a_row = 0
        else:
            in_a_row += 1
            if in_a_row >= _FOUND_IN_A_ROW:
                break
    return lacking


def record_anew(lacking: list[TaskRecord], decided: Callable[[TaskRecord], None], flush_interval_s: float) -> str:
    """Hand over the decisions that the log lacks; what is to be told."""
    for record in reversed(lacking):
        decided(record)
    return (
        "the run before was killed: what it had not written is not in the log, decisions and ends of tasks of about its"
        f" last {flush_interval_s:g} s or since the log failed; {len(lacking)} decisions were recorded again from the"
        " leases that the journal has"
    )
