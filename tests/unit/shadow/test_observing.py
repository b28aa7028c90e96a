"""Policies beside the live one: what they choose, what is counted, how it is judged, and that nothing comes of it."""

import pickle
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from scheduler_server.assignment.recording import effect_lines
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.shadow.observing import MOST_UNJUDGED, MOST_WAITING
from scheduler_server.shadow.seats import Seat
from scheduler_server.shadow.settings import MOST_POLICIES, NAMES, ShadowSettings
from scheduler_server.storage.decision_log import Shadowed
from scheduler_server.telemetry.shadow_instruments import POLICIES
from tests.unit.assignment.rig import Rig
from tests.unit.shadow.house import House


def fleet(house: Rig, **slots: int) -> None:
    for worker_id, count in slots.items():
        house.connect(worker_id, slots=count)


# ------------------------------------------------------------------ nothing comes of it


def state_of(rig: Rig) -> list[Any]:
    """Everything that a decision goes by: records, keys, turns, what was learned, what was counted."""
    core = rig.core
    found: list[Any] = list(core.snapshot(rig.now))
    for worker_id, record in sorted(core.fleet.records.items()):
        objects = {"pool", "leases", "suspicion", "lateness"}
        plain = {name: value for name, value in _fields(record).items() if name not in objects}
        late = None if record.lateness is None else repr(_fields(record.lateness) | {"_others": None})
        found.append((worker_id, plain, pickle.dumps(record.suspicion), late, list(record.leases)))
    for pool in core.fleet.pools:
        members = [each.worker_id for each in pool.members]
        found += [(pool.profile, pool.keys.tolist(), pool.counts, pool.best, members)]
    classes = core.fleet.eligibility.classes
    found += [(key, eligible.cursor, len(eligible.pools)) for key, eligible in classes.items()]
    found.append((core.events, core.placement.by_cause, core.placement.refused_in_a_row, core.next_deadline()))
    return found


def _fields(thing: object) -> dict[str, Any]:
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return {name: getattr(thing, name) for name in slots}


def live(house: Rig, seed: int) -> list[str]:
    """Some hundred events by chance, and what came of them."""
    chance = Random(seed)
    lines: list[str] = []
    held: list[str] = []
    for number in range(8):
        house.connect(f"w{number}", slots=1 + number % 3, prefetch=number % 2, specializations=("b",))
        lines += effect_lines(house.out)
    for number in range(400):
        house.go(0.1 * chance.random())
        if held and chance.random() < 0.5:
            house.end(held.pop(chance.randrange(len(held))), chance.choice(list(OutcomeStatus)), chance.random() * 4e3)
        elif chance.random() < 0.1:
            house.beat(f"w{chance.randrange(8)}", cpu=chance.random(), queue_depth=chance.randrange(3))
        else:
            kind = chance.choice("abc")
            choice = chance.choice(("", "w1", "nobody"))
            reply = house.submit(f"t{number}", task_type=kind, category=kind, caller_choice=choice)
            if reply.decision is not None:
                held.append(reply.decision.lease_id)
        lines += effect_lines(house.out)
        if isinstance(house, House) and number % 3:
            house.look()
    return lines


@pytest.mark.parametrize("scorer", ["weighted", "earliest_finish"])
def test_with_and_without_a_shadow_the_same_events_make_the_same_state_and_effects(scorer: str) -> None:
    plain, shadowed = Rig(scorer=scorer), House(*NAMES[:MOST_POLICIES], scorer=scorer)
    assert live(plain, 7) == live(shadowed, 7)
    assert shadowed.figures("round_robin").decisions > 100
    assert state_of(plain) == state_of(shadowed)


def test_without_policies_the_server_pays_nothing() -> None:
    house = House()
    fleet(house, a=1)
    house.place()
    assert house.changes == []
    assert house.shadow.names == ()


# ------------------------------------------------------------------ what they choose


