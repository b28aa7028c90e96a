"""What a task requires, resolved to pools: old and new ones, many classes, labels."""

from scheduler_server.registry import eligibility
from scheduler_server.registry.fleet import FEW_POOLS, MAX_LABEL_KEYS
from tests.unit.assignment.rig import Rig


def test_a_class_learns_of_pools_that_come_after_it() -> None:
    rig = Rig()
    rig.connect("w1", capabilities=("a",), slots=1)
    assert rig.place(required=("a",)).worker_id == "w1"
    rig.connect("w2", capabilities=("a", "b"))
    assert rig.place(required=("a",)).worker_id == "w2"


def test_more_classes_than_are_remembered_are_all_served() -> None:
    rig = Rig()
    names = tuple(f"c{number:03}" for number in range(100))
    rig.connect("w1", capabilities=names, slots=1)
    pairs = [(one, other) for one in names for other in names if one < other]
    assert len(pairs) > eligibility.MAX_CLASSES
    for pair in [*pairs, pairs[0]]:
        rig.end(rig.place(required=pair).lease_id)
    assert len(rig.core.fleet.eligibility.classes) <= eligibility.MAX_CLASSES
    assert rig.refuse(required=("other",)).missing_capabilities == ("other",)


def test_many_pools_are_compared_as_few_are() -> None:
    rig = Rig(scorer="specialist")
    for number in range(FEW_POOLS * 5):
        rig.connect(
            f"w{number}", capabilities=(f"c{number}",), specializations=("bug",) if number == 40 else (), slots=2
        )
    decision = rig.place(category="bug")
    assert (decision.worker_id, decision.candidates) == ("w40", FEW_POOLS * 5)
    assert rig.place(category="bug").worker_id == "w40"
    assert rig.place(category="bug").worker_id != "w40"
    assert rig.place(required=("c70",)).worker_id == "w70"


def test_a_label_key_that_nobody_carries_is_not_sorted_by_and_counts_once_somebody_comes_with_it() -> None:
    rig = Rig()
    rig.connect("w1", labels=(("zone", "a"),))
    for number in range(MAX_LABEL_KEYS * 2):
        assert rig.refuse(labels=((f"unknown-{number}", "x"),)).missing_labels == (f"unknown-{number}=x",)
    assert rig.core.fleet.eligibility.label_keys == frozenset()
    rig.connect("w2", labels=(("unknown-7", "x"),))
    assert rig.place(labels=(("unknown-7", "x"),)).worker_id == "w2"
    assert rig.place(labels=(("zone", "a"),)).worker_id == "w1"
    assert rig.core.fleet.eligibility.label_keys == {"unknown-7", "zone"}


def test_tasks_may_match_on_so_many_label_keys_in_all_and_no_more() -> None:
    rig = Rig()
    labels = tuple((f"k{number}", "v") for number in range(MAX_LABEL_KEYS + 1))
    rig.connect("w1", labels=labels, slots=99)
    rig.connect("w2", slots=99)
    for pair in labels[:MAX_LABEL_KEYS]:
        assert rig.place(labels=(pair,)).worker_id == "w1"
    assert f"at most {MAX_LABEL_KEYS}" in rig.refuse(labels=(labels[-1],)).message
    assert rig.place(labels=labels[:MAX_LABEL_KEYS]).worker_id == "w1"


def test_rows_are_used_again() -> None:
    rig = Rig()
    for number in range(300):
        rig.connect(f"w{number}")
        rig.remove(f"w{number}")
    rig.connect("last")
    assert rig.worker("last").row == 0
    assert len(rig.core.fleet.band_ends) == 64


def test_a_worker_moves_to_the_pool_of_what_it_now_can_do() -> None:
    rig = Rig()
    rig.connect("w1", capabilities=("a",))
    rig.beat("w1", registration=rig.worker("w1").registration._replace(capabilities=("b",)))
    assert rig.refuse(required=("a",)).missing_capabilities == ("a",)
    assert rig.place(required=("b",)).worker_id == "w1"
