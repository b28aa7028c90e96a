"""Every field of every message that exists: what is refused, by which path, and that nothing changes.

One table, made of the kinds of fields. The last tests hold it against the descriptors: a field without a row fails.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf, nan
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2, worker_pb2
from tests.contract.server import (
    WALL_MS,
    WALL_S,
    Problem,
    Running,
    digest,
    heartbeat,
    item_problem,
    refused,
    task,
)

YEAR_S = 365 * 86_400
NOT_YET = "not yet"
"""Expected of fields that a later version brings: UNIMPLEMENTED, naming them."""


class Row(NamedTuple):
    """A value at a path; `expected` is the field path refused, None where the value is taken."""

    path: str
    what: str
    value: Any
    expected: str | None
    code: str = "INVALID_ARGUMENT"

    def __str__(self) -> str:
        return f"{self.path}={self.what}"


# ---------------------------------------------------------------------- kinds of fields

BAD_TEXTS = {
    "257 characters": "x" * 257,
    "NUL": "a\0b",
    "newline": "a\nb",
    "escape": "\x1b[31m",
    "DEL": "a\x7f",
    "C1": "a\x85",
}
GOOD_TEXTS = {
    "256 characters": "x" * 256,
    "256 of four bytes": "\N{GRINNING FACE}" * 256,
    "not ASCII": "tâche\N{NO-BREAK SPACE}№ 1",
    "quotes": "a'b\"c%s",
}


def text(path: str, *, required: bool = False, bad: str | None = None) -> Iterator[Row]:
    where = bad or path
    yield Row(path, "empty", "", where if required else None)
    for what, value in BAD_TEXTS.items():
        yield Row(path, what, value, where)
    for what, value in GOOD_TEXTS.items():
        yield Row(path, what, value, None)


def detail(path: str) -> Iterator[Row]:
    """Text for people: long, and with control characters, which are escaped wherever it is shown."""
    yield Row(path, "4,096 characters", "x" * 4_096, None)
    yield Row(path, "4,097 characters", "x" * 4_097, path)
    yield Row(path, "control characters", "line 1\nline 2\0\x1b[31m", None)


def names(path: str, limit: int = 64) -> Iterator[Row]:
    yield Row(path, f"{limit} entries", [f"n{number}" for number in range(limit)], None)
    yield Row(path, f"{limit + 1} entries", [f"n{number}" for number in range(limit + 1)], path)
    yield Row(path, "the same twice", ["a", "a"], None)
    yield Row(path, "an empty entry", ["a", ""], f"{path}[1]")
    yield Row(path, "only an empty entry", [""], f"{path}[0]")
    for what, value in BAD_TEXTS.items():
        yield Row(path, f"an entry with {what}", [value], f"{path}[0]")
    for what, value in GOOD_TEXTS.items():
        yield Row(path, f"an entry with {what}", [value], None)


def pairs(path: str, limit: int = 64) -> Iterator[Row]:
    yield Row(path, f"{limit} entries", {f"n{number}": "v" for number in range(limit)}, None)
    yield Row(path, "65 entries", {f"n{number}": "v" for number in range(65)}, path)
    yield Row(path, "an empty value", {"n0": ""}, None)
    yield Row(path, "an empty name", {"": "v"}, path)
    for what, value in BAD_TEXTS.items():
        yield Row(path, f"a name with {what}", {value: "v"}, f"{path}[{value[:256]!r}]")
        yield Row(path, f"a value with {what}", {"a": value}, f"{path}['a']")


def numbers(path: str, *, negative: bool) -> Iterator[Row]:
    yield Row(path, "64 entries", {f"n{number}": 1.0 for number in range(64)}, None)
    yield Row(path, "65 entries", {f"n{number}": 1.0 for number in range(65)}, path)
    yield Row(path, "an empty name", {"": 1.0}, path)
    yield Row(path, "a bad name", {"a\nb": 1.0}, f"{path}['a\\nb']")
    for value in (nan, inf, -inf):
        yield Row(path, str(value), {"a": 1.0, "b": value}, f"{path}['b']")
    yield Row(path, "negative", {"a": -1e-300}, None if negative else f"{path}['a']")
    yield Row(path, "huge", {"a": 1.7e308, "b": 0.0}, None)


def share(path: str) -> Iterator[Row]:
    for value in (nan, inf, -inf, -1.0, -1e-30, 1.000001, 1.0000002, 50.0):
        yield Row(path, str(value), value, path)
    for value in (0.0, -0.0, 1e-30, 0.9, 1.0):
        yield Row(path, str(value), value, None)


def count(path: str, least: int, most: int) -> Iterator[Row]:
    for value in (least, most):
        yield Row(path, str(value), value, None)
    yield Row(path, str(most + 1), most + 1, path)
    if least:
        yield Row(path, str(least - 1), least - 1, path)


def signed_count(path: str, least: int, most: int) -> Iterator[Row]:
    yield from count(path, least, most)
    for value in {-1, -(2**31), 2**31 - 1}:
        yield Row(path, str(value), value, path)


def choice(path: str, *known: int, last: int = 0) -> Iterator[Row]:
    for value in known:
        yield Row(path, str(value), value, None)
    for value in (max(*known, last) + 1, 99, -1, 2**31 - 1):
        yield Row(path, str(value), value, path)


def span(path: str, *, above_zero: bool = False) -> Iterator[Row]:
    for seconds, nanos in ((-1, 0), (0, -1), (YEAR_S, 1_000), (2**62, 0), (0, 10**9), (1, -1), (-1, 1)):
        yield Row(path, f"{seconds} s {nanos} ns", Duration(seconds=seconds, nanos=nanos), path)
    yield Row(path, "a year", Duration(seconds=YEAR_S), None)
    yield Row(path, "1 ns", Duration(nanos=1), None)
    yield Row(path, "0", Duration(), path if above_zero else None)


def instant(path: str, taken: str | None = None) -> Iterator[Row]:
    for seconds, nanos in ((-62_135_596_801, 0), (253_402_300_800, 0), (2**62, 0), (0, -1), (0, 10**9)):
        yield Row(path, f"{seconds} s {nanos} ns", Timestamp(seconds=seconds, nanos=nanos), path)
    yield Row(path, "year 9999", Timestamp(seconds=253_402_300_799, nanos=999_999_999), taken)


def blob(path: str, **row: Any) -> Iterator[Row]:
    yield Row(path, "64 KiB", b"\xff" * 65_536, None)
    yield Row(path, "64 KiB and 1", b"\xff" * 65_537, path)


def anything(path: str, *values: Any) -> Iterator[Row]:
    """Fields of which no value is wrong."""
    for value in values:
        yield Row(path, repr(value)[:40], value, None)


def not_yet(path: str, value: Any, named: str, what: str = "set") -> Iterator[Row]:
    yield Row(path, what, value, named, NOT_YET)


def trace(path: str) -> Iterator[Row]:
    yield from anything(f"{path}.traceparent", "malformed", "x" * 1_000, "\0")  # ignored, as W3C asks
    yield from anything(f"{path}.tracestate", "x" * 1_000)


def outcome(path: str) -> Iterator[Row]:
    yield Row(f"{path}.status", "absent", 0, f"{path}.status")
    yield Row(f"{path}.status", "lost", task_pb2.OUTCOME_STATUS_LOST, f"{path}.status")
    yield from choice(f"{path}.status", 1, 2, 3, 4)
    yield from span(f"{path}.duration")
    yield from detail(f"{path}.error_message")
    yield from text(f"{path}.error_kind")
    yield from blob(f"{path}.result")


def key(path: str) -> Iterator[Row]:
    yield Row(path, "absent", lambda message: message.ClearField("task"), path)
    yield from text(f"{path}.tenant")
    yield from text(f"{path}.task_id", required=True)
    yield from anything(f"{path}.attempt", 0, 1, 2**32 - 1)


# ---------------------------------------------------------------------- the table


def assign() -> Iterator[Row]:
    for name in ("task_id", "task_type"):
        yield from text(f"task.{name}", required=True)
    for name in ("tenant", "category", "user", "caller_choice"):
        yield from text(f"task.{name}")
    yield from anything("task.attempt", 0, 1, 2**32 - 1)
    yield from share("task.priority")
    yield from names("task.required_capabilities")
    yield from names("task.excluded_workers", 256)
    yield from pairs("task.match_labels", 8)  # the index holds 8 keys; see test_assign
    yield from numbers("task.features", negative=True)
    yield from pairs("task.attributes")
    yield from numbers("task.requested_resources", negative=False)
    yield from span("task.hints.expected_duration", above_zero=True)
    yield from anything("task.hints.description_length", 0, 2**32 - 1)
    yield from anything("task.hints.dependencies", 0, 2**32 - 1)
    yield from instant("task.not_before")
    yield from instant("task.start_by")
    yield from choice("task.loss_policy", 0, 1, 2)
    yield Row("task.payload", "without the stream", b"x", "task.payload")
    yield Row("task.payload", "64 KiB", _stream(b"x" * 65_536), None)
    yield Row("task.payload", "64 KiB and 1", _stream(b"x" * 65_537), "task.payload")
    for value, expected, code in ((0, True, ""), (1, False, ""), (2, True, NOT_YET), (10_001, True, "")):
        path = "task.slots"
        yield Row(path, str(value), value, path if expected else None, code or "INVALID_ARGUMENT")
    yield from count("task.max_attempts", 1, 1_000)
    yield from choice("delivery", 0, 1, 2)
    yield from waiting_time("wait")
    yield from anything("enqueue", api.Enqueue())
    yield Row("task.start_by", "before not_before", _window(10.0, 9.0), "task.start_by")
    yield Row("task.start_by", "at not_before", _window(10.0, 10.0), "task.start_by")
    yield Row("task.start_by", "just after not_before", _window(10.0, 10.001), None)
    yield Row("wait", "not up to not_before", _waiting(59.9), "wait")
    yield Row("wait", "up to not_before", _waiting(60.0), None)
    yield from choice("view", 0, 1, 2)
    yield from trace("trace")


def waiting_time(path: str) -> Iterator[Row]:
    yield Row(path, "none", Duration(), None)
    yield Row(path, "an hour", Duration(seconds=3_600), None)
    yield Row(path, "an hour and a bit", Duration(seconds=3_600, nanos=1), path)
    yield Row(path, "negative", Duration(seconds=-1), path)
    yield Row(path, "nanos of the other sign", Duration(seconds=1, nanos=-1), path)
    yield Row(path, "ten thousand years", Duration(seconds=315_576_000_000), path)


def _set(message: Any, seconds: float) -> None:
    message.FromMilliseconds(round(seconds * 1e3))


def _window(not_before_s: float, start_by_s: float) -> Callable[[Any], None]:
    """From now; enqueued, since otherwise it would be refused for not being due."""

    def fill(request: Any) -> None:
        request.enqueue.SetInParent()
        _set(request.task.not_before, WALL_S + not_before_s)
        _set(request.task.start_by, WALL_S + start_by_s)

    return fill


def _waiting(wait_s: float) -> Callable[[Any], None]:
    """For a task that is due in a minute, and could not start a moment later."""

    def fill(request: Any) -> None:
        _set(request.wait, wait_s)
        _set(request.task.not_before, WALL_S + 60.0)

    return fill


def _stream(payload: bytes) -> Callable[[Any], None]:
    def fill(request: Any) -> None:
        request.delivery = task_pb2.DELIVERY_STREAM
        request.task.payload = payload

    return fill


def report() -> Iterator[Row]:
    yield from text("reports[0].lease_id", required=True)
    yield from outcome("reports[0].outcome")
    yield Row("reports[0].outcome.status", "no outcome", _no_outcome, "reports[0].outcome.status")
    yield from trace("reports[0].trace")


def _no_outcome(request: Any) -> None:
    request.reports[0].ClearField("outcome")


def cancel() -> Iterator[Row]:
    yield from key("task")
    yield from text("lease_id")
    yield from detail("reason")


def beat() -> Iterator[Row]:
    yield from text("worker_id")
    yield from share("cpu_usage")
    yield from share("memory_usage")
    yield from signed_count("queue_depth", 0, 1_000_000)
    for offset in (86_400_001, 10**15):
        yield Row("timestamp_ms", f"{offset} ms ahead", WALL_MS + offset, "timestamp_ms")
    for value in (-1, -(2**63), 2**63 - 1, WALL_MS * 1_000):  # the last: microseconds
        yield Row("timestamp_ms", str(value), value, "timestamp_ms")
    for value in (0, 1, WALL_MS + 86_400_000):
        yield Row("timestamp_ms", str(value), value, None)
    yield from registration()
    yield from text("epoch.boot_id", required=True)
    yield from count("epoch.connection", 1, 2**63 - 1)
    yield from anything("sequence", 0, 1, 2**64 - 1)
    yield from choice("intent", 0, 1, 2, last=3)  # 3, to leave, is in test_worker_stream
    yield from text("running.leases[0].lease_id", required=True)
    yield from span("running.leases[0].elapsed")
    for number, expected in ((10_000, None), (10_001, "running.leases")):
        leases = [worker_pb2.RunningLease(lease_id=f"l{each}") for each in range(number)]
        yield Row("running.leases", f"{number} entries", leases, expected)
    yield from text("probe_nonce")
    yield from anything("protocol_version", 0, 1, 2**32 - 1)
    yield from text("drain_id")
    at = "reports[0]"
    yield from text(f"{at}.lease_id", required=True)
    yield Row(at, "no fact", lambda message: message.reports[0].ClearField("fact"), at)
    yield from anything(f"{at}.acknowledged", worker_pb2.LeaseAcknowledged())
    yield from anything(f"{at}.started", worker_pb2.LeaseStarted())
    yield from anything(f"{at}.returned", worker_pb2.LeaseReturned())
    yield from outcome(f"{at}.finished")
    yield from detail(f"{at}.declined.reason")
    yield from trace(f"{at}.trace")
    for number, expected in ((1_000, None), (1_001, "reports")):
        reports = [worker_pb2.LeaseReport(lease_id="l", started=worker_pb2.LeaseStarted())] * number
        yield Row("reports", f"{number} entries", reports, expected)


def registration() -> Iterator[Row]:
    at = "registration"
    for name in ("node", "worker_type", "software"):
        yield from text(f"{at}.{name}")
    yield from names(f"{at}.capabilities")
    yield from names(f"{at}.specializations")
    yield from signed_count(f"{at}.max_concurrent_tasks", 1, 10_000)
    yield from pairs(f"{at}.labels")
    yield from anything(f"{at}.accepts_tasks", True, False)
    yield from anything(f"{at}.reports_outcomes", True, False)
    yield from anything(f"{at}.takes_several", True, False)
    yield from signed_count(f"{at}.prefetch", 0, 10_000)
    yield from span(f"{at}.accept_within", above_zero=True)
    yield from calendar(f"{at}.calendar")


def calendar(at: str) -> Iterator[Row]:
    for what, zone in (("empty", ""), ("unknown", "Europe/Atlantis"), ("a path", "../UTC"), *BAD_TEXTS.items()):
        yield Row(f"{at}.time_zone", what, zone, f"{at}.time_zone")
    yield Row(f"{at}.time_zone", "known", "Europe/Berlin", None)
    hours, absence = f"{at}.hours[0]", f"{at}.absences[0]"
    for days, wrong in (([], ""), ([0], "[0]"), ([1, 8], "[1]"), ([1] * 8, ""), ([7, 1, 7], None)):
        yield Row(f"{hours}.days", str(days), days, None if wrong is None else f"{hours}.days{wrong}")
    yield from count(f"{hours}.start_minute", 0, 1_439)
    yield from count(f"{hours}.end_minute", 1, 1_440)
    yield from signed_count(f"{hours}.slots", 1, 10_000)
    yield from instant(f"{absence}.start", taken=f"{absence}.end")
    yield from instant(f"{absence}.end")
    yield from text(f"{absence}.reason")
    stretch = worker_pb2.WorkingHours(days=[1], end_minute=1)
    away = worker_pb2.Absence(start=Timestamp(seconds=1), end=Timestamp(seconds=2))
    for name, value, most in (("hours", stretch, 64), ("absences", away, 366)):
        yield Row(f"{at}.{name}", f"{most}", [value] * most, None)
        yield Row(f"{at}.{name}", f"{most + 1}", [value] * (most + 1), f"{at}.{name}")


ASSIGN, REPORT, GET, CANCEL, BEAT = list(assign()), list(report()), list(key("task")), list(cancel()), list(beat())

CONNECTS_ONLY = re.compile(r"epoch\.")
"""The epoch counts on a stream's first message; later it is not looked at."""


