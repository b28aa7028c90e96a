"""Is a figure well, worth a look, or bad? Thresholds as monitoring writes them."""

import argparse
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """The exit codes that Nagios and its kin agreed on."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


WORST = (Level.OK, Level.UNKNOWN, Level.WARNING, Level.CRITICAL)
"""From best to worst: what is bad is said before what is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Above `warning` it is worth a look, above `critical` bad; for figures of which less is worse, below them.

    None: never. A limit itself is still well, as monitoring's ranges have it.
    """

    warning: float | None = None
    critical: float | None = None
    less_is_worse: bool = False

    def level(self, value: float) -> Level:
        """How `value` is."""
        for level, limit in ((Level.CRITICAL, self.critical), (Level.WARNING, self.warning)):
            if limit is not None and (value < limit if self.less_is_worse else value > limit):
                return level
        return Level.OK

    def said(self) -> str:
        """As one types them."""
        if self.warning is None and self.critical is None:
            return "off"
        warning, critical = ("" if limit is None else f"{limit:g}" for limit in (self.warning, self.critical))
        return f"{warning}:{critical}" if critical else warning


_LIMITS = re.compile(r"([0-9.]*)(?::([0-9.]*))?")


def limits(*, less_is_worse: bool = False) -> Callable[[str], Limits]:
    """A reader of "WARNING:CRITICAL", each of which may be missing; "off" is neither."""

    def read(said: str) -> Limits:
        if said == "off":
            return Limits(less_is_worse=less_is_worse)
        found = _LIMITS.fullmatch(said)
        try:
            if found is None or not any(found.groups()):
                raise ValueError
            warning, critical = (float(each) if each else None for each in found.groups())
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"must be WARNING:CRITICAL such as 0.8:0.95, or off, not {said!r}"
            ) from None
        if warning is not None and critical is not None and (warning - critical) * (-1 if less_is_worse else 1) > 0:
            raise argparse.ArgumentTypeError(f"CRITICAL is reached before WARNING: {said!r}")
        return Limits(warning=warning, critical=critical, less_is_worse=less_is_worse)

    return read


def performance(name: str, value: float, limits: Limits, unit: str = "") -> str:
    """A figure as monitoring stores it: name=value[unit];warning;critical."""

    def said(number: float | None) -> str:
        return "" if number is None or not math.isfinite(number) else f"{number:g}"

    if limits.less_is_worse:  # a range that alerts below: "limit:"
        bounds = [f"{said(each)}:" if each is not None else "" for each in (limits.warning, limits.critical)]
    else:
        bounds = [said(limits.warning), said(limits.critical)]
    return f"{name}={said(value) or 'U'}{unit};{';'.join(bounds)}"
