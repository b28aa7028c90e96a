"""What a Task says on the wire."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from scheduler_api.v1 import task_pb2
from scheduler_server.client import LossPolicy, Task

FULL = Task(
    task_id="t1",
    task_type="resize",
    attempt=2,
    tenant="acme",
    category="bug",
    priority=0.0,
    required_capabilities=["gpu", "fast"],
    excluded_workers=["w9"],
    match_labels={"zone": "a"},
    features={"input_bytes": 1e6},
    attributes={"dataset": "hg38"},
    expected_duration=timedelta(minutes=2),
    description_length=0,
    dependencies=3,
    not_before=datetime(2026, 1, 1, tzinfo=UTC),
    start_by=datetime(2026, 1, 2, tzinfo=UTC),
    loss_policy=LossPolicy.REQUEUE,
    payload=b"\x00\xff",
    slots=2,
    user="ann",
    requested_resources={"cpus": 4.0},
    caller_choice="w3",
    max_attempts=5,
)


def test_each_field_of_the_contract_can_be_said() -> None:
    message = FULL.to_proto()
    said = {field.name for field, _ in message.ListFields()}
    assert said == set(task_pb2.Task.DESCRIPTOR.fields_by_name)
    assert {field.name for field, _ in message.hints.ListFields()} == set(task_pb2.TaskHints.DESCRIPTOR.fields_by_name)


def test_each_field_arrives_under_its_own_name() -> None:
    message = FULL.to_proto()
    assert (message.task_id, message.attempt, message.tenant, message.task_type) == (
        "t1",
        2,
        "acme",
        "resize",
    )
    assert (message.category, message.user, message.caller_choice) == ("bug", "ann", "w3")
    assert list(message.required_capabilities) == ["gpu", "fast"]
    assert list(message.excluded_workers) == ["w9"]
    assert dict(message.match_labels) == {"zone": "a"}
    assert dict(message.features) == {"input_bytes": 1e6}
    assert dict(message.attributes) == {"dataset": "hg38"}
    assert dict(message.requested_resources) == {"cpus": 4.0}
    assert message.hints.expected_duration.ToTimedelta() == timedelta(minutes=2)
    assert (message.hints.description_length, message.hints.dependencies) == (0, 3)
    assert message.not_before.ToDatetime(tzinfo=UTC) == datetime(2026, 1, 1, tzinfo=UTC)
    assert message.start_by.ToDatetime(tzinfo=UTC) == datetime(2026, 1, 2, tzinfo=UTC)
    assert message.loss_policy == task_pb2.LOSS_POLICY_REQUEUE
    assert (message.payload, message.slots, message.max_attempts) == (b"\x00\xff", 2, 5)


def test_what_is_not_said_is_absent() -> None:
    message = Task(task_id="t1", task_type="resize").to_proto()
    assert {field.name for field, _ in message.ListFields()} == {"task_id", "attempt", "task_type"}


def test_a_priority_of_zero_is_said() -> None:
    assert Task(task_id="t1", task_type="resize", priority=0.0).to_proto().HasField("priority")


def test_an_instant_without_zone_is_refused() -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 -- that is what it is about
    with pytest.raises(ValueError, match="no time zone"):
        Task(task_id="t1", task_type="resize", start_by=naive).to_proto()


def test_negative_slots_do_not_fit_the_wire() -> None:
    with pytest.raises(ValueError, match="-1"):
        Task(task_id="t1", task_type="resize", slots=-1).to_proto()


def test_one_string_is_not_a_list_of_capabilities() -> None:
    with pytest.raises(TypeError, match=r"\['gpu'\]"):
        Task(task_id="t1", task_type="resize", required_capabilities="gpu")


def test_capabilities_from_an_iterator_are_said_every_time() -> None:
    task = Task(task_id="t1", task_type="resize", required_capabilities=iter(["gpu"]))
    assert task.to_proto() == task.to_proto()
    assert list(task.to_proto().required_capabilities) == ["gpu"]


def test_another_attempt_differs_in_nothing_else() -> None:
    again = FULL.as_attempt(3)
    assert again.attempt == 3
    assert dataclasses.replace(again, attempt=2) == FULL


def test_a_task_cannot_be_changed_after_it_was_made() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.attempt = 9  # type: ignore[misc]  # that is what it is about
