"""The four scorers: the specification's worked examples, the limits of each term, and what holds for all of them."""

from dataclasses import dataclass, field
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.task import Task
from scheduler_server.model.worker import WorkerView
from scheduler_server.scorer.capability import CapabilityScorer
from scheduler_server.scorer.earliest_finish import EarliestFinishScorer
from scheduler_server.scorer.settings import ScorerSettings
from scheduler_server.scorer.specialist import SpecialistScorer
from scheduler_server.scorer.weighted import WeightedScorer
from tests.unit.assignment.rig import scorers


@dataclass
class View:
    """A worker as a scorer sees it."""

    worker_id: str = "w"
    slots: int = 10
    free: int = 10
    load_now: float = 0.0
    freshness: float = 1.0
    health_score: float = 1.0
    speed: float = 1.0
    success_rate: float = 1.0
    average_ms: float = 5_000.0
    specializations: frozenset[str] = field(default_factory=frozenset)


def task(priority: float = 0.5, category: str = "") -> Task:
    return Task("", "t", 1, "a", category, priority)


WEIGHTED, CAPABILITY = WeightedScorer(ScorerSettings()), CapabilityScorer(ScorerSettings())
SPECIALIST, EARLIEST = SpecialistScorer(ScorerSettings()), EarliestFinishScorer()


@pytest.mark.parametrize(
    ("wait_ms", "load", "priority", "expected"),
    [
        (0.0, 0.0, 1.0, 1.0),
        (0.0, 0.0, 0.0, 0.8),
        (30_000.0, 0.5, 0.5, 0.4 * 0.5 + 0.4 * 0.5 + 0.2 * 0.5),
        (0.0, 0.25, 0.5, 0.4 + 0.4 * 0.75 + 0.1),
        (59_999.0, 1.0, 0.0, 0.4 / 60_000),
        (60_000.0, 1.0, 0.0, 0.0),
        (60_001.0, 1.0, 0.0, 0.0),  # clipped, not negative
        (1e12, 0.0, 0.0, 0.4),
    ],
)
def test_weighted_is_the_formula_of_the_specification(
    wait_ms: float, load: float, priority: float, expected: float
) -> None:
    score = WEIGHTED.score(View(load_now=load), task(priority), wait_ms, 5_000.0)
    assert score.value == pytest.approx(expected)


def test_weighted_fades_with_the_age_of_the_last_heartbeat_but_not_its_priority() -> None:
    fresh, old = (WEIGHTED.score(View(freshness=each), task(1.0), 0.0, 1.0).value for each in (1.0, 0.75))
    assert fresh - old == pytest.approx(0.25 * 0.8)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(free=8, slots=10, success_rate=45 / 50, average_ms=5_000.0), 0.71),
        (View(free=4, slots=5, success_rate=10 / 10, average_ms=3_000.0), 0.77),
    ],
)
def test_capability_gives_the_worked_examples_of_the_specification(view: View, expected: float) -> None:
    assert CAPABILITY.score(view, task(), 0.0, 1.0).value == pytest.approx(expected, abs=0.005)
    assert round(CAPABILITY.key(view), 2) == expected


@pytest.mark.parametrize(("average_ms", "speed"), [(2_000.0, 0.5), (1_000.0, 1.0), (999.0, 1.0), (1.0, 1.0)])
def test_capability_clips_speed_at_a_task_a_second(average_ms: float, speed: float) -> None:
    terms = {name: value for name, value, _ in CAPABILITY.score(View(average_ms=average_ms), task(), 0.0, 1.0).terms}
    assert terms["speed"] == pytest.approx(speed)


def test_specialist_adds_health_match_and_room() -> None:
    view = View(free=3, slots=4, health_score=0.8, specializations=frozenset({"bug"}))
    assert SPECIALIST.score(view, task(category="bug"), 0.0, 1.0).value == pytest.approx(0.8 + 0.3 + 0.2 * 0.75)
    assert SPECIALIST.score(view, task(category="feature"), 0.0, 1.0).value == pytest.approx(0.8 + 0.2 * 0.75)
    assert SPECIALIST.score(view, task(), 0.0, 1.0).value == pytest.approx(0.8 + 0.2 * 0.75)
    assert SPECIALIST.health_score_floor == 0.5


def test_earliest_finish_is_minus_the_seconds_to_the_end() -> None:
    assert EARLIEST.score(View(), task(), 500.0, 1_500.0).value == -2.0
    keys = [EARLIEST.key(View(speed=2.0 ** (group / 2))) for group in range(-8, 8)]
    assert keys == sorted(set(keys))


views = st.builds(
    View, slots=st.just(8), free=st.integers(1, 8), load_now=st.floats(0, 1),
    freshness=st.sampled_from([1.0, 0.9, 0.75]), health_score=st.sampled_from([1.0, 0.8, 0.5]),
    speed=st.sampled_from([2.0 ** (group / 2) for group in range(-8, 8)]), success_rate=st.floats(0, 1),
    average_ms=st.floats(0.001, 1e9), specializations=st.sampled_from([frozenset[str](), frozenset({"bug"})]),
)  # fmt: skip


@pytest.mark.parametrize("name", ["weighted", "capability", "specialist", "earliest_finish"])
@given(one=views, other=views, category=st.sampled_from(["", "bug"]), priority=st.floats(0, 1))
def test_every_key_is_in_range_and_orders_as_the_score_does(
    name: str, one: WorkerView, other: WorkerView, category: str, priority: float
) -> None:
    scorer = scorers(CoreSettings())[name]
    asked = task(priority, category)
    keys, values = [], []
    for view in (one, other):
        key = scorer.key(view)
        assert 0.0 <= key <= 8.0
        keys.append(key + (scorer.specialization_bonus if category and category in view.specializations else 0.0))
        # As the core asks: no wait, and the duration on that worker. Freshness slows a worker down there.
        factor = view.freshness if name == "earliest_finish" else 1.0
        score = scorer.score(view, asked, 0.0, 5_000.0 / view.speed / factor)
        assert isfinite(score.value)
        assert score.value == pytest.approx(sum(value * weight for _, value, weight in score.terms))
        values.append(score.value)
    if keys[0] > keys[1] + 1e-9:
        assert values[0] > values[1] - 1e-9
