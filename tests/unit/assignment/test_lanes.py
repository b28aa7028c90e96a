"""Lanes and groups, against sorting."""

from random import Random
from typing import Any

import pytest

from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.lanes import Group, Lane
from scheduler_server.assignment.tenants import Tenants
from scheduler_server.assignment.waiting import Waiter
from scheduler_server.model.task import Task


def waiter(number: int, key: float) -> Waiter:
    found = Waiter(Submit(Task("", f"t{number}", 1, "kind")), 0.0, 0.0, number)
    found.key = key
    return found


def group(tenants: Tenants | None = None) -> Group:
    tenants = Tenants({}) if tenants is None else tenants
    home: Any = None  # a line-up, which a group alone does not ask
    return Group(home, ((), (), False), 0, tenants)


@pytest.mark.parametrize("seed", range(6))
def test_the_first_of_a_lane_is_the_first_of_those_in_it_whatever_came_and_went(seed: int) -> None:
    chance = Random(seed)
    made = group()
    lane = made.lane((), None)
    there: dict[int, Waiter] = {}
    number = 0
    for grow in (0.9, 0.5, 0.02, 0.7):
        for _ in range(1_500):
            if chance.random() < grow or not there:
                number += 1
                # Few different keys; and now and then one that comes again with a number from before.
                each = waiter(number if chance.random() < 0.9 else -number, round(chance.gauss(0.0, 2.0), 1))
                there[each.sequence] = each
                lane.add(each)
            else:
                first = min(there.values(), key=lambda one: (one.key, one.sequence))
                gone = first if chance.random() < 0.6 else there[chance.choice(list(there))]
                del there[gone.sequence]
                lane.remove(gone)
            found = made.first()
            if not there:
                assert found is None
                continue
            first = min(there.values(), key=lambda one: (one.key, one.sequence))
            assert found is not None
            assert found[1] is first
            assert found[0][:3] == (first.key, first.key, first.sequence)


@pytest.mark.parametrize("number_of_lanes", [1, 2, 8, 9, 40])  # up to 8 are looked at one by one
@pytest.mark.parametrize("seed", range(3))
def test_by_tenant_the_lane_is_first_whose_tenant_has_had_least_and_of_equal_ones_the_first_task(
    number_of_lanes: int, seed: int
) -> None:
    chance = Random(seed)
    tenants = Tenants({})
    made = group(tenants)
    lanes: list[Lane] = []
    for at in range(number_of_lanes):
        tenant = tenants.get(f"tenant-{at}")
        lane = made.lane((), tenant)
        lane.offset = float(chance.randrange(3))
        lanes.append(lane)
    number = 0
    blocked: list[Lane] = []
    for _ in range(800):
        lane = chance.choice(lanes)
        what = chance.random()
        if what < 0.35:
            number += 1
            lane.add(waiter(number, float(chance.randrange(4))))
        elif what < 0.65 and lane.tasks:
            lane.remove(lane.tasks[0][2])
        elif what < 0.9 and lane.tenant is not None:
            tenants.charge(lane.tenant, float(chance.randrange(3)), lane.tenant.epoch)
        elif what < 0.95 and lane.tasks and not lane.blocked:
            made.block(lane)
            blocked.append(lane)
        elif blocked:
            made.unblock()
            blocked.clear()
        standing = [
            (each.tenant.used + each.offset, *each.tasks[0][:2])
            for each in lanes
            if each.tasks and not each.blocked and each.tenant is not None
        ]
        found = made.first()
        assert (None if found is None else found[0][:3]) == min(standing, default=None)


def test_what_a_forgotten_tenant_still_runs_is_charged_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler_server.assignment.tenants._REMEMBERED", 3)
    tenants = Tenants({})
    gone = tenants.get("gone")
    for name in ("a", "b", "c", "d"):
        tenants.get(name)
    assert tenants.find("gone") is None
    tenants.charge(gone, 7.0, gone.epoch)
    known = list(tenants)
    assert len({tenant.slot for tenant in known}) == len(known)
    assert [float(tenants.used[tenant.slot]) for tenant in known] == [0.0] * len(known)


def test_there_is_room_for_any_number_of_tenants_in_the_column() -> None:
    tenants = Tenants({})
    made = group(tenants)
    for at in range(200):
        tenant = tenants.get(f"tenant-{at}")
        tenants.charge(tenant, 200.0 - at, tenant.epoch)
        made.lane((), tenant).add(waiter(at, 0.0))
    found = made.first()
    assert found is not None
    assert found[0][:3] == (1.0, 0.0, 199)
