import pytest

from scheduler_api.v1.task_pb2 import Outcome, OutcomeStatus, Task
from scheduler_api.v1.worker_pb2 import LeaseVerdict, LeaseVerdictKind, RefusedReport, RunTask, WorkerIntent
from scheduler_server.worker.running import Leases
from scheduler_server.worker.work import Work

DONE = Outcome(status=OutcomeStatus.OUTCOME_STATUS_SUCCEEDED)


def work_of(slots: int = 1, prefetch: int = 0) -> Work:
    return Work(Leases(slots, prefetch), {"known"}.__contains__)


def run(lease_id: str, task_type: str = "known", slots: int | None = None) -> RunTask:
    return RunTask(lease_id=lease_id, task=Task(task_id="t", task_type=task_type, slots=slots))


def said(work: Work) -> list[str]:
    """Every fact so far, in order."""
    work.outbox.repeat()
    return [f"{report.lease_id} {report.WhichOneof('fact')}" for report in work.outbox.take(1)]


def starts(work: Work) -> list[str]:
    return [lease.lease_id for lease in work.take_effects().start]


def stops(work: Work) -> list[str]:
    return [lease.lease_id for lease in work.take_effects().stop]


def verdict(lease_id: str, kind: LeaseVerdictKind.ValueType) -> list[LeaseVerdict]:
    return [LeaseVerdict(lease_id=lease_id, verdict=kind)]


def test_a_task_that_fits_is_acknowledged_and_started() -> None:
    work = work_of()
    work.hand_over(run("a"), 0.0)
    assert starts(work) == ["a"]
    assert starts(work) == []
    assert said(work) == ["a acknowledged", "a started"]


def test_the_same_lease_handed_over_again_is_acknowledged_again_and_not_started_twice() -> None:
    work = work_of()
    work.hand_over(run("a"), 0.0)
    work.hand_over(run("a"), 0.0)
    assert starts(work) == ["a"]
    assert said(work) == ["a acknowledged", "a started", "a acknowledged"]


def test_the_end_of_one_task_starts_the_next() -> None:
    work = work_of(prefetch=1)
    work.hand_over(run("a"), 0.0)
    work.hand_over(run("b"), 0.0)
    assert starts(work) == ["a"]
    work.finished("a", DONE, 1.0)
    assert starts(work) == ["b"]
    assert said(work) == ["a acknowledged", "a started", "b acknowledged", "a finished", "b started"]


@pytest.mark.parametrize(
    ("task", "reason"),
    [(run("b"), "no free slot"), (run("b", "other"), "no handler"), (run("b", slots=2), "2 slots")],
)
def test_what_cannot_be_taken_is_declined_with_the_reason(task: RunTask, reason: str) -> None:
    work = work_of()
    work.hand_over(run("a"), 0.0)
    work.hand_over(task, 0.0)
    declined = work.outbox.take(1)[-1]
    assert (declined.lease_id, declined.WhichOneof("fact")) == ("b", "declined")
    assert reason in declined.declined.reason
    assert len(work.leases) == 1


def test_a_lease_ends_once() -> None:
    work = work_of()
    work.hand_over(run("a"), 0.0)
    work.finished("a", DONE, 1.0)
    work.finished("a", DONE, 1.0)
    work.declined("a", "late", 1.0)
    assert said(work) == ["a acknowledged", "a started", "a finished"]


def test_a_handler_that_declines_before_its_start_was_told_never_started() -> None:
    work = work_of()
    work.hand_over(run("a"), 0.0)
    work.declined("a", "not today", 0.0)
    assert said(work) == ["a acknowledged", "a declined"]


def test_a_handler_that_declines_after_its_start_was_told_says_both() -> None:
    work = work_of()
    work.hand_over(run("a"), 0.0)
    said(work)
    work.declined("a", "not today", 0.0)
    assert said(work) == ["a acknowledged", "a started", "a declined"]


def test_a_cancelled_task_that_is_held_ends_at_once_and_never_starts() -> None:
    work = work_of(prefetch=1)
    work.hand_over(run("a"), 0.0)
    work.hand_over(run("b"), 0.0)
    work.cancel("b", 0.0)
    report = work.outbox.take(1)[-1]
    assert (report.lease_id, report.finished.status) == ("b", OutcomeStatus.OUTCOME_STATUS_CANCELLED)
    assert not report.finished.HasField("duration")
    work.finished("a", DONE, 1.0)
    assert starts(work) == ["a"]


def test_a_cancelled_task_that_runs_keeps_its_slot_until_its_handler_is_done() -> None:
    work = work_of()
    work.hand_over(run("a"), 0.0)
    work.cancel("a", 0.0)
    assert stops(work) == ["a"]
    assert work.leases.no_room(1) is not None


def test_a_running_task_is_stopped_once_however_often_the_server_says_so() -> None:
    work = work_of()
    work.hand_over(run("a"), 0.0)
    work.cancel("a", 0.0)
    work.judge(verdict("a", LeaseVerdictKind.LEASE_VERDICT_KIND_STOP), 0.0)
    assert stops(work) == ["a"]


