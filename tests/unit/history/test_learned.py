"""Which outcomes are known: each counts once, over restarts, readings and forgetting."""

import pytest

from scheduler_server.history.learned import Learned, Stretch
from scheduler_server.model.task import Task
from scheduler_server.storage.decision_log import Lesson

NOW = 1_000.0


def lesson(at: float, run: str = "run2", task_type: str = "resize") -> Lesson:
    return Lesson(at, f"d-{run}-7", Task("", "t", 1, task_type), 100.0)


def fresh(run: str = "run2", began: float = NOW, strategy: str = "ema") -> Learned:
    return Learned(run, began, strategy)


def after(learned: Learned, *, at: float, run: str, began: float, strategy: str = "ema") -> Learned:
    """The next run, from the snapshot that this one wrote at that second."""
    (record,) = learned.state(at)
    made = fresh(run, began, strategy)
    made.restore(record)
    return made


@pytest.mark.parametrize(("at", "known"), [(NOW - 0.001, False), (NOW, True), (NOW + 1e9, True)])
def test_what_this_run_heard_of_is_known_and_what_came_before_it_is_not(at: float, known: bool) -> None:
    assert fresh().knows(lesson(at)) is known


def test_outcomes_of_other_servers_on_the_same_log_are_not_known() -> None:
    assert not fresh().knows(lesson(NOW + 1.0, run="theirs"))


@pytest.mark.parametrize(
    ("at", "known"),
    [
        (NOW - 1.0, False),
        (NOW, True),
        (NOW + 50.0, True),
        (NOW + 50.1, False),
        (NOW + 99.9, False),
        (NOW + 100.0, True),
    ],
)
def test_after_a_kill_what_came_after_the_last_snapshot_is_not_known(at: float, known: bool) -> None:
    """The run before began at NOW, wrote its snapshot 50 s later, and was killed; this one began 100 s later."""
    learned = after(fresh("run1"), at=NOW + 50.0, run="run2", began=NOW + 100.0)
    assert learned.knows(lesson(at, run="run1")) is known


def test_what_was_read_from_the_log_is_known_whoever_decided_it() -> None:
    learned = fresh()
    learned.was_read(100.0, 200.0, "", NOW)
    assert learned.knows(lesson(100.0, run="theirs"))
    assert learned.knows(lesson(200.0, run="theirs"))
    assert not learned.knows(lesson(200.1, run="theirs"))
    again = after(learned, at=NOW + 1.0, run="run3", began=NOW + 2.0)
    assert again.knows(lesson(150.0, run="theirs"))


def test_what_was_read_of_one_type_says_nothing_of_the_others() -> None:
    learned = fresh()
    learned.was_read(100.0, 200.0, "resize", NOW)
    assert learned.knows(lesson(150.0))
    assert not learned.knows(lesson(150.0, task_type="encode"))


def test_a_type_that_was_forgotten_is_known_only_since_then() -> None:
    learned = fresh()
    learned.was_read(100.0, 200.0, "", NOW)
    learned.forget("resize", NOW + 10.0)
    assert not learned.knows(lesson(150.0))
    assert not learned.knows(lesson(NOW + 9.9))
    assert learned.knows(lesson(NOW + 10.0))
    assert learned.knows(lesson(150.0, task_type="encode"))
    learned.was_read(100.0, 200.0, "resize", NOW + 11.0)
    assert learned.knows(lesson(150.0))
    again = after(learned, at=NOW + 20.0, run="run3", began=NOW + 30.0)
    assert again.knows(lesson(150.0))
    assert not again.knows(lesson(NOW + 9.9))


def test_when_all_is_forgotten_nothing_from_before_is_known() -> None:
    learned = after(fresh("run1"), at=NOW + 50.0, run="run2", began=NOW + 100.0)
    learned.forget("resize", NOW + 110.0)
    learned.forget("", NOW + 120.0)
    for at in (NOW + 10.0, NOW + 110.0, NOW + 119.9):
        assert not learned.knows(lesson(at, run="run1"))
    assert learned.knows(lesson(NOW + 120.0))


def test_what_another_predictor_knew_is_not_known() -> None:
    learned = after(fresh("run1"), at=NOW + 50.0, run="run2", began=NOW + 100.0, strategy="adaptive")
    assert not learned.knows(lesson(NOW + 10.0, run="run1"))


@pytest.mark.parametrize(
    "record",
    [
        {"strategy": "ema"},
        {"strategy": "ema", "known": [], "forgotten": []},
        {"strategy": "ema", "known": [], "forgotten": {"resize": "x"}},
        {"strategy": "ema", "known": [[1.0, 2.0, "r", "", "x"]], "forgotten": {}},
        {"strategy": "ema", "known": [[1.0, float("nan"), "r", "", 0.0]], "forgotten": {}},
        {"strategy": "ema", "known": [[1.0, 2.0]], "forgotten": {}},
        {"strategy": "ema", "known": [[1.0, 2.0, 3, "", 0.0]], "forgotten": {}},
    ],
)
def test_a_record_that_makes_no_sense_is_refused_and_changes_nothing(record: dict[str, object]) -> None:
    learned = fresh()
    with pytest.raises(ValueError, match="history"):
        learned.restore({"part": "history", **record})
    assert next(learned.state(NOW + 1.0))["known"] == [list(Stretch(NOW, NOW + 1.0, "run2"))]


def test_the_oldest_of_very_many_runs_are_forgotten() -> None:
    learned = fresh("r0", 0.0)
    for number in range(1, 600):
        learned = after(learned, at=number - 0.5, run=f"r{number}", began=float(number))
    assert not learned.knows(lesson(10.25, run="r10"))
    assert learned.knows(lesson(300.25, run="r300"))


def test_another_predictor_knows_only_what_came_since_it_was_taught_until_the_one_before_is_back() -> None:
    learned = fresh()
    learned.switch("median", NOW + 10.0, NOW + 20.0)
    assert not learned.knows(lesson(NOW + 9.0))
    assert learned.knows(lesson(NOW + 10.0))
    (record,) = learned.state(NOW + 30.0)
    assert record["strategy"] == "median"
    learned.switch("ema", NOW + 40.0, NOW + 50.0)
    assert learned.knows(lesson(NOW + 9.0))
    assert not learned.knows(lesson(NOW + 30.0))
    assert learned.knows(lesson(NOW + 40.0))
