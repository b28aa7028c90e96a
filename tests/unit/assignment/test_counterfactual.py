"""What an explanation says would have changed the answer does, when it is applied and the decision made again."""

from typing import Any

import hypothesis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_server.assignment.effects import Reply
from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.settings import AssignmentSettings, CoreSettings
from scheduler_server.fallback.settings import FallbackSettings
from scheduler_server.model.decision import Cause, Change, ChangeKind, Decision, Rejection, Score
from scheduler_server.model.task import Task
from scheduler_server.model.worker import Health, Intent, Registration
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.registry.ranking import key_of, rejections
from scheduler_server.scorer.earliest_finish import EarliestFinishScorer
from tests.unit.assignment.rig import Rig, scorers
from tests.unit.assignment.test_dry_run import Moody, dry_run, event_of

SETTINGS = CoreSettings(
    assignment=AssignmentSettings(explain_share=0.0), fallback=FallbackSettings(failure_threshold=2, retry_after_s=10.0)
)


class Raised:
    """A scorer of whose terms one can be changed for one worker."""

    def __init__(self, behind: Any) -> None:
        self.behind = behind
        self.change: Change | None = None

    def key(self, worker: Any) -> float:
        if isinstance(self.behind, EarliestFinishScorer) and self._is_about(worker):
            assert self.change is not None
            assert self.change.needed is not None
            assert self.change.actual is not None
            speed = worker.speed * worker.freshness * self.change.actual / max(self.change.needed, 1e-9)
            return float(speed / (speed + 16.0))
        return float(self.behind.key(worker)) + self._more(worker)

    def score(self, worker: Any, task: Task, wait_ms: float, duration_ms: float) -> Score:
        score: Score = self.behind.score(worker, task, wait_ms, duration_ms)
        return score._replace(value=score.value + self._more(worker))

    def _is_about(self, worker: Any) -> bool:
        return self.change is not None and worker.worker_id == self.change.worker_id

    def _more(self, worker: Any) -> float:
        if not self._is_about(worker) or self.change is None or self.change.needed is None:
            return 0.0
        terms = self.behind.score(worker, Task("", "t", 1, "type"), 0.0, 5_000.0).terms
        weight = next(weight for name, _, weight in terms if name == self.change.name)
        return float((self.change.needed - (self.change.actual or 0.0)) * weight)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


workers = st.lists(
    st.tuples(
        st.sampled_from((0.0, 0.1, 0.25, 0.5, 0.8, 0.95)),  # cpu and memory
        st.integers(1, 3),  # slots
        st.integers(0, 3),  # leases
        st.sampled_from((("a",), ("a",), ("b",), ("a", "b"))),
        st.booleans(),  # specialised
        st.sampled_from((0.25, 1.0, 1.0, 4.0)),  # speed
        st.sampled_from(("", "", "", "cordoned")),
    ),
    min_size=2,
    max_size=7,
)


def fleet_of(scorer: Any, described: list[Any]) -> Rig:
    rig = Rig(SETTINGS, scorer=scorer)
    for number, (load, slots, leases, capabilities, specialised, speed, kept) in enumerate(described):
        name = f"w{number}"
        rig.connect(
            name, slots=slots, capabilities=(*capabilities, name), specializations=("bug",) if specialised else ()
        )
        for _ in range(min(leases, slots)):
            rig.place(required=(name,))
        rig.beat(name, cpu=load, memory=load)
        record = rig.worker(name)
        record.speed = speed
        record.cordoned = bool(kept)
        rig.core.vitals.bar(record)
        rig.core.fleet.refresh(record)
    return rig


@pytest.mark.parametrize("scorer", sorted(scorers(SETTINGS)))
@given(described=workers, category=st.sampled_from(("", "bug")))
@settings(max_examples=80, deadline=None)
def test_each_change_is_applied_and_the_decision_made_again(scorer: str, described: list[Any], category: str) -> None:
    raised = Raised(scorers(SETTINGS)[scorer])
    told = dry_run(fleet_of(raised, described), event_of(1, required=("a",), category=category))
    if not isinstance(told, Decision) or told.explanation is None:
        return
    assert told.cause in (Cause.BEST_SCORE, Cause.ONLY_CANDIDATE)
    for change in told.explanation.changes:
        raised.change = None
        rig = fleet_of(raised, described)
        apply(rig, raised, change)
        hypothesis.event(f"{change.kind.name} {change.rejection.name} {change.wins}")
        chosen = dry_run(rig, event_of(1, required=("a",), category=category))
        assert isinstance(chosen, Decision)
        if change.wins:
            assert chosen.worker_id == change.worker_id, change
        elif change.kind is not ChangeKind.TERM:
            tied = chosen.worker_id == change.worker_id and same_key(rig, told.worker_id, change.worker_id)
            assert chosen.worker_id != change.worker_id or tied, change


