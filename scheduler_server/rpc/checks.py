"""Every limit of the contract, and the list of faults of one message."""

from collections.abc import Iterable
from math import isfinite
from typing import NamedTuple
from unicodedata import category

MAX_TEXT = 256
MAX_DETAIL = 4_096
MAX_NAMES = 64
MAX_EXCLUDED = 256
MAX_PAIRS = 64
MAX_ITEMS = 1_000
MAX_LEASES = 10_000
MAX_SLOTS = 10_000
MAX_QUEUE_DEPTH = 1_000_000
MAX_CONNECTION = 2**63 - 1
MAX_PAYLOAD_BYTES = 65_536
MAX_SPAN_S = 365 * 86_400.0
MAX_NANOS = 999_999_999
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799  # the years 1 to 9999, as protobuf has it
MAX_CLOCK_AHEAD_S = 86_400.0
"""A worker's clock may be a day ahead of ours: skew is its own business, microseconds sent as milliseconds are not."""

MAX_FAULTS = 20
"""Faults told at once: errors travel in trailers, whose limit is 8 KiB with most clients."""


class Fault(NamedTuple):
    """One thing that is wrong: where, and what."""

    field: str
    description: str


class Faults(Exception):
    """Everything that is wrong with one message."""

    def __init__(self, faults: list[Fault]) -> None:
        more = f"{len(faults)} faults, among them: " if len(faults) > MAX_FAULTS else ""
        super().__init__(more + "; ".join(f"{fault.field}: {fault.description}" for fault in faults[:MAX_FAULTS]))
        self.faults = faults[:MAX_FAULTS]


class Checker:
    """Collects faults; `done` raises them all."""

    __slots__ = ("faults",)

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def fault(self, field: str, description: str) -> None:
        """Note one fault."""
        self.faults.append(Fault(field, description))

    def done(self) -> None:
        """Raise what was found, if anything was."""
        if self.faults:
            raise Faults(self.faults)

    def text(self, field: str, value: str, *, required: bool = False, limit: int = MAX_TEXT) -> None:
        """An id or a name: at most `limit` characters, none of them a control character."""
        if not value:
            if required:
                self.fault(field, "is required")
            return
        if len(value) > limit:
            self.fault(field, f"has {len(value)} characters; the limit is {limit}")
        elif not value.isprintable():
            for at, each in enumerate(value):
                if category(each) == "Cc":
                    self.fault(field, f"has the control character U+{ord(each):04X} at position {at}")
                    return

    def names(self, field: str, values: Iterable[str], limit: int = MAX_NAMES) -> tuple[str, ...]:
        """A set of names: sorted, without doubles."""
        listed = list(values)
        if len(listed) > limit:
            self.fault(field, f"has {len(listed)} entries; the limit is {limit}")
            return ()
        for at, value in enumerate(listed):
            self.text(f"{field}[{at}]", value, required=True)
        return tuple(sorted(set(listed)))

    def pairs(self, field: str, values: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """Labels: names to values."""
        listed = sorted(values)
        if len(listed) > MAX_PAIRS:
            self.fault(field, f"has {len(listed)} entries; the limit is {MAX_PAIRS}")
            return ()
        for name, value in listed:
            if not name:
                self.fault(field, "has an empty name")
            self.text(f"{field}[{name[:MAX_TEXT]!r}]", name)
            self.text(f"{field}[{name[:MAX_TEXT]!r}]", value)
        return tuple(listed)

    def numbers(
        self, field: str, values: Iterable[tuple[str, float]], *, negative: bool
    ) -> tuple[tuple[str, float], ...]:
        """Names to finite numbers."""
        listed = sorted(values)
        if len(listed) > MAX_PAIRS:
            self.fault(field, f"has {len(listed)} entries; the limit is {MAX_PAIRS}")
            return ()
        for name, value in listed:
            where = f"{field}[{name[:MAX_TEXT]!r}]"
            if not name:
                self.fault(field, "has an empty name")
            self.text(where, name)
            if not isfinite(value):
                self.fault(where, f"must be a finite number (got {value})")
            elif value < 0 and not negative:
                self.fault(where, f"must not be negative (got {value:g})")
        return tuple(listed)

    def share(self, field: str, value: float) -> float:
        """A share 0-1, rounded to 1e-6: 0.9 arrives as 0.8999999762."""
        if not 0.0 <= value <= 1.0:  # NaN is in no range
            self.fault(field, f"must be between 0 and 1 (got {value:g})")
            return 0.0
        return round(value, 6)

    def count(self, field: str, value: int, least: int, most: int) -> int:
        """A whole number within limits."""
        if not least <= value <= most:
            self.fault(field, f"must be between {least:,} and {most:,} (got {value:,})")
        return value

    def span_s(self, field: str, seconds: int, nanos: int, *, above_zero: bool = False) -> float:
        """A Duration of 0 to a year, in seconds."""
        if not -MAX_NANOS <= nanos <= MAX_NANOS or (seconds > 0 > nanos) or (seconds < 0 < nanos):
            self.fault(field, "is not a valid Duration: nanos out of range or of the other sign")
            return 0.0
        value = seconds + nanos / 1e9
        if value < 0 or value > MAX_SPAN_S or (above_zero and value == 0):
            lowest = "above 0" if above_zero else "at least 0"
            self.fault(field, f"must be {lowest} and at most a year, {MAX_SPAN_S:.0f} s (got {value:g} s)")
            return 0.0
        return value

    def instant_s(self, field: str, seconds: int, nanos: int) -> float:
        """A Timestamp in the years 1 to 9999, in seconds since 1970."""
        if not (FIRST_SECOND <= seconds <= LAST_SECOND and 0 <= nanos <= MAX_NANOS):
            self.fault(field, "is not a valid Timestamp: outside the years 1 to 9999")
            return 0.0
        return seconds + nanos / 1e9

    def choice(self, field: str, value: int, known: Iterable[int], names: str) -> int:
        """A number of an enumeration."""
        if value not in known:
            self.fault(field, f"has no meaning in {names} (got {value})")
        return value
