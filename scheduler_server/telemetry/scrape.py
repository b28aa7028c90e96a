"""A very small HTTP server: GET and HEAD of /metrics, and of / which points there. All else is 404.

It runs on the event loop beside gRPC, so everything about a client is bounded: how many there are, how much one may say
and how long all of it may take. An answer is written in one piece and the connection closed behind it; a reader that
takes its time is served by the kernel's buffers, and cut off at the deadline.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

_LOG = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
"""At once; Prometheus needs one, a pair of them two. The next ones are answered 503, and from twice as many on not at
all: whoever is to be answered has to be listened to first, or the kernel resets the connection under the answer."""

MAX_REQUEST_BYTES = 8_192
"""Request line and headers, as usual for HTTP servers; Prometheus sends about 400."""

EXCHANGE_WITHIN_S = 10.0
"""From the connection to its end: Prometheus' own default deadline for a scrape."""

_METRICS, _ROOT = "/metrics", "/"
_PLAIN = "text/plain; charset=utf-8"
_POINTER = b"scheduler-server: metrics are at /metrics\n"


class MetricsServer:
    """Serves what `text` makes, from `open` to `close`. For one event loop.

    Invariant: `_exchanges` holds the task of every connection that is being served.
    """

    def __init__(self, text: Callable[[], Awaitable[bytes]], *, exchange_within_s: float = EXCHANGE_WITHIN_S) -> None:
        self._text = text
        self._within_s = exchange_within_s
        self._server: asyncio.Server | None = None
        self._exchanges: set[asyncio.Task[None]] = set()
        self.url = ""

    async def open(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one. OSError where that cannot be."""
        self._server = await asyncio.start_server(self._connected, host, port, limit=MAX_REQUEST_BYTES)
        bound = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{bound}{_METRICS}"

    async def close(self) -> None:
        """Listen no more, and end what is under way."""
        if self._server is None:
            return
        self._server.close()
        exchanges = list(self._exchanges)
        for exchange in exchanges:
            exchange.cancel()
        await asyncio.gather(*exchanges, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    @property
    def open_connections(self) -> int:
        """Connections that are being served."""
        return len(self._exchanges)

    # ------------------------------------------------------------------ one connection

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = asyncio.current_task()
        assert exchange is not None  # noqa: S101 -- asyncio runs it as a task
        crowd = len(self._exchanges)
        if crowd >= 2 * MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._exchanges.add(exchange)
        try:
            async with asyncio.timeout(self._within_s):
                writer.write(await self._exchange(reader, crowded=crowd >= MAX_CONNECTIONS))
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # too slow, gone, or we are going: nobody to tell. A task of its own swallows its cancellation.
        finally:
            writer.transport.abort()
            self._exchanges.discard(exchange)

    async def _exchange(self, reader: asyncio.StreamReader, *, crowded: bool) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _answer("431 Request Header Fields Too Large")
        if crowded:
            return _answer("503 Service Unavailable")
        method, target, rest = _request_line(head)
        if not rest.startswith("HTTP/1."):
            return _answer("400 Bad Request")
        path = target.partition("?")[0]
        if method not in {"GET", "HEAD"} or path not in {_METRICS, _ROOT}:
            return _answer("404 Not Found")
        if path == _ROOT:
            return _answer("200 OK", _POINTER, bodiless=method == "HEAD")
        try:
            text = await self._text()
        except Exception:  # noqa: BLE001 -- the last stop: whatever failed, the client gets an answer and the log a reason
            _LOG.exception("metrics could not be read")
            return _answer("500 Internal Server Error")
        return _answer("200 OK", text, CONTENT_TYPE_PLAIN_0_0_4, bodiless=method == "HEAD")


def _request_line(head: bytes) -> tuple[str, str, str]:
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    return (words[0], words[1], words[2]) if len(words) == 3 else ("", "", "")  # noqa: PLR2004 -- RFC 9112, 3


def _answer(status: str, body: bytes = b"", kind: str = _PLAIN, *, bodiless: bool = False) -> bytes:
    body = body or f"{status}\n".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + (b"" if bodiless else body)
