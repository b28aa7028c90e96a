"""One row of a trace, checked: the task as a server would have seen it, and what became of it."""

from datetime import UTC, datetime
from math import isfinite
from typing import NamedTuple

from scheduler_server.model.task import DEFAULT_PRIORITY, Hints, Numbers, Pairs, Task
from scheduler_server.predictor.settings import LONGEST_MS
from scheduler_server.simulation.trace_layout import BadRow, Record, shown

LABEL = "label_"
"""Names that begin so are ground truth and run ids, which nobody may learn from: dropped before anything sees them."""

MOST_FEATURES = 64
"""Of each kind, as the contract allows them to a task."""

_LATEST_S = 1e12  # 31,700 years: what is above is milliseconds or nonsense, and would swallow fractions of a second


class TraceRow(NamedTuple):
    """One task of a trace and what became of it. Instants are seconds on the trace's own clock, which starts anywhere.

    `start_s` is None where the source does not tell; `status` is lower case, "unknown" where there is none.
    """

    line: int
    task: Task
    submit_s: float
    start_s: float | None
    duration_ms: float
    status: str
    node: str

    @property
    def end_s(self) -> float:
        """When it was over: start + duration, or submit + duration where the start is not known."""
        began = self.submit_s if self.start_s is None else self.start_s
        return began + self.duration_ms / 1_000.0


def row_from(record: Record) -> TraceRow:
    """The row of a record; BadRow with the reason where it is none."""
    (
        task_id,
        submit,
        task_type,
        user,
        tenant,
        category,
        priority,
        cpus,
        memory_mb,
        expected_ms,
        description_length,
        dependencies,
        duration,
        status,
        node,
        start,
        _,
    ) = record.values
    task_type = task_type.strip()
    if not task_type:
        raise BadRow("task_type is empty")
    duration_ms = _duration("duration_ms", duration)
    submit_s = _instant("submit_time_s", submit)
    start_s = _instant("start_time_s", start) if start else None
    if start_s is not None and start_s < submit_s:
        raise BadRow(f"start_time_s {start_s:.15g} is before submit_time_s {submit_s:.15g}")
    features, attributes = _told_apart(record)
    hints = None
    if expected_ms or description_length or dependencies:
        hints = Hints(
            _duration("expected_duration_ms", expected_ms) if expected_ms else None,
            _whole("description_length", description_length) if description_length else None,
            _whole("dependencies", dependencies) if dependencies else None,
        )
    task = Task(
        tenant=tenant,
        task_id=task_id or f"line {record.line}",
        attempt=1,
        task_type=task_type,
        category=category,
        priority=_share("priority", priority) if priority else DEFAULT_PRIORITY,
        features=features,
        resources=_resources(cpus, memory_mb),
        hints=hints,
        user=user,
        attributes=attributes,
    )
    return TraceRow(record.line, task, submit_s, start_s, duration_ms, status.strip().lower() or "unknown", node)


def _told_apart(record: Record) -> tuple[Numbers, Pairs]:
    """Features that are numbers, and those that are words; the last of two with one name counts."""
    numbers: dict[str, float] = {}
    words: dict[str, str] = {}
    for given, text in record.features:
        name = given.strip()
        if name.startswith(LABEL):
            continue
        number = _finite(text)
        if number is None:
            words[name] = text
        else:
            numbers[name] = number
    if len(numbers) > MOST_FEATURES or len(words) > MOST_FEATURES:
        raise BadRow(f"{max(len(numbers), len(words))} features: {MOST_FEATURES} of a kind are the most")
    return tuple(sorted(numbers.items())), tuple(sorted(words.items()))


def _resources(cpus: str, memory_mb: str) -> Numbers:
    found = []
    if cpus:
        found.append(("cpus", _amount("requested_cpus", cpus)))
    if memory_mb:
        found.append(("mem_mb", _amount("requested_mem_mb", memory_mb)))
    return tuple(found)


def _duration(name: str, text: str) -> float:
    found = _number(name, text)
    if found <= 0:
        raise BadRow(f"{name} is {found:.15g}: must be above 0")
    if found > LONGEST_MS:
        raise BadRow(f"{name} is {found:.15g}: more than a year")
    return found


def _instant(name: str, text: str) -> float:
    """Seconds, or ISO 8601 (UTC where it names no zone), which becomes seconds since 1970."""
    found = _finite(text)
    if found is None and "-" in text[1:]:
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            raise BadRow(f"{name} {shown(text)} is neither a number nor an ISO 8601 time") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if found is None:
        found = _number(name, text)
    if found < 0:
        raise BadRow(f"{name} is {found:.15g}: must not be negative")
    if found > _LATEST_S:
        raise BadRow(f"{name} is {found:.15g}: too late for seconds")
    return found


def _amount(name: str, text: str) -> float:
    found = _number(name, text)
    if found < 0:
        raise BadRow(f"{name} is {found:.15g}: must not be negative")
    return found


def _whole(name: str, text: str) -> int:
    found = _amount(name, text)
    if found % 1:
        raise BadRow(f"{name} is {found:.15g}: must be a whole number")
    return int(found)


def _share(name: str, text: str) -> float:
    found = _number(name, text)
    if not 0 <= found <= 1:
        raise BadRow(f"{name} is {found:.15g}: must be from 0 to 1 (--column {name}= ignores it)")
    return found


def _number(name: str, text: str) -> float:
    found = _finite(text)
    if found is None:
        raise BadRow(f"{name} {shown(text)} is not a finite number" if text.strip() else f"{name} is empty")
    return found


def _finite(text: str) -> float | None:
    """The number that a text is; None for words, for what is not finite, and for Python's own 1_000."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if isfinite(found) and "_" not in text else None
