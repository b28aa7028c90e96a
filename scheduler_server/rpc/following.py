"""Streams of what happens: one bounded ring of numbered entries, and readers that may fall behind only so far.

The ring is the one buffer of all readers: each only remembers how far it has read. So a reader costs whoever adds to
the ring nothing, whatever it does. One that falls further behind than the ring is long is told so and ended; so is one
that takes nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import grpc

from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc.checks import Fault, Faults
from scheduler_server.rpc.errors import Refused, abort
from scheduler_server.rpc.paging import Turn

MAX_READERS = 100
"""Readers at once: each may be sent everything."""

SIGN_OF_LIFE_S = 15.0
"""A reader to whom nothing was sent for this long gets its token: it learns that the stream lives, and later resumes
from there although nothing matched. Below the idle timeouts of common proxies (60 s) with room for a lost one."""

WRITE_WITHIN_S = 30.0
"""A reader that takes nothing for this long is ended, so that it does not hold its place for ever."""

MOST_TOGETHER = 100
"""Entries in one message, for readers that take several: some 0.5 ms of work in one step of the loop."""

BYTES_TOGETHER = 1 << 18
"""And about so many bytes of them: far below the 4 MiB that clients commonly take, the largest entry added."""

_BATCH = 256
_LAST_WORDS_S = 5.0
_MOST_DIGITS = 19  # of a 64-bit number


class Numbered(Protocol):
    """An entry; numbers rise by one."""

    @property
    def sequence(self) -> int: ...  # noqa: D102 -- the class docstring says it


Entry = TypeVar("Entry", bound=Numbered)


class Ring(Generic[Entry]):
    """The newest entries, `most` of them; the oldest goes when another comes."""

    def __init__(self, most: int, newest: int = 0) -> None:
        self.entries: deque[Entry] = deque(maxlen=most)
        self.newest = newest  # the number of the last one that came
        self.arrived = asyncio.Event()  # set, and replaced, with the next one

    def add(self, entry: Entry) -> None:
        """Keep one more, and wake the readers."""
        self.newest = entry.sequence
        self.entries.append(entry)
        self.wake()

    def wake(self) -> None:
        """Let the readers look again."""
        self.arrived.set()
        self.arrived = asyncio.Event()

    def gone(self, position: int) -> bool:
        """Is the entry after this number not kept any more?"""
        return self.newest - position > len(self.entries)

    def after(self, position: int, most: int) -> list[Entry]:
        """The next entries after this number.

        Readers that keep up want the newest few: counted from the end, as a deque is slow in its middle.
        """
        kept = len(self.entries)
        behind = min(self.newest - position, kept)
        count = min(behind, most)
        if behind > kept // 2:
            return list(islice(self.entries, kept - behind, kept - behind + count))
        found = list(islice(reversed(self.entries), behind - count, behind))
        found.reverse()
        return found


class _Stuck(Exception):
    """A reader took nothing for too long."""


class Followers(Generic[Entry]):
    """All readers of one ring. `what` is in it, and `look` says where to look around when a token is of no use."""

    def __init__(self, ring: Ring[Entry], incarnation: str, *, what: str, look: str) -> None:
        self._ring = ring
        self._incarnation = incarnation
        self._what = what
        self._look = look
        self._draining = False
        self._count = 0
        self.sent = 0  # messages, over all readers

    def __len__(self) -> int:
        return self._count

    def drain(self) -> None:
        """End them all, and take no more: the server is going down."""
        self._draining = True
        self._ring.wake()

    async def follow(
        self,
        position: int,
        context: Any,
        matches: Callable[[Entry], bool],
        respond: Callable[[str, Sequence[Entry]], Any],
        last: Callable[[], int] | None = None,
        size_of: Callable[[Entry], int] | None = None,
    ) -> None:
        """One reader, to its end, from the entry after `position` on.

        `respond` makes the message of a token and what it tells; with nothing to tell it says that the stream lives, as
        the first message does where nothing is to be sent at once. Entries after `last` are not to be told yet. With
        `size_of` (in bytes) a message tells of all that is there when it is made, within limits, else of one entry.
        """
        if self._draining:
            raise Refused(_DRAINING)
        if self._count >= MAX_READERS:
            message = f"{MAX_READERS} watch already; watch again later"
            raise Refused(Refusal(Reason.TOO_MANY_WATCHERS, message, (("limit", str(MAX_READERS)),)))
        self._count += 1
        try:
            await self._stream(position, context, matches, respond, last, size_of)
        except _Stuck:
            await give_up(context, "watch again with the last token")
        except (grpc.aio.InternalError, grpc.aio.UsageError, asyncio.InvalidStateError, grpc.RpcError):
            return  # the stream is gone: nobody to tell
        finally:
            self._count -= 1

    async def _stream(
        self,
        position: int,
        context: Any,
        matches: Callable[[Entry], bool],
        respond: Callable[[str, Sequence[Entry]], Any],
        last: Callable[[], int] | None,
        size_of: Callable[[Entry], int] | None,
    ) -> None:
        ring = self._ring
        ready: list[Entry] = []  # goes with the next message
        ready_bytes = 0
        due = True  # a message is: the first tells that the watch has begun, and where
        while True:
            arrived = ring.arrived
            batch = self._next(position, _BATCH if last is None else min(_BATCH, last() - position))
            turn = Turn()
            for entry in batch:
                if self._draining:
                    break
                if not matches(entry):
                    if turn.over():
                        await turn.pause()
                    continue
                due = False
                ready.append(entry)
                ready_bytes += BYTES_TOGETHER if size_of is None else size_of(entry)
                if ready_bytes >= BYTES_TOGETHER or len(ready) >= MOST_TOGETHER:
                    await self._send(context, respond, ready)
                    ready, ready_bytes = [], 0
            if self._draining:
                raise Refused(_DRAINING)
            if ready:
                await self._send(context, respond, ready)
                ready, ready_bytes = [], 0
            if batch:
                position = batch[-1].sequence
                continue
            if due:
                await _write(context, respond(self.token(position), ()))
                self.sent += 1
            try:
                async with asyncio.timeout(SIGN_OF_LIFE_S):
                    await arrived.wait()
                due = False
            except TimeoutError:
                due = True

    async def _send(self, context: Any, respond: Callable[[str, Sequence[Entry]], Any], ready: Sequence[Entry]) -> None:
        await _write(context, respond(self.token(ready[-1].sequence), ready))
        self.sent += 1

    def _next(self, position: int, most: int) -> list[Entry]:
        ring = self._ring
        if ring.gone(position):
            message = (
                f"more than {ring.entries.maxlen} {self._what} wait for this reader; watch again with the last token"
            )
            raise Refused(Refusal(Reason.WATCHER_TOO_SLOW, message, (("resume_token", self.token(position)),)))
        return ring.after(position, max(0, most))

    # ------------------------------------------------------------------ tokens

    def token(self, position: int) -> str:
        """Names the point of the stream after the entry with this number."""
        return f"{self._incarnation}.{position}"

    def resume(self, token: str) -> int:
        """The number after which a token goes on."""
        incarnation, _, number = token.rpartition(".")
        if not incarnation or not (number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS):
            raise Faults([Fault("resume_token", "is malformed")])
        if incarnation != self._incarnation:
            raise Refused(self._expired("is from another run of the server", token))
        position = int(number)
        if position > self._ring.newest:
            raise Faults([Fault("resume_token", f"names one of the {self._what} that has not happened")])
        if self._ring.gone(position):
            raise Refused(self._expired(f"is older than the {self._ring.entries.maxlen} {self._what} kept", token))
        return position

    def _expired(self, why: str, token: str) -> Refusal:
        message = f"the resume token {why}: {self._look}, then watch from now"
        return Refusal(Reason.RESUME_TOKEN_EXPIRED, message, (("resume_token", token[:100]),))


async def _write(context: Any, message: Any) -> None:
    try:
        async with asyncio.timeout(WRITE_WITHIN_S):
            await context.write(message)
    except TimeoutError:
        raise _Stuck from None


async def give_up(context: Any, advice: str) -> NoReturn:
    """End a stream whose reader takes nothing: with a status if it gets through, and without one if not."""
    message = f"the reader took nothing for {WRITE_WITHIN_S:g} s; {advice}"
    try:
        async with asyncio.timeout(_LAST_WORDS_S):
            await abort(context, Refusal(Reason.WATCHER_TOO_SLOW, message))
    except TimeoutError:
        raise asyncio.CancelledError from None


_DRAINING = Refusal(Reason.SERVER_DRAINING, "the server is going down; watch another one, or this one again later")
