from collections import Counter

import pytest

from scheduler_server.demo.fleet import FLEET
from scheduler_server.demo.round_robin import RoundRobin


def turns() -> RoundRobin:
    return RoundRobin(FLEET)  # type: ignore[abstract] # its other methods answer UNIMPLEMENTED


def test_workers_come_in_turn() -> None:
    ids = [spec.worker_id for spec in FLEET]
    found = turns()
    assert [found.choose(()) for _ in range(2 * len(ids))] == ids + ids


def test_workers_that_cannot_are_passed_over_and_the_turn_goes_on_after_the_chosen_one() -> None:
    found = turns()
    assert [found.choose(["archive"]) for _ in range(4)] == ["large-1", "medium-1", "medium-2", "large-1"]
    assert found.choose(()) == "large-2"


def test_everybody_gets_as_many_whatever_their_speed() -> None:
    found = turns()
    assert set(Counter(found.choose(()) for _ in range(60)).values()) == {10}


def test_a_capability_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="gpu"):
        turns().choose(["gpu"])
