"""Values as text on one line: as TOML, and as a fault may repeat them."""

import json
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

MASK = "********"
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# C0 without what JSON escapes itself, DEL and C1: TOML allows only the last, terminals should see none.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONGEST_SHOWN = 120  # characters of a refused value that a fault repeats


def printable(text: str) -> str:
    """`text` on one line: controls and lone surrogates as escapes, so that nothing forges a second line."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def toml_value(value: object) -> str:
    """`value` as TOML; map keys keep their order."""
    match value:
        case None:
            return '""'
        case bool():
            return "true" if value else "false"
        case Enum():
            return toml_value(value.value)
        case int() | float():
            return repr(value)
        case Path():
            return toml_value(str(value))
        case str():
            return printable(json.dumps(value, ensure_ascii=False))
        case tuple() | list():
            return "[" + ", ".join(toml_value(item) for item in value) + "]"
        case dict() | Mapping():
            pairs = ", ".join(f"{_key(str(key))} = {toml_value(item)}" for key, item in value.items())
            return f"{{{pairs}}}" if pairs else "{}"
        case _:
            return toml_value(str(value))


def shown(value: object, *, secret: bool) -> str:
    """`value` as a fault repeats it: masked, on one line, bounded."""
    if secret:
        return MASK
    text = printable(value) if isinstance(value, str) else toml_value(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}... ({len(text)} characters)"


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else printable(json.dumps(key, ensure_ascii=False))
