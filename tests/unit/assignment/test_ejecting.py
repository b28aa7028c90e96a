"""Workers that fail out of line: out, tried, in again; capped; kept over registrations and restarts."""

from dataclasses import replace
from typing import Any

import pytest

from scheduler_server.assignment.effects import OrderReply, Published, Reply, Stands
from scheduler_server.assignment.ejecting import Stage
from scheduler_server.assignment.events import Configured, Ordered, Reinstate
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.standing import order_to_bytes, restore_order
from scheduler_server.model.decision import Rejection
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.model.standing import About, OrderKind
from scheduler_server.registry.admission_settings import EjectionSettings
from tests.unit.assignment.rig import Rig

_OUT, _IN, _CAPPED = (
    FleetEventKind.WORKER_EJECTED,
    FleetEventKind.WORKER_REINSTATED,
    FleetEventKind.WORKER_EJECTION_CAPPED,
)


class House(Rig):
    """Some workers, each of which is given tasks by name. `seen` are the events so far."""

    def __init__(self, workers: int = 5, *, of: dict[str, dict[str, Any]] | None = None, **ejection: Any) -> None:
        super().__init__(CoreSettings(ejection=EjectionSettings(**ejection)))
        self.seen: list[Any] = []
        for number in range(workers):
            name = f"w{number}"
            self.connect(name, slots=4, **(of or {}).get(name, {}))

    def give(self, event: Any) -> Any:
        out = super().give(event)
        self.seen += [effect.event for effect in out if isinstance(effect, Published)]
        return out

    def told(self, *kinds: FleetEventKind) -> list[Any]:
        return [event for event in self.seen if event.kind in kinds]

    def does(
        self, worker_id: str, status: OutcomeStatus = OutcomeStatus.SUCCEEDED, task_type: str = "type", **task: Any
    ) -> bool:
        """Have one worker do a task; False where it is not given it."""
        others = tuple(sorted(each for each in self.core.fleet.records if each != worker_id))
        reply: Reply = self.submit(excluded=others, task_type=task_type, **task)
        if reply.decision is None:
            return False
        assert reply.decision.worker_id == worker_id
        self.end(reply.decision.lease_id, status, 1_000.0)
        return True

    def round(self, bad: tuple[str, ...] = ("w0",), status: OutcomeStatus = OutcomeStatus.FAILED, **task: Any) -> None:
        """Each worker does a task, the bad ones badly."""
        for worker_id in list(self.core.fleet.records):
            self.does(worker_id, status if worker_id in bad else OutcomeStatus.SUCCEEDED, **task)

    def until_out(self, worker_id: str = "w0", **more: Any) -> int:
        """Rounds until it is ejected."""
        for number in range(1, 60):
            self.round((worker_id,), **more)
            if self.worker(worker_id).ejected:
                return number
        raise AssertionError(f"{worker_id} was not ejected: {self.worker(worker_id).suspicion}")

    def wait(self, seconds: float) -> None:
        """Time passes, with heartbeats."""
        until = self.t + seconds
        while self.t < until:
            step = min(1.0, until - self.t)
            self.tick_for(step)
            self.seen += [effect.event for effect in self.out if isinstance(effect, Published)]
            self.beat_all()


def test_an_ejection_is_to_be_journaled() -> None:
    house = House()
    while not house.worker("w0").ejected:
        house.does("w1")
        house.does("w0", OutcomeStatus.FAILED)
    (stands,) = house.find(Stands)
    assert stands == Stands(About(OrderKind.EJECTION, "w0"), house.core.ejecting.kept["w0"].order)


def test_a_worker_that_fails_everything_is_ejected_and_gets_nothing_until_its_time_is_over() -> None:
    house = House()
    assert house.until_out() < 20
    worker = house.worker("w0")
    assert worker.status is Rejection.EJECTED
    assert not house.does("w0")
    (event,) = house.told(_OUT)
    assert event.worker_id == "w0"
    assert "of type 'type'" in event.detail
    assert "out for 30 s, the 1st time" in event.detail
    assert "elsewhere 0 of" in event.detail
    house.wait(29.0)
    assert worker.ejected
    house.wait(2.0)
    assert not worker.ejected


