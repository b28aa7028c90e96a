"""States of alerts on a clock that the test moves: first sign, raised, cleared, and what lies between."""

import json
from typing import Any

import pytest

from scheduler_server.alerts.board import CLEARED_KEPT, MOST_SUBJECTS, Alert, Board, Measured
from scheduler_server.alerts.rule import About, AlertState, Rule, Severity
from scheduler_server.model.clock import Now

PENDING, RAISED, CLEARED = AlertState.PENDING, AlertState.RAISED, AlertState.CLEARED


def rule(name: str = "load", **fields: Any) -> Rule:
    given: dict[str, Any] = {
        "severity": Severity.WARNING,
        "unit": "ratio",
        "threshold": 0.9,
        "clear_threshold": 0.8,
        "for_s": 60.0,
        "meaning": "",
        "advice": "",
    }
    return Rule(name=name, **given | fields)


LOAD = rule()
ACCURACY = rule("accuracy", threshold=0.5, clear_threshold=0.6, less_is_worse=True)
WORKER = rule("worker", about=About.WORKER, for_s=0.0)


class Play:
    """A board, its clock, and what was told."""

    def __init__(self, *rules: Rule, clear_after_s: float = 30.0) -> None:
        self.board = Board(rules or (LOAD,), "inc", clear_after_s)
        self.at = 1_000.0

    def now(self) -> Now:
        return Now(self.at, self.at + 1e9)

    def look(self, value: float | None, *, after: float = 0.0, name: str = "load") -> list[tuple[AlertState, float]]:
        """Look after so many seconds at one figure, or at none; what was raised or cleared, with the figure."""
        found = {} if value is None else {"": Measured(value, f"{value}")}
        return [(alert.state, alert.value) for alert in self.show(found, after=after, name=name)]

    def show(self, found: dict[str, Measured], *, after: float = 0.0, name: str = "worker") -> list[Alert]:
        self.at += after
        return self.board.look(self.now(), name, found)

    def workers(self, *names: str, value: float = 1.0, after: float = 0.0) -> list[tuple[str, AlertState]]:
        changed = self.show({each: Measured(value, each, each) for each in names}, after=after)
        return [(alert.subject, alert.state) for alert in changed]

    @property
    def states(self) -> list[AlertState]:
        return [alert.state for alert in self.board.alerts()]


# ---------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("watched", "value", "seen"),
    [
        (LOAD, 0.899, False),
        (LOAD, 0.9, True),
        (LOAD, 0.901, True),
        (ACCURACY, 0.501, False),
        (ACCURACY, 0.5, True),
        (ACCURACY, 0.499, True),
        (LOAD, float("nan"), False),
        (ACCURACY, float("nan"), False),
    ],
)
def test_it_is_seen_at_the_threshold_and_beyond(watched: Rule, value: float, seen: bool) -> None:
    play = Play(watched)
    assert play.look(value, name=watched.name) == []
    assert play.states == ([PENDING] if seen else [])


@pytest.mark.parametrize(
    ("watched", "value", "well"),
    [
        (LOAD, 0.801, False),
        (LOAD, 0.8, True),
        (LOAD, 0.799, True),
        (ACCURACY, 0.599, False),
        (ACCURACY, 0.6, True),
        (ACCURACY, 0.601, True),
    ],
)
def test_it_is_well_at_the_clear_threshold_and_beyond(watched: Rule, value: float, well: bool) -> None:
    play = Play(watched, clear_after_s=0.0)
    bad = 0.2 if watched.less_is_worse else 1.0
    play.look(bad, name=watched.name)
    assert play.look(bad, after=60.0, name=watched.name) == [(RAISED, bad)]
    assert play.look(value, name=watched.name) == ([(CLEARED, value)] if well else [])


@pytest.mark.parametrize(("lasted_s", "raised"), [(59.999, False), (60.0, True), (60.001, True)])
def test_it_is_raised_when_it_has_lasted(lasted_s: float, raised: bool) -> None:
    play = Play()
    play.look(0.95)
    assert play.look(0.95, after=lasted_s) == ([(RAISED, 0.95)] if raised else [])


@pytest.mark.parametrize(("lasted_s", "cleared"), [(29.999, False), (30.0, True), (30.001, True)])
def test_it_is_cleared_when_it_has_been_well_for_long_enough(lasted_s: float, cleared: bool) -> None:
    play = Play()
    play.look(1.0)
    play.look(1.0, after=60.0)
    assert play.look(0.1, after=5.0) == []
    assert play.look(0.2, after=lasted_s) == ([(CLEARED, 0.2)] if cleared else [])
    assert play.states == [CLEARED if cleared else RAISED]


