"""Overrides: whom they bound, what they hold back, in which order they apply, and when they end."""

from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_server.assignment.dry_run import DryRun
from scheduler_server.assignment.effects import Granted, Published, Reply
from scheduler_server.assignment.events import (
    CreateOverride,
    EndOverride,
    Event,
    RemoveWorker,
    ReportOutcome,
    Submit,
    Tick,
)
from scheduler_server.assignment.override_checks import judge
from scheduler_server.assignment.override_rules import Rule
from scheduler_server.assignment.overrides import MOST_ENDED
from scheduler_server.assignment.recording import (
    RecordedStopwatch,
    ReplayedStopwatch,
    effect_lines,
    event_line,
    read_line,
    replay,
)
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.decision import Cause, Decision, Rejection, Source
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.override import Action, Override
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import BlockingReason, Pairs, Task, TaskState
from scheduler_server.model.worker import Registration
from scheduler_server.predictor.ema import EmaPredictor
from tests.unit.assignment.rig import WALL_S, Rig

EXCLUDE, PIN, CAP, BOOST = Action.EXCLUDE, Action.PIN, Action.CAP, Action.BOOST


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    for worker_id, zone in (("w1", "a"), ("w2", "b"), ("w3", "b")):
        made.connect(worker_id, slots=2, labels=(("zone", zone),))
    return made


def override(override_id: str, action: Action, *workers: str, **more: Any) -> Override:
    more.setdefault("task_type", "" if "tenant" in more or "task_id" in more else "type")
    made: dict[str, Any] = {"tenant": None, "task_id": "", "workers": workers}
    return Override(override_id, action=action, **(made | more))


def make(rig: Rig, override_id: str, action: Action, *workers: str, **more: Any) -> Rule:
    made = override(override_id, action, *workers, **more)
    rig.give(CreateOverride(made, rig.core.placement.policy_revision + 1))
    return rig.core.overrides.in_force[override_id]


def end(rig: Rig, override_id: str) -> None:
    rig.give(EndOverride(override_id, rig.core.placement.policy_revision + 1))


def asked(rig: Rig, task_id: str, *, wait: bool = False, **of_task: Any) -> Reply:
    of_task.setdefault("task_type", "type")
    task = Task(of_task.pop("tenant", ""), task_id, 1, **of_task)
    rig.give(Submit(task, enqueue=wait))
    return rig.one(Reply)


def placed(rig: Rig, task_id: str, **of_task: Any) -> Decision:
    decision = asked(rig, task_id, **of_task).decision
    assert decision is not None
    return decision


def refusal(rig: Rig, task_id: str, **of_task: Any) -> Refusal:
    refused = asked(rig, task_id, **of_task).refusal
    assert refused is not None
    return refused


def done(rig: Rig, lease_id: str) -> None:
    rig.give(ReportOutcome(lease_id, Outcome(OutcomeStatus.SUCCEEDED, 1_000.0)))


def granted(rig: Rig) -> list[str]:
    return [each.record.task.task_id for each in rig.find(Granted)]


def waits(rig: Rig, task_id: str) -> Any:
    waiter = rig.core.queue.waiting.by_task["", task_id]
    return rig.core.queue.prospects(rig.now, waiter)


# ---------------------------------------------------------------------- pin and exclude


def test_a_pinned_type_goes_to_its_workers_alone_and_the_decision_says_that_an_override_decided(rig: Rig) -> None:
    rule = make(rig, "o-1", PIN, "w3")
    for number in range(2):
        decision = placed(rig, f"t{number}")
        assert (decision.worker_id, decision.source, decision.cause) == ("w3", Source.OVERRIDE, Cause.OVERRIDE_PIN)
    refused = refusal(rig, "t2")
    assert refused.reason is Reason.NO_FREE_SLOT
    assert dict(refused.rejections) == {Rejection.NO_FREE_SLOT: 1, Rejection.OVERRIDE: 2}
    assert placed(rig, "other", task_type="else").source is Source.PREDICTED
    assert (rule.applied, rule.last_applied) == (2, rig.now.wall)
    assert rig.core.ledger.tasks["", "t0"].applied == (("o-1", "only on w3"),)