@pytest.mark.parametrize("status", [OutcomeStatus.FAILED, OutcomeStatus.TIMED_OUT])
def test_failures_and_timeouts_count(status: OutcomeStatus) -> None:
    house = House()
    house.until_out(status=status)


def test_what_is_cancelled_counts_for_nothing() -> None:
    house = House()
    for _ in range(60):
        house.round(status=OutcomeStatus.CANCELLED)
    assert not house.told(_OUT)


def test_a_type_that_fails_everywhere_ejects_nobody() -> None:
    house = House()
    for _ in range(40):
        house.round(tuple(house.core.fleet.records))
    assert not house.told(_OUT, _CAPPED)


def test_tasks_that_only_some_workers_can_take_are_held_against_each_other() -> None:
    """Tasks with a gpu fail everywhere, those of the same type without do not."""
    gpu = {"capabilities": ("gpu",)}
    house = House(6, of={"w0": gpu, "w1": gpu})
    for _ in range(60):
        for worker_id in ("w0", "w1"):
            house.does(worker_id, OutcomeStatus.FAILED, required=("gpu",))
        for worker_id in ("w2", "w3", "w4", "w5"):
            house.does(worker_id)
    assert not house.told(_OUT, _CAPPED)


def test_with_ejection_switched_off_nobody_is_ejected() -> None:
    house = House(enabled=False)
    for _ in range(60):
        house.round()
    assert not house.told(_OUT)


# ---------------------------------------------------------------------- on trial


def on_trial(**ejection: Any) -> House:
    house = House(**ejection)
    house.until_out()
    house.wait(31.0)
    assert house.worker("w0").status is Rejection.CANDIDATE
    return house


def test_on_trial_a_worker_has_one_slot() -> None:
    house = on_trial()
    assert house.told(_IN)[-1].after == "on trial"
    others = ("w1", "w2", "w3", "w4")
    house.place(excluded=others)
    assert house.submit(excluded=others).decision is None
    assert house.worker("w0").full_slots == 4


def test_a_worker_that_does_its_trial_well_is_in_again_with_all_its_slots() -> None:
    house = on_trial()
    for _ in range(2):
        house.does("w0")
        assert house.worker("w0").slots == 1
    house.does("w0")
    assert house.worker("w0").slots == 4
    assert house.told(_IN)[-1].after == "in"


def test_a_worker_that_fails_on_trial_is_out_twice_as_long_and_so_on_up_to_the_longest() -> None:
    house = on_trial(longest_s=100.0)
    for lasts in (60.0, 100.0, 100.0):
        house.does("w0", OutcomeStatus.FAILED)
        assert house.worker("w0").ejected
        house.wait(lasts - 1.0)
        assert house.worker("w0").ejected
        house.wait(2.0)
        assert not house.worker("w0").ejected
    assert "the 4th time" in house.told(_OUT)[-1].detail


def test_on_trial_a_failure_of_what_fails_everywhere_says_nothing() -> None:
    house = on_trial()
    for _ in range(30):
        house.round(tuple(house.core.fleet.records), task_type="broken")
    assert not house.worker("w0").ejected
    assert house.worker("w0").slots == 1


def test_what_was_begun_before_the_trial_says_nothing_of_it() -> None:
    house = House()
    others = ("w1", "w2", "w3", "w4")
    old = [house.place(excluded=others) for _ in range(2)]
    house.until_out()
    house.wait(31.0)
    for decision in old:
        house.end(decision.lease_id, OutcomeStatus.FAILED)
    assert not house.worker("w0").ejected


def test_an_ejection_is_forgotten_after_a_while() -> None:
    house = on_trial(forget_after_s=100.0)
    for _ in range(3):
        house.does("w0")
    house.wait(101.0)
    assert not house.core.ejecting.kept
    house.until_out()
    assert "the 1st time" in house.told(_OUT)[-1].detail