def test_a_rule_without_a_duration_raises_at_the_first_sign() -> None:
    play = Play(rule(for_s=0.0), clear_after_s=0.0)
    assert play.look(0.9) == [(RAISED, 0.9)]
    assert play.look(0.8) == [(CLEARED, 0.8)]


# ---------------------------------------------------------------------- hysteresis


def test_between_the_limits_a_raised_one_stays_and_the_wait_for_its_end_begins_anew() -> None:
    play = Play()
    play.look(1.0)
    play.look(1.0, after=60.0)
    assert play.look(0.85, after=1_000.0) == []
    assert play.look(0.8, after=1.0) == []
    assert play.look(0.81, after=29.0) == []
    assert play.look(0.8, after=1.0) == []
    assert play.look(0.8, after=29.999) == []
    assert play.look(0.8, after=0.001) == [(CLEARED, 0.8)]


def test_between_the_limits_a_sign_lasts_but_is_raised_only_at_the_threshold() -> None:
    play = Play()
    play.look(0.9)
    assert play.look(0.85, after=100.0) == []
    assert play.states == [PENDING]
    assert play.look(0.9, after=1.0) == [(RAISED, 0.9)]


def test_a_sign_that_is_well_again_was_nothing() -> None:
    play = Play()
    play.look(0.95)
    assert play.look(0.8, after=59.0) == []
    assert play.states == []
    play.look(0.95, after=1.0)
    assert play.look(0.95, after=59.0) == []


def test_a_figure_that_swings_around_the_threshold_is_one_alert() -> None:
    play = Play()
    told = [each for step in range(1_000) for each in play.look(0.91 if step % 2 else 0.89, after=5.0)]
    assert told == [(RAISED, 0.91)]
    assert len(list(play.board.alerts())) == 1


def test_a_figure_that_swings_faster_than_it_may_clear_is_one_alert() -> None:
    play = Play()
    play.look(1.0)
    told = [each for step in range(100) for each in play.look(0.1 if step % 4 else 1.0, after=9.0)]
    assert told == []
    assert play.states in ([], [PENDING])
    play.look(1.0)
    play.look(1.0, after=60.0)
    told = [each for step in range(100) for each in play.look(0.1 if step % 4 else 1.0, after=9.0)]
    assert told == []
    assert play.states == [RAISED]


# ---------------------------------------------------------------------- identity


def test_the_id_is_the_same_from_the_first_sign_to_the_end_and_new_the_next_time() -> None:
    play = Play()
    ids = []
    for value, after in ((1.0, 0.0), (1.0, 60.0), (0.1, 1.0), (0.1, 30.0), (1.0, 1.0)):
        play.look(value, after=after)
        ids.append(next(play.board.alerts()).alert_id)
    assert ids[:4] == [ids[0]] * 4
    live = [alert.alert_id for alert in play.board.live["load"].values()]
    assert live != [ids[0]]
    assert len(set(live)) == 1


def test_instants_and_the_last_figure_are_kept() -> None:
    play = Play()
    play.look(0.95)
    play.look(0.97, after=60.0)
    play.look(0.5, after=10.0)
    play.look(0.4, after=30.0)
    [alert] = play.board.alerts()
    assert (alert.since, alert.raised_at, alert.cleared_at) == (1e9 + 1_000, 1e9 + 1_060, 1e9 + 1_100)
    assert (alert.value, alert.detail) == (0.4, "0.4")


# ---------------------------------------------------------------------- subjects


def test_each_subject_has_an_alert_of_its_own() -> None:
    play = Play(WORKER)
    assert play.workers("a", "b") == [("a", RAISED), ("b", RAISED)]
    assert play.workers("b", after=10.0) == []
    assert play.workers("b", after=30.0) == [("a", CLEARED)]
    assert [alert.subject for alert in play.board.raised()] == ["b"]


def test_a_subject_that_disappears_is_cleared_after_a_while_and_one_that_comes_back_goes_on() -> None:
    play = Play(WORKER)
    play.workers("a")
    assert play.workers(after=29.0) == []
    assert play.workers("a", after=1.0) == []
    assert play.workers(after=1.0) == []
    assert play.workers(after=30.0) == [("a", CLEARED)]


def test_a_sign_whose_subject_disappears_was_nothing() -> None:
    play = Play(rule("worker", about=About.WORKER))
    play.workers("a")
    assert play.workers() == []
    assert play.states == []


def test_a_figure_that_is_no_number_counts_as_none() -> None:
    play = Play()
    play.look(1.0)
    play.look(1.0, after=60.0)
    assert play.look(float("nan"), after=1.0) == []
    assert play.look(float("inf"), after=30.0) == [(CLEARED, 1.0)]