@pytest.mark.parametrize("scorer", ["weighted", "capability", "specialist", "earliest_finish"])
def test_the_scorer_in_force_chooses_as_the_live_decision_did(scorer: str) -> None:
    house = House(scorer, scorer=scorer)
    chance = Random(3)
    for number in range(9):
        house.connect(f"w{number}", slots=1 + number % 4, specializations=("x",) if number % 2 else ())
    held: list[str] = []
    for number in range(200):
        house.go(0.05)
        if len(held) > 12:
            house.end(held.pop(chance.randrange(len(held))), duration_ms=500.0 + 100 * number)
        held.append(house.placed(f"t{number}", category="x" if number % 3 else "y").lease_id)
    found = house.figures(scorer)
    assert (found.decisions, found.agreement) == (200, 1.0)


def test_round_robin_goes_through_all_that_are_up_whether_they_are_busy_or_not() -> None:
    house = House("round_robin")
    fleet(house, a=4, b=1, c=1)
    house.disconnect("c")
    for _ in range(4):
        house.placed()
    assert [entry.worker_id for entry in house.entries] == ["a", "b", "a", "b"]


def test_the_least_loaded_is_chosen_as_it_stood_before_the_live_lease() -> None:
    house = House("least_loaded")
    fleet(house, a=1)
    house.placed()
    (entry,) = house.entries
    assert (entry.worker_id, entry.wait_ms, entry.error) == ("a", 0.0, "")


def test_leases_granted_before_the_shadow_came_to_look_are_taken_out() -> None:
    house = House("earliest_finish")
    fleet(house, a=1, b=1)
    first = house.place()
    house.go(0.001)
    house.place()
    house.look()
    assert house.entries[0].worker_id == first.worker_id  # both are busy by now
    assert [entry.error for entry in house.entries] == ["", ""]


@pytest.mark.parametrize("apart_s", [0.0, 0.001])
def test_the_live_lease_is_taken_out_whatever_came_after_it_on_its_worker(apart_s: float) -> None:
    house = House("caller")
    fleet(house, a=2)
    for _ in range(2):
        house.place(caller_choice="a")
        house.go(apart_s)
    seats = [Seat(house.worker("a"), lease) for lease in house.core.ledger.leases.values()]
    assert [(seat.unfinished, len(seat.ahead)) for seat in seats] == [(0, 0), (1, 1)]


def test_a_busy_choice_waits_for_the_predicted_end_of_what_is_ahead() -> None:
    house = House("caller")
    fleet(house, a=1, b=1)
    first = house.place()
    house.go(2.0)
    house.placed(caller_choice=first.worker_id)
    (entry,) = house.entries
    assert entry.worker_id == first.worker_id
    assert entry.wait_ms == pytest.approx(first.duration_ms - 2_000.0)


def test_tasks_without_the_callers_choice_are_none_of_its_business() -> None:
    house = House("caller")
    fleet(house, a=2)
    house.placed()
    assert house.figures("caller").decisions == house.figures("caller").failures == 0


@pytest.mark.parametrize(
    ("choice", "why"),
    [("nobody", "not known"), ("dumb", "CAPABILITY"), ("gone", "DISCONNECTED"), ("never", "EXCLUDED")],
)
def test_a_callers_choice_that_cannot_be_is_a_failure_that_says_why(choice: str, why: str) -> None:
    house = House("caller")
    for worker_id in ("able", "gone", "never"):
        house.connect(worker_id, slots=5, capabilities=("gpu",))
    house.connect("dumb", slots=5)
    house.disconnect("gone")
    house.placed(required=("gpu",), excluded=("never",), caller_choice=choice)
    (entry,) = house.entries
    assert why in entry.error
    assert house.figures("caller").failures == 1


def test_a_scorer_that_raises_fails_alone() -> None:
    house = House("weighted", "round_robin")
    fleet(house, a=2)
    house.look()  # from now on the scorer is the one of the settings in force

    def broken(_worker: WorkerRecord) -> float:
        raise RuntimeError("broken")

    policy: Any = house.shadow._tried["weighted"].policy
    policy._scorer.key = broken
    house.placed()
    assert house.figures("weighted").failures == 1
    assert house.figures("round_robin").decisions == 1


def test_what_goes_wrong_beside_the_live_path_stays_there_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house = House("round_robin")
    fleet(house, a=3)

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(house.shadow, "_eligible", broken)
    house.placed()
    house.placed()
    assert (house.shadow.seen, house.shadow.skipped, house.shadow.waiting) == (2, 2, 0)
    assert len([each for each in caplog.records if each.exc_info]) == 1
    monkeypatch.undo()
    house.placed()
    assert house.figures("round_robin").decisions == 1


