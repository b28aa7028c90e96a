"""How many are connected? What gRPC tells of it in Python: channelz has the sockets of a server, a page at a time.

Asked as grpcio-channelz itself asks, but without its messages: to make them of the answers costs seven times as much.
Nothing tells how many connections `server.max_connections` has turned away: the transport closes them as they come.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined] # its stubs leave it out

_LOG = logging.getLogger(__name__)

PAGE = 250
"""Connections read at once: 0.4 ms of the event loop."""

EVERY_S = 5.0

_SHARE = 50
"""It rests this many times as long as it took: no more than 2 % of the loop, with any number of connections."""


class Connections:
    """Counts one server's. `open` is how many there were when they were last counted; -1: that cannot be told."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self.open = 0
        self._every_s = every_s
        self._server_id: int | None = None
        self._counting: asyncio.Task[None] | None = None

    def of(self, make: Callable[[], "grpc.aio.Server"]) -> "grpc.aio.Server":
        """Make the server, and remember which of the process's it is."""
        before = _newest_server(0)
        made = make()
        found = _newest_server(before)
        self._server_id = found if found > before else None
        return made

    def start(self) -> None:
        """Begin to count, every few seconds."""
        if self._server_id is None:
            self.open = -1
            return
        self._counting = asyncio.get_running_loop().create_task(self._keep_counting(self._server_id))

    async def close(self) -> None:
        """Count no more."""
        if self._counting is not None:
            self._counting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._counting

    async def _keep_counting(self, server_id: int) -> None:
        while True:
            begun = time.perf_counter()
            try:
                self.open = await _count(server_id)
            except Exception:  # noqa: BLE001 -- another version may tell it in other words: a figure is missing then
                _LOG.exception("connections cannot be counted")
                self.open = -1
                return
            await asyncio.sleep(max(self._every_s, _SHARE * (time.perf_counter() - begun)))


async def _count(server_id: int) -> int:
    found, start, last = 0, 0, False
    while not last:
        page = json.loads(cygrpc.channelz_get_server_sockets(server_id, start, PAGE))
        sockets = page.get("socketRef") or []
        found += len(sockets)
        last = bool(page.get("end")) or not sockets
        if not last:
            start = int(sockets[-1]["socketId"]) + 1
            await asyncio.sleep(0)
    return found


def _newest_server(start: int) -> int:
    """The highest id of the process's servers, or what it was; 0: there is none, or it cannot be told."""
    newest, last = start, False
    while not last:
        try:
            page = json.loads(cygrpc.channelz_get_servers(newest + 1 if newest else 0))
            ids = [int(each["ref"]["serverId"]) for each in page.get("server") or ()]
        except Exception:  # noqa: BLE001 -- see above: a server is not to fail for the want of a figure
            return 0
        newest = max(ids, default=newest)
        last = bool(page.get("end")) or not ids
    return newest
