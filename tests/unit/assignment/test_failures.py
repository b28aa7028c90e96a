"""Predictor and scorer fail in every way there is: every task is placed all the same."""

from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest

from scheduler_server.assignment.effects import Published
from scheduler_server.assignment.events import Publish
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.fallback.breaker import ALL, BreakerState
from scheduler_server.model.decision import Cause, Decision, Score, Source
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.model.worker import WorkerView
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.predictor.published import PublishedPredictor
from scheduler_server.scorer.settings import ScorerSettings
from scheduler_server.scorer.weighted import WeightedScorer
from tests.fakes.predictor import KnowsNothing
from tests.unit.assignment.rig import Rig, make_sample

GOOD = Prediction(1_000.0, 1_000.0, 1_000.0, 1_000.0, 0.5, 10, "type=type", "faulty")


class FaultyPredictor(KnowsNothing):
    """Answers what it is told to answer."""

    name = "faulty"

    def __init__(self) -> None:
        self.answer: Callable[[], Any] = lambda: GOOD
        self.asked = 0

    def predict(self, task: Task) -> Prediction:
        self.asked += 1
        answer: Prediction = self.answer()
        return answer

    def observe(self, task: Task, duration_ms: float) -> None:
        self.answer()


class FaultyScorer(WeightedScorer):
    """As weighted, until it is told otherwise."""

    def __init__(self) -> None:
        super().__init__(ScorerSettings())
        self.key_answer: Callable[[], float] | None = None
        self.score_answer: Callable[[], Any] | None = None

    def key(self, worker: WorkerView) -> float:
        return self.key_answer() if self.key_answer else super().key(worker)

    def score(self, worker: WorkerView, task: Task, wait_ms: float, duration_ms: float) -> Score:
        return self.score_answer() if self.score_answer else super().score(worker, task, wait_ms, duration_ms)


def raising() -> Any:
    raise RuntimeError("on purpose")


def answering(**other: Any) -> Callable[[], Prediction]:
    return lambda: GOOD._replace(**other)


PREDICTIONS: dict[str, tuple[Callable[[], Any], Cause]] = {
    "raises": (raising, Cause.PREDICTOR_ERROR),
    "nothing": (lambda: None, Cause.PREDICTOR_ERROR),
    "text": (answering(point_ms="soon"), Cause.PREDICTOR_ERROR),
    "nan": (answering(point_ms=nan), Cause.PREDICTION_INVALID),
    "infinite": (answering(point_ms=inf), Cause.PREDICTION_INVALID),
    "minus infinite": (answering(point_ms=-inf), Cause.PREDICTION_INVALID),
    "negative": (answering(point_ms=-0.001), Cause.PREDICTION_INVALID),
    "longer than a year": (answering(point_ms=365 * 86_400_000.0 + 1.0), Cause.PREDICTION_INVALID),
    "median nan": (answering(p50_ms=nan), Cause.PREDICTION_INVALID),
    "median negative": (answering(p50_ms=-1.0), Cause.PREDICTION_INVALID),
    "mean nan": (answering(mean_ms=nan), Cause.PREDICTION_INVALID),
    "mean longer than a year": (answering(mean_ms=365 * 86_400_000.0 + 1.0), Cause.PREDICTION_INVALID),
    "P90 nan": (answering(p90_ms=nan), Cause.PREDICTION_INVALID),
    "P90 infinite": (answering(p90_ms=inf), Cause.PREDICTION_INVALID),
}
SCORES: dict[str, tuple[str, Callable[[], Any], Cause]] = {
    "key raises": ("key_answer", raising, Cause.SCORE_INVALID),
    "key nan": ("key_answer", lambda: nan, Cause.SCORE_INVALID),
    "key infinite": ("key_answer", lambda: inf, Cause.SCORE_INVALID),
    "key text": ("key_answer", lambda: "best", Cause.SCORE_INVALID),
    "score raises": ("score_answer", raising, Cause.SCORER_ERROR),
    "score nan": ("score_answer", lambda: Score(nan, ()), Cause.SCORE_INVALID),
    "score infinite": ("score_answer", lambda: Score(inf, ()), Cause.SCORE_INVALID),
    "score nothing": ("score_answer", lambda: None, Cause.SCORER_ERROR),
}


