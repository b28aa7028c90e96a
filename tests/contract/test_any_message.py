"""Whatever bytes and values arrive: a fault is told as one, and what is right survives to the worker and back."""

import string
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2, worker_pb2
from scheduler_server.app import make_core
from scheduler_server.assignment import effects
from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.events import Connect
from scheduler_server.model.clock import Now
from scheduler_server.model.worker import Registration, Sample
from scheduler_server.rpc import decode, decode_beat, encode
from scheduler_server.rpc.checks import Faults
from scheduler_server.rpc.errors import NotSupported, status_of
from tests.contract.server import WALL_MS, WALL_S
from tests.contract.server import settings as server_settings


def told(read: Callable[[], Any]) -> Any:
    """What was read; None where it was told what is wrong, in words and details. Anything else raised is a defect."""
    try:
        return read()
    except (Faults, NotSupported) as error:
        status = status_of(error)
    assert status.message
    assert status.details
    return None


many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# ---------------------------------------------------------------------- any message at all

nasty_texts = st.one_of(
    st.just(""),
    st.text(max_size=8),
    st.sampled_from(["x" * 127, "x" * 128, "x" * 256, "x" * 257, "a\0b", "\x7f", "\x85", "\N{NO-BREAK SPACE}"]),
)
_SCALARS: dict[int, Any] = {
    FieldDescriptor.TYPE_STRING: nasty_texts,
    FieldDescriptor.TYPE_BYTES: st.sampled_from([b"", b"x", b"x" * 65_536, b"x" * 65_537]),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_FLOAT: st.one_of(st.floats(width=32), st.floats(0, 1, width=32)),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_INT32: st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(0, 9)),
    FieldDescriptor.TYPE_INT64: st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(0, 9), st.just(WALL_MS)),
    FieldDescriptor.TYPE_UINT32: st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 9)),
    FieldDescriptor.TYPE_UINT64: st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 9)),
    FieldDescriptor.TYPE_ENUM: st.one_of(st.integers(0, 6), st.integers(-(2**31), 2**31 - 1)),
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, share: int = 3) -> Any:
    """A message of this kind with some of its fields set to anything that their types allow."""
    message: Any = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if draw(st.integers(0, share)):
            continue
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            values = _SCALARS[inner.fields_by_name["value"].type]
            getattr(message, field.name).update(draw(st.dictionaries(nasty_texts, values, max_size=3)))
        elif inner is not None and field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(messages(inner), max_size=3)))
        elif inner is not None:
            getattr(message, field.name).CopyFrom(draw(messages(inner, 1)))
            getattr(message, field.name).SetInParent()
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(_SCALARS[field.type], max_size=3)))
        else:
            setattr(message, field.name, draw(_SCALARS[field.type]))
    return message


@many
@given(messages(api.AssignRequest.DESCRIPTOR, 1))
def test_any_assign_request_is_taken_or_told_what_is_wrong_with_it(request: api.AssignRequest) -> None:
    taken = told(lambda: decode.submit(api.AssignRequest.FromString(request.SerializeToString())))
    if taken is not None:
        assert taken.task.task_id
        assert taken.task.task_type
        assert 0.0 <= taken.task.priority <= 1.0


@many
@given(
    st.builds(
        api.AssignRequest,
        task=st.builds(
            task_pb2.Task,
            task_id=nasty_texts,
            task_type=nasty_texts,
            tenant=nasty_texts,
            category=nasty_texts,
            attempt=st.sampled_from([0, 1, 127, 128, 20_000, 2**32 - 1]),
            required_capabilities=st.one_of(
                st.lists(nasty_texts, max_size=3), st.just([f"n{number}" for number in range(65)])
            ),
            priority=st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0])),
            slots=st.sampled_from([None, 1, 2]),
            loss_policy=st.sampled_from([0, 1]),
        ),
        delivery=st.sampled_from([0, 1, 2]),
        view=st.sampled_from([0, 1, 2]),
        trace=st.sampled_from([None, task_pb2.TraceContext()]),
        enqueue=st.sampled_from([None, api.Enqueue()]),
    )
)
def test_the_quick_way_to_read_a_request_never_takes_what_the_careful_way_refuses(request: api.AssignRequest) -> None:
    quick = decode._plain(request)
    if quick is not None:
        assert quick == decode._careful(request, "")


