"""Where a value came from, in the words of whoever has to change it."""

from dataclasses import dataclass
from enum import Enum

from scheduler_server.config.text import printable


class Source(Enum):
    """The six sources, weakest first; a later one wins over an earlier one."""

    DEFAULT = "default"
    PROFILE = "profile"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Origin:
    """One source and its name: that of the profile, the file, the variable, the flag; "" for a default or update."""

    source: Source
    name: str = ""

    def __str__(self) -> str:
        return f"{self.source.value} {printable(self.name)}" if self.name else self.source.value


DEFAULT = Origin(Source.DEFAULT)
UPDATE = Origin(Source.UPDATE)
"""A change while the server ran."""
