"""One log record as one line, as text for people or JSON for machines. No input can forge a second record.

Control characters (C0, DEL, C1), line and paragraph separators, bidirectional overrides and lone surrogates
are escaped in both. A traceback is one field in JSON; in text it follows on lines that begin with `    | `.
"""

import json
import logging
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

_LONGEST_MESSAGE = 16_384  # characters; what somebody sends as a name must not fill the disk
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# What logging itself puts on every record; all else came by `extra=`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NAMES = ("time", "level", "logger", "message", "exception")


class JsonLines(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "message": ..., <extra fields>}`, ASCII only.

    `time` is RFC 3339 in UTC with milliseconds. An extra field with one of our own names gets `_` appended.
    NaN and infinities become text, as does what JSON does not know.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line without its newline."""
        fields: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        for name, value in _extra(record).items():
            fields[f"{name}_" if name in _NAMES else name] = value
        trace = _trace(self, record)
        if trace:
            fields["exception"] = trace
        try:
            return json.dumps(fields, allow_nan=False, default=str)
        except (ValueError, TypeError, RecursionError):
            return json.dumps({name: _plain(value) for name, value in fields.items()}, default=str)


class TextLines(logging.Formatter):
    """`2026-11-22T01:24:00.123Z INFO    scheduler_server.rpc: message key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line without its newline; a traceback on further, indented ones."""
        extra = "".join(f" {_escaped(name)}={_value(value)}" for name, value in _extra(record).items())
        name, message = _escaped(record.name), _escaped(_message(record))
        line = f"{_time(record)} {record.levelname:<7} {name}: {message}{extra}"
        trace = _trace(self, record)
        return line + "".join(f"\n    | {_escaped(part)}" for part in trace.split("\n") if part)


def _time(record: logging.LogRecord) -> str:
    # Not isoformat alone: it leaves the fraction out where that is 0.
    instant = datetime.fromtimestamp(record.created, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    """The merged message; one whose arguments do not fit is shown as it is."""
    try:
        text = record.getMessage()
    except Exception as error:  # noqa: BLE001 -- an argument's __str__ may raise anything
        text = f"{record.msg} ({type(error).__name__} in its arguments)"
    more = len(text) - _LONGEST_MESSAGE
    return text if more <= 0 else f"{text[:_LONGEST_MESSAGE]}... ({more} more characters)"


def _extra(record: logging.LogRecord) -> Mapping[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [record.exc_text or (formatter.formatException(record.exc_info) if record.exc_info else "")]
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(part for part in parts if part)


def _escaped(text: str) -> str:
    return _UNSAFE.sub(lambda found: _SHORT.get(found[0], f"\\u{ord(found[0]):04x}"), text)


def _value(value: object) -> str:
    """Bare where it is one plain word, otherwise quoted: ` a=b` inside a value must not look like a field."""
    text = value if isinstance(value, str) else str(value)
    if text and not any(character in text for character in ' ="'):
        return _escaped(text)
    return _escaped('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (str, int)):
        return value
    try:
        return json.loads(json.dumps(value, allow_nan=False, default=str))
    except (ValueError, TypeError, RecursionError):
        return repr(value)[:_LONGEST_MESSAGE]
