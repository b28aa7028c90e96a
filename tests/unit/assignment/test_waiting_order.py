"""Single stories about who is next that a random run seldom tells."""

from typing import Any

import pytest

from scheduler_server.assignment.effects import Granted, Reply
from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.refusal import Reason
from scheduler_server.model.task import Task
from tests.unit.assignment.rig import Rig


def busy(order: str, **of_registration: Any) -> Rig:
    """A worker whose only slot is taken, as l-i-1."""
    rig = Rig(CoreSettings(queue=QueueSettings(order=order, priority_worth_s=10.0)))
    rig.connect("w1", slots=1, **of_registration)
    rig.place("first")
    return rig


def enqueue(rig: Rig, task_id: str, **of_task: Any) -> None:
    rig.give(Submit(Task("", task_id, 1, "type", **of_task), enqueue=True))
    assert rig.one(Reply).refusal is None


def started(rig: Rig) -> list[str]:
    return [effect.record.task.task_id for effect in rig.find(Granted)]


def test_one_that_comes_due_in_the_instant_of_a_new_call_goes_before_it() -> None:
    rig = Rig()
    rig.connect("w1", slots=1)
    enqueue(rig, "later", not_before=rig.now.wall + 5.0)
    rig.go(5.0)
    refusal = rig.refuse("new")  # no tick came between
    assert refusal.reason is Reason.NO_FREE_SLOT
    assert started(rig) == ["later"]


def test_a_label_that_a_waiting_task_asks_for_first_is_found_on_a_worker_that_comes() -> None:
    rig = busy("fifo")
    enqueue(rig, "q", labels=(("zone", "b"),))
    rig.connect("w2", slots=1, labels=(("zone", "b"),))
    assert started(rig) == ["q"]


@pytest.mark.parametrize("between", [0.3, 0.7])
def test_a_higher_priority_moves_its_kind_up_past_other_kinds(between: float) -> None:
    rig = busy("priority", capabilities=("gpu",))
    enqueue(rig, "low", priority=0.0, required=("gpu",))
    enqueue(rig, "between", priority=between)
    enqueue(rig, "high", priority=1.0, required=("gpu",))
    order = []
    for number in range(1, 4):
        rig.end(f"l-i-{number}")
        order += started(rig)
    assert order == ["high", "between", "low"]


@pytest.mark.parametrize(("later_s", "first"), [(9.999, "high"), (10.0, "low"), (10.001, "low")])
def test_aging_bounds_how_long_a_higher_priority_goes_first(later_s: float, first: str) -> None:
    rig = busy("priority")
    enqueue(rig, "low", priority=0.0)
    rig.go(later_s)
    enqueue(rig, "high", priority=1.0)
    rig.end("l-i-1")
    assert started(rig) == [first]


@pytest.mark.parametrize(("later_s", "first"), [(17.9, "short"), (18.1, "long")])
def test_patience_bounds_how_long_short_tasks_overtake_a_long_one(later_s: float, first: str) -> None:
    rig = Rig(CoreSettings(queue=QueueSettings(order="shortest", patience=10.0)))
    rig.connect("w1", slots=1)
    for number, (kind, ms) in enumerate((("long", 2_000.0), ("short", 200.0))):
        rig.place(f"teacher-{kind}", task_type=kind)
        rig.end(f"l-i-{number + 1}", duration_ms=ms)
    rig.place("first")
    rig.give(Submit(Task("", "long", 1, "long"), enqueue=True))
    rig.go(later_s)
    rig.beat("w1", queue_depth=1)
    rig.give(Submit(Task("", "short", 1, "short"), enqueue=True))
    long, short = (rig.core.queue.waiting.by_task["", name] for name in ("long", "short"))
    rig.end("l-i-3")
    wanted = "short" if later_s < 10.0 * (long.work_s - short.work_s) else "long"
    assert started(rig) == [wanted]
    assert wanted == first


@pytest.mark.parametrize(
    ("objective", "order", "patience", "backlog"),
    [
        ("throughput", "shortest", 100.0, 0.0),
        ("latency", "shortest", 3.0, 0.5),
        ("even", "fifo", 0.0, 0.0),
        ("balanced", "shortest", 3.0, 1.0),
    ],
)
def test_the_objective_tunes_the_order_unless_the_order_is_set(
    objective: str, order: str, patience: float, backlog: float
) -> None:
    assert QueueSettings().patience_for(objective) == patience
    assert QueueSettings(patience=7.0).patience_for(objective) == 7.0
    assert QueueSettings().backlog_patience_for(objective) == backlog
    assert QueueSettings(backlog_patience=0.25).backlog_patience_for(objective) == 0.25
    assert QueueSettings(patience=7.0).backlog_patience_for(objective) == 0.0, "a patience that is set is all there is"
    assert QueueSettings(patience=7.0, backlog_patience=0.25).backlog_patience_for(objective) == 0.25
    rig = Rig()
    rig.core.queue.reconfigure(rig.now, QueueSettings(), objective, rig.core.predictor)
    assert rig.core.queue.waiting.order.name == order
    rig.core.queue.reconfigure(rig.now, QueueSettings(order="fair"), objective, rig.core.predictor)
    assert rig.core.queue.waiting.order.name == "fair"
    assert rig.core.queue.fair