@pytest.mark.parametrize(
    "other",
    [
        {"enqueue": api.Enqueue()},
        {"trace": task_pb2.TraceContext()},
        {"task": {"attempt": 20_000}},
        {"task": {"loss_policy": 1}},
    ],
    ids=["enqueue", "trace", "attempt", "loss policy"],
)
def test_another_field_does_not_make_up_for_an_id_that_is_not_there(other: dict[str, Any]) -> None:
    fields = {"task_type": "resize", **other.pop("task", {})}
    with pytest.raises(Faults) as raised:
        decode.submit(api.AssignRequest(task=task_pb2.Task(**fields), **other))
    assert [fault.field for fault in raised.value.faults] == ["task.task_id"]


@many
@given(messages(worker_pb2.WorkerHeartbeat.DESCRIPTOR, 1))
def test_any_heartbeat_is_taken_or_told_what_is_wrong_with_it(message: worker_pb2.WorkerHeartbeat) -> None:
    message = worker_pb2.WorkerHeartbeat.FromString(message.SerializeToString())
    for taken in (
        told(lambda: decode_beat.connect(message, 1, WALL_S)),
        told(lambda: decode_beat.heartbeat(message, 1, message.worker_id, WALL_S)),
    ):
        if taken is not None:
            sample = taken.sample
            assert 0.0 <= sample.cpu <= 1.0
            assert 0.0 <= sample.memory <= 1.0
            assert 0 <= sample.queue_depth <= 1_000_000
            assert 0 <= sample.timestamp_ms <= WALL_MS + 86_400_000
            assert len(sample.probe_nonce) <= 256
            assert len(sample.drain_id) <= 256


@many
@given(messages(api.OutcomeReport.DESCRIPTOR, 1))
def test_any_report_is_taken_or_told_what_is_wrong_with_it(message: api.OutcomeReport) -> None:
    taken = told(lambda: decode.report(message, "reports[0]."))
    if taken is not None:
        assert taken.outcome.duration_ms is None or 0.0 <= taken.outcome.duration_ms <= 365 * 86_400_000


@many
@given(st.sampled_from([api.AssignRequest, api.OutcomeReport, worker_pb2.WorkerHeartbeat]), st.binary(max_size=80))
def test_any_bytes_parse_or_do_not(kind: Any, data: bytes) -> None:
    try:
        message = kind.FromString(data)
    except DecodeError:
        return
    readers: dict[Any, Any] = {
        api.AssignRequest: decode.submit,
        api.OutcomeReport: lambda report: decode.report(report, ""),
        worker_pb2.WorkerHeartbeat: lambda beat: decode_beat.connect(beat, 1, WALL_S),
    }
    told(lambda: readers[kind](message))


# ---------------------------------------------------------------------- what is right

