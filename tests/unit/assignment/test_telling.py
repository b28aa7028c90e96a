"""Decisions in a few lines: what is known is said, what is not is said to be missing, and no name steers a terminal."""

import pytest

from scheduler_server.assignment.telling import decision_text, refusal_text, sentence, shown, waiting_text
from scheduler_server.model.decision import (
    Candidate,
    Cause,
    Change,
    ChangeKind,
    Decision,
    Explanation,
    Rejection,
    Source,
)
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import BlockingReason, Prospects, Task, TaskKey

LEARNED = Prediction(1_200.0, 1_250.0, 1_190.0, 2_000.0, 0.83, 35, "type=resize", "ema")
TERMS = (("wait", 1.0, 0.4), ("load", 0.9, 0.4), ("priority", 0.5, 0.2))


def candidate(worker_id: str, score: float | None) -> Candidate:
    return Candidate(worker_id, score, TERMS, Rejection.CANDIDATE, 1, 0.1, 1.0, 0.0, 1_200.0)


MADE = Decision(
    "d-1", TaskKey("acme", "t1", 2), "resize", "l-1", "w1", 0.0, 600.0, 0.86, TERMS, Source.PREDICTED, Cause.BEST_SCORE,
    "weighted", 1, "i", 0.0, LEARNED, 3, degraded=False,
)  # fmt: skip
EXPLAINED = Explanation(
    (candidate("w1", 0.86), candidate("w2", 0.7)),
    3,
    ((Rejection.NO_FREE_SLOT, 4), (Rejection.CORDONED, 1)),
    0.16,
    (
        Change(ChangeKind.TERM, "w2", wins=True, name="load", actual=0.5, needed=0.9),
        Change(ChangeKind.ADMITTED, "w9", wins=False, score=0.5, rejection=Rejection.CORDONED),
    ),
)


def test_a_prediction_is_told_with_all_that_it_rests_on() -> None:
    assert decision_text(MADE._replace(explanation=EXPLAINED)).splitlines() == [
        "task t1 (attempt 2, type resize, tenant acme) to worker w1",
        "how: predicted, best of 3 candidates by weighted",
        "start: at once",
        "prediction: 600 ms there; 1200 ms at speed 1, P90 2000 ms; ema from 35 of type=resize, confidence 0.83",
        "score: 0.860 = 0.4 x wait 1.000 + 0.4 x load 0.900 + 0.2 x priority 0.500",
        "runner-up: w2 with 0.700, margin 0.160",
        "not candidates: 4 with all slots taken, 1 cordoned",
        "otherwise: had the load term of w2 been 0.900000 instead of 0.500000, w2 would have been chosen",
        "otherwise: w9 was kept out (cordoned); as a candidate it would still not have been chosen with 0.500",
    ]


def test_what_was_not_recorded_is_said_to_be_missing() -> None:
    assert decision_text(MADE).splitlines()[-1] == "other workers: not recorded for this decision"


def test_a_task_that_was_moved_says_so_beside_its_score() -> None:
    moved = MADE._replace(cause=Cause.REBALANCED)
    how = decision_text(moved).splitlines()[1]
    assert how.startswith("how: predicted, best of 3 candidates by weighted; moved because it starts sooner here")
    assert "moved because it starts sooner here than where it was staged" in sentence(moved)


_PREDICTED = (Cause.BEST_SCORE, Cause.ONLY_CANDIDATE, Cause.REBALANCED)


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause not in _PREDICTED])
def test_every_other_cause_is_told_in_words(cause: Cause) -> None:
    source = Source.OVERRIDE if cause is Cause.OVERRIDE_PIN else Source.FALLBACK
    why = Change(ChangeKind.PREDICTION, "w2", wins=True, actual=3.0, needed=1.0)
    changes = (why,) if source is Source.FALLBACK else ()
    made = MADE._replace(
        source=source, cause=cause, scorer="round_robin", terms=(), prediction=None,
        explanation=EXPLAINED._replace(changes=changes),
    )  # fmt: skip
    text = decision_text(made)
    assert "because" in text
    assert "none was used; 600 ms assumed" in text
    if changes:
        assert "by score w2 had been chosen" in text


def test_a_fallback_without_figures_says_what_would_have_made_it_a_prediction() -> None:
    why = Change(ChangeKind.PREDICTION, "", wins=False)
    made = MADE._replace(
        source=Source.FALLBACK, cause=Cause.PREDICTION_STALE, explanation=EXPLAINED._replace(changes=(why,))
    )
    assert decision_text(made).splitlines()[-1] == "otherwise: a younger prediction would have been used"


def test_no_name_steers_a_terminal() -> None:
    bad = "a\x1b[2Jb\nc\u202ed"
    task = TaskKey(bad, bad, 1)
    explained = EXPLAINED._replace(
        candidates=(candidate(bad, 0.9), candidate(bad + "2", 0.8)),
        changes=(Change(ChangeKind.ADMITTED, bad, wins=True, rejection=Rejection.CAPABILITY),),
    )
    made = MADE._replace(
        task=task, task_type=bad, worker_id=bad, scorer=bad, prediction=LEARNED._replace(key=bad, predictor=bad),
        terms=((bad, 1.0, 1.0),), explanation=explained,
    )  # fmt: skip
    refusal = Refusal(Reason.NO_FREE_SLOT, f"no slot for {bad}")
    prospects = Prospects(0, None, None, BlockingReason.NO_FREE_SLOT, bad, 0.0, 0, None)
    waits = Task(bad, bad, 1, bad)
    for text in (decision_text(made), refusal_text(refusal, waits), waiting_text(waits, prospects, 1.0, (), None)):
        assert all(line.isprintable() for line in text.splitlines())
        assert "\\x1b[2J" in text
        assert "\\u202e" in text


def test_names_without_anything_to_escape_stay_as_they_are() -> None:
    assert shown("größe-日本 1") == "größe-日本 1"


@pytest.mark.parametrize("reason", BlockingReason)
def test_every_reason_to_wait_says_what_would_let_the_task_start(reason: BlockingReason) -> None:
    told = Prospects(2, 10.0, 20.0, reason, "detail", 5.0, 7, 0.9)
    text = waiting_text(Task("", "t", 1, "type"), told, 3.0, ((Rejection.NO_FREE_SLOT, 2),), 1.5)
    assert "detail" in text
    assert "would start: " in text
    assert "expected start: in 5.0 s (P90 in 15.0 s; from 7 starts, 90% of past P90s held)" in text
