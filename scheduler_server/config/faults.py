"""What is wrong with a configuration: all of it at once, one line each."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One line for the operator.

    `where` is a setting's path, or the flag, variable or file that is wrong; `evidence` is what stands in
    parentheses, already safe to print: `got -3, from environment SCHEDULER_HEALTH_UNHEALTHY_AFTER_S`.
    """

    where: str
    message: str
    evidence: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f" ({self.evidence})" if self.evidence else "")


class ConfigError(Exception):
    """The configuration cannot be used. `faults` has every reason; `str()` is one line per fault.

    Whoever calls `load` prints it and exits with code 2: no default stands in for a setting that is wrong.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class BadValue(ValueError):
    """A value that its type refuses; the text is the message of the fault. Never leaves this package."""


def suggestion(unknown: str, known: Sequence[str]) -> str:
    """`; did you mean X?` for the nearest known name, or "" where none is near."""
    near = difflib.get_close_matches(unknown, known, n=1, cutoff=0.7)  # 0.6, the default, finds cousins too
    return f"; did you mean {near[0]}?" if near else ""