def test_workers_that_an_exclusion_names_are_kept_out_for_that_reason(rig: Rig) -> None:
    make(rig, "o-1", EXCLUDE, "w1", labels=(("zone", "b"),))
    refused = refusal(rig, "t")
    assert refused.reason is Reason.NO_ELIGIBLE_WORKER_NOW
    assert dict(refused.rejections) == {Rejection.OVERRIDE: 3}
    end(rig, "o-1")
    assert placed(rig, "t2").cause is Cause.BEST_SCORE


def test_a_worker_that_comes_later_is_pinned_or_kept_out_by_its_labels(rig: Rig) -> None:
    make(rig, "o-1", PIN, labels=(("zone", "c"),))
    assert refusal(rig, "t").reason is Reason.NO_ELIGIBLE_WORKER_NOW
    rig.connect("w4", slots=1, labels=(("zone", "c"),))
    assert placed(rig, "t2").worker_id == "w4"
    rig.beat("w4", registration=Registration(slots=1, reports_outcomes=True, labels=(("zone", "d"),)))
    assert refusal(rig, "t3").reason is Reason.NO_ELIGIBLE_WORKER_NOW


def test_exclusions_hold_before_pins(rig: Rig) -> None:
    make(rig, "o-1", PIN, "w1", "w2")
    make(rig, "o-2", EXCLUDE, "w1")
    assert [placed(rig, f"t{n}").worker_id for n in range(2)] == ["w2", "w2"]
    assert rig.core.ledger.tasks["", "t0"].applied == (("o-2", "never on w1"), ("o-1", "only on w1, w2"))


def test_of_two_pins_the_one_of_the_narrower_scope_decides(rig: Rig) -> None:
    make(rig, "tenant", PIN, "w1", tenant="t")
    assert placed(rig, "a", tenant="t").worker_id == "w1"
    make(rig, "type", PIN, "w2")
    assert placed(rig, "b", tenant="t").worker_id == "w2"
    make(rig, "both", PIN, "w3", tenant="t", task_type="type")
    assert placed(rig, "c", tenant="t").worker_id == "w3"
    make(rig, "task", PIN, "w1", tenant="t", task_id="d")
    assert placed(rig, "d", tenant="t").worker_id == "w1"
    assert placed(rig, "d").worker_id == "w2"  # of another tenant


def test_a_preferred_worker_is_tried_first_and_others_will_do(rig: Rig) -> None:
    rule = make(rig, "o-1", PIN, "w2", preferred=True)
    first = [placed(rig, f"t{n}") for n in range(2)]
    assert {each.worker_id for each in first} == {"w2"}
    assert {each.cause for each in first} == {Cause.OVERRIDE_PIN}
    other = placed(rig, "t3")
    assert other.worker_id != "w2"
    assert other.source is Source.PREDICTED
    assert rule.applied == 2
    assert rig.core.ledger.tasks["", "t3"].applied == ()


def test_a_task_may_exclude_the_worker_that_it_is_pinned_to(rig: Rig) -> None:
    make(rig, "o-1", PIN, "w2")
    assert dict(refusal(rig, "t", excluded=("w2",)).rejections) == {Rejection.EXCLUDED: 1, Rejection.OVERRIDE: 2}
    assert placed(rig, "t2").worker_id == "w2"


def test_a_dry_run_is_bound_by_overrides_as_a_decision_is(rig: Rig) -> None:
    make(rig, "o-1", PIN, "w2")
    make(rig, "o-2", CAP, most=1)
    run = DryRun(rig.core, Submit(Task("", "t", 1, "type")), lambda: 0.0)
    told = run.decide(rig.now, 10)
    assert isinstance(told, Decision)
    assert (told.worker_id, told.source, told.cause) == ("w2", Source.OVERRIDE, Cause.OVERRIDE_PIN)
    assert told.explanation is not None
    assert dict(told.explanation.rejections) == {Rejection.OVERRIDE: 2}
    assert [name for name, _ in run.applied] == ["o-1", "o-2"]
    placed(rig, "t")
    capped = DryRun(rig.core, Submit(Task("", "u", 1, "type")), lambda: 0.0).decide(rig.now, 10)
    assert isinstance(capped, Refusal)
    assert capped.blocking is BlockingReason.OVERRIDE


