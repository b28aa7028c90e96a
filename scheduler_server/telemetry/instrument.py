"""What an instrument is: one row of the table."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from math import prod


class Kind(Enum):
    """How values are to be understood."""

    COUNTER = "counter"
    UP_DOWN_COUNTER = "up-down counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Label:
    """A dimension, and the only values that it has: these, and at most so many more that a setting names."""

    name: str
    values: tuple[str, ...]
    named_by: str = ""
    most_named: int = 0

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus' text format."""
        return self.name.replace(".", "_")


@dataclass(frozen=True, slots=True)
class Instrument:
    """One row. `unit` is UCUM's (s, By, 1), in braces where things are counted.

    `absent` tells when there is nothing to export; without it the instrument is always there, with every value of its
    labels from the start, so that a rate can be taken of the first event.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    labels: tuple[Label, ...] = ()
    absent: str = ""

    @property
    def most_series(self) -> int:
        """More series than this it never has; a histogram's buckets belong to one."""
        return prod(len(label.values) + label.most_named for label in self.labels)

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus' text format; a histogram's samples append to it what HISTOGRAM_SAMPLES says."""
        unit = _UNITS.get(self.unit, "")
        name = self.name.replace(".", "_")
        return name + (f"_{unit}" if unit else "") + ("_total" if self.kind is Kind.COUNTER else "")


_UNITS = {"s": "seconds", "By": "bytes"}

HISTOGRAM_SAMPLES = ("_bucket", "_sum", "_count")


def name_of(member: Enum) -> str:
    """How a member of a closed set is called in a label."""
    return member.name.lower()


def label(name: str, values: Iterable[Enum | str]) -> Label:
    """A label whose values are those of a closed set."""
    return Label(name, tuple(value if isinstance(value, str) else name_of(value) for value in values))
