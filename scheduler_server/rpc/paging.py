"""Long scans in short slices, and pages with opaque tokens.

A page goes on after the last row of the one before, by sort key and id, not by a count of rows: workers that come or go
in between do not shift it. A worker that is there throughout and whose sort key stays is seen exactly once; one whose
key moves may be seen twice or not at all.
"""

import asyncio
import binascii
import hashlib
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from math import isfinite
from typing import Any, Generic, NamedTuple, TypeVar

from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.errors import Refused

SLICE_S = 0.001
"""How long a scan holds the loop: well below what a caller of Assign would notice."""

DEFAULT_SIZE = 100
MAX_SIZE = 1_000

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""A page ends early here: half of what clients take by default, since one more row may be large."""

_SPARE = 256
"""Rows kept beyond a page before the worst are dropped: sorting the largest page takes about a millisecond."""

_DIGEST_BYTES = 12
_MAX_TOKEN = 4_096  # an id of 256 characters is at most 1.5 KiB of JSON


class Turn:
    """A scan's turn on the loop."""

    def __init__(self) -> None:
        self._until = time.monotonic() + SLICE_S

    def over(self) -> bool:
        """Is it time to pause?"""
        return time.monotonic() > self._until

    async def pause(self) -> None:
        """Let the others have theirs; then a new one begins."""
        await asyncio.sleep(0)
        self._until = time.monotonic() + SLICE_S


class Position(NamedTuple):
    """Where a row stands in the order: rows without the value come last, ties go by id."""

    missing: int
    value: float
    worker_id: str


def size(checker: Checker, asked: int) -> int:
    """Rows wanted."""
    return checker.count("page_size", asked, 0, MAX_SIZE) or DEFAULT_SIZE


def scope(incarnation: str, request: Any) -> bytes:
    """What a token is good for: this run of the server, and this request apart from its page."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("page_token")
    bare.ClearField("page_size")
    body: bytes = bare.SerializeToString(deterministic=True)
    return f"{request.DESCRIPTOR.full_name}\0{incarnation}\0".encode() + body


def write_token(bound_to: bytes, after: Position) -> str:
    """A token for the page after this row."""
    body = json.dumps(after, separators=(",", ":")).encode()
    return urlsafe_b64encode(_digest(bound_to, body) + body).rstrip(b"=").decode()


def next_token(bound_to: bytes, last: Position | None) -> str:
    """What leads to the next page, if there is one after this row."""
    return "" if last is None else write_token(bound_to, last)


def read_token(bound_to: bytes, token: str) -> Position | None:
    """The row that a token names; None without one."""
    if not token:
        return None
    try:
        if len(token) > _MAX_TOKEN:
            raise ValueError
        raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        if digest != _digest(bound_to, body):
            raise ValueError
        missing, value, worker_id = json.loads(body)
        if not (missing in (0, 1) and isinstance(value, (int, float)) and isfinite(value)):
            raise ValueError
        return Position(missing, value, str(worker_id))
    except (ValueError, TypeError, binascii.Error):
        message = "page_token: is malformed, of another request, or from before a restart; start again without one"
        raise Refused(Refusal(Reason.PAGE_TOKEN_INVALID, message, (("field", "page_token"),))) from None


def _digest(bound_to: bytes, body: bytes) -> bytes:
    return hashlib.sha256(bound_to + b"\0" + body).digest()[:_DIGEST_BYTES]


Row = TypeVar("Row")


class Page(Generic[Row]):
    """The first `limit` rows after a position, of rows offered in any order.

    Never sorts more than the page and a little at once, so that no step of a scan takes long. `more` tells whether rows
    were left over.
    """

    def __init__(self, limit: int, after: Position | None, *, backwards: bool) -> None:
        self._limit = limit
        self._after = after
        self._backwards = backwards
        self._rows: list[tuple[Position, Row]] = []
        self._last: Position | None = None  # once there are enough: what lies beyond need not be kept
        self.more = False

    def offer(self, at: Position, record: Row) -> None:
        """Keep this row if it belongs to the page."""
        if self._after is not None and not self._before(self._after, at):
            return
        if self._last is not None and self._before(self._last, at):
            self.more = True
            return
        self._rows.append((at, record))
        if len(self._rows) >= self._limit + _SPARE:
            self._trim()

    def rows(self) -> list[tuple[Position, Row]]:
        """The page, in order."""
        self._trim()
        return self._rows

    async def write(self, turn: Turn, add: Callable[[Row], int]) -> Position | None:
        """Write the page in order, each row by `add`, which answers its bytes: 0 for one that has gone meanwhile.

        The row after which the next page begins; None: this was the last.
        """
        last, written = self._after, 0
        for at, row in self.rows():
            if turn.over():
                await turn.pause()
            if written > MAX_PAGE_BYTES:
                return last
            last = at
            written += add(row)
        return last if self.more else None

    def _before(self, one: Position, other: Position) -> bool:
        return one > other if self._backwards else one < other

    def _trim(self) -> None:
        self._rows.sort(key=_position, reverse=self._backwards)
        if len(self._rows) > self._limit:
            del self._rows[self._limit :]
            self.more = True
        if len(self._rows) == self._limit:
            self._last = self._rows[-1][0]


def _position(row: tuple[Position, Any]) -> Position:
    return row[0]