def fleet(rig: Rig) -> Rig:
    for number in range(4):
        rig.connect(f"w{number}", slots=3, reports_outcomes=True)
    return rig


def place_thousand(rig: Rig, step_s: float = 0.05) -> list[Decision]:
    """A thousand tasks, twenty a second, each over before the next but one."""
    made: list[Decision] = []
    for number in range(1_000):
        made.append(rig.place(f"{rig.t}"))
        if len(made) > 1:
            rig.end(made[-2].lease_id, duration_ms=None)
        rig.tick_for(step_s)
        if number % 100 == 0:
            rig.beat_all()
    rig.end(made[-1].lease_id, duration_ms=None)
    return made


def check_cycle(rig: Rig, made: list[Decision], cause: Cause, mend: Callable[[], None]) -> None:
    assert len(made) == 1_000
    assert [each.cause for each in made[:4]] == [cause, cause, cause, Cause.BREAKER_OPEN]
    assert all(each.source is Source.FALLBACK for each in made)
    # 50 s of failures: the three that opened it, and one trial every 10 s.
    assert sum(each.cause is cause for each in made) == 3 + 4
    assert {each.cause for each in made} == {cause, Cause.BREAKER_OPEN}
    mend()
    rig.beat_all()
    rig.tick_for(10.0)
    rig.beat_all()
    assert rig.place().source is Source.PREDICTED
    assert FleetEventKind.BREAKER_CLOSED in rig.events()
    assert rig.core.breaker.calm
    assert all(each.source is Source.PREDICTED for each in place_thousand(rig))


@pytest.mark.parametrize("fault", PREDICTIONS)
def test_with_a_predictor_that_fails_1000_of_1000_are_placed_and_the_breaker_opens_and_closes(fault: str) -> None:
    predictor = FaultyPredictor()
    rig = fleet(Rig(predictor=predictor))
    predictor.answer, cause = PREDICTIONS[fault]

    def mend() -> None:
        predictor.answer = lambda: GOOD

    made = place_thousand(rig)
    assert predictor.asked == 7
    check_cycle(rig, made, cause, mend)


@pytest.mark.parametrize("fault", SCORES)
def test_with_a_scorer_that_fails_1000_of_1000_are_placed_and_the_breaker_opens_and_closes(fault: str) -> None:
    scorer = FaultyScorer()
    half, answer, cause = SCORES[fault]
    rig = Rig(scorer=scorer)
    setattr(scorer, half, answer)
    fleet(rig)
    check_cycle(rig, place_thousand(rig), cause, lambda: setattr(scorer, half, None))


def test_with_a_table_that_grows_old_1000_of_1000_are_placed_and_the_breaker_opens_and_closes() -> None:
    table = PublishedPredictor("table", EmaPredictor(CoreSettings().predictor))
    rig = fleet(Rig(predictor=table))
    rig.give(Publish((("type", GOOD._replace(as_of=rig.t)),)))
    rig.tick_for(15.0)
    rig.beat_all()
    rig.tick_for(15.0)
    rig.beat_all()
    rig.tick_for(15.0)
    rig.beat_all()
    rig.tick_for(15.0)
    rig.beat_all()
    assert rig.place().source is Source.PREDICTED  # 60 s old is just not too old
    rig.go(0.001)

    def mend() -> None:
        rig.give(Publish((("type", GOOD._replace(as_of=rig.t + 15.0)),)))

    check_cycle(rig, place_thousand(rig), Cause.PREDICTION_STALE, mend)


def test_with_answers_that_take_too_long_1000_of_1000_are_placed_and_the_breaker_opens_and_closes() -> None:
    rig = fleet(Rig())
    rig.watch.step_s = 0.0501
    check_cycle(rig, place_thousand(rig), Cause.OVER_BUDGET, lambda: setattr(rig.watch, "step_s", 0.0499))


