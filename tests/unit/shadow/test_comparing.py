"""From comparisons to figures: means, what is left out, and intervals that hold what they say."""

from collections.abc import Sequence
from math import nan
from random import Random
from statistics import fmean, stdev

import pytest

from scheduler_server.shadow.comparing import (
    BATCHES,
    Comparison,
    Difference,
    Stretch,
    by_type,
    compare,
    difference,
    within,
)
from scheduler_server.shadow.kept import FAILED, Kept, Rows
from scheduler_server.shadow.telling import report_text

JUDGED = (0.0, 0.0, 1.0, 2.0, 4.0, 1.0, 2.0)
AGREED = (1.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0)
RUNNING = (0.0, 0.0, 3.0, 2.0, 6.0, nan, nan)


def rows(*given: tuple[float, ...], types: Sequence[str] = ()) -> Rows:
    kept = Kept(100)
    for number, row in enumerate(given):
        kept.add(float(number), types[number] if types else "t", row)
    return kept.rows()


def test_means_are_of_all_compared_and_differences_of_the_judged() -> None:
    found = compare("p", rows(JUDGED, AGREED, RUNNING, FAILED))
    assert (found.decisions, found.failures, found.judged) == (3, 1, 2)
    assert found.agreement == pytest.approx(1 / 3)
    assert (found.live_wait_s, found.live_finish_s) == (0.0, 2.0)
    assert found.wait_s == pytest.approx(4 / 3)
    assert found.finish_s == 4.0
    assert found.finish_later is not None
    assert found.finish_later.value_ms == 1_000.0
    assert found.wait_later is not None
    assert found.wait_later.value_ms == 500.0


def test_of_nothing_there_is_no_figure() -> None:
    found = compare("p", rows())
    assert found == Comparison("p", "", 0, 0, None, None, None, None, None, 0, None, None)
    assert compare("p", rows(FAILED)).failures == 1


def test_one_difference_tells_nothing_of_chance() -> None:
    assert difference([1.0]) is None
    assert difference([1.0, 2.0]) is not None


@pytest.mark.parametrize("count", [2, BATCHES - 1, BATCHES])
def test_few_differences_have_the_plain_paired_interval(count: int) -> None:
    chance = Random(count)
    values = [chance.gauss(1.0, 0.5) for _ in range(count)]
    found = difference(values)
    assert found is not None
    t = {2: 12.706, BATCHES - 1: 2.048, BATCHES: 2.045}[count]
    half = t * stdev(values) / count**0.5 * 1e3
    assert found == pytest.approx(
        Difference(fmean(values) * 1e3, fmean(values) * 1e3 - half, fmean(values) * 1e3 + half)
    )


def test_the_interval_of_alike_neighbours_holds_the_truth_as_often_as_it_says() -> None:
    """An autoregressive series correlated by 0.9 from one to the next: taken as independent, a third would hold."""
    held = 0
    for seed in range(200):
        chance, values, drift = Random(seed), [], 0.0
        for _ in range(3_000):
            drift = 0.9 * drift + chance.gauss(0.0, 1.0)
            values.append(0.5 + drift)
        found = difference(values)
        assert found is not None
        held += found.low_ms <= 500.0 <= found.high_ms
    assert held >= 180


def test_no_difference_at_all_is_certain() -> None:
    assert difference([0.0] * 100) == (0.0, 0.0, 0.0)


def test_types_come_most_frequent_first_and_no_more_than_asked_for() -> None:
    given = rows(JUDGED, AGREED, AGREED, RUNNING, types=("b", "a", "a", "c"))
    assert [(each.task_type, each.decisions) for each in by_type("p", given, 9)] == [("a", 2), ("b", 1), ("c", 1)]
    assert [each.task_type for each in by_type("p", given, 2)] == ["a", "b"]


def test_a_stretch_has_its_start_and_not_its_end() -> None:
    given = rows(JUDGED, AGREED, AGREED, RUNNING, types=("b", "a", "a", "c"))
    assert within(given, Stretch(1.0, 3.0)).types == ["a", "a"]
    assert within(given, Stretch(start=3.0)).types == ["c"]
    assert within(given, Stretch(end=1.0)).types == ["b"]
    assert within(given, Stretch(task_type="a", start=2.0)).values[:, 0].tolist() == [2.0]
    assert within(given, Stretch()) is given


@pytest.mark.parametrize(
    ("live", "older", "stay"), [(3, 2, 2), (3, 7, 7), (3, 8, 7), (10, 5, 0), (11, 5, 0), (0, 12, 10)]
)
def test_older_comparisons_are_put_before_as_far_as_there_is_room(live: int, older: int, stay: int) -> None:
    kept, before = Kept(10), Kept(100)
    numbers = [kept.add(100.0 + number, "live", RUNNING) for number in range(live)]
    for number in range(older):
        before.add(float(number), "older", JUDGED)
    kept.put_before(before.rows())
    if numbers:
        kept.judge(numbers[-1], 5.0, 7.0)
    found = kept.rows()
    assert found.types == ["older"] * stay + ["live"] * min(live, 10)
    assert found.values[:stay, 0].tolist() == [float(number) for number in range(older - stay, older)]
    if numbers:
        assert found.values[-1, 6:].tolist() == [5.0, 7.0]
    kept.add(999.0, "next", AGREED)
    assert kept.rows().types[-1] == "next"
    assert len(kept) <= 10


def test_a_row_that_is_gone_is_not_judged() -> None:
    kept = Kept(2)
    first = kept.add(0.0, "t", RUNNING)
    for at in (1.0, 2.0):
        kept.add(at, "t", RUNNING)
    kept.judge(first, 5.0, 7.0)
    assert compare("p", kept.rows()).judged == 0


def text(later: Difference | None, decisions: int = 1_200) -> str:
    found = Comparison("rr", "", decisions, 3, 0.25, 0.0, 1.0, 2.0, 3.0, 90, later, later)
    return report_text("weighted", [found, found._replace(task_type="a")], 0)


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (Difference(1_500.0, 500.0, 2_500.0), "tasks would end later by 1.50 s (between 500 ms and 2.50 s, 95%)"),
        (Difference(-40.0, -60.0, -20.0), "tasks would end sooner by 40 ms (between 20 ms and 60 ms, 95%)"),
        (Difference(10.0, -20.0, 40.0), "no difference that is certain: +10 ms (between -20 ms and +40 ms, 95%)"),
        (None, "too few have ended to judge it"),
    ],
)
def test_the_text_says_only_what_is_certain(later: Difference | None, said: str) -> None:
    told = text(later)
    assert told.startswith("rr: the same worker as weighted in 25% of 1,200 decisions (3 failed); ")
    assert said in told
    assert len(told.splitlines()) == 1


def test_the_text_tells_what_was_not_compared() -> None:
    assert text(None, decisions=0) == "rr: nothing compared yet, and failed on 3"
    assert "shadow.policies" in report_text("weighted", [], 0)
    found = Comparison("rr", "", 1, 0, 1.0, 0.0, 0.0, 1.0, 1.0, 0, None, None)
    assert report_text("weighted", [found], 1_234).splitlines()[-1].startswith("1,234 decisions came too fast")
