"""What the worker still has to tell: reports, repeated until the server says that it has handled them.

A report waits until a message takes it along, then rests until the ack of that message or of a later one removes it:
the server handles a stream's messages in order, and one ack answers several. It waits again when the session repeats
itself on its regular beat, and when the stream was lost. Messages take the oldest first.
"""

import logging
from collections import deque
from dataclasses import dataclass

from scheduler_api.v1.worker_pb2 import LeaseReport

REPORTS_PER_MESSAGE = 1_000  # the contract's limit
BYTES_PER_MESSAGE = 1 << 20  # results are up to 64 KiB each, and servers commonly refuse messages above 4 MiB
MAX_REPORTS = 100_000  # unsent for hours in a worker that only reports; the oldest go first

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Entry:
    """One report: `waiting` for a message to take it, or sent and at rest; `done` when acknowledged."""

    report: LeaseReport
    waiting: bool = True
    done: bool = False


class Outbox:
    """Every report is in `_waiting`, or in `_sent` under each message that carried it, or acknowledged."""

    def __init__(self, max_reports: int = MAX_REPORTS) -> None:
        self._max_reports = max_reports
        self._waiting: deque[Entry] = deque()
        self._sent: dict[int, list[Entry]] = {}
        self._unacknowledged = 0

    def __len__(self) -> int:
        """Reports not yet acknowledged."""
        return self._unacknowledged

    @property
    def has_news(self) -> bool:
        """True when a message is worth sending at once."""
        return bool(self._waiting)

    def add(self, report: LeaseReport) -> None:
        """Keep a report until it is acknowledged; beyond the limit the oldest waiting one is dropped."""
        self._waiting.append(Entry(report))
        self._unacknowledged += 1
        if len(self._waiting) > self._max_reports:
            dropped = self._waiting.popleft()
            self._end(dropped)
            log.warning("report of lease %s dropped: %d wait", dropped.report.lease_id, self._max_reports)

    def take(self, sequence: int) -> list[LeaseReport]:
        """The reports that go with this message, oldest first, as many as fit."""
        taken: list[Entry] = []
        size = 0
        while self._waiting and len(taken) < REPORTS_PER_MESSAGE:
            size += self._waiting[0].report.ByteSize()
            if taken and size > BYTES_PER_MESSAGE:
                break
            entry = self._waiting.popleft()
            entry.waiting = False
            taken.append(entry)
        if taken:
            self._sent[sequence] = taken
        return [entry.report for entry in taken]

    def acknowledge(self, sequence: int) -> None:
        """The server has handled that message and all before it."""
        numbers = [number for number in self._sent if number <= sequence]
        handled = [entry for number in numbers for entry in self._sent.pop(number) if not entry.done]
        for entry in handled:
            if not entry.done:  # sent twice, in two of these messages
                self._end(entry)
        if any(entry.waiting for entry in handled):
            self._waiting = deque(entry for entry in self._waiting if not entry.done)

    def repeat(self) -> None:
        """Send again, with the next messages, whatever has been sent and not acknowledged."""
        self._wait_again([entry for entries in self._sent.values() for entry in entries])

    def restart(self) -> None:
        """A new session: what the old one carried is repeated, and its numbers mean nothing any more."""
        self.repeat()
        self._sent.clear()

    def withdraw_start(self, lease_id: str) -> None:
        """Take back that a lease was started, if no message has carried it yet."""
        for entry in self._waiting:
            if entry.report.lease_id == lease_id and entry.report.HasField("started"):
                self._waiting.remove(entry)
                self._end(entry)
                return

    def _end(self, entry: Entry) -> None:
        entry.done = True
        self._unacknowledged -= 1

    def _wait_again(self, entries: list[Entry]) -> None:
        for entry in reversed(entries):
            if not entry.done and not entry.waiting:
                entry.waiting = True
                self._waiting.appendleft(entry)
