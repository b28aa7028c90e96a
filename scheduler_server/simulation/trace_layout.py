"""Lines to named values: CSV with a header, or JSON Lines with the same names as keys; columns mapped by choice."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from scheduler_server.config.faults import suggestion
from scheduler_server.config.text import printable
from scheduler_server.simulation.trace_file import UnusableTrace

FIELDS = (
    "task_id",
    "submit_time_s",
    "task_type",
    "user",
    "tenant",
    "category",
    "priority",
    "requested_cpus",
    "requested_mem_mb",
    "expected_duration_ms",
    "description_length",
    "dependencies",
    "duration_ms",
    "status",
    "node",
    "start_time_s",
    "features",
)
"""What a trace can say of a task, in the order of `Record.values`."""

REQUIRED = ("submit_time_s", "task_type", "duration_ms")
_FEATURES = FIELDS.index("features")
_SHOWN_COLUMNS = 12  # of a header that lacks something


class BadColumn(ValueError):
    """A mapping of columns that makes no sense; one line."""


class BadRow(ValueError):
    """A row that cannot be used; the reason, without its line."""


class BadLine(NamedTuple):
    """A row that is left out, and why."""

    line: int
    reason: str


class Record(NamedTuple):
    """One row: a text per field of FIELDS, "" where it says nothing, and the names and values of its features."""

    line: int
    values: Sequence[str]
    features: Sequence[tuple[str, str]]


class Columns(NamedTuple):
    """Which column of the file holds which field; and which further columns are features by their own names."""

    by_field: Mapping[str, str]
    as_features: Sequence[str]


def columns(mapped: Sequence[str] = (), as_features: Sequence[str] = ()) -> Columns:
    """Fields under their own names, but for those mapped by `field=column`; `field=` ignores a column."""
    by_field = {field: field for field in FIELDS}
    for text in mapped:
        field, equals, column = (part.strip() for part in text.partition("="))
        if not equals:
            raise BadColumn(f"{text!r} is not of the form field=column")
        if field not in by_field:
            known = ", ".join(FIELDS)
            raise BadColumn(f"unknown field {field!r}{suggestion(field, FIELDS)} (fields: {known})")
        if not column and field in REQUIRED:
            raise BadColumn(f"{field} cannot be ignored: it is what a backtest needs")
        by_field[field] = column
    for column in as_features:
        if column.strip().startswith("label_"):
            raise BadColumn(f"{column!r} cannot be a feature: names that start with label_ are ground truth")
    return Columns(by_field, tuple(as_features))


def records(lines: Iterator[tuple[int, bytes | None]], wanted: Columns) -> Iterator[Record | BadLine]:
    """Every row in file order, or its line and the reason why it is none. Raises UnusableTrace for the whole file."""
    first = next(((number, line) for number, line in lines if line is None or line.strip()), None)
    if first is None:
        raise UnusableTrace("is empty")
    text = _header_text(first[1])
    if text.startswith("{"):
        return _json_records(first[0], text, lines, wanted)
    if text.startswith("["):
        raise UnusableTrace("is one JSON array: JSON Lines have one object per line")
    return _csv_records(text, lines, wanted)


def _header_text(line: bytes | None) -> str:
    if line is None or b"\0" in line:
        raise UnusableTrace("is binary: neither CSV nor JSON Lines")
    try:
        return line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UnusableTrace(f"is not text: byte {error.start + 1} of its first line is not UTF-8") from None


# ---------------------------------------------------------------------------------------------------- CSV


def _csv_records(text: str, lines: Iterator[tuple[int, bytes | None]], wanted: Columns) -> Iterator[Record | BadLine]:
    try:
        header = [name.strip() for name in _split(text)]
    except BadRow as error:
        raise UnusableTrace(f"its header cannot be read: {error}") from None
    twice = sorted({name for name in header if header.count(name) > 1 and name in wanted.by_field.values()})
    if twice:
        raise UnusableTrace(f"has two columns named {printable(', '.join(twice))}")
    _check_names(header, wanted)
    place = {name: at for at, name in enumerate(header)}
    places = [place.get(wanted.by_field[field], -1) for field in FIELDS]
    further = [(name, place[name]) for name in wanted.as_features]
    return _csv_rows(lines, len(header), places, further)


def _csv_rows(
    lines: Iterator[tuple[int, bytes | None]], width: int, places: list[int], further: list[tuple[str, int]]
) -> Iterator[Record | BadLine]:
    for number, line in lines:
        try:
            text = _text(line)
            if not text.strip():
                continue
            values = text.split(",") if '"' not in text else _split(text)
            if len(values) != width:
                raise BadRow(f"{len(values)} values where the header has {width}")
        except BadRow as error:
            yield BadLine(number, str(error))
            continue
        values.append("")  # what the place -1 means
        chosen = [values[at] for at in places]
        features = [(name, values[at]) for name, at in further if values[at]]
        try:
            if chosen[_FEATURES]:
                features = _pairs(chosen[_FEATURES]) + features
        except BadRow as error:
            yield BadLine(number, str(error))
            continue
        yield Record(number, chosen, features)


def _split(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:  # a quoted line break as well: rows are lines here, so that one quote costs one row
        raise BadRow(f"not CSV: {error}") from None


def _pairs(text: str) -> list[tuple[str, str]]:
    found = []
    for pair in text.split(";"):
        name, equals, value = pair.partition("=")
        if equals and name.strip():
            found.append((name.strip(), value.strip()))
        elif pair.strip():
            raise BadRow(f"features: {shown(pair)} is not name=value")
    return found


def _check_names(header: Sequence[str], wanted: Columns) -> None:
    for field, column in wanted.by_field.items():
        if column in header or not column or (column == field and field not in REQUIRED):
            continue
        near = suggestion(column, header)
        if column != field:
            raise UnusableTrace(f"has no column {column!r}, which {field} is to be read from{near}{_listed(header)}")
    missing = [field for field in REQUIRED if wanted.by_field[field] not in header]
    if missing:
        names = ", ".join(missing)
        raise UnusableTrace(f"lacks {names} (--column {missing[0]}=NAME tells which column it is){_listed(header)}")
    for column in wanted.as_features:
        if column not in header:
            raise UnusableTrace(
                f"has no column {column!r}, which is to be a feature{suggestion(column, header)}{_listed(header)}"
            )


def _listed(header: Sequence[str]) -> str:
    names = [name[:40] for name in header[:_SHOWN_COLUMNS]]
    more = ", ..." if len(header) > _SHOWN_COLUMNS else ""
    return printable(f"; it has: {', '.join(names)}{more}")


# --------------------------------------------------------------------------------------------- JSON Lines


def _json_records(
    number: int, text: str, lines: Iterator[tuple[int, bytes | None]], wanted: Columns
) -> Iterator[Record | BadLine]:
    try:
        _object(text)
    except BadRow as error:
        raise UnusableTrace(f"its first line is {error}: JSON Lines have one object per line") from None
    return _json_rows(number, text, lines, wanted)


def _json_rows(
    number: int, text: str, lines: Iterator[tuple[int, bytes | None]], wanted: Columns
) -> Iterator[Record | BadLine]:
    """Keys may be absent from any object; one that was asked for by name and is in none is a mistake."""
    names = [(field, wanted.by_field[field]) for field in FIELDS]
    unseen = {column for field, column in names if column and column != field} | set(wanted.as_features)
    line: bytes | None = text.encode()
    seen: set[str] = set()
    while True:
        try:
            text = _text(line)
            if text.strip():
                given = _object(text)
                if unseen:
                    unseen -= given.keys()
                    if len(seen) < _SHOWN_COLUMNS:
                        seen |= given.keys()
                yield _json_record(number, given, names, wanted.as_features)
        except BadRow as error:
            yield BadLine(number, str(error))
        try:
            number, line = next(lines)
        except StopIteration:
            break
    for column in sorted(unseen):
        raise UnusableTrace(
            f"has no key {column!r} in any object{suggestion(column, sorted(seen))}{_listed(sorted(seen))}"
        )


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRow("no JSON object") from None
    if not isinstance(found, dict):
        raise BadRow("no JSON object")
    return found


def _json_record(
    number: int, given: Mapping[str, Any], names: list[tuple[str, str]], as_features: Sequence[str]
) -> Record:
    values = []
    features: list[tuple[str, str]] = []
    for field, column in names:
        value = given.get(column) if column else None
        if field == "features" and isinstance(value, dict):
            features += [(name, _scalar(f"features: {name}", of)) for name, of in value.items() if of is not None]
            values.append("")
        else:
            values.append(_scalar(field, value))
    if values[_FEATURES]:
        features += _pairs(values[_FEATURES])
    for column in as_features:
        if given.get(column) is not None:
            features.append((column, _scalar(column, given[column])))
    return Record(number, values, features)


def _scalar(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    raise BadRow(f"{printable(name)[:80]} is neither text nor a number")


def _text(line: bytes | None) -> str:
    if line is None:
        raise BadRow("longer than a mebibyte")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise BadRow(f"not UTF-8 at byte {error.start + 1}") from None
    if "\0" in text:
        raise BadRow("has a NUL byte")
    return text


def shown(text: str) -> str:
    """A value as a reason repeats it: quoted, on one line, bounded."""
    return repr(printable(text if len(text) <= 60 else f"{text[:60]}..."))  # noqa: PLR2004 -- fits a line
