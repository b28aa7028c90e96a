"""Timers of what is gone do not pile up."""

from random import Random

import pytest

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
    assert len(rig.core.queue._timers) <= 128
    assert len(rig.core.queue._promises) <= 128


def test_a_task_that_is_asked_for_again_and_again_has_few_timers() -> None:
    rig = Rig()
    rig.connect("w1", slots=1)
    rig.place("first")
    task = Task("", "q", 1, "type")
    rig.give(Submit(task, enqueue=True))
    for at in range(5_000):
        rig.give(Submit(task, wait_s=90_000.0 - at, ticket=at + 1))
        rig.give(Abandon(at + 1))
    assert len(rig.core.queue._timers) <= 128


def test_however_many_there_are_one_that_comes_costs_a_look_at_four() -> None:
    looks = [0]
    alive: set[int] = set(range(0, 10_000, 3))

    def valid(_at: float, subject: int) -> bool:
        looks[0] += 1
        return subject in alive

    timers: Timers[int] = Timers(valid)
    most = 0
    for subject in range(10_000):
        looks[0] = 0
        timers.watch(float(subject % 97), subject)
        most = max(most, looks[0])
    assert most == 4
    assert len(timers) < 3 * len(alive)


@pytest.mark.parametrize("seed", range(5))
def test_they_come_as_in_a_sorted_list_whatever_is_gone_through_meanwhile(seed: int) -> None:
    chance = Random(seed)
    alive: set[int] = set()
    plain: list[tuple[float, int]] = []
    timers: Timers[int] = Timers(lambda _at, subject: subject in alive)
    now = 0.0
    for subject in range(3_000):
        at = now + chance.choice([0.0, 1.0, 5.0, 50.0])
        timers.watch(at, subject)
        alive.add(subject)
        plain.append((at, subject))
        if chance.random() < 0.7:
            alive.discard(chance.choice(plain)[1])
        if chance.random() < 0.05:
            now += chance.choice([0.5, 3.0])
            came = []
            while (due := timers.due(now)) is not None:
                came.append(due)
            assert came == [subject for at, subject in sorted(plain) if at <= now and subject in alive]
            plain = [each for each in plain if each[0] > now]
    left = [at for at, subject in plain if subject in alive]
    assert timers.next_at <= min(left)