def same_key(rig: Rig, one: str, other: str) -> bool:
    """Equal keys are decided by who stands first, which is nothing that one can tell somebody."""
    records = [rig.worker(one), rig.worker(other)]
    return len({record.pool.keys[record.pos] for record in records}) == 1


def apply(rig: Rig, raised: Raised, change: Change) -> None:
    """Let what the change supposes be so."""
    record = rig.worker(change.worker_id)
    if change.kind is ChangeKind.TERM:
        if change.needed is None:
            return
        raised.change = change
    elif change.kind is ChangeKind.HEALTHY:
        record.health = Health.HEALTHY
        rig.core.vitals.lead(record)
    elif change.kind is ChangeKind.FREE_SLOT or change.rejection is Rejection.NO_FREE_SLOT:
        rig.core.fleet.resize(record, record.occupied + 1)
    elif change.rejection is Rejection.CAPABILITY:
        before = record.registration
        capabilities = tuple(sorted({*before.capabilities, "a"}))
        record.registration = Registration(
            slots=before.slots, capabilities=capabilities, specializations=before.specializations
        )
        rig.core.fleet.reprofile(record, before)
    else:
        assert change.rejection is Rejection.CORDONED
        record.cordoned = False
        rig.core.vitals.bar(record)
    rig.core.fleet.refresh(record)


def test_the_term_that_would_have_been_enough_is_named_with_how_much() -> None:
    rig = fleet_of("weighted", [(0.1, 2, 0, ("a",), False, 1.0, ""), (0.5, 2, 0, ("a",), False, 1.0, "")])
    told = rig.place(required=("a",), explain=True)
    assert told.explanation is not None
    (change,) = told.explanation.changes
    assert (change.kind, change.worker_id, change.name, change.wins) == (ChangeKind.TERM, "w1", "load", True)
    assert change.actual == pytest.approx(0.5)
    assert change.needed is not None
    assert change.needed == pytest.approx(0.9, abs=1e-4)
    assert change.needed > 0.9


def test_the_priority_is_the_tasks_own_and_changes_nothing_between_workers() -> None:
    rig = fleet_of("weighted", [(0.0, 2, 0, ("a",), False, 1.0, ""), (0.0, 2, 1, ("a",), False, 1.0, "")])
    told = rig.place(required=("a",), explain=True, priority=0.1)
    assert told.explanation is not None
    assert all(change.name != "priority" for change in told.explanation.changes)


def test_a_degraded_runner_up_would_have_had_to_be_healthy() -> None:
    rig = fleet_of("weighted", [(0.8, 2, 0, ("a",), False, 1.0, ""), (0.95, 2, 0, ("a",), False, 1.0, "")])
    told = rig.place(required=("a",), explain=True)
    assert told.explanation is not None
    (change,) = told.explanation.changes
    assert (change.kind, change.worker_id, change.wins) == (ChangeKind.HEALTHY, "w1", False)


# ---------------------------------------------------------------------- fallbacks


def moody(mood: str) -> Rig:
    predictor = Moody(EmaPredictor(SETTINGS.predictor))
    rig = Rig(SETTINGS, predictor=predictor)
    rig.connect("busy", slots=2)
    rig.connect("idle", slots=2)
    rig.beat("busy", cpu=0.8, memory=0.8)
    predictor.mood = mood
    return rig


@pytest.mark.parametrize("mood", ["fails", "nonsense", "stale"])
def test_of_a_fallback_it_is_told_whom_a_prediction_had_chosen(mood: str) -> None:
    rig = moody(mood)
    told = rig.place(explain=True)
    assert told.explanation is not None
    (change,) = told.explanation.changes
    assert change.kind is ChangeKind.PREDICTION
    rig = moody("")
    chosen = rig.place()
    assert change.worker_id == chosen.worker_id == "idle"
    assert change.wins == (told.worker_id != "idle")
    if mood == "stale":
        assert change.needed == SETTINGS.predictor.stale_after_s
        assert change.actual == pytest.approx(rig.t)


