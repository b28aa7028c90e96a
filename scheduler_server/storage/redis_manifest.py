r"""What a pointer key in Redis holds: which generation is meant, and the proof of each of its chunks.

    {"format": "scheduler-snapshot", "version": 1, "generation": "1795305600000-1f2e3d4c", "chunks": 2, ...}\n
    {"sha256": "..."}\n                     over the line before this one

`format`, `version`, `generation`, `chunks` and the second line keep their shape in every version: only so can an
older server tell newer from damaged, and move a newer one aside without losing its chunks.
"""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from scheduler_server.storage.snapshot_frame import Damaged, NewerVersion

_GENERATION = re.compile(r"[0-9]{1,20}-[0-9a-f]{8}")
_FOUND = re.compile(rb'"generation": "([0-9]{1,20}-[0-9a-f]{8})".*?"chunks": ([0-9]{1,6})\b', re.DOTALL)
_MOST_CHUNKS = 100_000  # 25 GB of 256 KiB each: a count beyond is damage
_PROOF_BYTES = 8  # against accidents, not against enemies; the whole has a SHA-256 besides


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One generation. `created_at` in s since 1970; `server` is the incarnation that wrote it."""

    format: str
    version: int
    generation: str
    chunks: int
    created_at: float
    records: int
    size_bytes: int
    server: str
    proofs: tuple[str, ...]


def proof_of(chunk: bytes) -> str:
    """The checksum of one chunk."""
    return hashlib.blake2b(chunk, digest_size=_PROOF_BYTES).hexdigest()


def write_manifest(manifest: Manifest) -> bytes:
    """The value of a pointer key."""
    line = json.dumps(asdict(manifest), allow_nan=False).encode() + b"\n"
    return line + json.dumps({"sha256": hashlib.sha256(line).hexdigest()}).encode() + b"\n"


def read_manifest(data: bytes, expected: str, newest: int) -> Manifest:
    """The manifest in `data`; raises Damaged, or NewerVersion above `newest`."""
    line, found = _proven(data)
    if line.get("format") != expected:
        raise Damaged(f"it says format {str(line.get('format'))[:64]!r} instead of {expected!r}")
    if found[0] > newest:
        raise NewerVersion(found[0])
    try:
        manifest = Manifest(**{**line, "proofs": tuple(line["proofs"])})
    except TypeError:
        raise Damaged("its fields are not those of its version") from None
    counts = (manifest.records, manifest.size_bytes)
    if not (
        all(type(count) is int and count >= 0 for count in counts)
        and type(manifest.created_at) in (int, float)
        and math.isfinite(manifest.created_at)
        and len(manifest.proofs) == manifest.chunks
        and all(isinstance(proof, str) for proof in manifest.proofs)
        and isinstance(manifest.server, str)
    ):
        raise Damaged("its fields make no sense")
    return manifest


def chunks_named(data: bytes) -> tuple[str, int] | None:
    """Generation and number of chunks of a pointer of any version, damaged or not; None where they are lost."""
    found = _FOUND.search(data)
    if found is None or int(found[2]) > _MOST_CHUNKS:
        return None
    return found[1].decode(), int(found[2])


def _proven(data: bytes) -> tuple[dict[str, Any], tuple[int, str, int]]:
    """The first line with the three fields that every version has."""
    first, _, rest = data.partition(b"\n")
    proof = json.dumps({"sha256": hashlib.sha256(first + b"\n").hexdigest()}).encode() + b"\n"
    if rest != proof:
        raise Damaged("the checksum of its pointer does not fit")
    try:
        line = json.loads(first)
        version, generation, chunks = line["version"], line["generation"], line["chunks"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Damaged("its pointer cannot be read") from None
    if not (
        type(version) is int
        and version >= 1
        and isinstance(generation, str)
        and _GENERATION.fullmatch(generation)
        and type(chunks) is int
        and 0 < chunks <= _MOST_CHUNKS
    ):
        raise Damaged("its pointer makes no sense")
    return line, (version, generation, chunks)
