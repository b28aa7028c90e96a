"""New workers start slowly, where that costs the fleet nothing that it had."""

from dataclasses import replace
from typing import Any

import pytest

from scheduler_server.assignment import ramping
from scheduler_server.assignment.events import Configured
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.registry.admission_settings import RampSettings
from tests.unit.assignment.rig import Rig


def house(known: int = 1, slots: int = 16, *, stream: bool = False, **ramp: Any) -> Rig:
    """Some workers that have been there for a minute."""
    rig = Rig(CoreSettings(ramp=RampSettings(**ramp)))
    for number in range(known):
        rig.connect(f"k{number}", slots=slots, accepts_tasks=stream)
    for _ in range(60):
        rig.tick_for(1.0)
        rig.beat_all()
    return rig


def passes(rig: Rig, seconds: float) -> None:
    rig.tick_for(seconds)
    rig.beat_all()


def works(rig: Rig, worker_id: str, times: int, status: OutcomeStatus = OutcomeStatus.SUCCEEDED) -> None:
    others = tuple(sorted(each for each in rig.core.fleet.records if each != worker_id))
    for _ in range(times):
        rig.end(rig.place(excluded=others).lease_id, status)


def test_a_newcomer_begins_with_a_share_of_its_slots() -> None:
    rig = house()
    rig.connect("new", slots=16)
    worker = rig.worker("new")
    assert (worker.slots, worker.full_slots) == (4, 16)
    assert ramping.share(worker) == pytest.approx(0.25)
    assert rig.core.fleet.slots == 20


@pytest.mark.parametrize(("slots", "first"), [(1, 1), (2, 1), (4, 1), (5, 2), (8, 2)])
def test_the_share_is_rounded_up_to_whole_slots(slots: int, first: int) -> None:
    rig = house(known=2)
    rig.connect("new", slots=slots)
    assert rig.worker("new").slots == first


def test_its_share_grows_with_time_until_it_has_all() -> None:
    rig = house()
    rig.connect("new", slots=16)
    seen = []
    for _ in range(9):
        seen.append(rig.worker("new").slots)
        passes(rig, 1.25)
    assert seen == [4, 6, 7, 9, 10, 12, 13, 15, 16]
    assert ramping.share(rig.worker("new")) is None


def test_or_sooner_with_tasks_done_well() -> None:
    rig = house(tasks=4)
    rig.connect("new", slots=16)
    seen = []
    for _ in range(4):
        works(rig, "new", 1)
        seen.append(rig.worker("new").slots)
    assert seen == [7, 10, 13, 16]


def test_failing_fast_brings_it_nothing() -> None:
    rig = house(tasks=4)
    rig.connect("new", slots=16)
    works(rig, "new", 20, OutcomeStatus.FAILED)
    assert rig.worker("new").slots == 4


def test_it_is_given_no_more_than_its_share_and_the_rest_as_it_grows() -> None:
    rig = house()
    rig.connect("new", slots=16)
    others = ("k0",)
    for _ in range(4):
        rig.place(excluded=others)
    assert rig.submit(excluded=others).decision is None
    passes(rig, 1.3)
    rig.place(excluded=others)


def test_it_stages_nothing_meanwhile() -> None:
    """It would start at once, in a slot that it is not to use yet, what it is told to hold."""
    rig = house(stream=True)
    rig.connect("new", slots=16, prefetch=3, accepts_tasks=True)
    assert rig.worker("new").prefetch == 0
    passes(rig, 11.0)
    assert rig.worker("new").prefetch == 3


def test_a_fleet_that_starts_cold_has_all_its_slots() -> None:
    rig = Rig()
    for number in range(20):
        rig.connect(f"w{number}", slots=8)
        rig.go(0.1)
    assert rig.core.fleet.slots == 160


def test_who_alone_can_do_something_has_all_its_slots() -> None:
    rig = house(known=3)
    rig.connect("new", slots=16, capabilities=("gpu",))
    assert rig.worker("new").slots == 16


def test_no_more_is_held_back_than_others_have() -> None:
    rig = house(known=2)
    for number in range(4):
        rig.connect(f"new{number}", slots=16)
    assert [rig.worker(f"new{number}").slots for number in range(4)] == [4, 4, 16, 16]


def test_who_takes_over_from_workers_that_go_has_all_its_slots_soon() -> None:
    rig = house(known=1)
    rig.connect("new", slots=16)
    assert rig.worker("new").slots == 4
    rig.disconnect("k0")
    passes(rig, 1.3)
    assert rig.worker("new").slots == 16


def test_who_is_known_from_before_a_restart_is_no_newcomer() -> None:
    before = house()
    works(before, "k0", 20)
    rig = Rig()
    assert rig.core.restore(rig.now, list(before.core.snapshot(before.now))) == []
    rig.connect("other", slots=16)
    passes(rig, 60.0)
    rig.connect("k0", slots=16)
    assert rig.worker("k0").slots == 16


def test_a_reconnect_makes_no_newcomer_and_ends_no_ramp() -> None:
    rig = house()
    rig.connect("new", slots=16, epoch=("b", 1))
    rig.disconnect("new")
    rig.connect("new", slots=16, epoch=("b", 2))
    assert rig.worker("new").slots == 4
    passes(rig, 11.0)
    rig.disconnect("new")
    rig.connect("new", slots=16, epoch=("b", 3))
    assert rig.worker("new").slots == 16


def test_a_newcomer_that_changes_its_slots_has_its_share_of_them() -> None:
    rig = house(known=4)
    rig.connect("new", slots=16, epoch=("b", 1))
    rig.connect("new", slots=2, epoch=("b", 2))
    assert rig.worker("new").slots <= 2
    assert FleetEventKind.WORKER_CAPACITY_CHANGED in rig.events()
    passes(rig, 11.0)
    assert rig.worker("new").slots == 2


def test_a_newcomer_that_is_removed_is_forgotten() -> None:
    rig = house()
    rig.connect("new", slots=16)
    rig.remove("new")
    passes(rig, 11.0)
    assert not rig.core.ramping._newcomers
    rig.connect("again", slots=16)
    assert rig.worker("again").slots == 4


@pytest.mark.parametrize("ramp", [{"over_s": 0.0}, {"first_share": 1.0}])
def test_without_a_ramp_everybody_has_all_slots(ramp: dict[str, Any]) -> None:
    rig = house(**ramp)
    rig.connect("new", slots=16)
    assert rig.worker("new").slots == 16


def test_switched_off_those_held_back_have_all_with_their_next_step() -> None:
    rig = house()
    rig.connect("new", slots=16)
    rig.give(Configured(replace(rig.settings, ramp=RampSettings(over_s=0.0)), 2))
    passes(rig, 1.3)
    assert rig.worker("new").slots == 16
