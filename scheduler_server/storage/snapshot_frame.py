r"""The bytes of a snapshot, in a file or in Redis: header line, length-prefixed records, trailer line as the proof.

    {"format": "predictor", "version": 1, "created_at": 1795305600.0}\n
    5 hello\n                               length in bytes, a space, the record (any bytes), a newline
    {"records": 1, "sha256": "..."}\n       over everything before this line

Header and trailer keep this shape in every version: only so can an older server tell newer from damaged.
Both are written and read in pieces: 20 MB in one go would hold the interpreter lock, and with it the event loop,
for longer than an answer may take.
"""

import hashlib
import json
import math
from dataclasses import dataclass

_LONGEST_LINE_BYTES = 4096  # of a header or trailer; ours have about 100
_LONGEST_LENGTH = 16  # digits and the space of a record's length: a petabyte
_TRAILER_BEGINS = ord("{")  # where a record begins with a digit
_LONGEST_RECORD_BYTES = 16 << 20  # ours have below a kilobyte; bounds what a damaged length makes us collect


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
    """One record as it stands in the file. ValueError for one that nobody would read back."""
    if len(record) > _LONGEST_RECORD_BYTES:
        raise ValueError(f"a record of {len(record)} bytes is longer than {_LONGEST_RECORD_BYTES}")
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


class Unframer:
    """Reads a snapshot from pieces of any size: `feed` them in order, then `finish`.

    Nothing may be used before `finish` has returned: until then the bytes are not proven. Bytes that stop making
    sense are treated as bytes whose checksum does not fit, because none that was made over what was written does.
    """

    def __init__(self, expected: str, newest: int) -> None:
        self._expected = expected
        self._newest = newest
        self._rest = b""  # begins where a line or a record does
        self._hash = hashlib.sha256()
        self._records: list[bytes] = []
        self._header: Header | None = None
        self.size_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece. Raises Damaged or NewerVersion as soon as that is certain."""
        self.size_bytes += len(data)
        data, end = self._rest + data, 0
        if self._header is None:
            if b"\n" not in data and len(data) < _LONGEST_LINE_BYTES:
                self._rest = data
                return
            self._header = read_header(data, self._expected, self._newest)
            end = data.index(b"\n") + 1
        records, size = self._records, len(data)
        while end < size and data[end] != _TRAILER_BEGINS:
            space = data.find(b" ", end, end + _LONGEST_LENGTH)
            if space < 0:
                if size - end >= _LONGEST_LENGTH:
                    raise Damaged("its checksum does not fit")
                break
            digits = data[end:space]
            if not digits.isdigit():
                raise Damaged("its checksum does not fit")
            after = space + 1 + int(digits)
            if after >= size:
                if int(digits) > _LONGEST_RECORD_BYTES:
                    raise Damaged("its checksum does not fit")
                break
            records.append(data[space + 1 : after])
            end = after + 1
        if end < size and data[end] == _TRAILER_BEGINS and size - end > _LONGEST_LINE_BYTES:
            raise Damaged("its trailer cannot be read")
        self._hash.update(memoryview(data)[:end])
        self._rest = data[end:]

    def finish(self) -> tuple[Header, list[bytes]]:
        """The header and the records, proven by count and checksum. Raises Damaged or NewerVersion."""
        if self._header is None:
            read_header(self._rest, self._expected, self._newest)
        last = self._rest
        try:
            trailer = json.loads(last[:_LONGEST_LINE_BYTES])
            count, proof = trailer["records"], trailer["sha256"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise Damaged("it ends before its trailer") from None
        if trailer_line(count, proof) != last:
            raise Damaged("its trailer cannot be read")
        if self._hash.hexdigest() != proof:
            raise Damaged("its checksum does not fit")
        if len(self._records) != count or self._header is None:
            raise Damaged(f"it has {len(self._records)} records instead of {count}")
        return self._header, self._records