def test_too_many_subjects_leave_the_worst_and_count_the_others() -> None:
    play = Play(WORKER)
    found = {f"w{at:03}": Measured(0.9 + at / 10_000, "", f"w{at:03}") for at in range(MOST_SUBJECTS + 5)}
    play.show(found)
    told = {alert.subject for alert in play.board.raised()}
    assert told == {f"w{at:03}" for at in range(5, MOST_SUBJECTS + 5)}
    assert play.board.left_out["worker"] == 5
    assert play.workers("new", value=9.0) == []  # there is no room before some are over
    assert play.board.left_out["worker"] == 6


def test_for_rules_where_less_is_worse_the_smallest_come_first() -> None:
    play = Play(rule("worker", less_is_worse=True, threshold=0.5, clear_threshold=0.6, for_s=0.0))
    play.show({f"w{at:03}": Measured(at / 1_000, "", f"w{at:03}") for at in range(MOST_SUBJECTS + 1)})
    assert [alert.subject for alert in play.board.raised()] == [f"w{at:03}" for at in range(MOST_SUBJECTS)]


def test_those_that_are_over_are_bounded_and_the_oldest_go() -> None:
    play = Play(rule(for_s=0.0), clear_after_s=0.0)
    for _ in range(CLEARED_KEPT + 3):
        play.look(1.0, after=1.0)
        play.look(0.0, after=1.0)
    kept = [alert.alert_id for alert in play.board.cleared]
    assert (len(kept), kept[0]) == (CLEARED_KEPT, "a-inc-4")
    assert len(list(play.board.alerts())) == CLEARED_KEPT


def test_counts_are_by_rule_and_state() -> None:
    play = Play(LOAD, WORKER)
    play.look(1.0)
    play.workers("a", "b")
    assert play.board.counts() == {("load", PENDING): 1, ("worker", RAISED): 2}


# ---------------------------------------------------------------------- across a restart


def reborn(play: Play, *rules: Rule, later_s: float = 100.0) -> Play:
    """The board of the next run, with what a snapshot kept."""
    kept = json.loads(json.dumps(list(play.board.state(play.now()))))
    after = Play(*rules)
    after.at = 5.0  # the monotonic clock starts anew
    after.board = Board(rules or (LOAD,), "next", 30.0)
    for record in kept:
        after.board.restore(record, Now(after.at, play.now().wall + later_s))
    return after


def test_a_raised_one_survives_a_restart_with_its_id_and_instants() -> None:
    play = Play()
    play.look(1.0)
    play.look(1.0, after=60.0)
    [before] = play.board.alerts()
    after = reborn(play)
    assert after.look(1.0, after=1.0) == []
    [alert] = after.board.alerts()
    assert (alert.alert_id, alert.since, alert.raised_at) == (before.alert_id, before.since, before.raised_at)
    assert after.look(0.1, after=1.0) == []
    assert after.look(0.1, after=30.0) == [(CLEARED, 0.1)]
    assert alert.alert_id == before.alert_id


def test_a_sign_has_lasted_after_a_restart_as_long_as_before_it() -> None:
    play = Play()
    play.look(1.0)
    play.look(1.0, after=40.0)
    after = reborn(play, later_s=1_000.0)
    assert after.look(1.0, after=19.9) == []
    assert after.look(1.0, after=0.1) == [(RAISED, 1.0)]


def test_what_the_new_run_has_found_itself_and_rules_that_are_off_are_passed_over() -> None:
    play = Play(WORKER, LOAD)
    play.look(1.0)
    play.workers("a", "b")
    after = reborn(play, WORKER)
    assert sorted(alert.subject for alert in after.board.alerts()) == ["a", "b"]
    fresh = Play(WORKER)
    fresh.workers("a")
    own = fresh.board.live["worker"]["a"].alert_id
    for record in play.board.state(play.now()):
        fresh.board.restore(record, fresh.now())
    assert fresh.board.live["worker"]["a"].alert_id == own


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""}, {"id": 7}, {"id": "x" * 257}, {"rule": None}, {"subject": 1}, {"value": "much"}, {"value": None},
        {"value": float("nan")}, {"since": float("inf")}, {"seen_for_s": -0.1}, {"raised_at": "today"},
        {"detail": "x" * 4_097},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    play = Play()
    play.look(1.0)
    [record] = play.board.state(play.now())
    play.board.restore(record, play.now())
    with pytest.raises(ValueError, match="not an alert"):
        play.board.restore(record | wrong, play.now())
    for missing in set(record) - {"part"}:
        with pytest.raises(ValueError, match="not an alert"):
            play.board.restore({name: value for name, value in record.items() if name != missing}, play.now())
