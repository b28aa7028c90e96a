"""What is read next: entries that were ours before, those that found no room, new ones."""

import asyncio
import time
from collections.abc import Callable
from itertools import islice

from scheduler_server.dispatch import Owner
from scheduler_server.dispatch.entries import Delivered, Source
from scheduler_server.dispatch.gateway import Gateway, StreamsError
from scheduler_server.dispatch.holdings import Holdings
from scheduler_server.dispatch.intake import Intake
from scheduler_server.dispatch.ownership import Ownership, Run
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.dispatch.writer import Writer

_BLOCK_S = 1.0
_BLOCK_SHARE = 1.0 / 3.0


def block_s(settings: DispatchSettings) -> float:
    """How long one question for new entries stays open. A server that stops waits for it at most.

    Well below the time in which what it brings has to be refreshed.
    """
    return min(_BLOCK_S, _BLOCK_SHARE * settings.claim_after_s)


FULL_S = 0.02
"""How soon it is looked again whether there is room."""

_PARKED_S = 0.25
"""How often entries that found no room are tried again."""

_RESERVE = 0.1
"""Share of the index that only the most urgent stream may fill: what comes there is in view when the rest is full."""


class Reading:
    """For the loop's thread; `run` awaits a call in the thread that reads.

    `behind`: the last read was full, so the next does not wait for entries, and takes acknowledgements along. Whoever
    else tells Redis of them leaves them to it; `wake` is called when that is over.
    """

    def __init__(
        self,
        owner: Owner,
        gateway: Gateway,
        run: Run,
        intake: Intake,
        holdings: Holdings,
        ownership: Ownership,
        writer: Writer,
        settings: DispatchSettings,
        *,
        wake: Callable[[], None],
    ) -> None:
        self._owner = owner
        self._gateway = gateway
        self._run = run
        self._intake = intake
        self._holdings = holdings
        self._ownership = ownership
        self._writer = writer
        self._settings = settings
        self._wake = wake
        self._parked_at = 0.0
        self.behind = False

    def reconfigure(self, settings: DispatchSettings) -> None:
        """Go by these from now on."""
        self._settings = settings

    async def next(self, coming: int) -> list[Delivered]:
        """The next entries: those that were ours before, those that found no room, new ones. Nothing: no room.

        `coming` are read already, and not in the index yet. Raises StreamsError.
        """
        room = self._intake.room() - coming
        batch = min(self._settings.batch, room)
        unread = self._ownership.unread
        if batch <= 0 or unread:
            self.caught_up()
        if batch <= 0:
            await asyncio.sleep(FULL_S)
            return await self._parked()
        if unread:
            wanted = [(source, unread.pop(source)) for source in list(islice(unread, batch))]
            return await self._fetch([each for each in wanted if each[0] not in self._holdings.known])
        parked = await self._parked()
        if parked:
            return parked
        return await self._new(room, batch)

    async def _fetch(self, wanted: list[tuple[Source, int]]) -> list[Delivered]:
        found: list[Delivered] = []
        try:
            for stream in self._settings.streams:
                of_stream = {source.entry_id: times for source, times in wanted if source.stream == stream}
                if of_stream:
                    rows = await self._run(self._gateway.fetch, stream, list(of_stream))
                    found += [each._replace(deliveries=of_stream[each.source.entry_id] + 1) for each in rows]
        except StreamsError:
            self._ownership.unread.update(wanted)
            raise
        return found

    async def _parked(self) -> list[Delivered]:
        parked = self._holdings.parked
        if not parked or time.monotonic() - self._parked_at < _PARKED_S:
            return []
        self._parked_at = time.monotonic()
        wanted = [parked.popleft() for _ in range(min(self._settings.batch, len(parked)))]
        try:
            fields = await self._run(self._gateway.peek, wanted)
        except StreamsError:
            parked.extendleft(reversed(wanted))
            raise
        self._holdings.forget(wanted)
        return [Delivered(source, found, 0) for source, found in zip(wanted, fields, strict=True)]

    async def _new(self, room: int, batch: int) -> list[Delivered]:
        streams = self._settings.streams
        reserve = int(self._owner.core.settings.queue.max_length * _RESERVE)
        if len(streams) == 1 or room - reserve >= batch * len(streams):
            return await self._all_at_once(batch)
        self.caught_up()
        # Near the bound the most urgent stream is asked first, and the others only for what it leaves.
        found: list[Delivered] = []
        for at, stream in enumerate(streams):
            count = min(batch, room - len(found) - (reserve if at else 0))
            if count > 0:
                found += await self._run(self._gateway.read, (stream,), count, 0)
        if not found:
            await asyncio.sleep(FULL_S)
        return found

    async def _all_at_once(self, batch: int) -> list[Delivered]:
        """So many of each stream. Where more is waiting, Redis is told on the same way what is acknowledged."""
        streams, well = self._settings.streams, True
        if self.behind:
            found, well = await self._writer.read_on(self._gateway, self._run, streams, batch)
        else:
            found = await self._run(self._gateway.read, streams, batch, round(block_s(self._settings) * 1_000))
        if well and len(found) >= batch:
            self.behind = True
        else:
            self.caught_up()
        return found

    def caught_up(self) -> None:
        """The next read may have to wait: what is to be acknowledged goes by itself."""
        if self.behind:
            self.behind = False
            self._wake()
