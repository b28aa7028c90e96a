"""A TCP proxy that makes a network bad: late, cut, or silent."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class BadNetwork:
    """Stands before one server. Its faults may be changed at any time, and hold for open connections too.

    `latency_s` delays each way; with `silent` nothing passes and nothing is closed; `cut` resets what is open.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self.address = ""
        self.latency_s = 0.0
        self.connections = 0
        self._speaks = asyncio.Event()
        self._speaks.set()
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
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            onward_reader, onward = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)
            return
        self.connections += 1
        self._writers.add(onward)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, onward))
                group.create_task(self._pass_on(onward_reader, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in (writer, onward):
                each.transport.abort()
                self._writers.discard(each)
            self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes one way: each at its own time, so that latency does not become bandwidth."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1_000)

        async def deliver() -> None:
            while True:
                at, data = await queue.get()
                await asyncio.sleep(max(0.0, at - loop.time()))
                await self._speaks.wait()
                writer.write(data)
                await writer.drain()

        delivering = asyncio.create_task(deliver())
        try:
            while data := await reader.read(65_536):
                await queue.put((loop.time() + self.latency_s, data))
            raise ConnectionResetError  # one side is gone: so is the other
        finally:
            delivering.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await delivering
