"""Timers of what is gone do not pile up."""

from scheduler_server.assignment.events import Abandon, Submit
from scheduler_server.assignment.timers import Timers
from scheduler_server.model.task import Task
from tests.unit.assignment.rig import Rig


def test_they_come_in_order_of_time_and_of_having_been_watched() -> None:
    timers: Timers[str] = Timers(lambda _at, _subject: True)
    for at, subject in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (3.0, "d")):
        timers.watch(at, subject)
    assert timers.next_at == 1.0
    assert [timers.due(2.0) for _ in range(4)] == ["a", "b", "c", None]
    assert timers.due(3.0) == "d"
    assert timers.next_at == float("inf")


def test_one_that_means_nothing_any_more_does_not_come() -> None:
    alive = {"a", "b"}
    timers: Timers[str] = Timers(lambda _at, subject: subject in alive)
    timers.watch(1.0, "a")
    timers.watch(1.0, "b")
    alive.discard("a")
    assert [timers.due(1.0), timers.due(1.0)] == ["b", None]


def test_many_short_waits_with_long_timeouts_leave_few_timers_behind() -> None:
    rig = Rig()
    rig.connect("w1", slots=1)
    rig.place("first")
    for at in range(5_000):
        task = Task("", f"q{at}", 1, "type", start_by=rig.now.wall + 1e6)
        rig.give(Submit(task, wait_s=86_400.0, ticket=at + 1))
        rig.give(Abandon(at + 1))
    assert len(rig.core.queue._timers) <= 66
    assert len(rig.core.queue._promises) <= 66


def test_a_task_that_is_asked_for_again_and_again_has_few_timers() -> None:
    rig = Rig()
    rig.connect("w1", slots=1)
    rig.place("first")
    task = Task("", "q", 1, "type")
    rig.give(Submit(task, enqueue=True))
    for at in range(5_000):
        rig.give(Submit(task, wait_s=90_000.0 - at, ticket=at + 1))
        rig.give(Abandon(at + 1))
    assert len(rig.core.queue._timers) <= 66
