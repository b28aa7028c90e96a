"""Entries of task streams, and what is published to workers: the contract's messages in another envelope.

An entry is either one field `task`, a serialized scheduler_api.v1.Task, or a field for each field of that message that
has something to say: texts and `payload` as they are, numbers in decimal, everything else in protobuf's JSON mapping.
docs/dispatch.md is the manual. The checks are Assign's.
"""

import json
import math
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from scheduler_api.v1 import schedule_service_pb2, task_pb2, worker_pb2
from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.dispatch.entries import DeadReason, EntryRefused
from scheduler_server.model.making import make
from scheduler_server.model.task import Task
from scheduler_server.model.trace import Trace, trace_of
from scheduler_server.rpc import checks, decode, encode
from scheduler_server.rpc.checks import Faults
from scheduler_server.rpc.errors import NotSupported

MAX_FIELD_BYTES = 1024 * 1024
"""Of a field that is JSON or a whole message: 16 times the largest payload. Beyond, nothing is parsed."""

TASK, PAYLOAD, TASK_ID = b"task", b"payload", b"task_id"

PARENT, STATE = b"traceparent", b"tracestate"
"""Not of the task: what OpenTelemetry's propagator puts into any carrier, so into an entry too."""

Entered = Callable[[Task, str], Task]
"""Told of a task that came in with this entry; the task as it is to be submitted."""

_KINDS = 4_096
_LONGEST_KIND = 1_024
"""Kinds of entries remembered, and bytes of one, as for requests (`quick.py`)."""

Kind = tuple[tuple[bytes, bytes], ...]


class Entries:
    """Reads entries, and writes what goes into them: `dispatch.Wire`.

    Entries of one kind of task differ in nothing but id and payload, so what they mean is looked up by the rest.
    """

    def __init__(
        self, entered: Entered | None = None, span_of: Callable[[Task], Trace | None] = encode.of_task
    ) -> None:
        """`entered` and `span_of` are for traces; see `traced.Entered` and `encode.directive`."""
        self._kinds: dict[Kind, Submit] = {}
        self._entered = entered
        self._span_of = span_of

    def read(self, fields: dict[bytes, bytes]) -> Submit:
        """See `dispatch.Wire`."""
        trace = None
        if PARENT in fields or STATE in fields:
            fields = dict(fields)
            trace = trace_of(_ascii(fields.pop(PARENT, b"")), _ascii(fields.pop(STATE, b"")))
        submit = self._read(fields)
        return submit if trace is None else submit._replace(task=submit.task._replace(trace=trace))

    def received(self, task: Task, entry_id: str) -> Task:
        """See `dispatch.Wire`."""
        return task if self._entered is None else self._entered(task, entry_id)

    def _read(self, fields: dict[bytes, bytes]) -> Submit:
        if TASK in fields:
            return _from_message(fields)
        rest = dict(fields)
        payload = rest.pop(PAYLOAD, b"")
        task_id = rest.pop(TASK_ID, b"")
        kind = tuple(rest.items())
        known = self._kinds.get(kind)
        if known is not None and len(payload) <= checks.MAX_PAYLOAD_BYTES and 0 < len(task_id) <= checks.MAX_TEXT:
            name = task_id.decode(errors="replace") if task_id.isascii() else ""
            if name.isprintable() and name:
                task = known[0]
                same: Task = make(Task, (task[0], name, *task[2:]))
                return known._replace(task=same._replace(payload=payload) if payload else same)
        read = _from_fields(fields)
        if sum(len(name) + len(value) for name, value in kind) <= _LONGEST_KIND:
            if len(self._kinds) >= _KINDS:
                self._kinds.clear()
            self._kinds[kind] = read._replace(task=read.task._replace(payload=b""))
        return read

    def task(self, task: Task) -> bytes:
        """See `dispatch.Wire`."""
        message = task_pb2.Task()
        encode.task(message, task)
        return message.SerializeToString()

    def refill(self, task: bytes, fields: dict[bytes, bytes]) -> bytes:
        """See `dispatch.Wire`."""
        message = task_pb2.Task.FromString(task)
        message.payload = self.read(fields).task.payload
        return message.SerializeToString()

    def again(self, task: bytes, attempt: int) -> bytes | None:
        """A task that was set aside, as this attempt, whenever it may start; None: it is no task."""
        try:
            message = task_pb2.Task.FromString(task)
        except DecodeError:
            return None
        if not message.task_id:
            return None
        message.attempt = attempt
        message.ClearField("start_by")  # who puts it back wants it to run
        return message.SerializeToString()

    def message(self, record: TaskRecord) -> bytes:
        """See `dispatch.Wire`."""
        run = worker_pb2.RunTask(lease_id=record.lease_id, decision_id=record.decision.decision_id)
        encode.task(run.task, record.task)
        encode.set_span(run.predicted_duration, record.decision.duration_ms / 1_000.0)
        span = self._span_of(record.task)
        if span is not None:
            encode.trace(run.trace, span)
        told = json_format.MessageToJson(run, indent=None, preserving_proto_field_name=True)
        return told.encode()