# ---------------------------------------------------------------------- cap


@pytest.mark.parametrize("most", [0, 1, 5, 6, 7])
def test_a_cap_lets_as_many_run_at_once_as_it_says_and_no_more(rig: Rig, most: int) -> None:
    make(rig, "o-1", CAP, most=most)
    states = [asked(rig, f"t{n}", wait=True).state for n in range(8)]
    assert states == [TaskState.PLACED if n < min(6, most) else TaskState.WAITING for n in range(8)]
    assert len(rig.core.ledger.leases) == min(6, most)


def test_a_capped_task_waits_with_its_reason_while_others_pass_and_goes_when_one_of_its_own_ends(rig: Rig) -> None:
    make(rig, "o-1", CAP, most=1)
    first = placed(rig, "t1")
    assert asked(rig, "t2", wait=True).state is TaskState.WAITING
    told = waits(rig, "t2")
    assert told.blocking is BlockingReason.OVERRIDE
    assert told.detail == "override 'o-1' lets at most 1 at once of these, and as many run"
    assert rig.core.overrides.blocked() == {"o-1": 1}
    other = placed(rig, "other", task_type="else")
    done(rig, other.lease_id)
    assert granted(rig) == []
    done(rig, first.lease_id)
    assert granted(rig) == ["t2"]
    assert rig.core.overrides.blocked() == {}


def test_who_does_not_wait_is_refused_by_a_cap_and_told_when_to_come_back(rig: Rig) -> None:
    make(rig, "o-1", CAP, most=0)
    refused = refusal(rig, "t")
    assert (refused.reason, refused.blocking) == (Reason.NO_FREE_SLOT, BlockingReason.OVERRIDE)
    assert refused.retry_after_s is not None
    assert dict(refused.metadata)["override_id"] == "o-1"


def test_a_new_cap_counts_what_runs_already(rig: Rig) -> None:
    leases = [placed(rig, f"t{n}").lease_id for n in range(3)]
    rule = make(rig, "o-1", CAP, most=2)
    assert rule.running == 3
    asked(rig, "waits", wait=True)
    done(rig, leases[0])
    assert granted(rig) == []
    done(rig, leases[1])
    assert granted(rig) == ["waits"]


def test_a_capped_task_goes_to_a_slot_that_was_free_all_the_time(rig: Rig) -> None:
    make(rig, "o-1", CAP, most=1)
    make(rig, "o-2", PIN, "w1")
    first = placed(rig, "t1")
    asked(rig, "t2", wait=True)
    make(rig, "o-3", PIN, "w2", task_id="t2", tenant="")
    done(rig, first.lease_id)
    assert granted(rig) == ["t2"]
    assert rig.core.ledger.tasks["", "t2"].worker_id == "w2"


# ---------------------------------------------------------------------- waiting


@pytest.mark.parametrize("action", [PIN, EXCLUDE, CAP])
def test_the_end_of_an_override_releases_what_waited_for_it(rig: Rig, action: Action) -> None:
    workers = {PIN: ("nobody",), EXCLUDE: ("w1", "w2", "w3"), CAP: ()}[action]
    make(rig, "o-1", action, *workers, expires_at=WALL_S + 60.0)
    make(rig, "o-2", action, *workers)
    asked(rig, "t1", wait=True)
    assert waits(rig, "t1").blocking is BlockingReason.OVERRIDE
    rig.tick_for(30.0)
    rig.beat_all()
    end(rig, "o-2")
    assert granted(rig) == []
    rig.t += 30.0
    assert rig.core.next_deadline() <= rig.t
    rig.give(Tick())
    assert granted(rig) == ["t1"]
    kinds = [(each.event.kind, each.event.subject) for each in rig.find(Published)]
    assert (FleetEventKind.OVERRIDE_ENDED, "o-1") in kinds
    assert rig.core.placement.overrides is None