def test_a_cancel_of_a_lease_that_is_not_here_says_and_does_nothing() -> None:
    work = work_of()
    work.cancel("gone", 0.0)
    work.judge(verdict("gone", LeaseVerdictKind.LEASE_VERDICT_KIND_STOP), 0.0)
    assert (said(work), stops(work)) == ([], [])


def test_keep_changes_nothing_stop_cancels_and_unknown_goes_on_unheard() -> None:
    work = work_of(slots=3)
    for lease_id in ("keep", "stop", "unknown"):
        work.hand_over(run(lease_id), 0.0)
    work.judge(verdict("keep", LeaseVerdictKind.LEASE_VERDICT_KIND_KEEP), 0.0)
    work.judge(verdict("stop", LeaseVerdictKind.LEASE_VERDICT_KIND_STOP), 0.0)
    work.judge(verdict("unknown", LeaseVerdictKind.LEASE_VERDICT_KIND_UNKNOWN), 0.0)
    assert stops(work) == ["stop"]
    assert [lease.lease_id for lease in work.leases.listing(0.0).leases] == ["keep", "stop"]
    work.finished("unknown", DONE, 1.0)
    assert "unknown finished" not in said(work)


def test_a_refused_report_is_not_repeated_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    work = work_of()
    work.hand_over(run("a"), 0.0)
    work.outbox.take(1)
    work.handled(1, [RefusedReport(lease_id="a", reason="LEASE_ENDED", message="long ago")])
    assert said(work) == []
    assert "LEASE_ENDED" in caplog.text


def test_what_is_held_is_given_back_when_the_server_asks_and_the_rest_goes_on() -> None:
    work = work_of(prefetch=2)
    for lease_id in ("a", "b", "c"):
        work.hand_over(run(lease_id), 0.0)
    work.give_back("b")
    assert said(work)[-1] == "b returned"
    assert "b" not in work.leases
    work.finished("a", DONE, 1.0)
    assert starts(work) == ["a", "c"]


@pytest.mark.parametrize("lease_id", ["a", "gone"])
def test_what_has_started_or_is_not_here_is_not_given_back_and_nothing_is_said(lease_id: str) -> None:
    work = work_of(prefetch=1)
    work.hand_over(run("a"), 0.0)
    before = said(work)
    work.give_back(lease_id)
    assert said(work) == before
    assert starts(work) == ["a"]
    assert stops(work) == []


@pytest.mark.parametrize("drain_id", [None, "d1"])
def test_a_drain_returns_what_is_held_and_what_comes(drain_id: str | None) -> None:
    work = work_of(prefetch=1)
    work.hand_over(run("a"), 0.0)
    work.hand_over(run("b"), 0.0)
    work.drain(drain_id)
    work.hand_over(run("c"), 0.0)
    assert said(work)[-2:] == ["b returned", "c returned"]
    work.finished("a", DONE, 1.0)
    assert starts(work) == ["a"]
    own = drain_id is None
    assert work.intent == (WorkerIntent.WORKER_INTENT_DRAIN if own else WorkerIntent.WORKER_INTENT_WORK)


def test_once_no_drain_holds_any_more_it_takes_tasks_again_and_returns_nothing() -> None:
    work = work_of(prefetch=1)
    work.drain("d1")
    work.hand_over(run("a"), 0.0)
    work.drain("")
    work.hand_over(run("b"), 0.0)
    work.hand_over(run("c"), 0.0)
    work.drain("")
    assert said(work) == ["a returned", "b acknowledged", "b started", "c acknowledged"]
    assert not work.draining


def test_its_own_wish_goes_on_when_the_servers_drain_ends() -> None:
    work = work_of()
    work.drain("d1")
    work.drain()
    work.drain("")
    work.hand_over(run("a"), 0.0)
    assert said(work) == ["a returned"]


def test_more_slots_start_what_is_held() -> None:
    work = work_of(prefetch=1)
    work.hand_over(run("a"), 0.0)
    work.hand_over(run("b"), 0.0)
    assert starts(work) == ["a"]
    work.resize(2, 1.0)
    assert starts(work) == ["b"]


def test_fewer_slots_stop_nothing_and_start_nothing() -> None:
    work = work_of(slots=2, prefetch=1)
    for lease_id in ("a", "b", "c"):
        work.hand_over(run(lease_id), 0.0)
    work.resize(1, 1.0)
    effects = work.take_effects()
    assert ([lease.lease_id for lease in effects.start], effects.stop) == (["a", "b"], [])
    work.finished("a", DONE, 1.0)
    assert starts(work) == []
    work.finished("b", DONE, 1.0)
    assert starts(work) == ["c"]


def test_what_is_abandoned_is_stopped_still_listed_and_its_end_not_told() -> None:
    work = work_of()
    work.hand_over(run("a"), 0.0)
    assert work.abandon() == ["a"]
    assert stops(work) == ["a"]
    work.finished("a", DONE, 1.0)
    assert "a finished" not in said(work)
    assert len(work.leases.listing(1.0).leases) == 1


def test_a_task_delivered_elsewhere_runs_once_at_a_time() -> None:
    work = work_of()
    work.began("a", 0.0)
    with pytest.raises(ValueError, match="lease a"):
        work.began("a", 0.0)
    work.finished("a", DONE, 1.0)
    assert said(work) == ["a started", "a finished"]
