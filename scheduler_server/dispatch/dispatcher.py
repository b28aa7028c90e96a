"""Starts and stops it, and the three loops: read, tell, look after."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Any, NamedTuple, TypeVar

from scheduler_server.dispatch import Owner, Wire, letters
from scheduler_server.dispatch.channel import Channel
from scheduler_server.dispatch.entries import DeadLetter, DeadReason, Delivered, raw_of
from scheduler_server.dispatch.follower import Follower
from scheduler_server.dispatch.gateway import Gateway, Names, StreamsError
from scheduler_server.dispatch.holdings import Holdings
from scheduler_server.dispatch.intake import Intake
from scheduler_server.dispatch.link import Link
from scheduler_server.dispatch.outbox import Outbox, Settled
from scheduler_server.dispatch.ownership import Ownership
from scheduler_server.dispatch.payloads import Keeper
from scheduler_server.dispatch.reading import FULL_S, Reading, block_s
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.dispatch.setup import prepare
from scheduler_server.dispatch.writer import Writer
from scheduler_server.storage.one_thread import OneThread
from scheduler_server.storage.redis_url import parse

_LOG = logging.getLogger(__name__)

_SLICE_S = 0.001
"""Taking entries in holds the loop for so long at a time."""

_WITHDRAWN_AT_ONCE = 32
"""Tasks that are left to Redis in one go: about a millisecond."""

_CHECK_S = 300.0
"""How often Redis' own settings are looked at again."""

_RETRIED_WITHIN = 0.25
"""Share of `claim_after_s` in which it is found that Redis works again: much later, others take over what is here."""

_FORGET_CONSUMER_S = 86_400.0

T = TypeVar("T")


class _Read(NamedTuple):
    """Entries, and the monotonic instant before they were asked for."""

    asked_at: float
    delivered: list[Delivered]


