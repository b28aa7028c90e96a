"""What goes over the line between the server and the process that writes its log: bytes with their length before them.

    server asks                                                    child answers
    backend, recipe                                                "ready"
    "prepare"                                                      (told,)
    "write", incarnation, number, first, again, n, and n slices    (told, refused, why)
    "tidy", now                                                    is there more?

An answer has False before it; or else it is True, a fault and a message. One question at a time; the end of the
server's side is the end. Both sides are of one version, in one installation.
"""

import os
from collections.abc import Sequence
from typing import Any, BinaryIO

import msgspec

_LENGTH_BYTES = 8
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder()


def send(descriptor: int, message: Sequence[Any], bodies: Sequence[bytes] = ()) -> None:
    """Write a message and what belongs to it, in few system calls: each gives the interpreter lock away. OSError."""
    parts: list[bytes | memoryview] = []
    for body in (_ENCODER.encode(message), *bodies):
        parts += (len(body).to_bytes(_LENGTH_BYTES), body)
    while parts:
        written = os.writev(descriptor, parts[:_MOST_PARTS])
        while parts and written >= len(parts[0]):
            written -= len(parts.pop(0))
        if written:
            parts[0] = memoryview(parts[0])[written:]


def receive(source: BinaryIO) -> Any:
    """The next message; None where the other side has ended, in the midst of one too."""
    body = receive_bytes(source)
    return None if body is None else _DECODER.decode(body)


def receive_bytes(source: BinaryIO) -> bytes | None:
    """The next body, as it is."""
    head = source.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    length = int.from_bytes(head)
    body = source.read(length)
    return body if len(body) == length else None


_MOST_PARTS = 512  # below IOV_MAX, which is 1,024 where there is one
