"""A dry run says what Assign answers right after it, and leaves no trace of itself."""

from typing import Any

import hypothesis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_server.assignment.dry_run import DryRun
from scheduler_server.assignment.effects import Effect, Reply
from scheduler_server.assignment.events import Look, Submit
from scheduler_server.assignment.scanning import Scan
from scheduler_server.assignment.settings import AssignmentSettings, CoreSettings
from scheduler_server.fallback.settings import FallbackSettings
from scheduler_server.model.decision import Decision
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.refusal import Refusal
from scheduler_server.model.task import Delivery, Task
from scheduler_server.model.worker import Intent
from scheduler_server.predictor.ema import EmaPredictor
from tests.unit.assignment.rig import Rig, scorers

SETTINGS = CoreSettings(
    assignment=AssignmentSettings(explain_share=0.0), fallback=FallbackSettings(failure_threshold=2, retry_after_s=10.0)
)
CAPABILITIES = (("a",), ("a", "b"), ("b",), ())
LABELS = ((), (("zone", "x"),), (("zone", "y"),))
WORKERS = tuple(f"w{number}" for number in range(6))


class Moody:
    """A predictor that can be told to fail, or to be of no use."""

    def __init__(self, behind: EmaPredictor) -> None:
        self.behind = behind
        self.mood = ""

    def predict(self, task: Task) -> Prediction:
        if self.mood == "fails":
            raise RuntimeError("not in the mood")
        made = self.behind.predict(task)
        if self.mood == "nonsense":
            return made._replace(point_ms=float("nan"))
        return made._replace(as_of=0.0) if self.mood == "stale" else made

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


class Pair:
    """Two cores that are given the same events; only one of them is asked for dry runs."""

    def __init__(self, scorer: str) -> None:
        self.rigs = [self._rig(scorer), self._rig(scorer)]
        self.asked = self.rigs[0]

    @staticmethod
    def _rig(scorer: str) -> Rig:
        return Rig(SETTINGS, scorer=scorer, predictor=Moody(EmaPredictor(SETTINGS.predictor)))

    def both(self, do: Any) -> list[Any]:
        answers = [do(rig) for rig in self.rigs]
        assert repr(self.rigs[0].out) == repr(self.rigs[1].out)
        return answers


def dry_run(rig: Rig, event: Submit, most: int = 5, **other: Any) -> Decision | Refusal:
    run = DryRun(rig.core, event, lambda: 0.0, **other)
    scan = None
    if run.needs_scan:
        scan = Scan(rig.core.fleet, event, run.scorer, most + 1)
        for record in rig.core.fleet.records.values():
            scan.look(record)
    return run.decide(rig.now, most, scan)


def event_of(number: int, **of_task: Any) -> Submit:
    delivery = of_task.pop("delivery", Delivery.CALLER)
    return Submit(Task("", f"t{number}", 1, of_task.pop("task_type", "type"), **of_task), delivery, explain=True)


def same_answer(tried: Decision | Refusal, out: list[Effect]) -> None:
    """Is the dry run's answer the one that was given, apart from what only a lease has?"""
    (reply,) = [effect for effect in out if isinstance(effect, Reply)]
    if isinstance(tried, Refusal):
        assert reply.refusal == tried
    else:
        assert reply.decision is not None, reply.refusal
        assert reply.decision._replace(decision_id="", lease_id="") == tried


submits = st.tuples(
    st.just("submit"),
    st.sampled_from(((), ("a",), ("a", "b"), ("b",), ("none",))),
    st.sampled_from(((), (), (), (("zone", "x"),), (("nobody", "z"),))),
    st.sampled_from(((), (), ("w0", "w1"))),
    st.sampled_from(("", "bug")),
    st.sampled_from(tuple(Delivery)),
)

others = st.one_of(
    st.tuples(st.just("connect"), st.sampled_from(WORKERS), st.sampled_from(CAPABILITIES), st.sampled_from(LABELS)),
    st.tuples(st.just("beat"), st.sampled_from(WORKERS), st.sampled_from((0.0, 0.3, 0.6, 0.95))),
    st.tuples(st.just("drain"), st.sampled_from(WORKERS)),
    st.tuples(st.just("disconnect"), st.sampled_from(WORKERS)),
    st.tuples(st.just("go"), st.sampled_from((0.2, 3.0, 16.0, 31.0))),
    st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from(OutcomeStatus)),
    st.tuples(st.just("mood"), st.sampled_from(("", "", "fails", "nonsense", "stale"))),
)

steps = st.lists(st.tuples(submits, others), min_size=6, max_size=25).map(
    lambda pairs: [step for pair in pairs for step in pair]
)


@pytest.mark.parametrize("scorer", sorted(scorers(SETTINGS)))
@given(steps=steps)
@settings(max_examples=60, deadline=None)
def test_a_dry_run_answers_as_assign_does_right_after_it_and_changes_nothing(scorer: str, steps: list[Any]) -> None:
    pair = Pair(scorer)
    leases: list[str] = []
    for worker_id, capabilities in zip(WORKERS[:3], CAPABILITIES, strict=False):
        pair.both(lambda rig, w=worker_id, c=capabilities: rig.connect(w, slots=2, capabilities=c, accepts_tasks=True))
    for number, (kind, *rest) in enumerate(steps):
        if kind == "connect":
            worker_id, capabilities, labels = rest
            pair.both(
                lambda rig, w=worker_id, c=capabilities, at=labels: rig.connect(
                    w, slots=2, capabilities=c, labels=at, specializations=("bug",) if c else (), accepts_tasks=True
                )
            )
        elif kind in ("beat", "drain"):
            if rest[0] in pair.asked.session_of:
                sample = {"cpu": rest[1], "memory": rest[1]} if kind == "beat" else {"intent": Intent.DRAIN}
                pair.both(lambda rig, w=rest[0], s=sample: rig.beat(w, **s))
        elif kind == "disconnect":
            if rest[0] in pair.asked.session_of:
                pair.both(lambda rig, w=rest[0]: rig.disconnect(w))
        elif kind == "go":
            pair.both(lambda rig, s=rest[0]: rig.go(s))
        elif kind == "end":
            if rest[0] < len(leases):
                pair.both(lambda rig, lease=leases[rest[0]], s=rest[1]: rig.end(lease, s))
        elif kind == "mood":
            for rig in pair.rigs:
                rig.core.predictor.mood = rest[0]  # type: ignore[attr-defined] # ours
        else:
            required, labels, excluded, category, delivery = rest
            event = event_of(
                number, required=required, labels=labels, excluded=excluded, category=category, delivery=delivery
            )
            pair.both(lambda rig: rig.give(Look()))
            tried = dry_run(pair.asked, event)
            again = dry_run(pair.asked, event)
            assert tried == again
            sorted_by = {name for name, _ in labels} <= pair.asked.core.fleet.eligibility.label_keys
            (out, _) = pair.both(lambda rig, e=event: rig.give(e))
            if sorted_by or not labels:
                same_answer(tried, out)
            hypothesis.event(f"{tried.cause.name}" if isinstance(tried, Decision) else f"{tried.reason}")
            replies = [effect for effect in out if isinstance(effect, Reply)]
            leases += [reply.decision.lease_id for reply in replies if reply.decision is not None]
    snapshots = [list(rig.core.snapshot(rig.now)) for rig in pair.rigs]
    assert snapshots[0] == snapshots[1]
    for name in ("by_cause", "refusals", "refused_in_a_row", "mean_ms"):
        assert getattr(pair.rigs[0].core.placement, name) == getattr(pair.rigs[1].core.placement, name)
