"""The things themselves: immutable, comparable, ordered as their names say."""

import pytest

from scheduler_server.model.decision import Rejection
from scheduler_server.model.task import Task, TaskKey
from scheduler_server.model.worker import Health, Registration


def test_a_task_is_named_by_tenant_id_and_attempt() -> None:
    assert Task("tenant", "t", 2, "type").key == TaskKey("tenant", "t", 2)


def test_equal_requests_are_equal_and_a_difference_anywhere_makes_them_differ() -> None:
    task = Task("", "t", 1, "type")
    assert task == Task("", "t", 1, "type")
    for change in (
        {"category": "bug"},
        {"priority": 0.4},
        {"required": ("gpu",)},
        {"payload": b"x"},
        {"labels": (("a", "b"),)},
    ):
        assert task != task._replace(**change)


def test_values_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Registration().slots = 3  # type: ignore[misc] # that is what is refused


def test_no_rejection_is_false_and_every_other_is_true() -> None:
    assert [reason for reason in Rejection if not reason] == [Rejection.CANDIDATE]


def test_health_gets_worse_in_order() -> None:
    assert sorted(Health) == [Health.HEALTHY, Health.DEGRADED, Health.UNHEALTHY]
