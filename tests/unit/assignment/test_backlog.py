"""What the backlog that a task comes to allows others to go before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.assignment.backlog import Backlog, Held
from scheduler_server.assignment.effects import Granted
from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.state import restore_waiting, waiting_to_bytes
from scheduler_server.model.task import Task
from tests.unit.assignment.rig import Rig


def used_to(length_s: float) -> Backlog:
    backlog = Backlog()
    backlog.learn(length_s)
    return backlog


def test_a_task_of_usual_length_allows_the_wait_that_it_comes_to() -> None:
    assert used_to(10.0).allowance(0.0, Held(), 10.0, 600.0, 4.0) == 150.0


@pytest.mark.parametrize(
    ("length_s", "share"), [(0.0, 0.0), (5.0, 0.5), (19.9, 1.99), (20.0, 2.0), (20.1, 2.0), (1e9, 2.0)]
)
def test_a_shorter_one_allows_less_and_a_longer_one_twice_as_much_at_most(length_s: float, share: float) -> None:
    assert used_to(10.0).allowance(0.0, Held(), length_s, 600.0, 6.0) == pytest.approx(100.0 * share)


def test_an_empty_queue_allows_nothing() -> None:
    assert used_to(10.0).allowance(0.0, Held(), 10.0, 0.0, 4.0) == 0.0
    assert Backlog().allowance(0.0, Held(), 10.0, 600.0, 4.0) == 0.0, "nor one before the first task"


def test_the_wait_is_held_while_it_falls_and_fades() -> None:
    backlog, held = used_to(10.0), Held()
    allowed = [
        backlog.allowance(at, held, 10.0, work_s, 1.0) for at, work_s in ((0.0, 100.0), (50.0, 10.0), (950.0, 3.0))
    ]
    assert allowed == pytest.approx([100.0, 95.0, 5.0])
    assert backlog.allowance(2_000.0, held, 10.0, 0.0, 1.0) == 0.0
    assert backlog.allowance(2_000.0, held, 10.0, 7.0, 1.0) == 7.0, "and rises at once"


@pytest.mark.parametrize("slots", [0.0, 0.4])
def test_without_slots_the_wait_is_what_it_was_when_there_were_some(slots: float) -> None:
    backlog, held = used_to(10.0), Held()
    assert backlog.allowance(0.0, held, 10.0, 100.0, 2.0) == 50.0
    assert backlog.allowance(100.0, held, 10.0, 1e6, slots) == 40.0


def test_the_usual_length_is_that_of_the_last_hundred_or_so() -> None:
    backlog = used_to(10.0)
    for _ in range(300):
        backlog.learn(100.0)
    assert backlog.allowance(0.0, Held(), 100.0, 100.0, 1.0) == pytest.approx(100.0, rel=0.06)


def taught(**of_queue: float) -> Rig:
    """One slot, taken; short tasks take 1 s, long ones 10."""
    rig = Rig(CoreSettings(queue=QueueSettings(order="shortest", **of_queue)))  # type: ignore[arg-type] # numbers
    rig.connect("w1", slots=1)
    for number, (kind, ms) in enumerate((("long", 10_000.0), ("short", 1_000.0)), 1):
        rig.place(f"teacher-{kind}", task_type=kind)
        rig.end(f"l-i-{number}", duration_ms=ms)
    rig.place("first")
    return rig


def enqueue(rig: Rig, kind: str, number: int) -> None:
    rig.give(Submit(Task("", f"{kind}{number}", 1, kind), enqueue=True))


@given(
    kinds=st.lists(st.sampled_from(["long", "short"]), min_size=2, max_size=40), gap_s=st.sampled_from([0.0, 0.1, 0.5])
)
def test_no_task_is_overtaken_by_what_came_later_than_its_bound(kinds: list[str], gap_s: float) -> None:
    rig = taught(patience=3.0, backlog_patience=1.0)
    rig.connect("w2", slots=1, capabilities=())
    rig.place("second")
    bounds: dict[str, tuple[float, float]] = {}
    for number, kind in enumerate(kinds):
        enqueue(rig, kind, number)
        waiter = rig.core.queue.waiting.by_task["", f"{kind}{number}"]
        bounds[f"{kind}{number}"] = (waiter.since, 3.0 * waiter.work_s + waiter.allowance_s)
        rig.go(gap_s)
    left = dict(bounds)
    for lease in range(3, 3 + len(kinds)):
        rig.end(f"l-i-{lease}")
        for effect in rig.find(Granted):
            name = effect.record.task.task_id
            since, _ = left.pop(name)
            for other, (came, bound_s) in left.items():
                assert since <= came + bound_s, f"{name} went before {other}"
    assert not left


def test_the_bound_grows_with_the_backlog() -> None:
    rig = taught(patience=3.0, backlog_patience=1.0)
    for number in range(50):
        enqueue(rig, "long", number)
    allowances = [each.allowance_s for each in rig.core.queue.waiting.by_task.values()]
    assert allowances == sorted(allowances)
    assert allowances[0] == 0.0
    assert allowances[-1] > 100.0
    enqueue(rig, "short", 0)
    assert 0.0 < rig.core.queue.waiting.by_task["", "short0"].allowance_s < allowances[-1]


def test_what_was_allowed_survives_a_restart() -> None:
    rig = taught(patience=3.0, backlog_patience=1.0)
    for number in range(20):
        enqueue(rig, "long", number)
    kept = [waiting_to_bytes(each) for each in rig.core.queue.waiting.by_task.values()]
    keys = [each.key for each in rig.core.queue.waiting.by_task.values()]
    again = Rig(CoreSettings(queue=QueueSettings(order="shortest", patience=3.0, backlog_patience=1.0)))
    for row in kept:
        restore_waiting(again.core, again.now, row)
    restored = again.core.queue.waiting.by_task.values()
    assert [each.allowance_s for each in restored] == [
        each.allowance_s for each in rig.core.queue.waiting.by_task.values()
    ]
    gaps = [key - keys[0] for key in keys]
    assert [each.key - next(iter(restored)).key for each in restored] == pytest.approx(gaps)


@pytest.mark.parametrize("allowance_s", [-1.0, float("inf"), float("nan")])
def test_an_allowance_that_makes_no_sense_is_no_waiting_task(allowance_s: float) -> None:
    rig = taught()
    enqueue(rig, "long", 0)
    waiter = rig.core.queue.waiting.by_task["", "long0"]
    waiter.allowance_s = allowance_s
    with pytest.raises(ValueError, match="not a waiting task"):
        restore_waiting(Rig().core, rig.now, waiting_to_bytes(waiter))
