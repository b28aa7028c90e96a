r"""The bytes of a snapshot file: a header line, length-prefixed records, a trailer line that proves them.

    {"format": "predictor", "version": 1, "created_at": 1795305600.0}\n
    5 hello\n                               length in bytes, a space, the record (any bytes), a newline
    {"records": 1, "sha256": "..."}\n       over everything before this line

Header and trailer keep this shape in every version: only so can an older server tell newer from damaged.
"""

import hashlib
import json
import math
from dataclasses import dataclass

_LONGEST_LINE_BYTES = 4096  # of a header or trailer; ours have about 100


class Damaged(Exception):
    """These bytes are no whole snapshot; the text says how one can tell."""


class NewerVersion(Exception):
    """These bytes claim a version that this server does not know yet. `version` is that number."""

    def __init__(self, version: int) -> None:
        self.version = version
        super().__init__(f"has version {version}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """`created_at` in seconds since 1970."""

    format: str
    version: int
    created_at: float


def header_line(header: Header) -> bytes:
    """The first line of a file."""
    fields = {"format": header.format, "version": header.version, "created_at": header.created_at}
    return json.dumps(fields, allow_nan=False).encode() + b"\n"


def framed(record: bytes) -> bytes:
    """One record as it stands in the file."""
    return b"%d %b\n" % (len(record), record)


def trailer_line(records: int, sha256: str) -> bytes:
    """The last line of a file."""
    return json.dumps({"records": records, "sha256": sha256}).encode() + b"\n"


def read_header(data: bytes, expected: str, newest: int) -> Header:
    """The header of `data`; raises Damaged, or NewerVersion above `newest`."""
    try:
        fields = json.loads(data[: data.index(b"\n", 0, _LONGEST_LINE_BYTES)])
        # By name: a newer version may say more.
        found = Header(format=fields["format"], version=fields["version"], created_at=fields["created_at"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Damaged("its header cannot be read") from None
    if found.format != expected:
        raise Damaged(f"its header says format {str(found.format)[:64]!r} instead of {expected!r}")
    if type(found.version) is not int or found.version < 1:
        raise Damaged("its header has no version")
    if found.version > newest:
        raise NewerVersion(found.version)
    if type(found.created_at) not in (int, float) or not math.isfinite(found.created_at):
        raise Damaged("its header has no time")
    return found


def parse(data: bytes, expected: str, newest: int) -> tuple[Header, list[bytes]]:
    """The header and the records of `data`, proven by count and checksum; raises Damaged or NewerVersion."""
    header = read_header(data, expected, newest)
    start = data.rfind(b"\n", 0, len(data) - 1) + 1
    try:
        trailer = json.loads(data[start : start + _LONGEST_LINE_BYTES])
        count, proof = trailer["records"], trailer["sha256"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Damaged("it ends before its trailer") from None
    if not data.endswith(b"\n") or trailer_line(count, proof) != data[start:]:
        raise Damaged("its trailer cannot be read")
    if hashlib.sha256(memoryview(data)[:start]).hexdigest() != proof:
        raise Damaged("its checksum does not fit")
    records = []
    at, end = data.index(b"\n") + 1, start
    while at < end:  # proven by now: what follows is as it was written
        space = data.index(b" ", at, end)
        after = space + 1 + int(data[at:space])
        records.append(data[space + 1 : after])
        at = after + 1
    if len(records) != count:
        raise Damaged(f"it has {len(records)} records instead of {count}")
    return header, records