def table(rows: list[Row]) -> Any:
    """A test of all rows of one path, for each path."""
    by_path: dict[str, list[Row]] = {}
    for row in rows:
        by_path.setdefault(row.path, []).append(row)
    return pytest.mark.parametrize("rows", by_path.values(), ids=by_path)


@contextmanager
def about(row: Row) -> Iterator[None]:
    """Say which row it was that failed."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"row: {row}")
        raise


# ---------------------------------------------------------------------- putting values into messages


def put(message: Any, row: Row) -> Any:
    """The message with the row's value at the row's path."""
    if callable(row.value):
        row.value(message)
        return message
    *steps, last = row.path.split(".")
    inner = message
    for step in steps:
        name, _, index = step.partition("[")
        inner = getattr(inner, name)
        if index:
            at = int(index[:-1])
            while len(inner) <= at:
                inner.add()
            inner = inner[at]
    field = inner.DESCRIPTOR.fields_by_name[last]
    if field.is_repeated:
        inner.ClearField(last)
        held = getattr(inner, last)
        held.update(row.value) if isinstance(row.value, dict) else held.extend(row.value)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        getattr(inner, last).CopyFrom(row.value)
        getattr(inner, last).SetInParent()
    else:
        setattr(inner, last, row.value)
    return message


def an_assign() -> api.AssignRequest:
    return api.AssignRequest(task=task())


def a_report() -> api.ReportOutcomeRequest:
    ended = task_pb2.Outcome(status=task_pb2.OUTCOME_STATUS_SUCCEEDED)
    return api.ReportOutcomeRequest(reports=[api.OutcomeReport(lease_id="l", outcome=ended)])


def a_key() -> task_pb2.TaskKey:
    return task_pb2.TaskKey(task_id="t")


def a_beat(row: Row, worker_id: str) -> worker_pb2.WorkerHeartbeat:
    """A heartbeat that is right in all but the row's field."""
    message = heartbeat(worker_id, timestamp_ms=WALL_MS)
    if row.path.startswith("epoch"):
        message.epoch.boot_id, message.epoch.connection = "boot", 1
    if row.path.startswith("reports["):
        message.reports.add(lease_id="l").started.SetInParent()
    if row.path.startswith("reports[0].finished"):
        message.reports[0].finished.status = task_pb2.OUTCOME_STATUS_SUCCEEDED
    if row.path.startswith("registration.calendar"):
        right = message.registration.calendar
        right.time_zone = "UTC"
        right.hours.add(days=[1], start_minute=0, end_minute=1)
        right.absences.add(start=Timestamp(seconds=1), end=Timestamp(seconds=2))
    if row.path.startswith("running.leases["):
        message.running.leases.add(lease_id="l")
    return put(message, row)  # type: ignore[no-any-return]