def test_a_relapse_before_that_is_longer() -> None:
    house = on_trial(forget_after_s=1_000.0)
    for _ in range(3):
        house.does("w0")
    house.until_out()
    assert "out for 60 s, the 2nd time" in house.told(_OUT)[-1].detail


# ---------------------------------------------------------------------- capped


def test_no_more_than_the_largest_share_is_out_at_once_and_that_is_said() -> None:
    house = House(10, max_share=0.2)
    for _ in range(40):
        house.round(("w0", "w1", "w2"))
    out = [record for record in house.core.fleet.records.values() if record.ejected]
    assert len(out) == 2
    (event,) = house.told(_CAPPED)
    assert "2 of 10 workers are out already" in event.detail
    assert list(house.core.ejecting.spared) == [event.worker_id]


@pytest.mark.parametrize(("share", "out"), [(0.0, 1), (0.29, 2), (0.3, 3)])
def test_the_share_is_rounded_down_and_one_may_always_be_out(share: float, out: int) -> None:
    house = House(10, max_share=share)
    for _ in range(60):
        house.round(("w0", "w1", "w2", "w3"))
        house.wait(0.1)
    assert sum(record.ejected for record in house.core.fleet.records.values()) == out


def test_who_alone_can_take_some_tasks_is_not_ejected_and_that_is_said() -> None:
    house = House(of={"w0": {"capabilities": ("gpu",)}})
    house.does("w0", required=("gpu",))
    for _ in range(40):
        house.round()
    assert not house.worker("w0").ejected
    (event,) = house.told(_CAPPED)
    assert "nobody else could be given tasks that require 'gpu'" in event.detail


def test_who_alone_has_what_nobody_ever_asked_for_is_ejected() -> None:
    house = House(of={"w0": {"capabilities": ("gpu",)}})
    house.until_out()


def test_it_is_let_in_before_its_time_when_tasks_need_it() -> None:
    house = House(of={"w0": {"capabilities": ("gpu",)}})
    house.until_out()
    house.refuse(required=("gpu",))
    house.wait(1.5)
    assert not house.worker("w0").ejected
    assert "before its time" in house.told(_IN)[-1].detail
    assert "w0" in house.core.ejecting.spared


def test_who_is_let_in_before_its_time_makes_it_good_or_is_out_again_when_it_can_be() -> None:
    for does_well in (True, False):
        house = House(of={"w0": {"capabilities": ("gpu",)}})
        house.until_out()
        house.refuse(required=("gpu",))
        house.wait(1.5)
        house.connect("w9", slots=4, capabilities=("gpu",))
        for _ in range(100):
            house.round(() if does_well else ("w0",))
            house.wait(0.1)
        assert house.worker("w0").ejected is not does_well
        assert not house.core.ejecting.spared


def test_who_failed_for_long_and_was_spared_makes_it_good_within_some_dozen_tasks() -> None:
    house = House(of={"w0": {"capabilities": ("gpu",)}})
    house.does("w0", required=("gpu",))
    for _ in range(300):
        house.round()
    for _ in range(80):
        house.round(())
    assert not house.core.ejecting.spared


def test_it_is_let_in_before_its_time_when_the_others_go() -> None:
    house = House(2)
    house.until_out()
    house.disconnect("w1")
    house.wait(1.5)
    assert not house.worker("w0").ejected


def test_what_speaks_against_a_spared_worker_is_gone_once_it_does_well() -> None:
    house = House(of={"w0": {"capabilities": ("gpu",)}})
    house.does("w0", required=("gpu",))
    for _ in range(40):
        house.round()
    for _ in range(200):
        house.round(())
    assert not house.core.ejecting.spared
    assert house.worker("w0").suspicion is None


def test_two_workers_of_which_one_fails_are_told_apart() -> None:
    house = House(2)
    house.until_out()
    assert not house.worker("w1").ejected


def test_a_worker_alone_is_never_ejected() -> None:
    house = House(1)
    for _ in range(60):
        house.round()
    assert not house.told(_OUT, _CAPPED)


