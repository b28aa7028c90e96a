"""The types a setting may have, and how text (flags, environment) and TOML become values of them.

Scalars: int, float, bool, str, Path, an Enum of strings. Over them: `X | None`, `tuple[X, ...]`,
`dict[str, X]`, `dict[str, tuple[X, ...]]`. As text, lists are `a,b` and maps `key=a,other=b`; in a map of
lists a key that comes again adds to its list (`gpu=render,gpu=train`). Every conversion raises `BadValue`
with the fault's message.
"""

import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from scheduler_server.config.faults import BadValue, suggestion

_WHOLE = re.compile(r"[+-]?[0-9][0-9_]*")
_LARGEST = 2**63 - 1  # what TOML promises for integers, and the widest integer on the wire
_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path"}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueType:
    """A scalar and what is around it: `listed` for tuples, `mapped` for maps, both for maps of tuples."""

    scalar: type[Any]
    optional: bool = False
    listed: bool = False
    mapped: bool = False

    @property
    def is_switch(self) -> bool:
        """A plain bool: its flag needs no value."""
        return self.scalar is bool and not (self.listed or self.mapped)

    @property
    def placeholder(self) -> str:
        """What stands for a value in `--help`: `INT`, `PATH,...`, `KEY=FLOAT,...`."""
        word = "|".join(_choices(self.scalar)) if issubclass(self.scalar, Enum) else self.scalar.__name__.upper()
        word = {"STR": "TEXT", "FLOAT": "NUMBER"}.get(word, word)
        return f"KEY={word},..." if self.mapped else f"{word},..." if self.listed else word

    @property
    def description(self) -> str:
        """The type in words, for the table of the documentation."""
        scalar = self.scalar
        word = f"one of {', '.join(_choices(scalar))}" if issubclass(scalar, Enum) else _WORDS[scalar]
        word = f"list of {word}" if self.listed else word
        return f"map to {word}" if self.mapped else f"{word}, or none" if self.optional else word


def value_type(annotation: Any) -> ValueType:
    """The `ValueType` of a field's annotation; TypeError for one that no source could fill."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        inner = [one for one in arguments if one is not types.NoneType]
        if len(inner) == 1 and len(arguments) == 2:  # noqa: PLR2004 -- X and None
            found = value_type(inner[0])
            if not (found.listed or found.mapped):
                return ValueType(scalar=found.scalar, optional=True)
    elif origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:  # noqa: PLR2004 -- tuple[X, ...]
        return ValueType(scalar=value_type(arguments[0]).scalar, listed=True)
    elif isinstance(origin, type) and issubclass(origin, Mapping) and arguments[0] is str:
        inside = value_type(arguments[1])
        return ValueType(scalar=inside.scalar, listed=inside.listed, mapped=True)
    elif isinstance(annotation, type) and (annotation in (int, float, bool, str, Path) or issubclass(annotation, Enum)):
        return ValueType(scalar=annotation)
    raise TypeError(f"no source can fill a setting of type {annotation}")


def from_texts(kind: ValueType, texts: Sequence[str]) -> object:
    """The value of one flag given once or more, or of one variable. Of plain values the last one counts."""
    if not (kind.listed or kind.mapped):
        text = texts[-1]
        return None if kind.optional and not text else _scalar_from_text(kind.scalar, text)
    items = [item.strip() for text in texts for item in text.split(",") if item.strip()]
    if not kind.mapped:
        return tuple(_scalar_from_text(kind.scalar, item) for item in items)
    single: dict[str, object] = {}
    several: dict[str, tuple[object, ...]] = {}
    for item in items:
        key, equals, text = (part.strip() for part in item.partition("="))
        if not (key and equals):
            raise BadValue("must be key=value, or several with commas between")
        if kind.listed:
            added = (_scalar_from_text(kind.scalar, text),) if text else ()
            several[key] = several.get(key, ()) + added
        else:
            single[key] = _within(key, lambda text=text: _scalar_from_text(kind.scalar, text))
    return several if kind.listed else single


def from_toml(kind: ValueType, raw: object) -> object:
    """The value of a TOML value; also of a Python value that a profile gives."""
    if kind.mapped:
        if not isinstance(raw, Mapping):
            raise BadValue("must be a table of key = value")
        read = _list_from_toml if kind.listed else _scalar_from_toml
        return {key: _within(key, lambda item=item: read(kind.scalar, item)) for key, item in raw.items()}
    if kind.listed:
        return _list_from_toml(kind.scalar, raw)
    if kind.optional and raw in (None, ""):
        return None
    return _scalar_from_toml(kind.scalar, raw)


def _within(key: str, read: Any) -> object:
    try:
        return read()
    except BadValue as fault:
        raise BadValue(f"{fault}, at key {key}") from None


def _list_from_toml(scalar: type[Any], raw: object) -> tuple[object, ...]:
    if not isinstance(raw, (list, tuple)):
        raise BadValue("must be a list")
    return tuple(_scalar_from_toml(scalar, item) for item in raw)


def _scalar_from_text(scalar: type[Any], text: str) -> object:
    if scalar is bool:
        word = text.strip().lower()
        if word not in _TRUE + _FALSE:
            raise BadValue("must be true or false")
        return word in _TRUE
    if scalar is int:
        if not _WHOLE.fullmatch(text.strip()):
            raise BadValue("must be a whole number")
        try:
            return _scalar_from_toml(int, int(text))
        except ValueError as fault:  # 1__0, or more digits than Python reads
            raise BadValue(str(fault) if isinstance(fault, BadValue) else "must be a whole number") from None
    if scalar is float:
        try:
            return _finite(float(text))
        except ValueError as fault:
            raise BadValue(str(fault) if isinstance(fault, BadValue) else "must be a number") from None
    return _scalar_from_toml(scalar, text)


def _scalar_from_toml(scalar: type[Any], raw: object) -> object:
    if isinstance(raw, scalar) and issubclass(scalar, (Enum, Path)):
        return raw
    if scalar is bool:
        if not isinstance(raw, bool):
            raise BadValue("must be true or false")
        return raw
    if scalar in (int, float):
        if isinstance(raw, bool) or not isinstance(raw, (int, float)):
            raise BadValue("must be a whole number" if scalar is int else "must be a number")
        if scalar is int and not isinstance(raw, int):
            raise BadValue("must be a whole number")
        if isinstance(raw, int) and abs(raw) > _LARGEST:
            raise BadValue("must fit into 64 bits")
        return raw if scalar is int else _finite(float(raw))
    if not isinstance(raw, str):
        raise BadValue("must be text")
    return _from_string(scalar, raw)


def _from_string(scalar: type[Any], raw: str) -> object:
    if any("\ud800" <= character <= "\udfff" for character in raw):
        raise BadValue("must be UTF-8")
    if issubclass(scalar, Enum):
        for member in scalar:
            if member.value == raw:
                return member
        raise BadValue(f"must be one of {', '.join(_choices(scalar))}{suggestion(raw, _choices(scalar))}")
    if scalar is Path:
        if not raw or "\0" in raw:
            raise BadValue("must be a path")
        if raw.startswith("~"):
            raise BadValue("must be written out: ~ is the shell's, and is not expanded here")
        return Path(raw)
    return raw


def _choices(scalar: type[Enum]) -> list[str]:
    return [str(member.value) for member in scalar]


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise BadValue("must be a finite number")
    return number
