"""The writing side of the log: a parcel comes in, rows go into the store.

Runs in a process of its own (`scribe_main.py`), or in the writer's thread where there can be none.
"""

import time
from collections import defaultdict
from typing import Any, NamedTuple, Protocol

from scheduler_server.storage.decision_log.flatten import Rows, flatten
from scheduler_server.storage.decision_log.packing import MAIN, Parcel, unpack
from scheduler_server.storage.decision_log.port import DecisionLog, LogError, LogFault
from scheduler_server.storage.decision_log.rows import Batch, Table
from scheduler_server.storage.decision_log.sieve import sieve

_TIDY_S = 0.05  # of retention in one turn
_TRIES_UNSUITABLE = 3
"""A batch in which the store finds something that can never be stored, and the sieve does not, is given up after so
many tries. Nothing else is ever given up."""

_SLICE = 64
_BREATH_S = 2e-5  # asleep, a thread cannot take the interpreter lock back before the loop had it


class Written(NamedTuple):
    """A parcel is in the log: what should be told of it, and how many of its entries no store can hold, and why."""

    told: list[str]
    refused: dict[Table, int]
    why: str = ""


class Writing(Protocol):
    """Whoever writes for the `LogWriter`. All is for one thread, may block, and raises LogError."""

    @property
    def pid(self) -> int:
        """Of the process that writes; 0 while there is none but the server's own."""

    @property
    def starts(self) -> int:
        """Processes that were started for it."""

    def prepare(self) -> list[str]:
        """See DecisionLog."""

    def write(self, parcel: Parcel) -> Written:
        """Store a parcel, once: after a failure the same one is given again, with `again`."""

    def tidy(self, now: float) -> bool:
        """A turn of retention at this wall second; True if more is due."""

    def close(self, within_s: float) -> None:
        """Give the log free. A second call does nothing."""


class Scribe:
    """Writes into a log that lies in this process. `alone`: no event loop waits for the interpreter meanwhile."""

    pid = starts = 0

    def __init__(self, log: DecisionLog, *, alone: bool) -> None:
        self._log = log
        self._alone = alone

    def prepare(self) -> list[str]:
        """See Writing."""
        return self._log.prepare()

    def write(self, parcel: Parcel) -> Written:
        """See Writing."""
        rows, counts, refused, why = self._flattened(parcel)
        batch = Batch(parcel.incarnation, parcel.number, rows)
        # What an earlier try left out is not there, though the store may say that the batch is: found before asking.
        gone: dict[Table, int] = {}
        if parcel.again:
            batch, gone = sieve(batch)
            why = why or ("cannot be stored" if gone else "")
        for tried in range(_TRIES_UNSUITABLE):
            _subtract(counts, gone, refused)
            try:
                return Written(self._log.write(batch), refused, why)
            except LogError as error:
                if error.reason is not LogFault.UNSUITABLE_ROW:
                    raise
                why = str(error)
                batch, gone = sieve(batch)
                if not gone and tried == _TRIES_UNSUITABLE - 1:
                    break
        _subtract(counts, dict(counts), refused)
        return Written([], refused, why)

    def _flattened(self, parcel: Parcel) -> tuple[Rows, dict[Table, int], dict[Table, int], str]:
        rows = defaultdict[Table, list[tuple[Any, ...]]](list)
        counts, refused = defaultdict[Table, int](int), defaultdict[Table, int](int)
        why = ""
        for at, (number, kind, entry) in enumerate(unpack(parcel), 1):
            try:
                flatten(kind, entry, parcel.incarnation, number, rows)
                counts[MAIN[kind]] += 1
            except Exception as error:  # noqa: BLE001 -- one bad value must not hold up all others for ever
                refused[MAIN[kind]] += 1
                why = f"{kind.__name__}: {error}"
            if at % _SLICE == 0 and not self._alone:
                time.sleep(_BREATH_S)
        return dict(rows), counts, refused, why

    def tidy(self, now: float) -> bool:
        """See Writing."""
        until = time.monotonic() + _TIDY_S
        while self._log.tidy(now):
            if time.monotonic() >= until:
                return True
        return False

    def close(self, within_s: float) -> None:
        """See Writing."""
        self._log.close()


def _subtract(counts: dict[Table, int], gone: dict[Table, int], refused: dict[Table, int]) -> None:
    for table, count in gone.items():
        if count:
            counts[table] -= count
            refused[table] = refused.get(table, 0) + count
