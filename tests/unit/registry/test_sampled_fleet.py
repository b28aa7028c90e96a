"""Bare workers that nobody reports for carry what an exact ledger carries."""

import pytest

from tests.unit.registry.sampled_fleet import DURATIONS, SLOTS, Carried, SampledFleet


def carry(name: str, *, exact: bool, load: float) -> Carried:
    mean_s = DURATIONS[name][0]
    fleet = SampledFleet(DURATIONS[name], exact=exact, workers=4, load=load, seed=7)
    # Six samples to learn, then a few hundred tasks per slot, at most an hour of tasks of a second or more.
    return fleet.run(max(60.0, 20 * mean_s), max(60.0, 200 * mean_s) if mean_s >= 1.0 else 30.0)


@pytest.mark.parametrize("name", DURATIONS)
def test_at_80_percent_load_a_bare_fleet_carries_97_percent_of_what_an_exact_ledger_does(name: str) -> None:
    exact, bare = carry(name, exact=True, load=0.8), carry(name, exact=False, load=0.8)
    assert bare.offered == exact.offered > 1_000
    assert bare.share >= 0.97 * exact.share
    assert bare.deepest <= 6 * SLOTS
    assert bare.deep <= 0.15 * bare.placed
    assert bare.waited_s / bare.placed <= DURATIONS[name][0]


@pytest.mark.parametrize("name", DURATIONS)
def test_offered_more_than_it_can_do_a_bare_fleet_refuses_and_its_queues_stay_short(name: str) -> None:
    bare = carry(name, exact=False, load=1.5)
    assert 0.5 <= bare.share <= 0.75  # two thirds is all there is
    assert bare.deepest <= 15 * SLOTS
    # One interval of tasks of a tenth of a second is a hundred per slot: a queue of a few seconds is all that grows.
    assert bare.waited_s / bare.placed <= max(2.0, DURATIONS[name][0])