def test_a_decision_whose_worker_is_gone_cannot_be_compared() -> None:
    house = House("round_robin")
    fleet(house, a=1)
    house.place()
    house.remove("a")
    house.look()
    assert (house.shadow.seen, house.shadow.skipped) == (1, 1)


def test_in_a_large_fleet_some_are_looked_at_and_the_live_choice_is_among_them() -> None:
    house = House("weighted", "least_loaded", "round_robin")
    fleet(house, **{f"w{number}": 1 for number in range(300)})
    for _ in range(50):
        house.placed()
    assert house.figures("weighted").decisions == 50
    assert house.figures("weighted").agreement == 1.0  # all are alike, and the least recently used comes first
    turns = [entry.worker_id for entry in house.entries if entry.policy == "round_robin"]
    assert len(set(turns)) == 50


# ------------------------------------------------------------------ judged


def ran(house: House, lease_id: str, took_s: float) -> None:
    house.go(took_s)
    house.end(lease_id, duration_ms=took_s * 1e3)
    house.look()


def test_a_slower_worker_would_have_ended_later_by_the_ratio_of_the_speeds_learned_by_then() -> None:
    house = House("caller", scorer="earliest_finish")
    fleet(house, a=1, b=1)
    decision = house.placed(caller_choice="b")
    assert decision.worker_id == "a"
    house.go(3.0)
    house.end(decision.lease_id, duration_ms=3_000.0)
    house.worker("a").speed, house.worker("b").speed = 2.0, 0.5
    house.look()
    *_, wait_later, finish_later = house.shadow.rows("caller").values[-1]
    assert (wait_later, finish_later) == (0.0, pytest.approx(3.0 * 4.0 - 3.0))


def test_a_wait_is_judged_by_when_the_tasks_ahead_really_ended() -> None:
    house = House("caller")
    fleet(house, a=1, b=1)
    ahead = house.place()
    house.go(1.0)
    decision = house.placed(caller_choice=ahead.worker_id)
    ran(house, ahead.lease_id, 0.5)  # predicted to go on for seconds
    ran(house, decision.lease_id, 1.0)
    (row,) = house.shadow.rows("caller").values[-1:]
    assert row[3] == pytest.approx(ahead.duration_ms / 1e3 - 1.0)
    assert row[6] == pytest.approx(0.5)


def test_a_task_ahead_that_still_runs_counts_as_long_as_it_has_run_at_least() -> None:
    house = House("caller")
    fleet(house, a=1, b=1)
    ahead = house.place()
    decision = house.placed(caller_choice=ahead.worker_id)
    ran(house, decision.lease_id, 60.0)
    assert house.shadow.rows("caller").values[-1][6] == pytest.approx(60.0)


