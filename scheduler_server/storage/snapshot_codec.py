"""Records to bytes and back, in steps so short that the event loop does not notice."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

STEP_S = 0.000_5
"""Work on the loop between two of its turns: half of the millisecond that nothing may hold it for."""

_LOOK_EVERY = 16  # records between two looks at the clock: a record takes 2 to 20 us
_MOST_RECORDS = 2_000  # of one step, so that what the thread does with it under the interpreter lock is as short

_ENCODE = msgspec.json.Encoder()
_DECODE = msgspec.json.Decoder()

Record = dict[str, Any]


class Encoder:
    """Encodes records as JSON, ten times faster than the standard library, and counts those it cannot.

    Numbers are to be finite: JSON has no others, and they come back as None.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.left_out = 0

    def steps(self, records: Iterable[Record]) -> Iterator[list[bytes]]:
        """Encoded records, as many at a time as `STEP_S` allows to make and to encode."""
        step: list[bytes] = []
        until = self._clock() + STEP_S
        for record in records:
            try:
                step.append(_encode(record))
            except (ValueError, TypeError, OverflowError, RecursionError):
                self.left_out += 1
            if len(step) % _LOOK_EVERY == 0 and (len(step) >= _MOST_RECORDS or self._clock() >= until):
                yield step
                step = []
                until = self._clock() + STEP_S
        if step:
            yield step


def decode(record: bytes) -> Record:
    """One record; what is none is one of an unknown part, which whoever restores tells and leaves out."""
    try:
        found = _DECODE.decode(record)
    except (ValueError, RecursionError):
        try:
            found = json.loads(record)  # earlier versions wrote NaN and Infinity, which are no JSON
        except (ValueError, RecursionError):
            found = None
    return found if isinstance(found, dict) else {"part": "unreadable"}


def steps_of(records: Iterable[bytes], clock: Callable[[], float] = time.perf_counter) -> Iterator[Iterator[Record]]:
    """Decoded records in steps of `STEP_S`, the consumer's work included: use each step up before the next."""
    iterator = iter(records)
    more = True

    def step() -> Iterator[Record]:
        nonlocal more
        until = clock() + STEP_S
        for number, record in enumerate(iterator, 1):
            yield decode(record)
            if number % _LOOK_EVERY == 0 and clock() >= until:
                return
        more = False

    while more:
        yield step()


def _encode(record: Record) -> bytes:
    try:
        return _ENCODE.encode(record)
    except (ValueError, TypeError, OverflowError):  # integers beyond 64 bits, lone surrogates: rare and harmless
        return json.dumps(record, separators=(",", ":")).encode()
