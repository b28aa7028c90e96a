"""A TCP proxy that makes a network bad: late, cut, silent, or one whose answers are lost."""

import asyncio
from types import TracebackType
from typing import Self

_READ_BYTES = 65_536
_AHEAD = 1_000
"""Pieces read and not yet passed on, in one direction; then the sender waits."""


class BadNetwork:
    """Stands before one server. Its faults may be changed at any time, and hold for open connections too.

    `latency_s` delays each way; with `silent` nothing passes and nothing is closed; `cut` resets what is open. While
    `mute`, what is asked passes and answers are lost: connections that lost one are reset when it ends. What one side
    sent before it closed gets to the other side first.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self.address = ""
        self.latency_s = 0.0
        self.connections = 0
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._mute = False
        self._lost: set[asyncio.StreamWriter] = set()  # of those who asked: they were to be answered, and were not
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def silent(self) -> bool:
        return not self._speaks.is_set()

    @silent.setter
    def silent(self, value: bool) -> None:
        if value:
            self._speaks.clear()
        else:
            self._speaks.set()

    @property
    def mute(self) -> bool:
        return self._mute

    @mute.setter
    def mute(self, value: bool) -> None:
        self._mute = value
        if not value:
            for writer in self._lost:
                writer.transport.abort()
            self._lost.clear()

    def cut(self) -> None:
        """Reset every connection (RST, not FIN)."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.cut()
        await asyncio.sleep(0)  # transports close in the next turn of the loop
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)  # at once: a task may be cancelled before its first step
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward: asyncio.StreamWriter | None = None
        try:
            onward_reader, onward = await asyncio.open_connection(*self._target)
            self._writers.add(onward)
            self.connections += 1
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, onward))
                group.create_task(self._pass_on(onward_reader, writer, answers=True))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in (writer, onward):
                if each is not None:
                    each.transport.abort()
                    self._writers.discard(each)
            self._lost.discard(writer)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        """Bytes one way, and then the end: each at its own time, so that latency does not become bandwidth."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_AHEAD)

        async def deliver() -> None:
            data = b"-"
            while data:
                at, data = await pieces.get()
                await asyncio.sleep(max(0.0, at - loop.time()))
                await self._speaks.wait()
                if answers and self._mute and data:
                    self._lost.add(writer)
                elif writer not in self._lost:
                    writer.write(data)
                    await writer.drain()
            if not writer.is_closing():
                writer.write_eof()

        async with asyncio.TaskGroup() as group:
            group.create_task(deliver())
            data = b"-"
            while data:
                data = await reader.read(_READ_BYTES)
                await pieces.put((loop.time() + self.latency_s, data))