def test_an_override_that_comes_holds_for_what_waits_already(rig: Rig) -> None:
    leases = [placed(rig, f"t{n}") for n in range(6)]
    asked(rig, "waits", wait=True)
    asked(rig, "other", wait=True, task_type="else")
    make(rig, "o-1", PIN, "w3")
    of_w1 = next(each for each in leases if each.worker_id == "w1")
    of_w3 = next(each for each in leases if each.worker_id == "w3")
    done(rig, of_w1.lease_id)
    assert granted(rig) == ["other"]
    done(rig, of_w3.lease_id)
    assert granted(rig) == ["waits"]


@pytest.mark.parametrize("order", ["fifo", "priority", "shortest", "fair"])
def test_a_boost_moves_what_waits_at_once_and_back_when_it_ends(order: str) -> None:
    base = CoreSettings()
    rig = Rig(type(base)(queue=type(base.queue)(order=order)))
    rig.connect("w1", slots=1)
    busy = placed(rig, "busy", task_type="else")
    asked(rig, "first", wait=True, task_type="else")
    rig.go(0.01)
    asked(rig, "second", wait=True)
    make(rig, "o-1", BOOST, delta=0.4)
    done(rig, busy.lease_id)
    assert granted(rig) == (["first"] if order == "fifo" else ["second"])


def test_boosts_add_up_and_are_clipped(rig: Rig) -> None:
    task = Task("", "t", 1, "type", priority=0.5)
    make(rig, "o-1", BOOST, delta=0.2)
    make(rig, "o-2", BOOST, delta=0.1, tenant="")
    assert rig.core.overrides.priority(task) == pytest.approx(0.8)
    make(rig, "o-3", BOOST, delta=0.9)
    assert rig.core.overrides.priority(task) == 1.0


# ---------------------------------------------------------------------- each change, and its end


def test_each_change_is_a_revision_of_the_policy_and_is_told(rig: Rig) -> None:
    assert placed(rig, "a").policy_revision == 1
    make(rig, "o-1", PIN, "w1", author="ann", reason="why")
    event = rig.one(Published).event
    assert (event.kind, event.before, event.after, event.subject) == (
        FleetEventKind.OVERRIDE_CREATED, "1", "2", "o-1",
    )  # fmt: skip
    assert event.detail == "only on w1, by ann: why"
    assert placed(rig, "b").policy_revision == 2
    end(rig, "o-1")
    assert placed(rig, "c").policy_revision == 3
    rig.give(CreateOverride(override("o-2", PIN, "w3"), 9))
    assert placed(rig, "d").policy_revision == 9


def test_an_end_of_what_is_not_there_and_a_second_beginning_change_nothing(rig: Rig) -> None:
    rule = make(rig, "o-1", PIN, "w1")
    rig.give(CreateOverride(override("o-1", PIN, "w2"), 7))
    assert rig.core.overrides.in_force == {"o-1": rule}
    rig.give(EndOverride("o-9", 8))
    assert rig.core.placement.policy_revision == 2


def test_of_those_that_have_ended_so_many_are_kept(rig: Rig) -> None:
    for number in range(MOST_ENDED + 1):
        make(rig, f"o-{number}", BOOST, delta=0.1)
        end(rig, f"o-{number}")
    assert len(rig.core.overrides.ended) == MOST_ENDED
    assert "o-0" not in rig.core.overrides.ended


def test_what_an_earlier_run_had_applies_again_and_counts_what_runs(rig: Rig) -> None:
    placed(rig, "t1")
    cap, gone = Rule(override("cap", CAP, most=1), 0), Rule(override("gone", CAP, expires_at=WALL_S), 0)
    cap.applied = 7
    assert rig.core.overrides.restore(rig.now, [cap, gone], []) == 1
    assert (cap.running, cap.applied) == (1, 7)
    assert rig.core.overrides.ended["gone"].ended_at == WALL_S
    assert refusal(rig, "t2").blocking is BlockingReason.OVERRIDE


# ---------------------------------------------------------------------- judged before it is made