def test_the_same_worker_makes_no_difference_whatever_happens() -> None:
    house = House("caller")
    fleet(house, a=2)
    decision = house.placed(caller_choice="a")
    ran(house, decision.lease_id, 9.0)
    found = house.figures("caller")
    assert (found.agreement, found.judged) == (1.0, 1)
    assert house.shadow.rows("caller").values[-1][6:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("status", [each for each in OutcomeStatus if each is not OutcomeStatus.SUCCEEDED])
def test_only_success_is_judged(status: OutcomeStatus) -> None:
    house = House("round_robin")
    fleet(house, a=2)
    house.end(house.placed().lease_id, status)
    house.look()
    assert house.figures("round_robin").judged == 0


def test_a_lease_that_ended_before_anybody_looked_is_judged_all_the_same() -> None:
    house = House("round_robin")
    fleet(house, a=2)
    house.end(house.place().lease_id)
    house.look()
    assert house.figures("round_robin").judged == 1


# ------------------------------------------------------------------ bounded and counted


@pytest.mark.parametrize("more", [0, 1, 5])
def test_decisions_that_come_too_fast_are_left_out_and_counted(more: int) -> None:
    house = House("round_robin")
    fleet(house, a=MOST_WAITING + more)
    for _ in range(MOST_WAITING + more):
        house.place()
    assert (house.shadow.dropped, house.shadow.waiting) == (more, MOST_WAITING)
    house.look()
    assert (house.shadow.dropped, house.shadow.waiting, house.shadow.seen) == (more, 0, MOST_WAITING)


def test_a_slice_ends_when_its_time_is_up() -> None:
    house = House("round_robin")
    fleet(house, a=50)
    for _ in range(10):
        house.place()
    house.read_s = 0.0004  # each look at the stopwatch
    house.shadow.look(0.001)
    assert (house.shadow.seen, house.shadow.waiting) == (3, 7)


def test_between_slices_the_loop_has_as_much_time_as_the_share_says() -> None:
    house = House("round_robin")
    fleet(house, a=5)
    house.place()
    house.read_s = 0.003
    house.shadow.look(0.001)
    ended = house.reads
    rest = house.shadow._rest_until - ended
    assert house.shadow.spent_s / (house.shadow.spent_s + rest) == pytest.approx(house.settings_of.loop_share)


def test_no_more_decisions_wait_for_their_end_than_are_allowed() -> None:
    house = House("caller")
    fleet(house, a=MOST_UNJUDGED + 1)  # slots
    for _ in range(MOST_UNJUDGED + 1):
        house.placed(caller_choice="a")
    assert len(house.shadow._unjudged) == MOST_UNJUDGED


def test_of_the_comparisons_the_last_ones_are_kept() -> None:
    house = House("round_robin", kept=100)
    fleet(house, a=200)
    for number in range(130):
        house.placed(task_type=f"k{number}")
    assert house.shadow.rows("round_robin").types == [f"k{number}" for number in range(30, 130)]


def test_every_comparison_goes_to_the_decision_log() -> None:
    house = House("round_robin", "random")
    fleet(house, a=2)
    decision = house.placed()
    assert [(type(each), each.policy, each.live) for each in house.entries] == [
        (Shadowed, "round_robin", decision),
        (Shadowed, "random", decision),
    ]


# ------------------------------------------------------------------ changed while it runs


def test_policies_that_stay_keep_what_was_compared() -> None:
    house = House("round_robin", "random")
    fleet(house, a=9)
    house.placed()
    house.shadow.reconfigure(replace(house.settings_of, policies=("random", "least_loaded")))
    house.placed()
    assert house.shadow.names == ("random", "least_loaded")
    assert (house.figures("random").decisions, house.figures("least_loaded").decisions) == (2, 1)


def test_the_last_policy_gone_nothing_is_heard_any_more() -> None:
    house = House("round_robin")
    fleet(house, a=9)
    house.place()
    house.shadow.reconfigure(ShadowSettings())
    house.place()
    assert (house.changes, house.shadow.waiting, house.shadow.dropped) == ([], 0, 0)


@pytest.mark.parametrize(("kept", "left"), [(100, 100), (149, 149), (150, 150), (151, 150), (1_000, 150)])
def test_with_less_room_the_last_comparisons_stay(kept: int, left: int) -> None:
    house = House("round_robin")
    fleet(house, a=200)
    for number in range(150):
        house.placed(task_type=f"k{number}")
    house.shadow.reconfigure(replace(house.settings_of, kept=kept))
    assert house.shadow.rows("round_robin").types == [f"k{number}" for number in range(150 - left, 150)]
    house.placed(task_type="last")
    assert house.shadow.rows("round_robin").types[-1] == "last"
    assert len(house.shadow.rows("round_robin").types) == min(kept, left + 1)


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        (NAMES[:MOST_POLICIES], []),
        (NAMES, [f"has {len(NAMES)} names; the limit is {MOST_POLICIES}"]),
        (("random", "random"), ["'random' is named twice"]),
        (("p2c",), ["there is no policy 'p2c'"]),
    ],
)
def test_names_are_checked(policies: tuple[str, ...], said: list[str]) -> None:
    faults = [message for field, message in ShadowSettings(policies=policies).faults() if field == "policies"]
    assert len(faults) == len(said)
    for message, part in zip(faults, said, strict=True):
        assert part in message


def test_the_metrics_know_every_policy() -> None:
    assert POLICIES == NAMES
