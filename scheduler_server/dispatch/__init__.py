"""How do tasks come in and go out by streams?

For queue services that call nobody: they add entries to a Redis stream, this server reads them as one of a consumer
group, lets them wait in the same index as every other task, and hands them over to workers. An entry is acknowledged
(XACK) when its task's worker has acknowledged it, so whoever dies, somebody still has the task: Redis until then, the
journal from then on. docs/dispatch.md has the format of entries and what is promised.

    dispatcher.py   starts and stops it, and the three loops: read, tell, look after
    reading.py      what is read next, and what Redis is told on the same way
    intake.py       from an entry to the core: waits, known, no room, refused
    follower.py     from the core's changes to what Redis is to be told
    outbox.py       what Redis is still to be told; what of it the journal has to keep
    writer.py       the outbox as commands, and what became of each
    holdings.py     which entries are this server's
    ownership.py    entries of ours are refreshed, those of dead servers taken over, lost ones let go
    payloads.py     payloads that stay in the stream until their task is handed over
    channel.py      hand-over by PUBLISH, where that is asked for
    letters.py      dead letters: written, listed, put back, thrown away
    feeds.py        decisions and outcomes for those who only listen
    gateway.py, scripts.py, setup.py, link.py   Redis: commands, scripts, what is made and checked, how it is doing

Redis is asked by two threads, never on the loop: what comes back is taken in by slices of a millisecond. A thread
rather than redis.asyncio, as for snapshots: connecting, TLS, Sentinel and cluster would run on the loop, and every
command cost it more than a batch of entries costs the thread. May import: assignment and below, storage, telemetry,
redis. What it needs of the server around it are the Protocols here; `app` connects them.
"""

from typing import Any, Protocol

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.events import Event, Submit
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.dispatch.entries import DeadReason, EntryRefused, Source
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.task import Task

__all__ = ["DeadReason", "DispatchSettings", "EntryRefused", "Owner", "Source", "Wire"]


class Owner(Protocol):
    """Who owns the core: the shell."""

    core: Scheduler
    journal: Any
    changes: list[Any]
    keeper: Any

    def handle(self, event: Event) -> Any:
        """Give the core one event; the answer to it."""

    def now(self) -> Now:
        """The present instant."""

    def complete(self, record: TaskRecord, task: Task) -> None:
        """Bind and hand over what `keeper` kept back, with the task as it is now; forget it where it has ended."""


class Wire(Protocol):
    """Who knows the contract's messages: rpc."""

    def read(self, fields: dict[bytes, bytes]) -> Submit:
        """An entry's fields to a task, of attempt 1 and delivery STREAM where they say nothing. Raises EntryRefused."""

    def received(self, task: Task, entry_id: str) -> Task:
        """A task that was not here before, as it is submitted: in the trace that its entry names, if anybody traces."""

    def task(self, task: Task) -> bytes:
        """A task as a serialized `scheduler_api.v1.Task`."""

    def refill(self, task: bytes, fields: dict[bytes, bytes]) -> bytes:
        """The serialized task with the payload that this entry has."""

    def message(self, record: TaskRecord) -> bytes:
        """What is published to a worker: `scheduler_api.v1.RunTask` in JSON."""
