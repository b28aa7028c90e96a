"""What every decision log promises, asked of each of them: SQLite, and ClickHouse (see tests/clickhouse_server.py)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler_server.model.decision import Cause, Source
from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import BlockingReason, Hints, Prospects, Task, TaskKey
from scheduler_server.storage.decision_log import (
    AccuracyQuery,
    Audited,
    AuditFilter,
    ByDecision,
    ByLease,
    ByTask,
    DecisionFilter,
    DecisionLog,
    EventFilter,
    Happened,
    HistoryFilter,
    PageTokenInvalid,
    Retention,
    Shadowed,
    ShadowFilter,
    Span,
    SqliteLog,
    UtilizationQuery,
)
from scheduler_server.storage.decision_log.clickhouse_log import ClickHouseLog
from tests.clickhouse_server import ClickHouse, clickhouse
from tests.decision_rows import EXPLAINED, START, batch, decided, decision, finished, sampled

ALL = DecisionFilter()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    with clickhouse(tmp_path_factory.mktemp("clickhouse")) as started:
        yield started


@pytest.fixture(params=["sqlite", "clickhouse"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DecisionLog]:
    made: DecisionLog
    if request.param == "sqlite":
        made = SqliteLog(tmp_path / "decisions.sqlite")
        assert made.prepare() == []
        yield made
        made.close_reading()
        made.close()
        return
    server: ClickHouse = request.getfixturevalue("server")
    with server.database() as database:
        made = ClickHouseLog(server.address(database))
        assert made.prepare() == []
        yield made
        made.close_reading()
        made.close()


def ids(log: DecisionLog, which: DecisionFilter = ALL) -> list[int]:
    """The numbers of the decisions that a filter finds, newest first."""
    page = log.decisions(which, limit=1_000)
    assert page.next == ""
    return [int(each.decision.decision_id.rpartition("-")[2]) for each in page.items]


# ------------------------------------------------------------------ what goes in comes out


def test_a_new_log_is_empty_and_every_question_says_so(log: DecisionLog) -> None:
    assert log.decisions(ALL, limit=10) == ([], "")
    assert log.find(ByDecision("d")) is None
    assert log.find(ByLease("l")) is None
    assert log.find(ByTask("tenant", "task", 0)) is None
    assert log.lessons(HistoryFilter(), limit=10) == ([], "")
    assert log.audit(AuditFilter(), limit=10) == ([], "")
    assert log.events(EventFilter(), limit=10) == ([], "")
    assert log.accuracy(AccuracyQuery(), limit=10) == ([], "")
    assert log.accuracy(AccuracyQuery(step_s=60, by_task_type=True), limit=10) == ([], "")
    assert log.utilization(UtilizationQuery(), limit=10) == ([], "")
    assert log.utilization(UtilizationQuery(step_s=60, by_worker=True), limit=10) == ([], "")
    assert log.size().decisions == 0


def test_a_decision_comes_back_as_it_was_made(log: DecisionLog) -> None:
    made = decided(1, explanation=EXPLAINED)
    log.write(batch([made]))
    found = log.find(ByDecision("d-run1-1"))
    assert found is not None
    assert found.decision == made.decision
    assert found.outcome is None
    assert (found.category, found.priority, found.caller_choice) == ("feature", 0.5, "")
    assert log.size().decisions == 1


def test_a_fallback_without_a_prediction_comes_back_without_one(log: DecisionLog) -> None:
    made = decided(
        1, prediction=None, source=Source.FALLBACK, cause=Cause.PREDICTOR_ERROR, scorer="round_robin", terms=(),
        degraded=True, candidates=0,
    )  # fmt: skip
    log.write(batch([made]))
    found = log.find(ByLease("l-run1-1"))
    assert found is not None
    assert found.decision == made.decision


def test_what_a_waiting_task_was_told_comes_back(log: DecisionLog) -> None:
    told = Prospects(
        4, START, START + 0.5, BlockingReason.NO_FREE_SLOT, "no free slot: 3 with all slots taken", START - 5.0, 17, 0.9
    )
    about = {
        "enqueued_at": START - 5.25,
        "expected": told,
        "trace_id": "ab" * 16,
        "overrides": (("o-1", "capped at 3"), ("o-2", "boosted by 0.5")),
        "caller_choice": "w-9",
    }
    log.write(batch([decided(1, about=about)]))
    found = log.find(ByDecision("d-run1-1"))
    assert found is not None
    assert (found.enqueued_at, found.expected, found.trace_id) == (START - 5.25, told, "ab" * 16)
    assert found.overrides == (("o-1", "capped at 3"), ("o-2", "boosted by 0.5"))
    assert found.caller_choice == "w-9"


NASTY = "a'b\"c\\d\n\t\r\x01é中\U0001f680%s ? %(x)s {y} `"


def test_any_text_comes_back_and_is_found_again(log: DecisionLog) -> None:
    made = decided(1, task=TaskKey(NASTY, NASTY, 1), task_type=NASTY, worker_id=NASTY)
    ended = finished(
        1, task=made.decision.task, worker_id=NASTY, about={"status": 2, "error_kind": NASTY, "error_message": NASTY}
    )
    log.write(batch([made, ended]))
    for which in (
        DecisionFilter(tenant=NASTY),
        DecisionFilter(task_type=NASTY),
        DecisionFilter(task_id=NASTY),
        DecisionFilter(worker_id=NASTY),
    ):
        assert ids(log, which) == [1]
    found = log.find(ByTask(NASTY, NASTY))
    assert found is not None
    assert found.decision == made.decision
    assert found.outcome is not None
    assert found.outcome.outcome == Outcome(OutcomeStatus.FAILED, 100.0, NASTY, NASTY)


def test_extreme_numbers_come_back(log: DecisionLog) -> None:
    made = decided(1, score=-1e300, duration_ms=5e-324, wait_ms=1e300, policy_revision=2**62, candidates=2**40)
    log.write(batch([made]))
    found = log.find(ByDecision("d-run1-1"))
    assert found is not None
    assert found.decision == made.decision


def test_the_last_decision_about_a_task_is_found_of_the_latest_attempt_or_of_one(log: DecisionLog) -> None:
    log.write(
        batch(
            [
                decided(1, task=TaskKey("t", "x", 1)),
                decided(2, task=TaskKey("t", "x", 10)),
                decided(3, task=TaskKey("t", "x", 2)),
                decided(4, task=TaskKey("t", "x", 2)),
                decided(5, task=TaskKey("other", "x", 20)),
            ]
        )
    )

    def number(which: ByTask) -> str | None:
        found = log.find(which)
        return found.decision.decision_id if found else None

    assert number(ByTask("t", "x")) == "d-run1-2"
    assert number(ByTask("t", "x", 2)) == "d-run1-4"
    assert number(ByTask("t", "x", 1)) == "d-run1-1"
    assert number(ByTask("t", "x", 3)) is None
    assert number(ByTask("", "x")) is None


def test_an_outcome_belongs_to_its_decision_and_the_last_one_counts(log: DecisionLog) -> None:
    log.write(batch([decided(1), finished(1, None, about={"status": 5, "started_at": None}), decided(2)]))
    lost = log.find(ByDecision("d-run1-1"))
    assert lost is not None
    assert lost.outcome is not None
    assert lost.outcome.outcome == Outcome(OutcomeStatus.LOST, None)
    assert lost.outcome.started_at is None
    log.write(batch([finished(1, 250.0, about={"ended_at": START + 9.0, "speed": 2.0})], 2, first=10))
    late = log.find(ByDecision("d-run1-1"))
    assert late is not None
    assert late.outcome is not None
    assert late.outcome.outcome == Outcome(OutcomeStatus.SUCCEEDED, 250.0)
    assert late.outcome.started_at == pytest.approx(START + 1.01)
    assert late.outcome.ended_at == START + 9.0
    assert late.outcome.normal_ms == 500.0
    assert ids(log, DecisionFilter(outcomes=(OutcomeStatus.SUCCEEDED,))) == [1]
    assert ids(log, DecisionFilter(outcomes=(OutcomeStatus.LOST,))) == []


def test_a_lease_that_ended_without_a_word_is_over_and_nothing_more(log: DecisionLog) -> None:
    log.write(batch([decided(1), finished(1, None, about={"status": None})]))
    found = log.find(ByDecision("d-run1-1"))
    assert found is not None
    assert found.outcome is not None
    assert found.outcome.outcome is None


# ------------------------------------------------------------------ lists


def test_decisions_are_found_by_each_filter_and_by_all_together(log: DecisionLog) -> None:
    log.write(
        batch(
            [
                decided(1),
                decided(2, task=TaskKey("", "task-2", 1)),
                decided(3, task_type="encode"),
                decided(4, worker_id="other"),
                decided(5, source=Source.FALLBACK, cause=Cause.BREAKER_OPEN),
                decided(6, policy_revision=4),
                decided(7, scorer="earliest_finish"),
                decided(8, about={"overrides": (("o-1", "x"),)}),
                decided(9, about={"overrides": (("o-11", "names o-2"),)}),
                finished(1),
                finished(4, about={"status": 2}, worker_id="other"),
            ]
        )
    )
    assert ids(log) == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert ids(log, DecisionFilter(tenant="")) == [2]
    assert ids(log, DecisionFilter(tenant="nobody")) == []
    assert ids(log, DecisionFilter(task_type="encode")) == [3]
    assert ids(log, DecisionFilter(task_id="task-2")) == [2]
    assert ids(log, DecisionFilter(worker_id="other")) == [4]
    assert ids(log, DecisionFilter(sources=(Source.FALLBACK, Source.OVERRIDE))) == [5]
    assert ids(log, DecisionFilter(causes=(Cause.BREAKER_OPEN,))) == [5]
    assert ids(log, DecisionFilter(causes=(Cause.BEST_SCORE, Cause.BREAKER_OPEN), task_id="task-5")) == [5]
    assert ids(log, DecisionFilter(policy_revision=4)) == [6]
    assert ids(log, DecisionFilter(scorer="earliest_finish")) == [7]
    assert ids(log, DecisionFilter(override_id="o-1")) == [8]
    assert ids(log, DecisionFilter(override_id="o-2")) == []
    assert ids(log, DecisionFilter(outcomes=(OutcomeStatus.SUCCEEDED, OutcomeStatus.FAILED))) == [4, 1]
    failed = DecisionFilter(Span(START), outcomes=(OutcomeStatus.FAILED,), worker_id="other", tenant="tenant")
    assert ids(log, failed) == [4]


def test_a_span_includes_its_start_and_not_its_end(log: DecisionLog) -> None:
    log.write(batch([decided(number) for number in range(1, 6)]))
    assert ids(log, DecisionFilter(Span(START + 2, START + 4))) == [3, 2]
    assert ids(log, DecisionFilter(Span(START + 4))) == [5, 4]
    assert ids(log, DecisionFilter(Span(None, START + 2))) == [1]
    assert ids(log, DecisionFilter(Span(START + 4, START + 2))) == []


@pytest.mark.parametrize("limit", [1, 2, 6, 7, 8])
def test_pages_have_each_decision_once_newest_first_whatever_comes_meanwhile(log: DecisionLog, limit: int) -> None:
    # Three of them were made in the same microsecond, and two runs of the server count alike.
    same = [decided(number, decided_at=START + 50.0) for number in (3, 4, 5)]
    log.write(batch([decided(1), decided(2), *same]))
    log.write(batch([decided(6, decided_at=START + 50.0), decided(7, decided_at=START + 60.0)], incarnation="run2"))
    seen: list[str] = []
    after = ""
    for number in range(10):
        page = log.decisions(DecisionFilter(task_type="resize"), limit=limit, after=after)
        seen += [each.decision.decision_id for each in page.items]
        assert len(page.items) == limit or not page.next
        log.write(batch([decided(100 + number, task_type="resize")], number + 2, first=100 + number))
        after = page.next
        if not after:
            break
    assert len(seen) == len(set(seen)) == 7
    assert seen[0] == "d-run1-7"
    assert seen[-2:] == ["d-run1-2", "d-run1-1"]


def test_a_page_token_that_is_none_or_of_another_list_is_refused(log: DecisionLog) -> None:
    log.write(batch([decided(number) for number in range(1, 4)]))
    token = log.decisions(ALL, limit=1).next
    assert token
    for wrong in (
        "x",
        "é",
        "00",
        token[:-2],
        token + "00",
        token[:-1] + ("0" if token[-1] != "0" else "1"),
        "9" * 9_000,
    ):
        with pytest.raises(PageTokenInvalid):
            log.decisions(ALL, limit=1, after=wrong)
    with pytest.raises(PageTokenInvalid):
        log.events(EventFilter(), limit=1, after=token)


def test_candidates_come_with_a_list_only_when_asked_for(log: DecisionLog) -> None:
    log.write(batch([decided(1, explanation=EXPLAINED), decided(2), decided(3, explanation=EXPLAINED)]))
    with_them = log.decisions(ALL, limit=10, candidates=True).items
    assert [each.decision.explanation for each in with_them] == [EXPLAINED, None, EXPLAINED]
    without = log.decisions(ALL, limit=10).items
    assert [each.decision.explanation for each in without] == [
        EXPLAINED._replace(candidates=()), None, EXPLAINED._replace(candidates=())
    ]  # fmt: skip


def test_audit_entries_and_events_are_listed_newest_first_by_each_filter(log: DecisionLog) -> None:
    audited = [
        Audited(
            START + number, f"a-{number}", author, "admin", "ipv4:1", method, subject, "why", "", '{"a":1}', code, "{}"
        )
        for number, (author, method, subject, code) in enumerate(
            [("ann", "CordonWorker", "w-1", 0), ("bob", "CordonWorker", "w-2", 0), ("ann", "UpdateConfig", "", 7)]
        )
    ]
    happened = [
        Happened(FleetEvent(number, START + number, kind, worker, NASTY, "a", "b", "s"), "warning", author="ann")
        for number, (kind, worker) in enumerate(
            [(FleetEventKind.WORKER_REGISTERED, "w-1"), (FleetEventKind.BREAKER_OPENED, "")], 1
        )
    ]
    log.write(batch([*audited, *happened]))

    def entries(which: AuditFilter) -> list[str]:
        return [entry.entry_id for entry in log.audit(which, limit=10).items]

    assert entries(AuditFilter()) == ["a-2", "a-1", "a-0"]
    assert entries(AuditFilter(author="ann")) == ["a-2", "a-0"]
    assert entries(AuditFilter(method="CordonWorker")) == ["a-1", "a-0"]
    assert entries(AuditFilter(subject_id="w-2")) == ["a-1"]
    assert entries(AuditFilter(Span(START + 1, START + 2))) == ["a-1"]
    first = log.audit(AuditFilter(), limit=2)
    assert [entry.entry_id for entry in first.items] == ["a-2", "a-1"]
    assert [entry.entry_id for entry in log.audit(AuditFilter(), limit=2, after=first.next).items] == ["a-0"]
    refused = log.audit(AuditFilter(method="UpdateConfig"), limit=1).items[0]
    assert refused[3:] == audited[2][1:]
    assert [event.kind for event in log.events(EventFilter(), limit=5).items] == ["BREAKER_OPENED", "WORKER_REGISTERED"]
    (event,) = log.events(EventFilter(kinds=("WORKER_REGISTERED",), worker_id="w-1"), limit=5).items
    assert (event.number, event.detail, event.before, event.after) == (1, NASTY, "a", "b")
    assert (event.subject_id, event.severity, event.author) == ("s", "warning", "ann")


def test_shadow_decisions_are_taken(log: DecisionLog) -> None:
    entry = Shadowed("other", decision(1), "w-1", 0.0, 100.0, 0.5, "PREDICTED", "BEST_SCORE")
    log.write(batch([entry, entry._replace(error="it failed", worker_id="")]))


def test_shadow_decisions_are_told_newest_first_with_how_long_the_task_took(log: DecisionLog) -> None:
    def shadowed(number: int, policy: str = "one") -> Shadowed:
        return Shadowed(policy, decision(number), "w-1", 1.0, 100.0, 0.5, "", "")

    entries = [shadowed(1), shadowed(2), shadowed(2, "other"), shadowed(3), shadowed(4)]
    failed = finished(3)._replace(status=OutcomeStatus.FAILED)
    log.write(batch([*entries, finished(1, 120.0), finished(2, 80.0), failed]))
    first = log.shadows(ShadowFilter(policy="one"), limit=3)
    rest = log.shadows(ShadowFilter(policy="one"), limit=3, after=first.next)
    told = [(each.row.decision_id, each.took_ms) for each in (*first.items, *rest.items)]
    assert told == [("d-run1-4", None), ("d-run1-3", None), ("d-run1-2", 80.0), ("d-run1-1", 120.0)]
    assert (len(first.items), rest.next) == (3, "")
    everything = log.shadows(ShadowFilter(), limit=10).items
    assert [each.row.policy for each in everything].count("other") == 1
    at = decision(3).decided_at
    (one,) = log.shadows(ShadowFilter(Span(at, at + 0.5)), limit=10).items
    assert one.row.decision_id == "d-run1-3"
    assert log.shadows(ShadowFilter(policy="nobody"), limit=10).items == []


# ------------------------------------------------------------------ written once


def test_a_batch_that_is_written_again_changes_nothing(log: DecisionLog) -> None:
    first = batch([decided(1, explanation=EXPLAINED), finished(1), sampled(0.0, "w-1", 4, 2)])
    second = batch([decided(2)], 2, first=10)
    for each in (first, first, second, first, second):
        log.write(each)
    assert ids(log) == [2, 1]
    assert len(log.lessons(HistoryFilter(), limit=10).items) == 1
    found = log.find(ByDecision("d-run1-1"))
    assert found is not None
    assert found.decision.explanation == EXPLAINED
    (row,) = log.accuracy(AccuracyQuery(), limit=10).items
    assert row.sample_count == 1
    (fleet,) = log.utilization(UtilizationQuery(), limit=10).items
    assert (fleet.busy_ms, fleet.present_ms, fleet.completed) == (120_000.0, 240_000.0, 1)


def test_equal_rows_of_different_batches_are_all_kept(log: DecisionLog) -> None:
    for number in range(1, 4):
        log.write(batch([finished(1)], number, first=1_000 * number))
    log.write(batch([finished(1)], 1, incarnation="run2"))
    assert len(log.lessons(HistoryFilter(), limit=10).items) == 4
    assert log.accuracy(AccuracyQuery(), limit=1).items[0].sample_count == 4


@pytest.mark.parametrize("count", [1, 15, 16, 17, 127, 128, 129, 1_300])
def test_a_batch_around_the_size_of_a_statement_is_stored_whole(log: DecisionLog, count: int) -> None:
    log.write(batch([decided(number, decided_at=START + number / 100) for number in range(count)]))
    assert log.size().decisions == count
    assert [each.decision.decision_id for each in log.decisions(ALL, limit=1).items] == [f"d-run1-{count - 1}"]


def test_preparing_again_changes_nothing_and_another_log_finds_what_is_there(log: DecisionLog) -> None:
    log.write(batch([decided(1)]))
    assert log.prepare() == []
    assert ids(log) == [1]


def test_closing_twice_is_closing_once(log: DecisionLog) -> None:
    log.close()
    log.close()
    log.close_reading()
    log.close_reading()


# ------------------------------------------------------------------ figures


def test_accuracy_counts_what_came_true(log: DecisionLog) -> None:
    # The point is 100, the P50 90 and the P90 200.
    actual = [80.0, 81.0, 90.0, 125.0, 133.4, 200.0, 200.1, 50.0, 49.9, 400.0]
    log.write(batch([finished(number, actual_ms) for number, actual_ms in enumerate(actual)]))
    log.write(
        batch(
            [
                finished(50, about={"status": 2}),  # no success
                finished(51, None),  # nobody measured it
                finished(52, prediction=None),
            ],
            2,
            first=100,
        )
    )
    (row,) = log.accuracy(AccuracyQuery(), limit=10).items
    assert row.span == Span(None, None)
    assert (row.task_type, row.predictor, row.sample_count) == ("", "", 10)
    assert row.within_25_percent == pytest.approx(0.4)  # 80, 81, 90, 125
    assert row.within_factor_2 == pytest.approx(0.7)  # and 133.4, 200, 50
    assert row.p50_coverage == pytest.approx(0.5)  # 80, 81, 90, 50, 49.9
    assert row.p90_coverage == pytest.approx(0.8)  # all but 200.1 and 400
    errors = sorted(abs(each - 100.0) / each for each in actual)
    assert row.median_relative_error is not None
    assert errors[4] / 1.2 <= row.median_relative_error <= errors[5] * 1.2
    bias = sum(100.0 / each - 1.0 for each in actual) / len(actual)
    assert row.mean_relative_bias == pytest.approx(bias)
    assert (row.wait_p50_coverage, row.wait_p90_coverage) == (None, None)


def test_accuracy_goes_by_the_speed_of_the_worker(log: DecisionLog) -> None:
    log.write(batch([finished(1, 50.0, about={"speed": 2.0})]))
    (row,) = log.accuracy(AccuracyQuery(), limit=1).items
    assert (row.mean_relative_bias, row.median_relative_error) == (0.0, 0.0)


def test_accuracy_of_waits_counts_what_was_told_when_they_began(log: DecisionLog) -> None:
    def waited(number: int, p50: float | None, p90: float | None) -> object:
        told = Prospects(0, p50, p90, BlockingReason.NO_FREE_SLOT, "", START, 9, None)
        return decided(number, decided_at=START + 10.0, about={"enqueued_at": START, "expected": told})

    log.write(
        batch(
            [
                waited(1, START + 10.0, START + 20.0),  # type: ignore[list-item]  # an entry
                waited(2, START + 9.9, START + 10.0),  # type: ignore[list-item]
                waited(3, START + 5.0, START + 9.9),  # type: ignore[list-item]
                waited(4, None, None),  # type: ignore[list-item]
                decided(5, decided_at=START + 10.0),
            ]
        )
    )
    (row,) = log.accuracy(AccuracyQuery(), limit=1).items
    assert row.sample_count == 0
    assert row.wait_p50_coverage == pytest.approx(1 / 3)
    assert row.wait_p90_coverage == pytest.approx(2 / 3)


def test_accuracy_over_time_by_type_and_predictor(log: DecisionLog) -> None:
    other = decision().prediction
    assert other is not None
    log.write(
        batch(
            [
                finished(1),
                finished(61, 400.0),
                finished(62, task_type="encode"),
                finished(63, prediction=other._replace(predictor="ema")),
                finished(200),
            ]
        )
    )
    span = Span(START, START + 600.0)

    def rows(query: AccuracyQuery) -> list[tuple[float, str, str, int]]:
        found = log.accuracy(query, limit=100)
        assert found.next == ""
        return [
            ((row.span.start or 0.0) - START, row.task_type, row.predictor, row.sample_count) for row in found.items
        ]

    assert rows(AccuracyQuery(span)) == [(0.0, "", "", 5)]
    assert rows(AccuracyQuery(span, 60)) == [(0.0, "", "", 1), (60.0, "", "", 3), (180.0, "", "", 1)]
    assert rows(AccuracyQuery(span, 120)) == [(0.0, "", "", 4), (120.0, "", "", 1)]
    assert rows(AccuracyQuery(Span(START + 60.0), 600)) == [(60.0, "", "", 4)]
    assert rows(AccuracyQuery(step_s=600)) == [(0.0, "", "", 5)]
    assert rows(AccuracyQuery(span, task_type="encode")) == [(0.0, "encode", "", 1)]
    assert rows(AccuracyQuery(span, by_task_type=True)) == [
        (0.0, "", "", 5),
        (0.0, "encode", "", 1),
        (0.0, "resize", "", 4),
    ]
    assert rows(AccuracyQuery(span, 180, by_task_type=True, by_predictor=True)) == [
        (0.0, "", "", 4),
        (0.0, "encode", "adaptive", 1),
        (0.0, "resize", "adaptive", 2),
        (0.0, "resize", "ema", 1),
        (180.0, "", "", 1),
        (180.0, "resize", "adaptive", 1),
    ]
    paged: list[tuple[str, str, int, float | None]] = []
    after = ""
    for _ in range(10):
        page = log.accuracy(AccuracyQuery(span, 180, by_task_type=True, by_predictor=True), limit=2, after=after)
        paged += [(row.task_type, row.predictor, row.sample_count, row.median_relative_error) for row in page.items]
        after = page.next
        if not after:
            break
    assert [row[:3] for row in paged] == [
        ("", "", 4),
        ("encode", "adaptive", 1),
        ("resize", "adaptive", 2),
        ("resize", "ema", 1),
        ("", "", 1),
        ("resize", "adaptive", 1),
    ]
    assert paged[1][3] == 0.0
    assert log.accuracy(AccuracyQuery(Span(START + 60.0, START + 61.0), 60), limit=5).items[0].span == Span(
        START + 60.0, START + 120.0
    )


def test_utilisation_adds_up_slot_time_and_tells_how_even_it_is(log: DecisionLog) -> None:
    log.write(
        batch(
            [
                sampled(30.0, "w-1", 4, 4),
                sampled(30.0, "w-2", 2, 1),
                sampled(30.0, "", 6, 5, queue_depth=3),
                sampled(90.0, "w-1", 4, 0),
                sampled(90.0, "w-2", 2, 0),
                decided(1, worker_id="w-1"),
                decided(2, worker_id="w-2", about={"enqueued_at": START}),
                finished(1, worker_id="w-1"),
                finished(2, worker_id="w-2", about={"status": 4}),
                finished(3, worker_id="w-2", about={"status": 3}),
            ]
        )
    )
    first, second = log.utilization(UtilizationQuery(Span(START), 60), limit=10).items
    assert (first.span, first.worker_id) == (Span(START, START + 60.0), "")
    assert first.utilization == pytest.approx(5 / 6)
    assert first.spread == pytest.approx(0.25 / 0.75)
    assert first.max_over_mean == pytest.approx(1.0 / 0.75)
    assert (first.busy_ms, first.present_ms) == (300_000.0, 360_000.0)
    assert (first.completed, first.failed) == (1, 1)
    assert first.mean_waiting == pytest.approx(3.0)
    assert first.mean_wait_ms == pytest.approx(1_000.0)
    assert first.p99_wait_ms is not None
    assert 2_000.0 <= first.p99_wait_ms <= 2_000.0 * 2**0.25
    assert (second.utilization, second.spread, second.max_over_mean) == (0.0, None, None)
    assert (second.mean_waiting, second.mean_wait_ms, second.p99_wait_ms) == (None, None, None)

    (all_of_it,) = log.utilization(UtilizationQuery(), limit=10).items
    assert all_of_it.utilization == pytest.approx(5 / 12)
    rows = log.utilization(UtilizationQuery(Span(START), 60, by_worker=True), limit=10).items
    assert [(row.worker_id, row.busy_ms) for row in rows] == [
        ("", 300_000.0),
        ("w-1", 240_000.0),
        ("w-2", 60_000.0),
        ("", 0.0),
        ("w-1", 0.0),
        ("w-2", 0.0),
    ]
    assert rows[2].mean_wait_ms == pytest.approx(2_000.0)
    paged: list[str] = []
    after = ""
    for _ in range(10):
        page = log.utilization(UtilizationQuery(Span(START), 60, by_worker=True), limit=2, after=after)
        paged += [row.worker_id for row in page.items]
        after = page.next
        if not after:
            break
    assert paged == ["", "w-1", "w-2"] * 2
    (only,) = log.utilization(UtilizationQuery(worker_id="w-2"), limit=10).items
    assert (only.worker_id, only.present_ms, only.utilization) == ("w-2", 240_000.0, 0.25)


# ------------------------------------------------------------------ what a predictor learns from


def test_lessons_are_successes_in_the_order_they_ended_with_all_that_a_predictor_looks_at(log: DecisionLog) -> None:
    task = Task(
        "tenant", "task-1", 1, "resize", "feature", 0.9, ("gpu",), (), (("zone", "a"),), (("input_bytes", 1e9),),
        (("cpus", 2.0),), Hints(1_000.0, 20, None), slots=2, user="ann", attributes=(("codec", NASTY),), payload=b"x",
    )  # fmt: skip
    log.write(
        batch(
            [
                finished(2, 20.0, about={"ended_at": START + 99.0}),
                finished(1, 50.0, about={"task": task, "speed": 2.0, "ended_at": START + 5.0}),
                finished(3, about={"status": 2}),
                finished(4, None),
                finished(5, 0.0),
                finished(6, 30.0, task_type="encode", about={"ended_at": START + 200.0}),
            ]
        )
    )
    page = log.lessons(HistoryFilter(), limit=2)
    assert [lesson.decision_id for lesson in page.items] == ["d-run1-1", "d-run1-2"]
    assert page.items[0].task == task._replace(payload=b"")
    assert (page.items[0].at, page.items[0].duration_ms) == (START + 5.0, 100.0)
    assert [each.decision_id for each in log.lessons(HistoryFilter(), limit=9, after=page.next).items] == ["d-run1-6"]
    assert [each.duration_ms for each in log.lessons(HistoryFilter(task_type="encode"), limit=9).items] == [30.0]
    spanned = log.lessons(HistoryFilter(Span(START + 5.0, START + 99.0)), limit=9).items
    assert [each.decision_id for each in spanned] == ["d-run1-1"]


def test_retention_is_a_value_that_every_log_takes(log: DecisionLog) -> None:
    assert Retention().rows_days < Retention().figures_days
    log.write(batch([decided(1)]))
    assert log.tidy(START) is False  # nothing is too old
    assert ids(log) == [1]
