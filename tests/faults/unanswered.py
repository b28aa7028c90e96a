"""A TCP proxy before Redis whose answers can be withheld: commands are carried out, and nobody hears of it."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self


class Unanswered:
    """While `mute`, commands pass and answers do not. What was open then is cut when it ends: its answers are gone."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.address = ""
        self._mute = False
        self._withheld: set[asyncio.StreamWriter] = set()  # those with answers that never came
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def mute(self) -> bool:
        """Are answers withheld?"""
        return self._mute

    @mute.setter
    def mute(self, value: bool) -> None:
        self._mute = value
        if not value:
            for writer in self._withheld:
                writer.transport.abort()
            self._withheld.clear()

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
        for writer in self._writers:
            writer.transport.abort()
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
            commands = asyncio.create_task(self._commands(reader, onward))
            answers = asyncio.create_task(self._answers(onward_reader, writer))
            try:
                await asyncio.wait((commands, answers), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in (commands, answers):
                    each.cancel()
                await asyncio.gather(commands, answers, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for side in (writer, onward):
                if side is not None:
                    side.transport.abort()
            self._withheld.discard(writer)
            self._writers.discard(writer)

    async def _commands(self, reader: asyncio.StreamReader, onward: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                onward.write(data)
                await onward.drain()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if self._mute:
                    self._withheld.add(writer)
                elif writer not in self._withheld:
                    writer.write(data)
                    await writer.drain()
