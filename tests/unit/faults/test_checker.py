"""The checker of fault campaigns: a sound log is found sound, and each broken promise, planted, is found."""

from collections.abc import Iterable
from typing import Any

import pytest

from tests.faults.checker import ALLOWED_S, Rule, Violation, check
from tests.faults.log import Event

PATIENCE_S, CLAIM_AFTER_S = 1.5, 2.0
AWAY_S = 0.6 * CLAIM_AFTER_S


class Script:
    """A log as it is written line by line; instants are given, everything else has a default."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.add(0.0, "rules", patience_s=PATIENCE_S, claim_after_s=CLAIM_AFTER_S, max_workers_lost=3)
        self.add(0.0, "serving", process="A")
        for process in ("a.1", "b.1"):
            self.join(0.0, process)
            self.add(0.0, "welcome", process=process)

    def add(self, at: float, what: str, **about: Any) -> Event:
        event = Event(at, what, about)
        self.events.append(event)
        return event

    def join(self, at: float, process: str, *, slots: int = 2, can: Iterable[str] = (), server: str = "A") -> None:
        worker = process.partition(".")[0]
        self.add(at, "worker", process=process, worker=worker, server=server, slots=slots, capabilities=list(can))

    def accept(self, task: str = "t", *, policy: str = "REQUEUE", max_attempts: int = 5) -> None:
        self.add(1.0, "offered", task=task)
        self.add(1.0, "accepted", task=task, policy=policy, required=[], max_attempts=max_attempts)

    def hand(self, at: float, process: str, task: str = "t", *, attempt: int = 1, **about: Any) -> str:
        lease = f"l-{task}-{attempt}-{process}"
        self.add(
            at, "handed", process=process, lease=lease, task=task, attempt=attempt,
            **{"required": [], "excluded": [], **about},
        )  # fmt: skip
        return lease

    def begin(self, at: float, process: str, task: str = "t", *, attempt: int = 1) -> str:
        lease = self.hand(at, process, task, attempt=attempt)
        self.add(at, "began", process=process, lease=lease, task=task, attempt=attempt)
        return lease

    def end(self, at: float, process: str, lease: str, task: str = "t", *, stopped: bool = False) -> None:
        self.add(at, "ended", process=process, lease=lease, task=task, stopped=stopped)

    def run(self, at: float, process: str, task: str = "t", *, attempt: int = 1, seconds: float = 0.5) -> None:
        self.end(at + seconds, process, self.begin(at, process, task, attempt=attempt), task)

    def letter(self, at: float, reason: str, *workers: str, task: str = "t") -> None:
        self.add(at, "letter", task=task, reason=reason, detail="", workers=list(workers))

    def found(self, *, left: int = 0) -> list[Violation]:
        told = [*self.events, Event(1_000.0, "left", {"pending": left, "unread": 0, "waiting": 0, "leases": 0})]
        return check(sorted(told, key=lambda event: event.at))

    def rules(self) -> list[Rule]:
        return [each.rule for each in self.found()]


@pytest.fixture
def script() -> Script:
    made = Script()
    made.accept()
    return made


def test_a_task_that_ran_once_breaks_nothing(script: Script) -> None:
    script.run(2.0, "a.1")
    assert script.found() == []


# ---------------------------------------------------------------------- lost


def test_an_accepted_task_that_nobody_ran_is_lost(script: Script) -> None:
    (violation,) = script.found()
    assert (violation.rule, violation.subject) == (Rule.LOST, "t")
    assert [event.what for event in violation.evidence] == ["offered", "accepted"]


def test_a_task_that_began_and_was_only_stopped_is_lost(script: Script) -> None:
    script.end(3.0, "a.1", script.begin(2.0, "a.1"), stopped=True)
    assert script.rules() == [Rule.LOST]


def test_a_task_that_was_offered_and_never_accepted_may_run_or_not() -> None:
    script = Script()
    script.add(1.0, "offered", task="t")
    assert script.found() == []
    script.run(2.0, "a.1")
    assert script.found() == []


def test_a_task_that_nobody_put_in_is_found(script: Script) -> None:
    script.run(2.0, "a.1")
    script.run(2.0, "b.1", "ghost")
    assert script.rules() == [Rule.UNKNOWN]


# ---------------------------------------------------------------------- set aside


def test_a_poisonous_task_is_set_aside_after_so_many_workers_and_not_after_fewer() -> None:
    for lost, rules in ((3, []), (2, [Rule.SET_ASIDE])):
        script = Script()
        script.accept()
        for life in range(1, lost + 1):
            script.join(life, f"c.{life}")
            script.begin(life + 0.5, f"c.{life}", attempt=life)
            script.add(life + 0.6, "killed", process=f"c.{life}")
        script.letter(10.0, "POISONOUS", *["c"] * lost)
        assert script.rules() == rules


@pytest.mark.parametrize(("policy", "rules"), [("REPORT", []), ("REQUEUE", [Rule.SET_ASIDE])])
def test_after_one_loss_only_a_task_that_wants_it_reported_is_set_aside(policy: str, rules: list[Rule]) -> None:
    script = Script()
    script.accept(policy=policy)
    script.begin(2.0, "a.1")
    script.add(2.1, "killed", process="a.1")
    script.letter(3.0, "ATTEMPTS_EXHAUSTED", "a")
    assert script.rules() == rules


def test_a_task_whose_worker_lives_is_not_set_aside(script: Script) -> None:
    script.run(2.0, "a.1")
    script.letter(3.0, "ATTEMPTS_EXHAUSTED", "a")
    assert script.rules() == [Rule.SET_ASIDE]


def test_a_good_task_is_not_set_aside_as_a_bad_one(script: Script) -> None:
    script.letter(3.0, "INVALID")
    assert script.rules() == [Rule.SET_ASIDE]


def test_a_worker_that_died_before_the_task_came_is_no_cause() -> None:
    script = Script()
    script.add(0.5, "killed", process="a.1")
    script.accept(policy="REPORT")
    script.letter(3.0, "ATTEMPTS_EXHAUSTED", "a")
    assert script.rules() == [Rule.SET_ASIDE]


def test_a_task_that_begins_more_often_than_it_has_attempts_is_found() -> None:
    for attempts, rules in ((2, []), (3, [Rule.ATTEMPTS])):
        script = Script()
        script.accept(max_attempts=2)
        for attempt in range(1, attempts + 1):
            script.join(attempt, f"c.{attempt}")
            script.begin(attempt + 0.5, f"c.{attempt}", attempt=attempt)
            script.add(attempt + 0.6, "killed", process=f"c.{attempt}")
        script.letter(10.0, "ATTEMPTS_EXHAUSTED", *["c"] * attempts)
        assert script.rules() == rules


# ---------------------------------------------------------------------- slots


def test_a_worker_may_have_as_many_tasks_as_slots_and_no_more() -> None:
    for tasks, rules in ((2, []), (3, [Rule.OVER_SLOTS])):
        script = Script()
        leases = []
        for number in range(tasks):
            script.accept(f"t{number}")
            leases.append(script.begin(2.0 + number, "a.1", f"t{number}"))
        for number, lease in enumerate(leases):
            script.end(9.0, "a.1", lease, f"t{number}")
        assert script.rules() == rules


def test_a_slot_is_free_when_its_lease_is_let_go_of() -> None:
    script = Script()
    for number in range(3):
        script.accept(f"t{number}")
    script.hand(2.0, "a.1", "t0")
    script.add(2.1, "closed", process="a.1", lease=script.hand(2.05, "a.1", "t1"))
    script.run(2.2, "a.1", "t2")
    assert Rule.OVER_SLOTS not in script.rules()


def test_the_same_hand_over_twice_takes_one_slot(script: Script) -> None:
    script.accept("u")
    script.hand(2.0, "a.1")
    script.hand(2.1, "a.1")
    script.run(2.2, "a.1", "u")
    assert Rule.OVER_SLOTS not in script.rules()


# ---------------------------------------------------------------------- twice


def again(script: Script, at: float = 5.0) -> list[Rule]:
    script.run(at, "b.1", attempt=2)
    return script.rules()


def test_a_second_start_beside_a_living_session_is_found_with_its_story(script: Script) -> None:
    script.run(2.0, "a.1")
    script.run(5.0, "b.1", attempt=2)
    (violation,) = script.found()
    assert violation.rule is Rule.TWICE
    assert [event.about.get("process") for event in violation.evidence if event.what == "began"] == ["a.1", "b.1"]
    assert "b.1" in str(violation)


def test_a_second_start_on_the_same_worker_is_found(script: Script) -> None:
    script.run(2.0, "a.1")
    script.run(5.0, "a.1", attempt=2)
    assert script.rules() == [Rule.TWICE]


def test_one_lease_begins_once_whatever_happened(script: Script) -> None:
    lease = script.begin(2.0, "a.1")
    script.add(2.5, "began", process="a.1", lease=lease, task="t", attempt=1)
    script.end(3.0, "a.1", lease)
    script.add(4.0, "killed", process="a.1")
    assert script.rules() == [Rule.LEASE_TWICE]


@pytest.mark.parametrize(("at", "rules"), [(3.99, [Rule.TWICE]), (4.0, [])])
def test_a_killed_worker_lets_its_task_begin_elsewhere_but_not_before(at: float, rules: list[Rule]) -> None:
    script = Script()
    script.accept()
    script.begin(2.0, "a.1")
    script.add(4.0, "killed", process="a.1")
    assert again(script, at) == rules


@pytest.mark.parametrize(("lasts_s", "rules"), [(PATIENCE_S - 0.01, [Rule.TWICE]), (PATIENCE_S, [])])
def test_a_stopped_worker_is_lost_only_when_it_was_silent_for_long_enough(lasts_s: float, rules: list[Rule]) -> None:
    script = Script()
    script.accept()
    script.begin(2.0, "a.1")
    script.add(3.0, "stopped", process="a.1")
    script.add(3.0 + lasts_s, "continued", process="a.1")
    assert again(script, at=8.0) == rules


def test_a_stop_that_was_over_before_the_task_came_is_no_excuse(script: Script) -> None:
    script.add(1.0, "stopped", process="a.1")
    script.add(4.0, "continued", process="a.1")
    script.begin(7.0, "a.1")
    assert again(script, at=9.0) == [Rule.TWICE]


def test_what_was_on_its_way_to_a_stopped_worker_may_begin_there_late(script: Script) -> None:
    script.add(2.0, "stopped", process="a.1")
    script.run(5.0, "b.1", attempt=2)
    script.add(6.0, "continued", process="a.1")
    script.begin(6.1, "a.1", attempt=1)
    assert script.rules() == []


@pytest.mark.parametrize(
    ("what", "about"),
    [
        ("goodbye", {"process": "a.1", "reason": "FENCED"}),
        ("removing", {"process": "a.1"}),
        ("said", {"server": "A", "worker": "a", "kind": "WORKER_LOST", "detail": ""}),
        ("said", {"server": "A", "worker": "a", "kind": "WORKER_FENCED", "detail": ""}),
    ],
)
def test_a_session_that_was_ended_lets_its_tasks_begin_elsewhere(
    script: Script, what: str, about: dict[str, Any]
) -> None:
    script.begin(2.0, "a.1")
    script.add(3.0, what, **about)
    assert again(script) == []


@pytest.mark.parametrize(
    ("what", "about"),
    [
        ("goodbye", {"process": "a.1", "reason": "SERVER_SHUTDOWN"}),
        ("goodbye", {"process": "b.1", "reason": "FENCED"}),
        ("said", {"server": "A", "worker": "b", "kind": "WORKER_LOST", "detail": ""}),
        ("said", {"server": "A", "worker": "a", "kind": "LEASE_LOST_TRACK", "detail": ""}),
        ("said", {"server": "A", "worker": "a", "kind": "TASK_REQUEUED", "detail": "", "task": "t"}),
    ],
)
def test_what_ends_no_session_of_the_first_worker_is_no_excuse(
    script: Script, what: str, about: dict[str, Any]
) -> None:
    script.begin(2.0, "a.1")
    script.add(3.0, what, **about)
    assert again(script) == [Rule.TWICE]


@pytest.mark.parametrize("begins", ["killed", "stopped"])
@pytest.mark.parametrize(("lasts_s", "rules"), [(AWAY_S - 0.01, [Rule.TWICE]), (AWAY_S + 0.01, [])])
def test_a_server_that_was_away_for_long_enough_has_lost_its_sessions(
    begins: str, lasts_s: float, rules: list[Rule]
) -> None:
    script = Script()
    script.accept()
    script.join(0.5, "c.1", server="B")
    script.add(0.0, "serving", process="B")
    script.begin(2.0, "a.1")
    script.add(2.5, begins, process="A")
    script.add(2.5 + lasts_s, "serving" if begins == "killed" else "continued", process="A")
    script.run(6.0, "c.1")
    assert script.rules() == rules


@pytest.mark.parametrize(("server", "offers", "rules"), [("B", 2, []), ("B", 1, [Rule.TWICE]), ("A", 2, [Rule.TWICE])])
def test_a_task_that_was_added_twice_may_run_on_two_servers_and_on_one_only_once(
    server: str, offers: int, rules: list[Rule]
) -> None:
    script = Script()
    script.accept()
    if offers > 1:
        script.add(1.1, "offered", task="t")
    script.join(1.2, "c.1", server=server)
    script.run(2.0, "a.1")
    script.run(3.0, "c.1")
    assert script.rules() == rules


def test_who_takes_the_name_of_a_removed_worker_is_not_removed(script: Script) -> None:
    script.join(1.5, "c.1")
    script.add(2.0, "removing", process="c.1")
    script.add(2.0, "removed", process="c.1")
    script.add(2.1, "welcome", process="c.1")
    script.run(4.0, "c.1")
    assert script.rules() == []


def test_a_removal_that_failed_is_no_excuse(script: Script) -> None:
    script.begin(2.0, "a.1")
    script.add(3.0, "removing", process="a.1")
    script.add(3.1, "not_removed", process="a.1")
    assert again(script) == [Rule.TWICE]


@pytest.mark.parametrize(("attempt", "rules"), [(1, []), (2, [Rule.TWICE])])
def test_what_a_stopped_server_sent_first_may_begin_last_when_its_session_is_fenced(
    attempt: int, rules: list[Rule]
) -> None:
    script = Script()
    script.accept()
    script.join(0.5, "c.1", server="B")
    script.run(2.0, "a.1")
    script.begin(4.0, "c.1", attempt=attempt)
    script.add(4.01, "goodbye", process="c.1", reason="FENCED")
    assert script.rules() == rules


@pytest.mark.parametrize(("back_at", "rules"), [(9.0, [Rule.TWICE]), (None, [])])
def test_a_worker_that_does_not_come_back_to_its_server_in_time_is_lost(
    back_at: float | None, rules: list[Rule]
) -> None:
    script = Script()
    script.accept()
    script.events[0] = Event(0.0, "rules", {**script.events[0].about, "restart_grace_s": 8.0})
    script.begin(2.0, "a.1")
    script.add(2.5, "killed", process="A")
    script.add(4.0, "serving", process="A")
    if back_at is not None:
        script.add(back_at, "welcome", process="a.1")
    assert again(script, at=12.1) == rules


# ---------------------------------------------------------------------- to whom


@pytest.mark.parametrize("what", ["drained", "removed"])
@pytest.mark.parametrize(("late_s", "found"), [(ALLOWED_S, False), (ALLOWED_S + 0.01, True)])
def test_a_worker_that_is_out_is_handed_only_what_was_on_its_way(
    script: Script, what: str, late_s: float, found: bool
) -> None:
    script.add(2.0, what, process="a.1")
    script.run(2.0 + late_s, "a.1")
    expected = {"drained": Rule.DRAINED, "removed": Rule.REMOVED}[what]
    assert script.rules() == [expected] * found


def test_a_worker_has_to_have_what_a_task_requires(script: Script) -> None:
    script.join(1.0, "c.1", can=("gpu", "fast"))
    script.accept("u")
    script.hand(2.0, "c.1", required=["gpu"])
    script.hand(2.0, "a.1", "u", required=["gpu"])
    script.run(3.0, "b.1", "v")
    assert [each.subject for each in script.found() if each.rule is Rule.INCAPABLE] == ["u"]


def test_an_excluded_worker_is_handed_nothing(script: Script) -> None:
    script.hand(2.0, "a.1", excluded=["b"])
    assert Rule.INCAPABLE not in script.rules()
    script.hand(2.0, "b.1", excluded=["b"])
    assert Rule.INCAPABLE in script.rules()


# ---------------------------------------------------------------------- at the end


def test_what_is_left_over_is_found_and_so_is_a_log_without_an_end(script: Script) -> None:
    script.run(2.0, "a.1")
    assert [each.rule for each in script.found(left=1)] == [Rule.LEFT]
    assert [each.rule for each in check(script.events)] == [Rule.LEFT]
