"""Next in turn: everyone once per round, over several pools, the busy ones passed over."""

from collections import Counter
from typing import Any

from scheduler_server.model.decision import Source
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from tests.fakes.predictor import KnowsNothing
from tests.unit.assignment.rig import Rig


class NoPredictor(KnowsNothing):
    """Fails."""

    name = "none"

    def predict(self, task: Task) -> Prediction:
        raise RuntimeError


def rig_of(*sizes: int, slots: int = 100) -> Rig:
    """Pools of these sizes; workers are named by pool."""
    rig = Rig(predictor=NoPredictor())
    for pool, size in enumerate(sizes):
        for number in range(size):
            rig.connect(f"p{pool}w{number}", capabilities=("all", f"c{pool}"), slots=slots)
    return rig


def turns(rig: Rig, count: int, **more: Any) -> list[str]:
    made = [rig.place(**more) for _ in range(count)]
    assert all(each.source is Source.FALLBACK for each in made)
    return [each.worker_id for each in made]


def test_everyone_gets_one_turn_per_round_across_pools() -> None:
    rig = rig_of(3, 1, 300)
    first = turns(rig, 304)
    assert set(Counter(first).values()) == {1}
    assert len(set(first)) == 304
    assert turns(rig, 304) == first


def test_who_has_no_free_slot_is_passed_over() -> None:
    rig = rig_of(2, 2, slots=2)
    assert Counter(turns(rig, 8)) == dict.fromkeys(("p0w0", "p0w1", "p1w0", "p1w1"), 2)
    assert rig.refuse().reason == "NO_FREE_SLOT"


def test_each_kind_of_task_has_its_own_turn_and_meets_only_who_can() -> None:
    rig = rig_of(2, 3)
    assert set(turns(rig, 6, required=("c1",))) == {"p1w0", "p1w1", "p1w2"}
    assert len(set(turns(rig, 5))) == 5


def test_an_excluded_worker_loses_its_turn() -> None:
    rig = rig_of(3)
    assert "p0w1" not in turns(rig, 6, excluded=("p0w1",))


def test_a_worker_that_left_leaves_the_turn_to_the_others() -> None:
    rig = rig_of(4)
    turns(rig, 2)
    rig.remove("p0w1")
    assert set(turns(rig, 3)) == {"p0w0", "p0w2", "p0w3"}


def test_a_worker_that_has_fallen_silent_since_the_last_sweep_is_passed_over() -> None:
    rig = rig_of(2)
    rig.tick_for(20.0)
    rig.beat("p0w1")
    rig.tick_for(10.0)
    rig.go(0.5)
    assert set(turns(rig, 4)) == {"p0w1"}
