"""A policy by its name: what each word changes, and what makes no sense."""

import pytest

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.predictor.strategies import PREDICTORS
from scheduler_server.scorer.strategies import SCORERS
from scheduler_server.simulation.names import EVERY, USUAL, UnknownPolicy, choice, words
from tests.unit.simulation.simulated import pieces, simulate

SETTINGS = CoreSettings()


def test_default_changes_nothing() -> None:
    assert choice("default").settled(SETTINGS) == SETTINGS


@pytest.mark.parametrize("name", [*USUAL, *EVERY])
def test_every_policy_that_is_offered_works(name: str) -> None:
    tape, _, _ = simulate(name, pieces(*((0.2 * at, 1.0) for at in range(30))), machines=2, slots=2)
    assert len(tape.ended_at) == 30


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("order", ["fifo", "priority", "shortest", "fair"])
def test_words_are_joined_in_any_order(scorer: str, order: str) -> None:
    one, other = choice(f"{scorer}+{order}+patience=7+ema"), choice(f"ema+patience=7+{order}+{scorer}")
    assert one.settled(SETTINGS) == other.settled(SETTINGS)
    settled = one.settled(SETTINGS)
    assert (settled.scorer_name, settled.queue.order, settled.queue.patience) == (scorer, order, 7.0)
    assert settled.predictor.strategy == "ema"


def test_an_objective_takes_the_place_of_what_was_set() -> None:
    set_before = choice("capability+fifo+patience=3").settled(SETTINGS)
    settled = choice("latency").settled(set_before)
    assert settled.assignment.objective == "latency"
    assert (settled.scorer_name, settled.queue.order, settled.queue.patience) == ("earliest_finish", "", None)


def test_the_oracle_is_the_same_policy_with_true_durations() -> None:
    oracle = choice("latency+immediate+oracle")
    assert oracle.settled(SETTINGS) == choice("latency").settled(SETTINGS)
    assert oracle.immediate


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nonsense", "nobody knows 'nonsense'"),
        ("", "nobody knows ''"),
        ("default+", "nobody knows ''"),
        ("p2c+oracle", "p2c is a policy by itself"),
        ("weighted+capability", "weighted and capability are both scorers"),
        ("oracle+ema", "oracle and ema are both predictors"),
        ("immediate+late", "immediate and late are both bindings"),
        ("patience=x", "must be a number from 0 to 1e6"),
        ("patience=-1", "must be a number from 0 to 1e6"),
        ("patience=1000001", "must be a number from 0 to 1e6"),
        ("patience=nan", "must be a number from 0 to 1e6"),
        ("patience=1+patience=2", "are both patiences"),
        ("backlog=1000.1", "must be a number from 0 to 1e3"),
        ("backlog=", "must be a number from 0 to 1e3"),
        ("backlog=1+backlog=2", "are both backlogs"),
        ("backlog", "nobody knows 'backlog'"),
    ],
)
def test_what_makes_no_sense_is_said(name: str, why: str) -> None:
    with pytest.raises(UnknownPolicy, match=why):
        choice(name)


@pytest.mark.parametrize("patience", ["0", "1000000", "2.5"])
def test_patience_at_its_limits(patience: str) -> None:
    assert choice(f"patience={patience}").patience == float(patience)


@pytest.mark.parametrize("backlog", ["0", "1000", "0.5"])
def test_what_the_backlog_adds_at_its_limits(backlog: str) -> None:
    settled = choice(f"backlog={backlog}+patience=2").settled(SETTINGS)
    assert (settled.queue.patience, settled.queue.backlog_patience) == (2.0, float(backlog))


def test_words_have_one_meaning_each() -> None:
    assert len(set(words())) == len(words())
    assert set(PREDICTORS) | set(SCORERS) <= set(words())
    for word in words():
        assert choice(word).name == word
