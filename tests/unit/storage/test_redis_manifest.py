"""A pointer is whole, newer, or damaged; never half believed."""

import json

import pytest

from scheduler_server.storage.redis_manifest import Manifest, chunks_named, proof_of, read_manifest, write_manifest
from scheduler_server.storage.snapshot_frame import Damaged, NewerVersion

MANIFEST = Manifest(
    format="f",
    version=3,
    generation="0000000001000-0123abcd",
    chunks=2,
    created_at=1.5,
    records=7,
    size_bytes=99,
    server="abc",
    proofs=(proof_of(b"one"), proof_of(b"two")),
)


def signed(line: dict[str, object]) -> bytes:
    """A pointer as another version, or a careless hand, would write it."""
    whole = write_manifest(MANIFEST)
    first = json.dumps({**json.loads(whole.split(b"\n")[0]), **line}).encode() + b"\n"
    import hashlib

    return first + json.dumps({"sha256": hashlib.sha256(first).hexdigest()}).encode() + b"\n"


def test_what_was_written_is_read() -> None:
    assert read_manifest(write_manifest(MANIFEST), "f", 3) == MANIFEST
    assert read_manifest(write_manifest(MANIFEST), "f", 4) == MANIFEST


def test_a_newer_version_is_told_whatever_else_it_says() -> None:
    with pytest.raises(NewerVersion) as caught:
        read_manifest(signed({"version": 4, "proofs": None, "more": True}), "f", 3)
    assert caught.value.version == 4


def test_any_cut_and_any_flipped_bit_is_damage() -> None:
    whole = write_manifest(MANIFEST)
    for length in range(len(whole)):
        with pytest.raises(Damaged):
            read_manifest(whole[:length], "f", 3)
    for position in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(Damaged):
            read_manifest(bytes(flipped), "f", 3)


@pytest.mark.parametrize(
    "line",
    [
        {"format": "other"},
        {"version": 0},
        {"version": True},
        {"chunks": 0},
        {"chunks": 3},
        {"chunks": 100_001},
        {"generation": "../x"},
        {"records": -1},
        {"size_bytes": "9"},
        {"proofs": [1, 2]},
        {"server": 5},
        {"created_at": "now"},
        {"extra": 1},
    ],
    ids=str,
)
def test_fields_that_make_no_sense_are_damage_even_with_a_checksum(line: dict[str, object]) -> None:
    with pytest.raises(Damaged):
        read_manifest(signed(line), "f", 3)


def test_the_chunks_of_a_newer_or_damaged_pointer_are_still_found() -> None:
    assert chunks_named(write_manifest(MANIFEST)) == (MANIFEST.generation, 2)
    assert chunks_named(signed({"version": 9})) == (MANIFEST.generation, 2)
    assert chunks_named(write_manifest(MANIFEST)[:-40]) == (MANIFEST.generation, 2)
    assert chunks_named(b"whatever") is None
    assert chunks_named(signed({"chunks": 100_001})) is None
