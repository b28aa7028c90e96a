"""Values of the model as JSON and back, by their own annotations."""

import json
from enum import Enum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_T = TypeVar("_T")

_HINTS: dict[type, dict[str, Any]] = {}


def to_text(value: Any) -> str:
    """A value of NamedTuples, enumerations and tuples as JSON: lists, numbers, strings; bytes become hex text.

    json's own encoder takes NamedTuples and IntEnums as they are, so this runs at the speed of C.
    """
    return json.dumps(value, separators=(",", ":"), default=_hex)


def _hex(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} is not a value of the model")


def from_plain(kind: Any, value: Any) -> Any:
    """The value of this type whose JSON this was read from; ValueError or TypeError where it cannot be."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        options = get_args(kind)
        if value is None and NoneType in options:
            return None
        return from_plain(next(option for option in options if option is not NoneType), value)
    if origin is tuple:
        args = get_args(kind)
        if len(args) == 2 and args[1] is Ellipsis:  # noqa: PLR2004 -- tuple[X, ...]
            return tuple(from_plain(args[0], each) for each in value)
        return tuple(from_plain(arg, each) for arg, each in zip(args, value, strict=True))
    if isinstance(kind, type):
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            hints = _HINTS.get(kind) or _HINTS.setdefault(kind, get_type_hints(kind))
            return kind(
                *(from_plain(hints[name], each) for name, each in zip(kind._fields, value, strict=True))
            )
        if issubclass(kind, Enum):
            return kind(value)
        if kind is bytes:
            return bytes.fromhex(value)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not isinstance(value, kind):
            raise ValueError(f"expected {kind.__name__}, got {value!r}")
    return value
