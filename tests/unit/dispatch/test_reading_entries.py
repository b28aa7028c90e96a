"""Entries of a stream to tasks: what a queue service says, in whichever form, is what the server understands."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_server.assignment.events import Submit
from scheduler_server.client import LossPolicy, Task
from scheduler_server.client.stream import entry, plain_entry
from scheduler_server.dispatch.entries import DeadReason, EntryRefused
from scheduler_server.model.task import Delivery
from scheduler_server.rpc import entry as module
from scheduler_server.rpc.entry import MAX_FIELD_BYTES, Entries

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
maybe = st.one_of(st.just(""), names)
finite = st.floats(-1e9, 1e9)
instants = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- its zone is beside it
tasks = st.builds(
    Task,
    task_id=names,
    task_type=names,
    attempt=st.integers(1, 99),
    tenant=maybe,
    category=maybe,
    priority=st.none() | st.floats(0, 1, width=32),
    required_capabilities=st.lists(names, max_size=3),
    excluded_workers=st.lists(names, max_size=3),
    match_labels=st.dictionaries(names, names, max_size=3),
    features=st.dictionaries(names, finite, max_size=3),
    attributes=st.dictionaries(names, maybe, max_size=3),
    expected_duration=st.none() | st.timedeltas(timedelta(milliseconds=1), timedelta(days=300)),
    description_length=st.none() | st.integers(0, 10_000),
    not_before=st.none() | instants,
    loss_policy=st.sampled_from(LossPolicy),
    payload=st.binary(max_size=50),
    user=maybe,
    requested_resources=st.dictionaries(names, st.floats(0, 1e6), max_size=3),
    caller_choice=maybe,
    max_attempts=st.none() | st.integers(1, 1_000),
)


def as_redis_has_it(fields: dict[str, Any]) -> dict[bytes, bytes]:
    """What XADD makes of it."""
    return {name.encode(): value if isinstance(value, bytes) else str(value).encode() for name, value in fields.items()}


def careful(fields: dict[bytes, bytes]) -> Submit:
    """What is understood without anything remembered."""
    return Entries().read(fields)


def outcome(entries: Entries, fields: dict[bytes, bytes]) -> tuple[str, str]:
    """The id of the task that was read, or why there is none."""
    try:
        return entries.read(fields).task.task_id, ""
    except EntryRefused as refused:
        return "", refused.detail


@settings(deadline=None)
@given(tasks)
def test_both_forms_of_an_entry_say_the_same(task: Task) -> None:
    whole, plain = careful(as_redis_has_it(entry(task))), careful(as_redis_has_it(plain_entry(task)))
    assert whole == plain
    assert whole.delivery is Delivery.STREAM
    assert whole.task.payload == task.payload


@settings(deadline=None)
@given(st.lists(tasks, max_size=6), st.lists(names, max_size=6))
def test_what_is_remembered_of_a_kind_says_what_reading_it_anew_says(known: list[Task], ids: list[str]) -> None:
    entries = Entries()
    for task in known:
        entries.read(as_redis_has_it(plain_entry(task)))
        for task_id in ids:
            fields = as_redis_has_it(plain_entry(task)) | {b"task_id": task_id.encode(), b"payload": b"new"}
            assert entries.read(fields) == careful(fields)


texts = st.text(max_size=20).map(str.encode) | st.binary(max_size=20)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(sorted(module._READERS)) | texts, texts, max_size=5))
def test_any_entry_is_read_or_refused_with_a_reason(fields: dict[bytes, bytes]) -> None:
    entries = Entries()
    first = outcome(entries, fields)
    assert first[0] or first[1].strip()
    assert outcome(entries, fields) == first


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_any_bytes_in_place_of_a_message_are_read_or_refused(body: bytes) -> None:
    task_id, detail = outcome(Entries(), {b"task": body})
    assert task_id or detail.strip()


@pytest.mark.parametrize("task_id", [b"", b"x" * 257, b"a\x00b", "\N{SNOWMAN}".encode(), b"\xff", b" "])
def test_a_task_id_is_checked_also_where_the_kind_is_known(task_id: bytes) -> None:
    rest = {b"task_type": b"work"}
    entries = Entries()
    entries.read({b"task_id": b"first", **rest})

    asked = {b"task_id": task_id, **rest}
    assert outcome(entries, asked) == outcome(Entries(), asked)


@pytest.mark.parametrize(("size", "taken"), [(65_535, True), (65_536, True), (65_537, False)])
def test_a_payload_is_bounded_also_where_the_kind_is_known(size: int, taken: bool) -> None:
    entries = Entries()
    entries.read({b"task_id": b"first", b"task_type": b"work"})
    fields = {b"task_id": b"t", b"task_type": b"work", b"payload": bytes(size)}
    if taken:
        assert len(entries.read(fields).task.payload) == size
    else:
        with pytest.raises(EntryRefused, match=r"payload: has 65,537 bytes; the limit is 65,536"):
            entries.read(fields)


@pytest.mark.parametrize(("size", "word"), [(MAX_FIELD_BYTES, "UNDECODABLE"), (MAX_FIELD_BYTES + 1, "INVALID")])
def test_beyond_a_megabyte_nothing_is_parsed(size: int, word: str) -> None:
    for fields in ({b"task": b"\xff" * size}, {b"task_id": b"t", b"task_type": b"w", b"features": b"[" * size}):
        with pytest.raises(EntryRefused) as caught:
            careful(fields)
        assert caught.value.reason.name == word


def test_all_that_is_wrong_is_told_and_the_worst_is_the_reason() -> None:
    with pytest.raises(EntryRefused) as caught:
        careful({b"task_id": b"t", b"colour": b"red", b"priority": b"high", b"attempt": b"1.5"})
    assert caught.value.reason is DeadReason.UNDECODABLE
    assert caught.value.detail == (
        "colour: no field of a task has that name; priority: is no number; attempt: is no whole number of 0 or more"
    )


def test_a_task_that_was_set_aside_comes_again_as_the_attempt_that_is_asked_for() -> None:
    entries = Entries()
    task = careful(as_redis_has_it(plain_entry(Task(task_id="t", task_type="w", payload=b"p", max_attempts=2)))).task
    late = task._replace(start_by=10.0)
    again = entries.again(entries.task(late), 4)
    assert again is not None
    assert careful({b"task": again}).task == task._replace(attempt=4)
    assert entries.again(b"\xff", 2) is None
    assert entries.again(b"", 2) is None


def test_a_payload_is_put_back_into_a_task_that_was_kept_without() -> None:
    entries = Entries()
    fields = as_redis_has_it(plain_entry(Task(task_id="t", task_type="w", payload=b"p")))
    kept = entries.read(fields).task._replace(payload=b"")
    assert careful({b"task": entries.refill(entries.task(kept), fields)}).task.payload == b"p"