def test_with_predictor_and_scorer_failing_for_ever_everything_is_placed_evenly() -> None:
    scorer, predictor = FaultyScorer(), FaultyPredictor()
    predictor.answer = scorer.key_answer = scorer.score_answer = raising
    rig = fleet(Rig(scorer=scorer, predictor=predictor))
    made = [each for _ in range(3) for each in place_thousand(rig)]
    assert len(made) == 3_000
    assert all(each.source is Source.FALLBACK for each in made)
    counts = [sum(each.worker_id == f"w{number}" for each in made) for number in range(4)]
    assert max(counts) - min(counts) <= 1


def test_the_turn_comes_to_degraded_workers_only_when_no_healthy_one_is_free() -> None:
    predictor = FaultyPredictor()
    predictor.answer = raising
    rig = Rig(predictor=predictor)
    rig.connect("hot", slots=3, sample=make_sample(cpu=1.0, memory=1.0))
    rig.connect("cool-1", slots=2)
    rig.connect("cool-2", slots=2)
    first = [rig.place() for _ in range(4)]
    assert sorted(each.worker_id for each in first) == ["cool-1", "cool-1", "cool-2", "cool-2"]
    assert not any(each.degraded for each in first)
    last = rig.place()
    assert (last.worker_id, last.degraded, last.source) == ("hot", True, Source.FALLBACK)


def test_a_key_that_fails_for_one_worker_keeps_only_that_one_from_being_best() -> None:
    class Picky(FaultyScorer):
        def key(self, worker: WorkerView) -> float:
            return nan if worker.worker_id == "w1" else super().key(worker)

    rig = fleet(Rig(scorer=Picky()))
    made = [rig.place() for _ in range(9)]
    assert all(each.source is Source.PREDICTED for each in made)
    assert {each.worker_id for each in made} == {"w0", "w2", "w3"}
    assert rig.place().cause is Cause.SCORE_INVALID  # nobody else is free
    assert rig.core.fleet.scorer_failures > 0


def test_an_explanation_is_given_even_where_the_scorer_fails() -> None:
    scorer = FaultyScorer()
    rig = fleet(Rig(scorer=scorer))
    scorer.score_answer = raising
    decision = rig.place(explain=True)
    assert decision.explanation is not None
    assert decision.explanation.candidates[0].worker_id == decision.worker_id
    assert [each.score for each in decision.explanation.candidates] == [None] * 4


def test_a_predictor_that_cannot_learn_does_not_keep_an_outcome_from_counting() -> None:
    predictor = FaultyPredictor()
    rig = fleet(Rig(predictor=predictor))
    lease_id = rig.place().lease_id
    predictor.answer = raising
    rig.end(lease_id)
    assert rig.core.outcomes.learn_failures == 1
    assert sum(rig.worker(f"w{number}").completed for number in range(4)) == 1


def test_a_poisoned_type_costs_the_others_no_predictions() -> None:
    table = PublishedPredictor("table", EmaPredictor(CoreSettings().predictor))
    rig = fleet(Rig(predictor=table))
    rig.give(Publish((("bad", GOOD._replace(point_ms=nan)),)))
    for number in range(100):
        bad = rig.place(task_type="bad")
        good = rig.place(task_type="good")
        assert good.source is Source.PREDICTED
        assert bad.cause is (Cause.PREDICTION_INVALID if number < 3 else Cause.TYPE_BREAKER_OPEN)
        rig.end(bad.lease_id)
        rig.end(good.lease_id)
    assert {name: state for name, state, _, _ in rig.core.breaker.states(rig.t)} == {"bad": BreakerState.OPEN}
    assert ALL not in {name for name, _, _, _ in rig.core.breaker.states(rig.t)}


def test_each_change_of_the_breaker_is_told_once() -> None:
    predictor = FaultyPredictor()
    predictor.answer = raising
    rig = fleet(Rig(predictor=predictor))
    told: list[tuple[FleetEventKind, str, str]] = []
    for _ in range(5):
        rig.place()
        told += [(each.event.kind, each.event.before, each.event.after) for each in rig.find(Published)]
    assert told == [(FleetEventKind.BREAKER_OPENED, "closed", "open")] * 2  # for all types, and for the one
