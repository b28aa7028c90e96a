import math

import pytest

from scheduler_api.v1 import admin_service_pb2, decision_pb2
from scheduler_server.client import BlockingReason
from scheduler_server.demo.arrivals import Item
from scheduler_server.demo.figures import busy_shares, figures, hits, percentile, spread
from scheduler_server.demo.fleet import Spec
from scheduler_server.demo.prospect import Prospect
from scheduler_server.demo.shadowed import POLICIES, shadowed
from scheduler_server.demo.summary import summary
from scheduler_server.demo.tape import Run, Tape, rates
from scheduler_server.demo.work import KINDS


def items(*at_s: float) -> list[Item]:
    return [
        Item(number=number, at_s=at, kind=KINDS[0], nominal_s=1.0, units=1, priority=0.5)
        for number, at in enumerate(at_s)
    ]


def tape(*ran: tuple[float, float, float, str], span_s: float = 10.0) -> Tape:
    """Runs as (due, began, ended, worker), from 100 s of the clock on."""
    made = Tape("t", items(*(due for due, *_ in ran)), span_s)
    made.start(100.0)
    for run, (_, began, ended, worker_id) in zip(list(made.runs.values()), ran, strict=True):
        made.began(worker_id, run.task_id, 100.0 + began)
        made.ended(run.task_id, 100.0 + ended)
    return made


def decided(predicted_s: float, samples: int) -> decision_pb2.Decision:
    prediction = decision_pb2.Prediction(sample_count=samples)
    return decision_pb2.Decision(
        worker_id="large-1",
        source=decision_pb2.DECISION_SOURCE_PREDICTED,
        cause=decision_pb2.DECISION_CAUSE_BEST_SCORE,
        predicted_duration_ms=predicted_s * 1e3,
        prediction=prediction,
        reasoning="large-1: because",
        explanation=decision_pb2.Explanation(candidate_count=1),
    )


def run_of(predicted_s: float, took_s: float, samples: int = 1) -> Run:
    run = Run(item=items(0.0)[0], task_id="t", began=5.0, ended=5.0 + took_s)
    run.decision = decided(predicted_s, samples)
    return run


def test_waits_are_from_the_planned_arrival_to_the_beginning() -> None:
    found = figures(tape((0.0, 0.5, 1.0, "large-1"), (2.0, 3.5, 4.0, "large-1")))
    assert found.mean_wait_s == pytest.approx(1.0)
    assert found.p99_wait_s == pytest.approx(1.5)
    assert found.mean_finish_s == pytest.approx(1.5)
    assert found.over_after_s == pytest.approx(4.0)


@pytest.mark.parametrize(("share", "value"), [(0.01, 1.0), (0.5, 50.0), (0.505, 51.0), (0.99, 99.0), (1.0, 100.0)])
def test_percentiles_are_nearest_rank(share: float, value: float) -> None:
    assert percentile(map(float, range(100, 0, -1)), share) == value


def test_busy_shares_count_only_the_time_of_arrivals_and_every_slot() -> None:
    fleet = [
        Spec(worker_id="a", speed=1, slots=2, capabilities=()),
        Spec(worker_id="b", speed=1, slots=1, capabilities=()),
    ]
    made = tape((0.0, 0.0, 5.0, "a"), (0.0, 8.0, 30.0, "b"), span_s=10.0)
    assert busy_shares(made, fleet) == {"a": pytest.approx(0.25), "b": pytest.approx(0.2)}


def test_spread_is_standard_deviation_over_mean() -> None:
    assert spread([0.5, 0.5]) == 0.0
    assert spread([0.2, 0.6]) == pytest.approx(0.5)
    assert spread([0.0, 0.0]) == 0.0


@pytest.mark.parametrize(
    ("predicted_s", "near", "twofold"),
    [(0.75, 1, 1), (0.749, 0, 1), (1.25, 1, 1), (1.251, 0, 1), (2.0, 0, 1), (2.001, 0, 0), (0.5, 0, 1), (0.499, 0, 0)],
)
def test_a_prediction_hits_up_to_25_per_cent_and_up_to_a_factor_of_2(
    predicted_s: float, near: int, twofold: int
) -> None:
    found = hits([run_of(predicted_s, 1.0)], learned=True)
    assert (found.count, found.near, found.twofold) == (1, near, twofold)


def test_predictions_made_from_nothing_count_only_among_all() -> None:
    runs = [run_of(5.0, 1.0, samples=0), run_of(1.0, 1.0, samples=1)]
    assert hits(runs, learned=False).near == 0.5
    assert hits(runs, learned=True).near == 1.0


def test_without_predictions_shares_are_not_a_number() -> None:
    assert math.isnan(hits([], learned=False).near)


