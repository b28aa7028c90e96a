"""Page tokens: where an answer stopped. Opaque to callers; checked, so that one from elsewhere is refused."""

from typing import Any
from zlib import crc32

import msgspec

from scheduler_server.storage.decision_log.port import PageTokenInvalid

_LONGEST = 4_096


def token(kind: str, *place: Any) -> str:
    """The token for the place behind which to go on."""
    body = msgspec.msgpack.encode([kind, *place])
    return (body + crc32(body).to_bytes(4, "big")).hex()


def place(kind: str, types: Any, text: str) -> Any:
    """What a token of this kind holds, of these types; None for the first page.

    Raises:
        PageTokenInvalid: it is none of ours, or of another kind.
    """
    if not text:
        return None
    try:
        if len(text) > _LONGEST:
            raise ValueError
        data = bytes.fromhex(text)
        if crc32(data[:-4]).to_bytes(4, "big") != data[-4:]:
            raise ValueError
        found = msgspec.msgpack.decode(data[:-4], type=tuple[(str, *types)])
        if found[0] != kind:
            raise ValueError
    except (ValueError, msgspec.MsgspecError):
        raise PageTokenInvalid(f"page token {text[:40]!r} is not one of this list") from None
    return found[1:]