ids = st.text(st.sampled_from(string.ascii_letters + "é№-_. "), min_size=1, max_size=20)
durations = st.builds(lambda ns: {"seconds": ns // 10**9, "nanos": ns % 10**9}, st.integers(1_000, 10**15))
finite = st.floats(allow_nan=False, allow_infinity=False)
right_tasks = st.builds(
    task_pb2.Task,
    task_id=ids,
    task_type=ids,
    attempt=st.integers(1, 2**32 - 1),
    tenant=st.one_of(st.just(""), ids),
    category=st.one_of(st.just(""), ids),
    priority=st.floats(0, 1, width=32).map(lambda value: round(value, 6)),
    required_capabilities=st.lists(st.sampled_from(["gpu", "cpu", "disk"]), unique=True).map(sorted),
    excluded_workers=st.lists(ids.map("not {}".format), unique=True, max_size=3).map(sorted),
    match_labels=st.dictionaries(st.sampled_from(["zone", "rack"]), st.just("a")),
    features=st.dictionaries(ids, finite, max_size=3),
    attributes=st.dictionaries(ids, ids, max_size=3),
    hints=st.one_of(
        st.none(),
        st.builds(
            task_pb2.TaskHints,
            expected_duration=st.one_of(st.none(), durations),
            description_length=st.one_of(st.none(), st.integers(0, 2**32 - 1)),
            dependencies=st.one_of(st.none(), st.integers(0, 2**32 - 1)),
        ),
    ),
    start_by=st.one_of(st.none(), st.builds(dict, seconds=st.integers(int(WALL_S) + 1, 2**33))),
    loss_policy=st.sampled_from([1, 2]),
    payload=st.binary(max_size=100),
    user=st.one_of(st.just(""), ids),
    requested_resources=st.dictionaries(ids, st.floats(0, 1e300), max_size=3),
    caller_choice=st.one_of(st.just(""), ids),
    max_attempts=st.one_of(st.none(), st.integers(1, 1_000).filter(lambda number: number != 3)),
)


def a_core() -> Scheduler:
    core = make_core(server_settings(), Now(1_000.0, WALL_S), "test")
    registered = Registration(
        capabilities=("cpu", "disk", "gpu"), slots=10, labels=(("rack", "a"), ("zone", "a")), accepts_tasks=True
    )
    core.handle(Now(1_000.0, WALL_S), Connect(1, "w", None, registered, Sample(0.0, 0.0, 0, 0)))
    return core


@many
@given(right_tasks)
def test_a_task_that_is_right_survives_the_way_through_the_core_to_its_worker(asked: task_pb2.Task) -> None:
    request = api.AssignRequest(task=asked, delivery=task_pb2.DELIVERY_STREAM, view=api.EXPLANATION_VIEW_FULL)
    out = a_core().handle(
        Now(1_000.0, WALL_S), decode.submit(api.AssignRequest.FromString(request.SerializeToString()))
    )
    handed = next(each for each in out if isinstance(each, effects.HandOver))
    sent: Any = encode.directive(handed, incarnation="test", unhealthy_after_s=30.0)
    got = worker_pb2.WorkerDirective.FromString(sent.SerializeToString()).run_task.task
    for hinted in (asked, got):  # a Duration goes through a double of milliseconds: to the microsecond
        if hinted.hints.HasField("expected_duration"):
            hinted.hints.expected_duration.FromMicroseconds(round(hinted.hints.expected_duration.ToNanoseconds() / 1e3))
    assert got.priority == pytest.approx(asked.priority, abs=1e-6)
    got.priority = asked.priority
    assert got == asked
    reply = next(each for each in out if isinstance(each, effects.Reply))
    answer = api.AssignResponse.FromString(encode.assigned(reply).SerializeToString())
    assert (answer.decision.task.task_id, answer.decision.worker_id) == (asked.task_id, "w")


right_outcomes = st.builds(
    task_pb2.Outcome,
    status=st.sampled_from([1, 2, 3, 4]),
    duration=st.one_of(st.none(), durations),
    error_message=st.text(max_size=50),
    error_kind=st.one_of(st.just(""), ids),
    result=st.binary(max_size=100),
)


@many
@given(right_outcomes)
def test_an_outcome_that_is_right_survives_the_way_through_the_core_to_who_asks(told: task_pb2.Outcome) -> None:
    now = Now(1_000.0, WALL_S)
    core = a_core()
    asked = api.AssignRequest(task=task_pb2.Task(task_id="t", task_type="resize"))
    reply = next(each for each in core.handle(now, decode.submit(asked)) if isinstance(each, effects.Reply))
    assert reply.decision is not None
    report = api.OutcomeReport(lease_id=reply.decision.lease_id, outcome=told)
    core.handle(now, decode.report(api.OutcomeReport.FromString(report.SerializeToString()), ""))
    record = core.task("", "t", 0)
    assert record is not None
    status = api.TaskStatus()
    encode.task_status(status, record)
    got = status.outcome
    for each in (told, got):
        if each.HasField("duration"):
            each.duration.FromMicroseconds(round(each.duration.ToNanoseconds() / 1e3))
    assert got == told
