"""What Redis is still to be told: acknowledgements, what was set aside, and what is published for those who listen.

An acknowledgement that Redis has not heard of when its task ends is written into the journal, together with the end:
a server that is killed in between would otherwise run the task again. What is set aside when a lease ends goes there
too, because nothing else has it any more. What is only published is not: it is told once, or lost with the server.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from scheduler_server.dispatch.entries import Source
from scheduler_server.dispatch.holdings import Key
from scheduler_server.model.task import Task

KIND = "settled"
"""The journal's kind of entry."""

MOST_PUBLISHED = 10_000
"""Entries for listeners that wait for Redis. Overflow: the oldest goes, and is counted."""

Fields = dict[str, bytes | str | int | float]


class Settled(NamedTuple):
    """An entry that is done with. `dead`: the fields of what was set aside, None for a plain acknowledgement.

    `source` is None for a task that no entry stands for any more, or that never came from a stream. `payload_left`: the
    task's payload is still in the entry only. `key`: the task that a worker has acknowledged and may not have ended.
    """

    source: Source | None
    dead: Fields | None = None
    payload_left: bool = False
    key: Key | None = None

    @property
    def name(self) -> str:
        """Names it in the journal."""
        if self.source is not None:
            return str(self.source)
        dead = self.dead or {}
        return f"task {dead.get('tenant', '')!r} {dead.get('task_id', '')!r} {dead.get('attempts', 0)!r}"

    def to_bytes(self) -> bytes:
        """As the journal keeps it."""
        return _ENCODE.encode(tuple(self))


_ENCODE = msgspec.msgpack.Encoder()
_DECODE = msgspec.msgpack.Decoder(tuple[Source | None, dict[str, Any] | None, bool, Key | None])


def settled_of(body: bytes) -> Settled:
    """Back from the journal; ValueError where it makes no sense."""
    try:
        return Settled(*_DECODE.decode(body))
    except msgspec.MsgspecError as error:
        raise ValueError(f"not an acknowledgement: {error}") from error


class Published(NamedTuple):
    """An entry for those who listen."""

    stream: str
    fields: Callable[[], Fields]  # made when it is sent, in the thread


class Outbox:
    """For the loop's thread. `wake` is called when there is something to send."""

    def __init__(self, journal: Any, wake: Callable[[], None]) -> None:
        self._journal = journal
        self._wake = wake
        self.settled: dict[str, Settled] = {}  # by name, oldest first
        self.letters = 0  # how many of them set something aside
        self.published: deque[Published] = deque()
        self._journaled: set[str] = set()
        self._on_the_way: dict[Key, list[Settled]] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self.settled) + len(self.published)

    def restore(self, kept: Iterable[Settled]) -> list[Source]:
        """Take back what the journal had; the entries that are not to be run again."""
        sources = []
        for each in kept:
            self._keep(each.name, each)
            self._journaled.add(each.name)
            if each.source is not None:
                sources.append(each.source)
        return sources

    def settle(self, settled: Settled, *, durable: bool = False) -> None:
        """Redis is to be told this. `durable`: write it down, for what it is about is over."""
        name = settled.name
        self._keep(name, settled)
        if durable:
            self._write_down(name, settled)
        elif settled.key is not None:
            self._on_the_way.setdefault(settled.key, []).append(settled)
        self._wake()

    def _keep(self, name: str, settled: Settled) -> None:
        before = self.settled.get(name)
        self.letters += (settled.dead is not None) - (before is not None and before.dead is not None)
        self.settled[name] = settled

    def over(self, task: Task) -> None:
        """A task is over that was acknowledged before: what Redis has not heard of its entries is written down."""
        for waiting in self._on_the_way.get((task.tenant, task.task_id), ()):
            self._write_down(waiting.name, waiting)

    def _write_down(self, name: str, settled: Settled) -> None:
        self._journaled.add(name)
        self._journal.put(KIND, name, settled, always=True)

    def publish(self, stream: str, fields: Callable[[], Fields]) -> None:
        """Let those who listen know."""
        if len(self.published) >= MOST_PUBLISHED:
            self.published.popleft()
            self.dropped += 1
        self.published.append(Published(stream, fields))
        self._wake()

    def done(self, name: str) -> None:
        """Redis has heard of it."""
        settled = self.settled.pop(name, None)
        if settled is None:
            return
        self.letters -= settled.dead is not None
        if settled.key is not None:
            left = [each for each in self._on_the_way.pop(settled.key, ()) if each.name != name]
            if left:
                self._on_the_way[settled.key] = left
        if name in self._journaled:
            self._journaled.discard(name)
            self._journal.delete(KIND, name)
