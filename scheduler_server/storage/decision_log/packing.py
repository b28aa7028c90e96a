"""Entries into bytes, many at a time and in C, and bytes into what `flatten` makes rows of.

What was handed over on the loop leaves the server's interpreter this way: 1 us an entry, where making rows of it and
writing them takes 20. A parcel is a batch before it has rows: its entries are numbered from `first`, and the same
number of the same run is the same batch.
"""

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, NamedTuple

import msgspec

from scheduler_server.storage.decision_log.entries import Audited, Decided, Finished, Happened, Sampled, Shadowed
from scheduler_server.storage.decision_log.rows import Table

KINDS: tuple[type, ...] = (Decided, Finished, Sampled, Happened, Shadowed, Audited)
"""What can be handed over. A parcel names an entry's kind by its place here."""

MAIN: dict[type, Table] = {
    Decided: Table.DECISIONS,
    Finished: Table.OUTCOMES,
    Sampled: Table.HEARTBEATS,
    Happened: Table.EVENTS,
    Shadowed: Table.SHADOW,
    Audited: Table.AUDIT,
}
"""The table in which an entry has exactly one row: entries are counted by it."""

_TAGS = {kind: at for at, kind in enumerate(KINDS)}
_NONE = 255  # stands for an entry that cannot be packed, so that those behind it keep their numbers


class Parcel(NamedTuple):
    """Packed entries that are stored together. `again`: an earlier try may have stored them."""

    incarnation: str
    number: int
    first: int
    again: bool
    slices: list[bytes]


class Slice(NamedTuple):
    """Some packed entries: how many of each table, and which could not be packed, with the reason."""

    body: bytes
    counts: dict[Table, int]
    refused: list[tuple[Table, str]]


def pack(entries: list[Any]) -> Slice:
    """Pack entries. One that has a value of no known type is left out."""
    refused: list[tuple[Table, str]] = []
    try:
        tags = bytes([_TAGS[type(entry)] for entry in entries])
        body = _ENCODER.encode((tags, entries))
    except Exception:  # noqa: BLE001 -- one bad value must not hold up all others: one by one
        tags, kept = _one_by_one(entries, refused)
        body = _ENCODER.encode((tags, kept))
    return Slice(body, {MAIN[kind]: count for at, kind in enumerate(KINDS) if (count := tags.count(at))}, refused)


def unpack(parcel: Parcel) -> Iterator[tuple[int, type, list[Any]]]:
    """Number, kind and fields of every entry, tuples having become lists. Entries that were left out are left out."""
    number = parcel.first
    for body in parcel.slices:
        tags, entries = _DECODER.decode(body)
        for tag, entry in zip(tags, entries, strict=True):
            if tag != _NONE:
                yield number, KINDS[tag], entry
            number += 1


def _one_by_one(entries: list[Any], refused: list[tuple[Table, str]]) -> tuple[bytes, list[Any]]:
    tags, kept = bytearray(), []
    for entry in entries:
        try:
            tag = _TAGS[type(entry)]
            _ENCODER.encode(entry)
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with it
            why = f"{type(entry).__name__}: {error}"
            refused.append((MAIN.get(type(entry), Table.EVENTS), why))
            tag, entry = _NONE, None  # noqa: PLW2901 -- its place stays
        tags.append(tag)
        kept.append(entry)
    return bytes(tags), kept


def _plain(value: Any) -> Any:
    """A number of a library (numpy's are such) as what it is."""
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"a value of type {type(value).__name__} cannot be kept")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
_DECODER = msgspec.msgpack.Decoder(tuple[bytes, list[Any]])