class Dispatcher:
    """All of it. For the loop's thread, but for what `_read_in` and `_ask_in` run."""

    def __init__(
        self,
        owner: Owner,
        wire: Wire,
        settings: DispatchSettings,
        consumer: str,
        *,
        restored: Iterable[Settled] = (),
        random: Random,
    ) -> None:
        address = parse(settings.url)
        names = Names(settings.group, consumer)
        self.settings = settings
        self.consumer = consumer
        self._owner = owner
        self._reads = Gateway(address, names, settings.timeout_s, waits_s=block_s(settings))
        self._asks = Gateway(address, names, settings.timeout_s)
        self.link = Link(
            address.shown,
            wall=lambda: owner.now().wall,
            random=random,
            last_retry_s=settings.claim_after_s * _RETRIED_WITHIN,
        )
        self.holdings = Holdings()
        self._wake = asyncio.Event()
        self.outbox = Outbox(owner.journal, self._wake.set)
        self.intake = Intake(owner, wire, self.holdings, self.outbox, settings, self.link.warn)
        self.channel: Channel | None = None
        if settings.hand_over == "publish":
            self.channel = Channel(
                owner, wire, settings.channel, self.intake, self.holdings, self.outbox, self._wake.set
            )
        self.ownership = Ownership(
            owner, self._asks, self._ask_in, self.intake, self.holdings, self.outbox, settings, self.link.warn
        )
        self.keeper = Keeper(
            owner,
            wire,
            self._asks,
            self._ask_in,
            self.intake,
            self.holdings,
            self.ownership,
            wake=self._wake.set,
            works=self._works,
        )
        self._writer = Writer(self._asks, wire, self.holdings, self.outbox, self.channel, settings)
        self.reading = Reading(
            owner,
            self._reads,
            self._read_in,
            self.intake,
            self.holdings,
            self.ownership,
            self._writer,
            settings,
            wake=self._wake.set,
        )
        self._follower = Follower(
            self.intake,
            self.holdings,
            self.outbox,
            settings,
            channel=self.channel,
        )
        for source in self.outbox.restore(restored):
            self.holdings.learn(source)
        for waiter in owner.core.queue.waiting.by_task.values():  # the journal had these
            self._follower.of_waiting(waiter)
        owner.changes.append(self._follower)
        owner.keeper = self.keeper
        self._reader, self._asker = OneThread("streams-in"), OneThread("streams-out")
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._ready = asyncio.Event()  # Redis answers: streams and groups are there
        self._trouble = asyncio.Event()  # it does not
        self.lag: int | None = None  # entries not read yet, where Redis can tell

    def _works(self) -> bool:
        return self._ready.is_set()

    @property
    def acknowledged(self) -> int:
        """Entries that Redis has been told are done with."""
        return self._writer.acknowledged

    # ------------------------------------------------------------------ start and stop

    def reconfigure(self, settings: DispatchSettings) -> None:
        """Go by these from now on; they differ in nothing that connections, names or threads were made by."""
        self.settings = settings
        self.intake.reconfigure(settings)
        self.reading.reconfigure(settings)
        self._writer.reconfigure(settings)

    def start(self) -> None:
        """Begin. Redis need not be there."""
        loop = asyncio.get_running_loop()
        loops = (self._connect, self._read, self._tell, self._look_after)
        self._tasks = [loop.create_task(self._again_and_again(each)) for each in loops]

    def stop_reading(self) -> None:
        """The server is going down: take nothing more in."""
        self._stopping = True

    async def close(self, within_s: float) -> None:
        """Tell Redis what it is still to be told, in bounded time; the rest the journal has, or Redis itself."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError, StreamsError):
            async with asyncio.timeout(within_s):
                while self._ready.is_set() and len(self.outbox):
                    await self._writer.send(self._writer.next(), self._ask_in)
        for thread, gateway in ((self._reader, self._reads), (self._asker, self._asks)):
            thread.submit(gateway.close)
            thread.close()

    # ------------------------------------------------------------------ dead letters, for operators

    async def dead_letters(self, before: str) -> list[letters.Kept]:
        """The next page of dead letters, newest first. Raises StreamsError, as the others do."""
        return await self._ask_in(letters.page, self._asks, self.settings.dead_letters, before)

    async def dead_letter(self, letter_id: str) -> letters.Kept | None:
        """One of them."""
        return await self._ask_in(letters.found, self._asks, self.settings.dead_letters, letter_id)

    async def discard(self, letter_id: str) -> bool:
        """Throw one away; False: it is not there."""
        return await self._ask_in(letters.discarded, self._asks, self.settings.dead_letters, letter_id)

    async def put_back(self, letter: letters.Kept, task: bytes) -> bool:
        """Let its task come again, to the stream that it came from; False: it is not there any more."""
        stream = letter.source.rpartition(" ")[0]
        stream = stream if stream in self.settings.streams else self.settings.streams[0]
        dead = self.settings.dead_letters
        return await self._ask_in(letters.put_back, self._asks, dead, letter.letter_id, stream, task)

    # ------------------------------------------------------------------ the two threads

    async def _read_in(self, what: Callable[..., T], *arguments: Any) -> T:
        return await self._reader.run(what, *arguments)

    async def _ask_in(self, what: Callable[..., T], *arguments: Any) -> T:
        return await self._asker.run(what, *arguments)

    async def _again_and_again(self, what: Callable[[], Awaitable[None]]) -> None:
        """A loop that ends by a fault of ours begins anew: tasks in Redis must not wait for a restart of the server."""
        while not self._stopping:
            try:
                await what()
            except Exception as error:  # noqa: BLE001 -- whatever it is, the log gets all of it
                _LOG.exception("dispatch: %s failed", what.__name__.strip("_"))
                await asyncio.sleep(self.link.failed(error))

    # ------------------------------------------------------------------ is Redis there?

    async def _connect(self) -> None:
        """Prepare the streams; and again whenever one of the loops has met trouble."""
        while True:
            try:
                found = await self._ask_in(prepare, self._asks, self.settings)
                await self.ownership.refresh()
                self.lag = await self._ask_in(self._asks.lag, self.settings.streams)
            except StreamsError as error:
                await self._failed(error)
                continue
            self.link.well()
            self.link.set_cautions(found)
            self._trouble.clear()
            self._ready.set()
            self._wake.set()
            await self._trouble.wait()

    async def _failed(self, error: StreamsError) -> None:
        self.ownership.out_of_touch()
        delay_s = self.link.failed(error)
        while True:
            # Tasks whose payloads are in Redis cannot be handed over; what another server may take must not be.
            stale = self.ownership.stale
            left = [each for each in self.holdings.by_task.values() if stale or each.payload_left]
            for at in range(0, len(left), _WITHDRAWN_AT_ONCE):
                for holding in left[at : at + _WITHDRAWN_AT_ONCE]:
                    self.ownership.withdraw(holding)
                await asyncio.sleep(0)
            if delay_s <= 0.0:
                return
            pause_s = delay_s if stale else min(delay_s, max(FULL_S, self.ownership.stale_in_s))
            delay_s -= pause_s
            await asyncio.sleep(pause_s)

    def _met(self, error: StreamsError) -> None:
        """One of the loops has met trouble: `_connect` says when it is over."""
        self.ownership.out_of_touch()
        if self._ready.is_set():
            self._ready.clear()
            self.link.failed(error)
            self.keeper.give_back()
            self._trouble.set()

    # ------------------------------------------------------------------ read

    async def _read(self) -> None:
        """The next entries are asked for while the last ones are taken in."""
        asked: asyncio.Task[_Read] | None = None
        try:
            while not self._stopping:
                await self._ready.wait()
                try:
                    asked = asked or asyncio.create_task(self._next(0))
                    read = await asked
                    asked = asyncio.create_task(self._next(len(read.delivered)))
                    await self._take(read)
                except StreamsError as error:
                    asked = None
                    self.reading.caught_up()
                    self._met(error)
        finally:
            self.reading.caught_up()
            if asked is not None:
                asked.cancel()

    async def _next(self, coming: int) -> _Read:
        asked_at = self._owner.now().monotonic
        return _Read(asked_at, [] if self._stopping else await self.reading.next(coming))

    async def _take(self, read: _Read) -> None:
        waiting = deque(read.delivered)
        while waiting and not self.ownership.stale_since(read.asked_at):
            until = time.monotonic() + _SLICE_S
            while waiting and time.monotonic() < until:
                self._take_in(waiting.popleft())
            await asyncio.sleep(0)
        if waiting:  # this server stood still meanwhile: what of these is its own still, Redis has to say
            await self.ownership.refresh()

    def _take_in(self, one: Delivered) -> None:
        self.ownership.unread.pop(one.source, None)  # a refresh may have seen it on its way here
        try:
            self.intake.take(one)
        except Exception as error:  # noqa: BLE001 -- one entry must not hold up all others, nor come again for ever
            _LOG.exception("dispatch: entry %s failed", one.source)
            detail = f"the server failed to take it in ({type(error).__name__}); its log has the details"
            letter = DeadLetter(DeadReason.UNDECODABLE, detail, None, 0, raw=raw_of(one.fields))
            self.intake.set_aside(one.source, letter)

    # ------------------------------------------------------------------ tell

    async def _tell(self) -> None:
        while True:
            await self._wake.wait()
            await self._ready.wait()
            self._wake.clear()
            try:
                while len(self.keeper):
                    await self.keeper.complete()
                if self.channel is not None:
                    if self.channel.waiting and self.ownership.stale:
                        await self.ownership.refresh()
                    self.channel.place_lost()
                if self._writer.waits(acks=not self.reading.behind):
                    await self._writer.send(self._writer.next(), self._ask_in)
                    self.link.well()
                if len(self.keeper) or self._writer.waits(acks=not self.reading.behind):
                    self._wake.set()
            except StreamsError as error:
                self._wake.set()
                self._met(error)

    # ------------------------------------------------------------------ look after

    async def _look_after(self) -> None:
        trimmed = checked = time.monotonic()
        while True:
            await asyncio.sleep(min(self.ownership.every_s, 5.0))
            await self._ready.wait()
            now = time.monotonic()
            try:
                if self._owner.now().monotonic - self.ownership.refreshed_at >= self.ownership.every_s:
                    await self.ownership.refresh()
                    if not self._stopping:
                        await self.ownership.take_over()
                self.lag = await self._ask_in(self._asks.lag, self.settings.streams)
                if self.settings.trim_every_s and now - trimmed >= self.settings.trim_every_s:
                    trimmed = now
                    await self._trim()
                if now - checked >= _CHECK_S:
                    checked = now
                    self.link.set_cautions(await self._ask_in(prepare, self._asks, self.settings))
                self.link.well()
            except StreamsError as error:
                self._met(error)

    async def _trim(self) -> None:
        least_ms = await self._ask_in(self._asks.now_ms) - round(self.settings.keep_s * 1_000)
        for stream in self.settings.streams:
            await self._ask_in(self._asks.trim, stream, f"{max(0, least_ms)}-0")
            await self._ask_in(self._asks.forget_consumers, stream, round(_FORGET_CONSUMER_S * 1_000))
