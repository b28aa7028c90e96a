"""The short way on bytes says what the long way over messages says."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.assignment.effects import Reply
from scheduler_server.assignment.events import Submit
from scheduler_server.model.decision import Cause, Decision, Source
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import TaskKey, TaskState
from scheduler_server.rpc import decode, encode, quick
from scheduler_server.rpc.checks import Faults
from scheduler_server.rpc.errors import NotSupported, Refused

# ---------------------------------------------------------------------- in


def long_way(data: bytes) -> Any:
    """What the request means: an event, or the kind and the words of the error."""
    try:
        return decode.submit(api.AssignRequest.FromString(data))
    except DecodeError:
        return Refused
    except (Faults, NotSupported) as error:
        return type(error), str(error)


def short_way(reader: quick.Requests, data: bytes) -> Any:
    """The same, as the server reads it."""
    try:
        return reader.submit(data)
    except Refused:
        return Refused
    except (Faults, NotSupported) as error:
        return type(error), str(error)


def request(task_id: str = "t1", **fields: Any) -> bytes:
    task = task_pb2.Task(task_id=task_id, task_type=fields.pop("task_type", "resize"), **fields)
    return api.AssignRequest(task=task).SerializeToString()


def test_a_kind_once_seen_is_recognized_under_another_id() -> None:
    reader = quick.Requests()
    first = reader.submit(request("t1", tenant="acme", features={"bytes": 2.0}))
    second = reader.submit(request("another", tenant="acme", features={"bytes": 2.0}))
    assert (first.task.task_id, second.task.task_id) == ("t1", "another")
    assert second == Submit(first.task._replace(task_id="another"), first.delivery, first.explain)


@pytest.mark.parametrize("task_id", ["a\tb", "\x7f", "é", "x" * 127, "x" * 128, "x" * 256, "x" * 257, ""])
def test_every_id_is_checked_though_its_kind_was_seen(task_id: str) -> None:
    reader = quick.Requests()
    reader.submit(request("t1"))
    assert short_way(reader, request(task_id)) == long_way(request(task_id))


def test_an_id_told_twice_is_the_last_one_as_the_wire_format_says() -> None:
    reader = quick.Requests()
    twice = request("t1")[2:] + b"\x0a\x02t2"
    data = b"\x0a" + bytes((len(twice),)) + twice
    for _ in range(2):  # also the second time, when it could have been remembered
        assert reader.submit(data).task.task_id == "t2"


def test_where_the_task_ends_is_part_of_what_is_remembered() -> None:
    """The same bytes, once as the task's own and once after it, mean different things."""
    reader = quick.Requests()
    inside = b"\x0a\x09\x0a\x01t\x22\x02re\x10\x01"  # attempt 1 inside the task
    outside = b"\x0a\x07\x0a\x01t\x22\x02re\x10\x01"  # delivery 1 after it
    for data in (inside, outside, inside, outside):
        assert short_way(reader, data) == long_way(data)


def test_kinds_that_never_come_again_do_not_fill_the_memory() -> None:
    reader = quick.Requests()
    for at in range(10_000):
        reader.submit(request(features={"bytes": float(at)}))
    assert len(reader._kinds) <= 4_096
    reader.submit(request(features={f"name-{at}": 1.0 for at in range(60)}))  # longer than is worth keeping
    assert all(len(rest) <= 512 for rest, _ in reader._kinds)


words = st.text(max_size=5)
tasks = st.builds(
    task_pb2.Task,
    task_id=st.text(max_size=3),
    task_type=st.sampled_from(["", "a", "b\x00"]),
    tenant=words,
    attempt=st.integers(0, 300),
    priority=st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0, 1.5])),
    required_capabilities=st.lists(words, max_size=2),
    features=st.dictionaries(words, st.floats(), max_size=1),
    slots=st.one_of(st.none(), st.integers(0, 2)),
)
requests = st.builds(
    api.AssignRequest, task=tasks, delivery=st.integers(0, 3).map(lambda each: each % 3), view=st.integers(0, 2)
)


@given(st.lists(requests.map(lambda each: each.SerializeToString()), min_size=1, max_size=6), st.data())
def test_anything_reads_the_same_both_ways_in_whatever_order(kinds: list[bytes], data: st.DataObject) -> None:
    reader = quick.Requests()
    for _ in range(8):
        asked = bytearray(data.draw(st.sampled_from(kinds)))
        for _ in range(data.draw(st.integers(0, 2)) if asked else 0):  # damaged, or another id
            asked[data.draw(st.integers(0, len(asked) - 1))] = data.draw(st.integers(0, 255))
        assert repr(short_way(reader, bytes(asked))) == repr(long_way(bytes(asked)))  # by repr: NaN is not NaN


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_the_items_of_a_batch_are_found(parts: list[bytes]) -> None:
    written = b"".join(b"\x0a" + _varint(len(part)) + part for part in parts)
    assert quick.items(written) == parts