# ---------------------------------------------------------------------- by order, and over restarts


def test_an_operator_lets_it_in_at_once_and_nothing_is_held_against_it() -> None:
    house = House()
    house.until_out()
    house.give(Reinstate("w0", "mended"))
    assert house.find(OrderReply)
    assert house.worker("w0").status is Rejection.CANDIDATE
    assert house.worker("w0").slots == 4
    assert house.told(_IN)[-1].detail == "by an operator: mended"
    assert house.find(Stands)[-1].order is None
    house.until_out()
    assert "the 1st time" in house.told(_OUT)[-1].detail


def test_reinstating_a_worker_that_is_in_changes_nothing() -> None:
    house = House()
    house.give(Reinstate("w0"))
    assert not house.told(_IN)
    assert not house.find(Stands)


def test_a_worker_that_registers_anew_is_still_out() -> None:
    house = House()
    house.until_out()
    house.remove("w0")
    house.connect("w0", slots=4, epoch=("other", 1))
    assert house.worker("w0").status is Rejection.EJECTED


def test_a_restart_finds_it_out_and_for_how_long() -> None:
    house = House()
    house.until_out()
    order = house.core.ejecting.kept["w0"].order
    again = Rig(start_s=house.t + 10.0)
    again._start_s = house._start_s
    restore_order(again.core, again.now, order_to_bytes(About(OrderKind.EJECTION, "w0"), order))
    for number in range(3):
        again.connect(f"w{number}", slots=4)
    assert again.worker("w0").status is Rejection.EJECTED
    again.tick_for(19.0)
    assert again.worker("w0").ejected
    again.tick_for(2.0)
    assert not again.worker("w0").ejected
    assert again.core.ejecting.kept["w0"].stage is Stage.TRIAL


def test_a_restart_remembers_how_often_it_was_out() -> None:
    house = on_trial()
    house.seen.clear()
    for _ in range(3):
        house.does("w0")
    (stands,) = house.find(Stands)
    assert stands.order is not None
    assert stands.order.until is None
    again = House(0)
    restore_order(again.core, again.now, order_to_bytes(stands.about, stands.order))
    for number in range(5):
        again.connect(f"w{number}", slots=4)
    assert again.worker("w0").slots == 4
    again.until_out()
    assert "the 2nd time" in again.told(_OUT)[-1].detail


def test_what_could_not_be_stored_is_so_again() -> None:
    house = House()
    house.until_out()
    order = house.core.ejecting.kept["w0"].order
    house.give(Reinstate("w0"))
    house.give(Ordered(About(OrderKind.EJECTION, "w0"), order))
    assert house.worker("w0").ejected


def test_an_order_that_is_no_ejection_is_refused_at_the_start() -> None:
    rig = Rig()
    house = House()
    house.until_out()
    order = house.core.ejecting.kept["w0"].order._replace(times=0)
    with pytest.raises(ValueError, match="not an ejection"):
        restore_order(rig.core, rig.now, order_to_bytes(About(OrderKind.EJECTION, "w0"), order))


def test_switching_ejection_off_lets_everybody_in() -> None:
    house = House()
    house.until_out()
    off = replace(house.settings, ejection=EjectionSettings(enabled=False))
    house.give(Configured(off, 2))
    assert house.worker("w0").status is Rejection.CANDIDATE
    assert not house.core.ejecting.kept


def test_a_worker_that_loses_its_tasks_by_its_fault_is_ejected() -> None:
    """It takes tasks from its queue service and no longer lists them, again and again."""
    house = House(3)
    grace = house.settings.worker.reconcile_grace_s
    for _ in range(40):
        decision = house.place(excluded=("w1", "w2"))
        house.beat("w0", running=())
        house.go(grace + 1.0)
        house.beat_all()
        house.beat("w0", running=())
        assert house.core.ledger.leases[decision.lease_id].live is False
        house.does("w1")
        house.does("w2")
        if house.worker("w0").ejected:
            break
    assert house.worker("w0").ejected
