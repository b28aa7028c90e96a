"""Standing orders in the core: written down, read back, and what the index of waiting tasks makes of them."""

import pytest

from scheduler_server.assignment.events import Event, Forget, Ordered, Reprioritize, ResetBreaker, Submit
from scheduler_server.assignment.recording import event_line, read_line
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.standing import restore_order
from scheduler_server.model.clock import Now
from scheduler_server.model.standing import About, OrderKind, StandingOrder
from scheduler_server.model.task import Task
from tests.unit.assignment.waiting_rig import WaitingRig

PAUSE = About(OrderKind.PAUSE)


@pytest.mark.parametrize(
    "event",
    [
        Ordered(About(OrderKind.PAUSE, "a", ""), StandingOrder(1.0, 2.5, "ann", "why")),
        Ordered(About(OrderKind.CORDON, "w1")),
        ResetBreaker("a", True),
        Reprioritize("x", "t", 2, 0.25, "why"),
        Forget("a", "", "why"),
    ],
)
def test_orders_can_be_replayed(event: Event) -> None:
    assert read_line(event_line(Now(1.0, 2.0), event, [])) == (Now(1.0, 2.0), event, [])


def test_tasks_that_exclude_workers_can_be_held_back_and_let_go_again_and_again() -> None:
    rig = WaitingRig(CoreSettings())
    for number in range(3):
        rig.give(Submit(Task("", f"t{number}", 1, "short", excluded=("w9",)), enqueue=True))
    for _ in range(3):
        rig.pause("", None, None)
        rig.resume(("", None))
    assert rig.core.queue.waiting.placeable == 3


def test_an_order_whose_time_was_over_before_the_restart_ends_at_once() -> None:
    rig = WaitingRig(CoreSettings())
    rig.pause("", None, 5.0)
    later = rig.restarted()
    assert later.core.queue.pauses.scopes
    later.tick_for(5.0)
    assert not later.core.queue.pauses.scopes
    assert not later.core.standing.orders


@pytest.mark.parametrize("junk", [b"", b"\xff", b"\x92\x01\x02"])
def test_what_is_no_order_is_told(junk: bytes) -> None:
    rig = WaitingRig(CoreSettings())
    with pytest.raises(ValueError, match="not a standing order"):
        restore_order(rig.core, rig.now, junk)
