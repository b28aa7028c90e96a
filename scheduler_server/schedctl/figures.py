"""Figures as people read them. What is absent is a dash; nothing here rounds a fault away to "100%"."""

from datetime import UTC, datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

ABSENT = "-"

Kind = Any
"""An enum of the contract. The stubs have each as a class of its own, with nothing in common."""

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_STEP = 1_024


def seconds_of(message: Duration | Timestamp) -> float:
    """A span, or an instant since 1970, in seconds."""
    return message.seconds + message.nanos / 1e9


def span(seconds: float) -> str:
    """A span in the two units that matter: 0.42s, 12s, 3m05s, 2h10m, 4d03h. Below 0 with its sign."""
    if seconds < 0:
        return f"-{span(-seconds)}"
    if seconds < 9.995:  # noqa: PLR2004 -- what would be rounded to 10.00
        return f"{seconds:.2f}s" if seconds else "0s"
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole}s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}m{whole % _MINUTE_S:02}s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S}h{whole % _HOUR_S // _MINUTE_S:02}m"
    return f"{whole // _DAY_S}d{whole % _DAY_S // _HOUR_S:02}h"


def span_in(message: Message, field: str) -> str:
    """A Duration in a field, or a dash."""
    return span(seconds_of(getattr(message, field))) if message.HasField(field) else ABSENT


def instant(message: Timestamp) -> str:
    """An instant to the millisecond, in UTC; a dash beyond the years 1 to 9999."""
    moment = _moment(message)
    return ABSENT if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1_000:03}Z"


def time_of_day(message: Timestamp) -> str:
    """The same without its day and thousandths."""
    moment = _moment(message)
    return ABSENT if moment is None else f"{moment:%H:%M:%S}"


def instant_in(message: Message, field: str, now: float | None = None) -> str:
    """A Timestamp in a field, with how far it is from `now` (seconds since 1970); or a dash."""
    if not message.HasField(field):
        return ABSENT
    said = getattr(message, field)
    return instant(said) if now is None else f"{instant(said)} ({distance(seconds_of(said) - now)})"


def distance(seconds: float) -> str:
    """How far away: "3m05s ago", "in 12s"."""
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"


def _moment(message: Timestamp) -> datetime | None:
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def share(value: float) -> str:
    """A share as percent. What is not all is not 100 %, what is something not 0 %."""
    percent = value * 100
    if 99.5 <= percent < 100:  # noqa: PLR2004 -- percent
        return ">99%"
    return "<1%" if 0 < percent <= 0.5 else f"{percent:.0f}%"  # noqa: PLR2004 -- percent


def share_in(message: Message, field: str) -> str:
    """A share in an optional field, or a dash."""
    return share(getattr(message, field)) if message.HasField(field) else ABSENT


def number_in(message: Message, field: str, form: str = ".2f") -> str:
    """A number in an optional field, or a dash."""
    return format(getattr(message, field), form) if message.HasField(field) else ABSENT


def count(value: int) -> str:
    """A count, with commas."""
    return f"{value:,}"


def counted(value: int, noun: str, plural: str = "") -> str:
    """So many of them: "1 worker", "5,000 workers"; `plural` where it is not the noun and an s."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def size(value: int) -> str:
    """Bytes: 512 B, 2.0 KiB, 3.4 MiB."""
    if value < _STEP:
        return f"{value} B"
    amount = float(value)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= _STEP
        if amount < _STEP:
            return f"{amount:.1f} {unit}"
    return f"{amount / _STEP:.1f} TiB"


def word(kind: Kind, value: int) -> str:
    """A value of an enum as one says it; the number of one that a newer server has added; "" for unspecified."""
    return name(kind, value).lower().replace("_", " ")


def name(kind: Kind, value: int) -> str:
    """The value's name without its enum's prefix."""
    if not value:
        return ""
    prefix = prefix_of(kind)
    try:
        return str(kind.Name(value)).removeprefix(prefix)
    except ValueError:
        return f"{prefix}{value}"


def names(kind: Kind) -> list[str]:
    """All of them, as one types them: lower case, without the prefix."""
    return [name(kind, value).lower() for value in kind.values() if value]


def value_of(kind: Kind, typed: str) -> int:
    """What `names` lists, back to its value. Raises ValueError."""
    return int(kind.Value(prefix_of(kind) + typed.upper().replace("-", "_").replace(" ", "_")))


def prefix_of(kind: Kind) -> str:
    """What the names of an enum begin with."""
    return str(kind.Name(0)).removesuffix("UNSPECIFIED")
