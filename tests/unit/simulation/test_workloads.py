"""Where tasks come from and when: facts, gaps, rates, shapes."""

from itertools import pairwise
from random import Random
from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.simulation.arrivals import ARRIVALS, NoTimes, rate_for
from scheduler_server.simulation.generated import DURATIONS, generate
from scheduler_server.simulation.pieces import Facts, Piece, of_rows, recorded, without_gaps
from scheduler_server.simulation.trace_file import UnusableTrace
from tests.unit.simulation.simulated import pieces
from tests.unit.simulation.trace_text import rows


def facts_of(*tasks: tuple[float, float]) -> Facts:
    return recorded("t", lambda: iter(pieces(*tasks))).facts


def test_the_facts_of_a_workload() -> None:
    facts = facts_of((5.0, 10.0), (6.0, 20.0), (9.0, 60.0))
    assert (facts.tasks, facts.work_s, facts.mean_s, facts.median_s, facts.span_s) == (3, 90.0, 30.0, 20.0, 4.0)
    assert (facts.gaps, facts.types, facts.longest_s) == (0, 1, 60.0)


def test_gaps_longer_than_the_longest_are_cut_to_it_and_counted() -> None:
    tasks = pieces((100.0, 1.0), (110.0, 1.0), (121.0, 1.0), (1e9, 1.0), (1e9 + 5, 1.0))
    assert [piece.at_s for piece in without_gaps(tasks, 10.0)] == [0.0, 10.0, 20.0, 30.0, 35.0]
    found = recorded("t", lambda: iter(tasks), longest_gap_s=10.0)
    assert found.facts.gaps == 2
    assert found.facts.span_s == 35.0
    assert found.facts.gaps_s == pytest.approx(1.0 + 1e9 - 121 - 10)
    assert [piece.at_s for piece in found.pieces(1)] == [0.0, 10.0, 20.0, 30.0, 35.0]


def test_what_is_long_is_read_again_and_what_is_short_is_kept() -> None:
    reads = []

    def read() -> list[Piece]:
        reads.append(1)
        return pieces(*((float(at), 1.0) for at in range(10)))

    short = recorded("t", lambda: iter(read()), kept=10)
    assert len(list(short.pieces(1))) == len(list(short.pieces(2))) == 10
    assert len(reads) == 1
    long = recorded("t", lambda: iter(read()), kept=9)
    assert len(list(long.pieces(1))) == len(list(long.pieces(2))) == 10
    assert len(reads) == 4


def test_what_can_be_read_only_once_must_be_short() -> None:
    tasks = pieces(*((float(at), 1.0) for at in range(10)))
    assert recorded("t", lambda: iter(tasks), kept=10, again=False).facts.tasks == 10
    with pytest.raises(UnusableTrace, match="more than 9 tasks and can be read only once"):
        recorded("t", lambda: iter(tasks), kept=9, again=False)


def test_nothing_is_no_workload() -> None:
    with pytest.raises(UnusableTrace, match="has no tasks"):
        recorded("t", lambda: iter(()))


def test_rows_of_other_statuses_are_no_tasks() -> None:
    found = rows("submit_time_s,task_type,duration_ms,status", "1,a,500,ok", "2,b,700,failed", "3,c,900,")
    assert [(piece.at_s, piece.work_s) for piece in of_rows(found, frozenset({"ok", "unknown"}))] == [
        (1, 0.5),
        (3, 0.9),
    ]


@pytest.mark.parametrize("name", ["poisson", "bursty", "own"])
def test_arrivals_load_the_fleet_as_much_as_was_asked_for(name: str) -> None:
    chance = Random(7)
    tasks = pieces(*((at * 3.0 + chance.random(), chance.expovariate(0.1)) for at in range(20_000)))
    facts = recorded("t", lambda: iter(tasks)).facts
    rate = rate_for(0.9, 40.0, facts)
    found = list(ARRIVALS[name](iter(tasks), facts, rate, Random(1)))
    assert [piece.work_s for piece in found] == [piece.work_s for piece in tasks]
    assert all(one.at_s <= other.at_s for one, other in pairwise(found))
    asked = sum(piece.work_s for piece in found) / (found[-1].at_s - found[0].at_s) / 40.0
    assert asked == pytest.approx(0.9, rel=0.05 if name == "bursty" else 0.02)


def test_bursts_vary_more_than_chance_does_and_own_times_keep_their_shape() -> None:
    tasks = pieces(*((float(at * at), 1.0) for at in range(20_000)))
    facts = recorded("t", lambda: iter(tasks), longest_gap_s=1e12).facts

    def variation(name: str) -> float:
        found = [piece.at_s for piece in ARRIVALS[name](iter(tasks), facts, 2.0, Random(1))]
        gaps = [other - one for one, other in pairwise(found)]
        return pstdev(gaps) / mean(gaps)

    assert variation("poisson") == pytest.approx(1.0, abs=0.05)
    assert variation("bursty") > 4.0
    own = [piece.at_s for piece in ARRIVALS["own"](iter(tasks), facts, 2.0, Random(1))]
    assert own[100] / own[10] == pytest.approx(100.0)


def test_one_instant_has_no_times_to_scale() -> None:
    with pytest.raises(NoTimes, match="one task"):
        ARRIVALS["own"](iter(()), facts_of((5.0, 1.0)), 1.0, Random(1))
    with pytest.raises(NoTimes, match="all came at one instant"):
        ARRIVALS["own"](iter(()), facts_of((5.0, 1.0), (5.0, 1.0)), 1.0, Random(1))


@pytest.mark.parametrize("shape", DURATIONS)
def test_generated_tasks_have_the_mean_that_was_asked_for(shape: str) -> None:
    found = generate(shape, tasks=8_000, mean_s=60.0, seed=3)
    assert found.facts.tasks == 8_000
    assert found.facts.types == 20
    assert found.facts.mean_s == pytest.approx(60.0, rel=0.25 if shape == "pareto" else 0.08)


@pytest.mark.parametrize("shape", DURATIONS)
def test_generated_tasks_follow_from_their_seed(shape: str) -> None:
    one, again, other = (generate(shape, tasks=100, mean_s=60.0, seed=seed) for seed in (3, 3, 4))
    assert list(one.pieces(1)) == list(again.pieces(2))
    assert one.facts == again.facts
    assert one.facts != other.facts


def test_a_type_says_something_about_a_duration() -> None:
    found = generate("lognormal", tasks=5_000, mean_s=60.0, seed=1)
    by_type: dict[str, list[float]] = {}
    for piece in found.pieces(1):
        by_type.setdefault(piece.task.task_type, []).append(piece.work_s)
    levels = [mean(by_type[name]) for name in sorted(by_type)]
    assert levels == sorted(levels)
    assert levels[-1] > 20 * levels[0]


@given(st.floats(0.0001, 0.9999), st.sampled_from(sorted(DURATIONS)))
def test_durations_are_positive_and_rise_with_their_share(share: float, shape: str) -> None:
    draw = DURATIONS[shape]
    assert 0.0 < draw(share) <= draw(min(1.0 - 1e-9, share + 1e-5))