def test_a_task_that_took_no_time_is_a_miss_and_no_fault() -> None:
    assert hits([run_of(1.0, 0.0)], learned=False).twofold == 0.0


def test_rates_count_the_last_two_seconds() -> None:
    decided = [(97.9, "predicted"), (98.0, "predicted"), (99.0, "fallback"), (100.0, "predicted")]
    assert rates(decided, 100.0) == {"predicted": 1.0, "fallback": 0.5}


def test_a_tape_is_over_when_the_last_task_has_ended_and_hears_of_no_others() -> None:
    made = Tape("t", items(0.0, 1.0), 10.0)
    made.start(100.0)
    made.ended("other", 101.0)
    made.ended("t-0000", 101.0)
    made.ended("t-0000", 102.0)
    assert not made.all_ended.is_set()
    made.ended("t-0001", 103.0)
    assert made.all_ended.is_set()
    assert made.runs["t-0000"].ended == 101.0


def told(p50: float, p90: float) -> Prospect:
    return Prospect(ahead=3, p50=p50, p90=p90, blocking=BlockingReason.NO_FREE_SLOT, detail="all 3 slots are taken")


def test_the_summary_has_every_figure_with_its_ratio_and_fits_80_columns() -> None:
    ours = tape((0.0, 0.5, 1.0, "large-1"), (2.0, 2.5, 3.0, "small-1"))
    theirs = tape((0.0, 2.0, 3.0, "large-1"), (2.0, 4.0, 5.0, "large-1"))
    for run in ours.runs.values():
        run.decision = decided(0.5, 3)
    ours.runs["t-0001"].told = told(102.4, 102.5)
    text = summary(ours, theirs, admin_service_pb2.Accuracy(wait_p50_coverage=0.25, wait_p90_coverage=0.75))
    lines = {line.strip().split("  ")[0]: line.split() for line in text.splitlines()}
    assert lines["mean wait"][-5:] == ["0.500", "s", "2.000", "s", "4.00"]
    assert lines["p99 wait"][-1] == "4.00"
    assert float(lines["busy-slot spread (CoV)"][-1]) == pytest.approx(1.535, abs=0.006)
    assert "predicted      2  (best score 2)" in text
    assert "within 25 %: 100%" in text
    assert "One decision explained: t-0000" in text
    assert "large-1: because" in text
    assert "Tasks that waited: 1 of 2" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["all", "1", "0%", "100%", "0.10", "s", "0.50", "s", "0.50", "s"] in rows
    assert ["as", "the", "server", "counts", "it", "25%", "75%"] in rows
    assert max(map(len, text.splitlines())) <= 80


def test_a_server_that_does_not_count_its_answers_is_not_quoted_and_a_stream_without_waits_is_told_in_a_line() -> None:
    ours, theirs = tape((0.0, 0.0, 1.0, "large-1")), tape((0.0, 0.0, 1.0, "large-1"))
    assert "Tasks that waited: none" in summary(ours, theirs, None)
    ours.runs["t-0000"].told = told(100.1, 100.2)
    for accuracy in (None, admin_service_pb2.Accuracy()):
        text = summary(ours, theirs, accuracy)
        assert "Tasks that waited: 1 of 1" in text
        assert "as the server counts" not in text


def test_what_other_policies_would_have_done_is_told_with_its_interval() -> None:
    report = admin_service_pb2.GetShadowReportResponse()
    first = report.comparisons.add(policy=POLICIES[0], decisions=300, agreement=0.215, judged_decisions=299)
    first.finish_difference.value_ms, first.finish_difference.confidence_level = 1_234.5, 0.95
    first.finish_difference.low_ms, first.finish_difference.high_ms = -20.0, 2_500.0
    report.comparisons.add(policy=POLICIES[1], decisions=2)
    report.comparisons.add(policy=POLICIES[2])
    report.comparisons.add(policy=POLICIES[0], decisions=9, task_type="of one type")
    lines = shadowed(report).splitlines()
    assert lines[2].split() == ["round_robin", "300", "22%", "299", "+1.234", "s", "-0.020", "s", "and", "+2.500", "s"]
    assert lines[3].split() == [POLICIES[1], "2", "-", "0", "-"]
    assert lines[4].startswith("  (each decision by itself")
    assert max(map(len, lines)) <= 80


def test_where_nothing_was_compared_nothing_is_told_of_it() -> None:
    assert shadowed(admin_service_pb2.GetShadowReportResponse()) == ""
    made = tape((0.0, 0.5, 1.0, "large-1"))
    assert "Other policies" not in summary(made, made, None, admin_service_pb2.GetShadowReportResponse())