def _from_message(fields: dict[bytes, bytes]) -> Submit:
    if len(fields) > 1:
        others = ", ".join(sorted(_shown(name) for name in fields if name != TASK))
        raise EntryRefused(DeadReason.INVALID, f"a field task is the whole task; beside it there is {others}")
    body = fields[TASK]
    if len(body) > MAX_FIELD_BYTES:
        raise EntryRefused(DeadReason.INVALID, f"task: has {len(body):,} bytes; the limit is {MAX_FIELD_BYTES:,}")
    request = schedule_service_pb2.AssignRequest(delivery=task_pb2.DELIVERY_STREAM)
    try:
        request.task.MergeFromString(body)
    except DecodeError:
        raise EntryRefused(DeadReason.UNDECODABLE, "task: the bytes are no scheduler_api.v1.Task") from None
    return _checked(request)


def _from_fields(fields: dict[bytes, bytes]) -> Submit:
    request = schedule_service_pb2.AssignRequest(delivery=task_pb2.DELIVERY_STREAM)
    message = request.task
    faults: list[tuple[DeadReason, str]] = []
    for name, value in fields.items():
        reader = _READERS.get(name)
        if reader is None:
            faults.append((DeadReason.INVALID, f"{_shown(name)}: no field of a task has that name"))
        elif len(value) > MAX_FIELD_BYTES:
            what = f"{_shown(name)}: has {len(value):,} bytes; the limit is {MAX_FIELD_BYTES:,}"
            faults.append((DeadReason.INVALID, what))
        else:
            try:
                reader(message, name.decode(), value)
            except UnicodeDecodeError:
                faults.append((DeadReason.UNDECODABLE, f"{_shown(name)}: is not UTF-8"))
            except (ValueError, TypeError, RecursionError, json_format.ParseError) as error:
                faults.append((DeadReason.UNDECODABLE, f"{_shown(name)}: {_why(error)}"))
    if faults:
        reason = min(faults)[0]
        told = "; ".join(text for _, text in faults[: checks.MAX_FAULTS])
        more = f"{len(faults)} faults, among them: " if len(faults) > checks.MAX_FAULTS else ""
        raise EntryRefused(reason, more + told)
    return _checked(request)


def _checked(request: schedule_service_pb2.AssignRequest) -> Submit:
    try:
        return decode.submit(request)
    except (Faults, NotSupported) as error:
        # Named as the entry's fields are.
        raise EntryRefused(DeadReason.INVALID, str(error).replace("task.", "")) from None


# ---------------------------------------------------------------------- one field


def _text(message: Any, name: str, value: bytes) -> None:
    setattr(message, name, value.decode())


def _bytes(message: Any, name: str, value: bytes) -> None:
    setattr(message, name, value)


def _whole(message: Any, name: str, value: bytes) -> None:
    if not (value.isdigit() and value.isascii()):
        raise ValueError("is no whole number of 0 or more")
    setattr(message, name, int(value[:20]))


def _number(message: Any, name: str, value: bytes) -> None:
    try:
        number = float(value.decode())
    except ValueError:
        raise ValueError("is no number") from None
    if not math.isfinite(number):
        raise ValueError("is no finite number")
    setattr(message, name, number)


def _json(message: Any, name: str, value: bytes) -> None:
    text = value.decode()
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = text  # an instant, a span or a name of an enumeration needs no quotes
    json_format.ParseDict({name: parsed}, message)


def _reader(field: FieldDescriptor) -> Callable[[Any, str, bytes], None]:
    if field.is_repeated or field.type in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_ENUM):
        return _json
    return {
        FieldDescriptor.TYPE_STRING: _text,
        FieldDescriptor.TYPE_BYTES: _bytes,
        FieldDescriptor.TYPE_UINT32: _whole,
        FieldDescriptor.TYPE_FLOAT: _number,
    }.get(field.type, _json)


_READERS = {field.name.encode(): _reader(field) for field in task_pb2.Task.DESCRIPTOR.fields}


def _ascii(value: bytes) -> str:
    """As text; what is not ASCII, or longer than either header may be, makes no trace."""
    return value[:1_024].decode("ascii", errors="replace")


def _shown(name: bytes) -> str:
    text = name[:64].decode(errors="replace")
    return text if text.isprintable() and text else repr(text)


def _why(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__
