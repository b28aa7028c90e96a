"""A bearer token: 256 random bits as text. The server keeps its SHA-256 only.

A slow hash, as passwords need, would add nothing: nobody guesses 256 bits, and every call would pay for it.
"""

import re
from hashlib import sha256
from secrets import token_urlsafe

PREFIX = "sst_"
"""So that scanners for leaked secrets find tokens by sight."""

_BYTES = 32
LONGEST = 512
DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def new_token() -> str:
    """A token that nobody has."""
    return PREFIX + token_urlsafe(_BYTES)


def digest(token: str) -> bytes:
    """What the server knows a token by."""
    return sha256(token.encode(errors="replace")).digest()


def shown(token: str) -> str:
    """Its hash as the access file has it."""
    return f"sha256:{digest(token).hex()}"
