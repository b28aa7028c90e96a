"""A server that says what no honest one does: passes every call on, and puts control characters into the answers.

The real server refuses them in names. A terminal has to be safe from one that does not, so placeholders in names become
control characters on their way back: as many bytes for as many, so that messages stay messages.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

FORGED = {
    b"QqQq": b"\x1b[2J",  # clears the screen
    b"ZzZz": b"\x1b[7m",  # reverses what follows
    b"XxXx": b"\r\n\t\x07",
    b"YyYyYy": "\u202e\u200b".encode(),  # turns the reading direction round; takes no room
}
"""Placeholders in names, and what becomes of them."""


class _Relay(grpc.GenericRpcHandler):
    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = details.method
        if method.endswith(("/WatchEvents", "/WatchTasks")):
            streamed: Any = self._channel.unary_stream(method)
            return grpc.unary_stream_rpc_method_handler(lambda request, _: map(_forged, streamed(request)))
        unary: Any = self._channel.unary_unary(method)

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                return _forged(unary(request, timeout=30.0))
            except grpc.RpcError as error:
                failed: Any = error
                context.set_trailing_metadata(failed.trailing_metadata())
                context.abort(failed.code(), failed.details())
                raise AssertionError from None

        return grpc.unary_unary_rpc_method_handler(answer)


def _forged(message: bytes) -> bytes:
    for honest, forged in FORGED.items():
        message = message.replace(honest, forged)
    return message


@contextmanager
def relay(address: str) -> Iterator[str]:
    """The address of one before the server at `address`."""
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor() as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers((_Relay(channel),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None)