def test_what_can_never_apply_or_contradicts_another_is_told_beforehand(rig: Rig) -> None:
    core = rig.core
    assert judge(core, override("o", PIN, "w1", "x")).impossible == "worker 'x' is not known"
    assert judge(core, override("o", EXCLUDE, "x", "y")).impossible == "workers 'x', 'y' are not known"
    assert "nobody is left" in judge(core, override("o", EXCLUDE, "w1", "w2", "w3")).impossible
    assert "nobody is left" in judge(core, override("o", PIN, labels=(("zone", "z"),))).impossible
    preferred = judge(core, override("o", PIN, labels=(("zone", "z"),), preferred=True))
    assert (preferred.impossible, len(preferred.warnings)) == ("", 1)
    make(rig, "e", EXCLUDE, "w1")
    assert "nobody is left" in judge(core, override("o", EXCLUDE, "w2", "w3")).impossible
    assert judge(core, override("o", EXCLUDE, "w2", "w3", task_type="else")).impossible == ""
    assert judge(core, override("o", PIN, "w1")).other == "e"
    make(rig, "p", PIN, "w2")
    assert judge(core, override("o", PIN, "w3")).other == "p"
    assert judge(core, override("o", PIN, "w3", tenant="t")).conflict == ""
    assert judge(core, override("o", EXCLUDE, "w2", tenant="t")).other == "p"
    assert judge(core, override("o", EXCLUDE, "w3")).conflict == ""
    assert judge(core, override("o", CAP)).warnings == ("a cap of 0 lets none of these tasks start",)
    make(rig, "c", CAP, most=3)
    assert "the smaller one holds" in judge(core, override("o", CAP, most=4)).warnings[0]
    rig.disconnect("w2")
    assert judge(core, override("o", PIN, "w2", "w3", tenant="t")).warnings == ("1 of 2 workers is disconnected",)


# ---------------------------------------------------------------------- any overrides, any events

_TYPES, _TENANTS, _WORKERS, _ZONES = ("a", "b", "c"), ("", "x"), ("w1", "w2", "w3", "w4"), ("n", "s")


def some_override(chance: Random, number: int, wall: float) -> Override:
    action = chance.choice(list(Action))
    scope = chance.randrange(4)
    tenant = chance.choice(_TENANTS) if scope in (1, 2, 3) else None
    about: dict[str, Any] = {}
    if action in (PIN, EXCLUDE):
        about["workers"] = tuple(sorted(chance.sample(_WORKERS, chance.randint(0, 2))))
        if not about["workers"] or chance.random() < 0.3:
            about["labels"] = (("zone", chance.choice(_ZONES)),)
        about["preferred"] = action is PIN and chance.random() < 0.3
    elif action is CAP:
        about["most"] = chance.randrange(4)
    else:
        about["delta"] = chance.choice([-0.5, 0.3, 1.0])
    return Override(
        f"o-{number}",
        tenant,
        chance.choice(_TYPES) if scope in (0, 2) else "",
        f"t{chance.randrange(60)}" if scope == 3 else "",
        action,
        expires_at=wall + chance.uniform(1.0, 30.0) if chance.random() < 0.4 else None,
        **about,
    )


class Plain:
    """Overrides again, without any index: every rule is looked at for every task."""

    def __init__(self) -> None:
        self.in_force: list[Override] = []

    def allowed(self, task: Task, worker_id: str, labels: Pairs) -> bool:
        applying = [each for each in self.in_force if each.covers(task)]
        if any(each.names(worker_id, labels) for each in applying if each.action is EXCLUDE):
            return False
        pins = [each for each in applying if each.action is PIN]
        pins.sort(key=_narrowness, reverse=True)
        narrowest = [each for each in pins if _narrowness(each) == _narrowness(pins[0])] if pins else []
        return not narrowest or narrowest[-1].preferred or narrowest[-1].names(worker_id, labels)

    def caps(self, task: Task) -> Iterable[Override]:
        return [each for each in self.in_force if each.action is CAP and each.covers(task)]


def _narrowness(each: Override) -> int:
    if each.task_id:
        return 4
    return 3 if each.tenant is not None and each.task_type else 2 if each.task_type else 1