def check(problem: Problem, row: Row, prefix: str = "") -> None:
    """The error names what the row expects."""
    assert row.expected is not None
    expected = f"{prefix}{row.expected}"
    assert problem.domain == "scheduler-server"
    assert problem.metadata["field"] == (expected if len(expected) <= 256 else problem.metadata["field"])
    if row.code == NOT_YET:
        assert (problem.code, problem.reason) == ("UNIMPLEMENTED", "NOT_SUPPORTED_YET")
        return
    assert (problem.code, problem.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    (field,) = problem.fields
    assert field == expected or (len(expected) > 256 and field.endswith("...") and expected.startswith(field[:-3]))
    assert problem.descriptions[0]
    assert "\n" not in problem.message
    assert "\0" not in problem.message
    assert problem.trailer_bytes < 8_192


async def stage(live: Running) -> None:
    """A worker and a lease, so that there is something to be changed."""
    registered = worker_pb2.WorkerRegistration(max_concurrent_tasks=1_000, reports_outcomes=True)
    await live.worker("bystander", cpu_usage=0.5, registration=registered)
    await live.assign("held")


PASSED_THE_DOOR = {"NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "ABORTED", "RESOURCE_EXHAUSTED"}


async def unary(live: Running, method: Any, valid: Callable[[], Message], rows: list[Row]) -> None:
    await stage(live)
    for row in rows:
        with about(row):
            call = method(put(valid(), row))
            if row.expected is not None:
                before = digest(live)
                check(await refused(call), row)
                assert digest(live) == before
            elif await call.code() is not grpc.StatusCode.OK:
                problem = await refused(call)
                assert problem.code in PASSED_THE_DOOR, problem


@table(ASSIGN)
async def test_assign(live: Running, rows: list[Row]) -> None:
    await unary(live, live.stub.Assign, an_assign, rows)


@table(GET)
async def test_get_task(live: Running, rows: list[Row]) -> None:
    await unary(live, live.stub.GetTask, lambda: api.GetTaskRequest(task=a_key()), rows)


@table(CANCEL)
async def test_cancel_task(live: Running, rows: list[Row]) -> None:
    await unary(live, live.stub.CancelTask, lambda: api.CancelTaskRequest(task=a_key()), rows)


async def test_items_of_a_batch_are_checked_as_calls_of_their_own(live: Running) -> None:
    await stage(live)
    rows = [row for row in ASSIGN if row.expected is not None]
    request = api.AssignBatchRequest(requests=[put(an_assign(), row) for row in rows])
    before = digest(live)
    answer = await live.stub.AssignBatch(request)
    assert digest(live) == before
    for at, (row, result) in enumerate(zip(rows, answer.results, strict=True)):
        with about(row):
            check(item_problem(result.error), row, f"requests[{at}].")


@table(REPORT)
async def test_report_outcome(live: Running, rows: list[Row]) -> None:
    await stage(live)
    before = digest(live)
    for row in rows:
        with about(row):
            (result,) = (await live.stub.ReportOutcome(put(a_report(), row))).results
            assert result.result == api.OUTCOME_RESULT_REFUSED
            if row.expected is not None:
                check(item_problem(result.error), row)
            else:
                assert item_problem(result.error).reason == "LEASE_UNKNOWN"
    assert digest(live) == before


@table(BEAT)
async def test_the_first_heartbeat_of_a_stream(live: Running, rows: list[Row]) -> None:
    await stage(live)
    for number, row in enumerate(rows):
        with about(row):
            before = digest(live)
            stream = live.stream()
            message = a_beat(row, f"w{number}")
            if row.path == "worker_id":
                message.registration.SetInParent()  # without one an empty id would be a fault
            await stream.call.write(message)
            if row.expected is None:
                assert (await stream.next()).HasField("welcome")
                assert len(live.core.fleet) == len(before["fleet"]) + 1
            else:
                check(await stream.problem(), row)
                assert digest(live) == before


KEPT = ("cpu", "memory", "load", "queue_depth", "timestamp_ms", "sequence", "intent", "heartbeats", "dropped", "slots",
        "registration", "leases", "occupied", "specializations", "completed", "failed")  # fmt: skip


def kept(live: Running, worker_id: str) -> Any:
    """What a message that is refused must not change on a stream, which it ends."""
    all_of_it = digest(live)
    worker = all_of_it["fleet"].pop(worker_id)
    for name in ("events", "published", "sessions"):
        del all_of_it[name]
    return all_of_it, {name: worker[name] for name in KEPT}


@table([row for row in BEAT if not CONNECTS_ONLY.match(row.path) and (row.path, row.expected) != ("worker_id", None)])
async def test_a_later_heartbeat_of_a_stream(live: Running, rows: list[Row]) -> None:
    await stage(live)
    for number, row in enumerate(rows):
        with about(row):
            worker_id = f"w{number}"
            stream = await live.worker(worker_id, cpu_usage=0.25, memory_usage=0.75, queue_depth=2, sequence=1)
            before = kept(live, worker_id)
            await stream.call.write(a_beat(row, worker_id))
            if row.expected is None:
                assert (await stream.next()).HasField("ack")
                continue
            check(await stream.problem(), row)
            await live.gone(worker_id)
            assert kept(live, worker_id) == before


async def test_a_request_without_a_task_is_told_what_a_task_needs(live: Running) -> None:
    problem = await refused(live.stub.Assign(api.AssignRequest()))
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["task.task_id", "task.task_type"])


async def test_all_faults_of_a_message_are_told_at_once(live: Running) -> None:
    unknown: Any = 9
    request = api.AssignRequest(
        task=task("", task_type="", tenant="a\nb", priority=2.0, loss_policy=unknown), delivery=unknown, view=unknown
    )
    problem = await refused(live.stub.Assign(request))
    assert sorted(problem.fields) == [
        "delivery",
        "task.loss_policy",
        "task.priority",
        "task.task_id",
        "task.task_type",
        "task.tenant",
        "view",
    ]
    stream = live.stream("")
    await stream.send(cpu_usage=nan, memory_usage=-1.0, queue_depth=-1, timestamp_ms=-1, intent=9)
    problem = await stream.problem()
    assert sorted(problem.fields) == [
        "cpu_usage",
        "intent",
        "memory_usage",
        "queue_depth",
        "timestamp_ms",
        "worker_id",
    ]


@pytest.mark.parametrize("method", ["Assign", "AssignBatch", "ReportOutcome", "GetTask", "CancelTask"])
@pytest.mark.parametrize(
    "data",
    [b"\xff", b"\x0a", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"\x0a\x04\x0a\x02\xc3\x28"],
    ids=["half a tag", "no length", "longer than it is", "an open group", "a string that is not UTF-8"],
)
async def test_bytes_that_do_not_parse_are_told_to_be_that(
    live: Running, method: str, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await stage(live)
    before = digest(live)
    problem = await live.unreadable(method, data)
    assert (problem.code, problem.reason) == ("INVALID_ARGUMENT", "REQUEST_UNREADABLE")
    assert digest(live) == before
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("first", [True, False])
async def test_bytes_that_do_not_parse_end_a_stream(
    live: Running, first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    call: Any = live.channel.stream_stream("/scheduler_api.v1.ScheduleService/Schedule")()
    if not first:
        await call.write(heartbeat("w").SerializeToString())
        await call.read()
    await call.write(b"\x0a\xff")
    problem = await refused(call.read())
    assert (problem.code, problem.reason) == ("INVALID_ARGUMENT", "REQUEST_UNREADABLE")
    assert "Traceback" not in caplog.text
    if not first:
        await live.gone()


# ---------------------------------------------------------------------- the table against the contract

WHOLE = {"google.protobuf.Duration", "google.protobuf.Timestamp"}


def leaves(descriptor: Descriptor, prefix: str = "") -> Iterator[str]:
    """Paths of everything that can be set in a message."""
    for field in descriptor.fields:
        path = f"{prefix}{field.name}"
        inner = field.message_type
        if inner is None or inner.full_name in WHOLE or inner.GetOptions().map_entry or not inner.fields:
            yield path
        else:
            yield from leaves(inner, f"{path}[]." if field.is_repeated else f"{path}.")


@pytest.mark.parametrize(
    ("descriptor", "rows"),
    [
        (api.AssignRequest.DESCRIPTOR, ASSIGN),
        (api.ReportOutcomeRequest.DESCRIPTOR, REPORT),
        (api.GetTaskRequest.DESCRIPTOR, GET),
        (api.CancelTaskRequest.DESCRIPTOR, CANCEL),
        (worker_pb2.WorkerHeartbeat.DESCRIPTOR, BEAT),
    ],
    ids=lambda value: value.name if isinstance(value, Descriptor) else "",
)
def test_every_field_of_every_request_has_a_row(descriptor: Descriptor, rows: list[Row]) -> None:
    told = {re.sub(r"\[\d+\]", "[]", row.path) for row in rows}
    wanted = set(leaves(descriptor))
    assert not wanted - told, "fields without a row"
    assert not {path for path in told - wanted if not any(leaf.startswith(path) for leaf in wanted)}, "rows of nothing"


def test_a_batch_is_made_of_requests_and_nothing_else() -> None:
    fields = api.AssignBatchRequest.DESCRIPTOR.fields
    assert [(field.name, field.message_type) for field in fields] == [("requests", api.AssignRequest.DESCRIPTOR)]


def test_every_method_that_exists_is_in_the_table_or_said_to_be_missing() -> None:
    methods = {each.name for each in api.DESCRIPTOR.services_by_name["ScheduleService"].methods}
    assert methods == {"Assign", "AssignBatch", "CancelTask", "GetTask", "ReportOutcome", "Schedule", "WatchTasks"}


def test_the_clock_of_these_tests_is_the_one_that_timestamps_are_held_against() -> None:
    assert WALL_MS == WALL_S * 1_000