@pytest.mark.parametrize(
    "data",
    [b"\x0a", b"\x0a\x05abc", b"\x12\x01a", b"\x0a\x01a\x10\x01", b"\x0a" + b"\xff" * 9 + b"\x01"],
    ids=["no length", "too short", "another field", "another field later", "a length without end"],
)
def test_what_is_no_list_of_items_is_left_to_the_parser(data: bytes) -> None:
    assert quick.items(data) is None


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes((value,))


# ---------------------------------------------------------------------- out

ids = st.one_of(st.text(min_size=1, max_size=20), st.sampled_from(["x" * 127, "x" * 128, "é" * 64, "a % b %s"]))
numbers = st.floats(allow_nan=False, allow_infinity=False)
shares = st.floats(0, 1)
predictions = st.builds(
    Prediction, numbers, numbers, numbers, numbers, shares, st.one_of(st.just(0), st.integers(0, 2**63)), ids, ids
)
terms = st.lists(st.tuples(ids, numbers, st.sampled_from([0.0, 0.4, -1.0])), max_size=4).map(tuple)
decisions = st.builds(
    Decision,
    decision_id=ids,
    task=st.builds(TaskKey, st.one_of(st.just(""), ids), ids, st.integers(1, 2**32 - 1) | st.just(1)),
    task_type=ids,
    lease_id=ids,
    worker_id=ids,
    wait_ms=numbers,
    duration_ms=numbers,
    score=numbers,
    terms=terms,
    source=st.just(Source.PREDICTED),
    cause=st.one_of(st.just(Cause.BEST_SCORE), st.sampled_from(Cause)),
    scorer=st.sampled_from(["weighted", "of 100 %"]),
    policy_revision=st.integers(1, 2**63),
    incarnation=ids,
    decided_at=st.one_of(st.floats(0, 4e9), st.just(1_800_000_000.999999)),
    prediction=st.one_of(predictions, st.none()),
    candidates=st.integers(0, 10**6),
    degraded=st.booleans(),
    explanation=st.none(),
).map(lambda made: made._replace(source=_SOURCES.get(made.cause, Source.FALLBACK)))
_SOURCES: dict[Cause, Source] = {Cause.BEST_SCORE: Source.PREDICTED, Cause.ONLY_CANDIDATE: Source.PREDICTED}


@given(st.sampled_from([TaskState.PLACED, TaskState.OFFERED, TaskState.FINISHED]), decisions, st.booleans(), st.data())
def test_an_answer_written_as_bytes_is_the_message(
    state: TaskState, decision: Decision, replayed: bool, data: st.DataObject
) -> None:
    outcome = data.draw(st.sampled_from([None, Outcome(OutcomeStatus.SUCCEEDED, 5.0)]))
    if decision.cause not in (Cause.BEST_SCORE, Cause.ONLY_CANDIDATE) and decision.cause not in _TOLD:
        return
    reply = Reply(state, decision, outcome, replayed)
    assert api.AssignResponse.FromString(quick.assigned(reply)) == encode.assigned(reply)


_TOLD = frozenset(Cause) - {Cause.OVERRIDE_PIN}


def usual(**changes: Any) -> Decision:
    made = Decision(
        "d-a-1", TaskKey("acme", "t", 1), "resize", "l-a-1", "w1", 0.0, 372.125, 0.797,
        (("wait", 1.0, 0.4), ("load", 0.74, 0.4)), Source.PREDICTED, Cause.BEST_SCORE, "weighted", 1, "a", 1.8e9,
        Prediction(372.125, 400.0, 360.0, 512.0, 0.7, 1_234, "type=resize", "ema"), 2_500, False,
    )  # fmt: skip
    return made._replace(**changes)


@pytest.mark.parametrize(
    "change",
    [
        {"policy_revision": 2},
        {"incarnation": "b"},
        {"terms": (("wait", 1.0, 0.5), ("load", 0.74, 0.4))},
        {"terms": (("wait", 1.0, 0.4), ("length", 0.74, 0.4))},
        {"terms": (("wait", 1.0, 0.4),)},
        {"terms": ()},
        {"scorer": "capability"},
    ],
    ids=lambda change: f"{next(iter(change))}",
)
def test_what_decisions_have_in_common_is_noticed_when_it_changes(change: dict[str, Any]) -> None:
    for made in (usual(), usual(**change), usual()):
        reply = Reply(TaskState.PLACED, made, None, False)
        assert api.AssignResponse.FromString(quick.assigned(reply)) == encode.assigned(reply)


def test_the_usual_answer_goes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "assigned", None)
    assert quick.assigned(Reply(TaskState.PLACED, usual(), None, False))