def check(rig: Rig, plain: Plain, done_now: list[Any]) -> None:
    core = rig.core
    plain.in_force = [each for each in plain.in_force if each.override_id in core.overrides.in_force]
    assert {each.override_id for each in plain.in_force} == set(core.overrides.in_force)
    live = [record for record in core.ledger.leases.values() if record.live]
    for each in plain.in_force:
        if each.action is CAP:
            counted = sum(each.covers(record.task) for record in live)
            assert core.overrides.in_force[each.override_id].running == counted
    for effect in done_now:
        if isinstance(effect, Granted):
            record, worker = effect.record, effect.record.worker
            assert worker is not None
            assert plain.allowed(record.task, worker.worker_id, worker.registration.labels), record
            for cap in plain.caps(record.task):
                assert sum(cap.covers(other.task) for other in live) <= cap.most, (cap, record)
    free = [
        record
        for record in core.fleet.records.values()
        if not record.barred and len(record.leases) < record.slots and record.connected
    ]
    for waiter in core.queue.waiting.by_task.values():
        task = waiter.event.task
        held = any(sum(cap.covers(other.task) for other in live) >= cap.most for cap in plain.caps(task))
        could = [each for each in free if plain.allowed(task, each.worker_id, each.registration.labels)]
        assert held or not could, (task, could)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**9), order=st.sampled_from(["fifo", "shortest", "fair"]), often=st.sampled_from([0.02, 0.15])
)
def test_whatever_overrides_come_and_go_bounds_hold_and_no_slot_stays_free_and_the_log_replays(
    seed: int, order: str, often: float
) -> None:
    chance, base = Random(seed), CoreSettings()
    chosen = type(base)(queue=type(base.queue)(order=order))
    stopwatch = RecordedStopwatch(lambda: 0.0)
    rig = Rig(chosen, stopwatch=stopwatch)
    started, plain = rig.now, Plain()
    log: list[str] = []
    lines: list[str] = []
    handle = rig.core.handle

    def recorded(now: Any, event: Event) -> Any:
        effects = handle(now, event)
        log.append(event_line(now, event, stopwatch.take()))
        lines.extend(effect_lines(effects))
        return effects

    rig.core.handle = recorded  # type: ignore[method-assign]
    for number, worker_id in enumerate(_WORKERS):
        rig.connect(worker_id, slots=number % 2 + 1, labels=(("zone", _ZONES[number % 2]),))
    tasks = 0
    for step in range(120):
        rig.t += chance.expovariate(2.0)
        for worker_id in list(rig.core.fleet.records) if not step % 4 else ():
            rig.beat(worker_id)
            check(rig, plain, rig.out)
        draw = chance.random()
        live = [record for record in rig.core.ledger.leases.values() if record.live]
        if draw < often:
            made = some_override(chance, step, rig.now.wall)
            plain.in_force.append(made)
            rig.give(CreateOverride(made, rig.core.placement.policy_revision + 1))
        elif draw < often * 1.5 and plain.in_force:
            rig.give(EndOverride(chance.choice(plain.in_force).override_id, 0))
        elif draw < 0.6 or not live:
            tasks += 1
            task = Task(
                chance.choice(_TENANTS), f"t{tasks}", 1, chance.choice(_TYPES), priority=chance.choice([0.1, 0.9])
            )
            rig.give(Submit(task, enqueue=chance.random() < 0.8))
        elif draw < 0.63 and len(rig.core.fleet) > 2:
            rig.give(RemoveWorker(chance.choice(sorted(rig.core.fleet.records))))
        else:
            rig.give(ReportOutcome(chance.choice(live).lease_id, Outcome(OutcomeStatus.SUCCEEDED, 500.0)))
        while rig.core.queue.unfilled:
            check(rig, plain, rig.out)
            rig.give(Tick())
        check(rig, plain, rig.out)
    replayed = ReplayedStopwatch()
    again = Rig(chosen, stopwatch=replayed)
    assert again.now == started
    assert list(replay(again.core, replayed, log)) == lines


def test_an_override_in_the_event_log_is_read_back_as_it_was() -> None:
    made = override("o-1", PIN, "w1", labels=(("zone", "a"),), expires_at=WALL_S + 5.0, reason="why", author="ann")
    rig = Rig(predictor=EmaPredictor(CoreSettings().predictor))
    for event in (CreateOverride(made, 7), EndOverride("o-1", 8, "because")):
        assert read_line(event_line(rig.now, event, [])) == (rig.now, event, [])
