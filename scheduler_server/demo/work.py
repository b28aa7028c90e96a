"""What tasks really do: compress, hash, sort, parse, blur, resize, or wait for somebody else's disk.

A task is a chunk of data and how many units of work to do on it; each unit handles the whole chunk. The answer is a
digest of a unit's output, so that whoever sent the task can tell whether it was really done.
"""

import csv
import hashlib
import io
import json
import lzma
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

_HEADER = struct.Struct("!I")  # units; the chunk follows
_SIDE = 96  # of an image, pixels: 9 KiB, and a quarter of a millisecond to blur
_VERSIONS = 8  # resized versions per unit, so that a unit takes as long as that of other kinds
CALIBRATE_S = 0.02  # CPU time per kind: long against the clock's grain, short for somebody who waits
WAIT_S = 0.005  # one unit of waiting, at speed 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A task type. `mean` is its mean duration relative to other kinds', `spread` the sigma of its log-normal sizes."""

    task_type: str
    share: float
    mean: float
    spread: float
    requires: tuple[str, ...] = ()
    chunk: Callable[[Random], bytes]
    unit: Callable[[bytes], bytes] | None  # None: it only waits


def _log_text(random: Random, lines: int) -> bytes:
    paths = ("/", "/cart", "/search", "/item", "/login", "/static/app.js")
    return b"".join(
        b"10.0.%d.%d GET %s %d %d\n"
        % (random.randrange(8), random.randrange(256), random.choice(paths).encode(), 200, random.randrange(9000))
        for _ in range(lines)
    )


def _records(random: Random) -> list[dict[str, object]]:
    return [
        {"id": number, "name": f"n{random.randrange(10**6)}", "price": random.random(), "tags": ["a", "b"]}
        for number in range(80)
    ]


def _csv_text(random: Random) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(
        (number, f"n{random.randrange(10**6)}", f"{random.random():.6f}") for number in range(300)
    )
    return text.getvalue().encode()


def _hash(chunk: bytes) -> bytes:
    digest = hashlib.sha256()
    for _ in range(16):
        digest.update(chunk)
    return digest.digest()


def _sort(chunk: bytes) -> bytes:
    pairs = [(line.rpartition(b" ")[2], line) for line in chunk.splitlines()]
    return b"\n".join(line for _, line in sorted(pairs))


def _parse_json(chunk: bytes) -> bytes:
    rows = json.loads(chunk)
    return b"%d %.6f" % (len(rows), sum(row["price"] for row in rows))


def _parse_csv(chunk: bytes) -> bytes:
    rows = list(csv.reader(io.StringIO(chunk.decode())))
    return b"%d %.6f" % (len(rows), sum(float(row[2]) for row in rows))


def _image(chunk: bytes) -> NDArray[np.float32]:
    return np.frombuffer(chunk, np.uint8).reshape(_SIDE, _SIDE).astype(np.float32)


def _blur(chunk: bytes) -> bytes:
    image = _image(chunk)
    for axis in (0, 1):  # a box blur is separable: 9 shifted sums per axis
        image = sum((np.roll(image, step, axis) for step in range(-4, 5)), np.zeros_like(image)) / np.float32(9)
    blurred: bytes = np.rint(image).astype(np.uint8).tobytes()
    return blurred


def _resize(chunk: bytes) -> bytes:
    image = _image(chunk)
    at = np.linspace(0, _SIDE - 1, 64)
    low = np.minimum(at.astype(int), _SIDE - 2)
    part = (at - low).astype(np.float32)
    both = image
    for _ in range(_VERSIONS):
        rows = image[low] * (1 - part)[:, None] + image[low + 1] * part[:, None]
        both = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    smaller: bytes = np.rint(both).astype(np.uint8).tobytes()
    return smaller


# Sizes are uneven within a type and far more so between types: a few long ones carry much of the work.
KINDS: Final = (
    Kind(
        task_type="hash-file", share=0.17, mean=0.25, spread=0.1, chunk=lambda r: r.randbytes(16384), unit=_hash,
    ),
    Kind(
        task_type="compress-log", share=0.16, mean=0.5, spread=0.15, chunk=lambda r: _log_text(r, 400),
        unit=lambda chunk: zlib.compress(chunk, 6),
    ),
    Kind(
        task_type="parse-json", share=0.14, mean=0.3, spread=0.1,
        chunk=lambda r: json.dumps(_records(r)).encode(), unit=_parse_json,
    ),
    Kind(task_type="parse-csv", share=0.10, mean=0.4, spread=0.15, chunk=_csv_text, unit=_parse_csv),
    Kind(
        task_type="sort-records", share=0.11, mean=0.4, spread=0.4, chunk=lambda r: _log_text(r, 400), unit=_sort,
    ),
    Kind(
        task_type="blur-image", share=0.08, mean=0.8, spread=0.15, requires=("image",),
        chunk=lambda r: r.randbytes(_SIDE * _SIDE), unit=_blur,
    ),
    Kind(
        task_type="resize-image", share=0.08, mean=0.4, spread=0.15, requires=("image",),
        chunk=lambda r: r.randbytes(_SIDE * _SIDE), unit=_resize,
    ),
    Kind(
        task_type="archive-folder", share=0.04, mean=3.0, spread=0.5, requires=("archive",),
        chunk=lambda r: _log_text(r, 100), unit=lambda chunk: lzma.compress(chunk, preset=0),
    ),
    Kind(task_type="fetch-object", share=0.08, mean=0.8, spread=0.3, chunk=lambda r: r.randbytes(64), unit=None),
    Kind(
        task_type="sync-backup", share=0.04, mean=2.5, spread=0.6, requires=("fast-disk",),
        chunk=lambda r: r.randbytes(64), unit=None,
    ),
)  # fmt: skip

BY_TYPE: Final[Mapping[str, Kind]] = {kind.task_type: kind for kind in KINDS}


def pack(units: int, chunk: bytes) -> bytes:
    """The payload of a task."""
    return _HEADER.pack(units) + chunk


def unpack(payload: bytes) -> tuple[int, bytes]:
    """Units and chunk of a payload."""
    return _HEADER.unpack_from(payload)[0], payload[_HEADER.size :]


def digest(kind: Kind, chunk: bytes) -> bytes:
    """What a task of this kind answers. Waiting answers with what it waited for."""
    return hashlib.sha256(chunk if kind.unit is None else kind.unit(chunk)).digest()


def unit_cost_s(kind: Kind, chunk: bytes) -> float:
    """CPU seconds per unit on this machine; for a kind that waits, seconds to wait."""
    if kind.unit is None:
        return WAIT_S
    kind.unit(chunk)  # the first time pays for imports and caches
    began = time.thread_time()
    units = 0
    while (used_s := time.thread_time() - began) < CALIBRATE_S:
        kind.unit(chunk)
        units += 1
    return used_s / units