def test_of_an_open_breaker_it_is_told_when_it_tries_again() -> None:
    rig = moody("fails")
    rig.place()
    rig.place()
    rig.go(4.0)
    rig.beat_all()
    told = rig.place(explain=True)
    assert told.cause is Cause.BREAKER_OPEN
    assert told.explanation is not None
    assert told.explanation.changes[0].actual == pytest.approx(6.0)


# ---------------------------------------------------------------------- what it rests on


@pytest.mark.parametrize("scorer", sorted(scorers(SETTINGS)))
@given(described=workers)
@settings(max_examples=40, deadline=None)
def test_the_key_that_a_worker_would_have_is_the_key_that_it_has(scorer: str, described: list[Any]) -> None:
    rig = fleet_of(scorer, described)
    fleet = rig.core.fleet
    for record in fleet.records.values():
        if not record.status:
            assert key_of(fleet, record, rig.core.scorer.key) == record.pool.keys[record.pos]


@given(pools=st.integers(1, 150), required=st.sampled_from(((), ("a",), ("c3",), ("none",))))
@settings(max_examples=25, deadline=None)
def test_rejections_are_the_same_however_many_pools_there_are(pools: int, required: tuple[str, ...]) -> None:
    rig = Rig(SETTINGS)
    for number in range(pools):
        rig.connect(f"w{number}", slots=1, capabilities=(("a",) if number % 3 else ()) + (f"c{number}",))
        if number % 4 == 0:
            rig.place(required=(f"c{number}",))
        if number % 7 == 0:
            rig.beat(f"w{number}", intent=Intent.DRAIN)
    eligible = rig.core.fleet.eligible((required, (), False))
    assert eligible is not None
    plain: dict[Rejection, int] = {}
    for record in rig.core.fleet.records.values():
        able = set(required) <= set(record.registration.capabilities)
        reason = record.status if able else Rejection.CAPABILITY
        plain[reason] = plain.get(reason, 0) + 1
    plain.pop(Rejection.CANDIDATE, None)
    assert dict(rejections(rig.core.fleet, eligible)) == plain


# ---------------------------------------------------------------------- unasked


def with_share(share: float) -> Rig:
    rig = Rig(CoreSettings(assignment=AssignmentSettings(explain_share=share)))
    rig.connect("w", slots=100)
    return rig


@pytest.mark.parametrize(("share", "explained"), [(0.0, []), (0.25, [3, 7, 11]), (1.0, list(range(12)))])
def test_every_nth_decision_is_recorded_with_an_explanation_that_is_not_told(
    share: float, explained: list[int]
) -> None:
    rig = with_share(share)
    for number in range(12):
        assert rig.place(f"t{number}").explanation is None
    recorded = [record.decision.explanation is not None for record in rig.core.ledger.leases.values()]
    assert [number for number, has in enumerate(recorded) if has] == explained


def test_what_was_recorded_unasked_is_told_to_who_asks_for_it_with_the_same_task() -> None:
    rig = with_share(1.0)
    rig.place("t")
    assert rig.place("t").explanation is None
    rig.give(Submit(Task("", "t", 1, "type"), explain=True))
    reply = rig.one(Reply)
    assert reply.replayed
    assert reply.decision is not None
    assert reply.decision.explanation is not None


def test_the_first_fallback_of_a_cause_is_recorded_with_an_explanation_and_then_one_a_minute() -> None:
    predictor = Moody(EmaPredictor(SETTINGS.predictor))
    rig = Rig(CoreSettings(assignment=AssignmentSettings(explain_share=0.001)), predictor=predictor)
    rig.connect("w", slots=100)
    predictor.mood = "fails"

    def explained(task_id: str) -> bool:
        rig.beat("w")
        rig.place(task_id)
        return rig.core.ledger.tasks["", task_id].decision.explanation is not None

    assert explained("first")
    assert not explained("second")
    for _ in range(3):
        rig.tick_for(19.9)
        rig.beat("w")
    rig.core.breaker.succeeded("type")
    assert not explained("at 59.7 s")
    rig.tick_for(0.4)
    rig.core.breaker.succeeded("type")
    assert explained("at 60.1 s")
