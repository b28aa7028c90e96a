"""Leases whose workers do not end them: what is placed again, what is reported, what is set aside."""

from typing import Any

import pytest

from scheduler_server.assignment.effects import CancelReply, HandOver, Published, Queued, Reply, Resolved, Unqueued
from scheduler_server.assignment.events import Cancel, Heartbeat, Submit
from scheduler_server.assignment.settings import AssignmentSettings, CoreSettings
from scheduler_server.assignment.state import lease_to_bytes, restore_lease, restore_waiting, waiting_to_bytes
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import Delivery, LossPolicy, Task, TaskState
from scheduler_server.model.worker import Intent, LeaseReport, Registration, ReportKind, RunningLease
from scheduler_server.registry.settings import HealthSettings, WorkerSettings
from tests.unit.assignment.rig import Rig, make_sample

STREAM = Delivery.STREAM


def worker(rig: Rig, name: str, boot: str = "boot", connection: int = 1, slots: int = 1, **sample: Any) -> None:
    """A worker that takes tasks from its stream."""
    registration = Registration(slots=slots, accepts_tasks=True, reports_outcomes=True)
    sample.setdefault("running", ())
    rig.connect(name, registration=registration, epoch=(boot, connection), sample=make_sample(**sample))


def tell(rig: Rig, name: str, lease: str, *kinds: ReportKind, running: tuple[str, ...] = (), **more: Any) -> None:
    """A heartbeat with reports about a lease."""
    reports = tuple(LeaseReport(lease, kind) for kind in kinds)
    listed = tuple(RunningLease(each, 1.0) for each in running)
    rig.beat(name, reports=reports, running=listed, queue_depth=len(listed), **more)


def lease_of(rig: Rig, task_id: str = "t1") -> str:
    """The lease that a task has now."""
    record = rig.core.ledger.tasks["", task_id]
    assert record.live, record
    return record.lease_id


def state_of(rig: Rig, task_id: str = "t1") -> TaskState:
    """What GetTask would say."""
    if ("", task_id) in rig.core.queue.waiting.by_task:
        return TaskState.WAITING
    return rig.core.ledger.tasks["", task_id].state


def begun(rig: Rig, name: str = "w1", **of_task: Any) -> str:
    """A task handed to a worker that has begun it; its lease."""
    lease = rig.place("t1", delivery=STREAM, **of_task).lease_id
    tell(rig, name, lease, ReportKind.ACKNOWLEDGED, ReportKind.STARTED, running=(lease,))
    return lease


# ---------------------------------------------------------------------- not begun


def test_what_nobody_took_in_time_goes_elsewhere_with_the_next_attempt_after_the_session_was_fenced() -> None:
    rig = Rig()
    worker(rig, "w1")
    first = rig.place("t1", delivery=STREAM)
    worker(rig, "w2")
    told = rig.tick_for(5.1)
    kinds = [type(effect).__name__ for effect in told]
    assert kinds.index("Goodbye") < kinds.index("HandOver")
    (handed,) = [effect for effect in told if isinstance(effect, HandOver)]
    assert (handed.task.attempt, handed.decision.worker_id) == (2, "w2")
    assert handed.decision.lease_id != first.lease_id
    assert state_of(rig) is TaskState.OFFERED


def test_a_task_whose_worker_is_removed_before_it_began_goes_elsewhere() -> None:
    rig = Rig()
    worker(rig, "w1")
    lease = rig.place("t1", delivery=STREAM).lease_id
    tell(rig, "w1", lease, ReportKind.ACKNOWLEDGED, running=())
    worker(rig, "w2")
    rig.remove("w1")
    assert lease_of(rig) != lease
    assert rig.core.ledger.tasks["", "t1"].worker_id == "w2"
    assert FleetEventKind.TASK_REQUEUED in rig.events()


def test_without_a_free_slot_it_waits_where_it_stood_since_it_first_came() -> None:
    rig = Rig()
    worker(rig, "w1")
    worker(rig, "w2")
    rig.place("t1", delivery=STREAM)
    rig.place("other", delivery=STREAM)
    came = rig.core.ledger.tasks["", "t1"].submitted_wall
    rig.go(3)
    rig.remove(rig.core.ledger.tasks["", "t1"].worker_id)
    (queued,) = rig.find(Queued)
    assert queued.waiter.since_wall == came
    assert queued.waiter.since == rig.t - 3
    assert state_of(rig) is TaskState.WAITING


def test_what_a_worker_gives_back_costs_no_attempt_and_does_not_return_to_it_while_it_drains() -> None:
    rig = Rig()
    worker(rig, "w1")
    lease = rig.place("t1", delivery=STREAM, max_attempts=1).lease_id
    tell(rig, "w1", lease, ReportKind.RETURNED, intent=Intent.DRAIN)
    assert state_of(rig) is TaskState.WAITING
    assert rig.core.queue.waiting.by_task["", "t1"].event.trail.losses == 0
    worker(rig, "w2")
    assert rig.core.ledger.tasks["", "t1"].worker_id == "w2"


def test_what_a_draining_worker_declines_it_only_gives_back() -> None:
    rig = Rig()
    worker(rig, "w1")
    lease = rig.place("t1", delivery=STREAM, max_attempts=1).lease_id
    tell(rig, "w1", lease, ReportKind.DECLINED, intent=Intent.DRAIN)
    assert state_of(rig) is TaskState.WAITING


# ---------------------------------------------------------------------- declined


def test_a_declined_task_avoids_the_decliner_for_a_while_and_then_may_go_there_again() -> None:
    rig = Rig()
    worker(rig, "w1")
    lease = rig.place("t1", delivery=STREAM, max_attempts=5).lease_id
    tell(rig, "w1", lease, ReportKind.DECLINED)
    assert state_of(rig) is TaskState.WAITING, "the only worker has just declined it"
    for _ in range(29):
        rig.tick_for(1)
        rig.beat(running=())
    assert state_of(rig) is TaskState.WAITING
    rig.tick_for(1.1)
    assert state_of(rig) is TaskState.OFFERED
    assert rig.core.ledger.tasks["", "t1"].worker_id == "w1"


def test_another_worker_gets_at_once_what_one_has_declined() -> None:
    rig = Rig()
    worker(rig, "w1")
    lease = rig.place("t1", delivery=STREAM).lease_id
    worker(rig, "w2")
    tell(rig, "w1", lease, ReportKind.DECLINED)
    assert rig.core.ledger.tasks["", "t1"].worker_id == "w2"


def test_a_call_that_joined_a_declined_task_is_answered_when_its_time_with_the_decliner_has_come_again() -> None:
    rig = Rig()
    worker(rig, "w1")
    lease = rig.place("t1", delivery=STREAM).lease_id
    tell(rig, "w1", lease, ReportKind.DECLINED)
    task = rig.core.queue.waiting.by_task["", "t1"].event.task._replace(attempt=1)
    rig.give(Submit(task, STREAM, wait_s=60.0, ticket=7))
    assert rig.one(Reply).state is TaskState.WAITING
    told = rig.tick_for(31)
    (resolved,) = [effect for effect in told if isinstance(effect, Resolved)]
    assert resolved.ticket == 7
    assert resolved.reply.decision is not None
    assert resolved.reply.decision.task.attempt == 2


# ---------------------------------------------------------------------- begun


@pytest.mark.parametrize("policy", LossPolicy)
def test_what_had_begun_on_a_lost_worker_follows_its_loss_policy(policy: LossPolicy) -> None:
    rig = Rig()
    worker(rig, "w1")
    begun(rig, loss_policy=policy)
    rig.remove("w1")
    assert state_of(rig) is (TaskState.WAITING if policy is LossPolicy.REQUEUE else TaskState.LOST)


def test_what_the_queue_service_delivers_it_alone_sends_again() -> None:
    rig = Rig()
    worker(rig, "w1")
    rig.place("t1", loss_policy=LossPolicy.REQUEUE)
    rig.remove("w1")
    assert state_of(rig) is TaskState.LOST


def test_a_task_that_ran_waits_as_one_that_takes_at_least_as_long() -> None:
    rig = Rig()
    worker(rig, "w1")
    begun(rig, loss_policy=LossPolicy.REQUEUE)
    for _ in range(40):
        rig.go(1)
        tell(rig, "w1", lease_of(rig), running=(lease_of(rig),))
    rig.remove("w1")
    waiter = rig.core.queue.waiting.by_task["", "t1"]
    assert waiter.p50_s == pytest.approx(41, abs=1.1)
    assert waiter.work_s == waiter.p50_s


def test_a_worker_silent_for_lost_after_is_lost_and_not_before() -> None:
    rig = Rig(CoreSettings(health=HealthSettings(lost_after_s=60)))
    worker(rig, "w1")
    begun(rig, loss_policy=LossPolicy.REQUEUE)
    rig.tick_for(59.9)
    assert state_of(rig) is TaskState.STARTED
    told = rig.tick_for(1.2)
    assert state_of(rig) is TaskState.WAITING
    assert any(effect.event.kind is FleetEventKind.WORKER_LOST for effect in told if isinstance(effect, Published))
    assert "w1" in rig.core.fleet.records, "lost is not removed"


def test_a_worker_that_beats_again_in_time_is_not_lost() -> None:
    rig = Rig(CoreSettings(health=HealthSettings(lost_after_s=60)))
    worker(rig, "w1")
    lease = begun(rig, loss_policy=LossPolicy.REQUEUE)
    rig.tick_for(59)
    tell(rig, "w1", lease, running=(lease,))
    rig.tick_for(59)
    assert state_of(rig) is TaskState.STARTED


def test_a_lost_worker_that_comes_back_is_told_to_stop_what_runs_elsewhere() -> None:
    rig = Rig(CoreSettings(health=HealthSettings(lost_after_s=60)))
    worker(rig, "w1")
    lease = begun(rig, loss_policy=LossPolicy.REQUEUE)
    rig.tick_for(61)
    worker(rig, "w2")
    acked = rig.beat("w1", running=(RunningLease(lease, 60_000.0),), queue_depth=1)
    assert acked is not None
    assert [kind.name for _, kind in acked.verdicts] == ["STOP"]


# ---------------------------------------------------------------------- reconnects


def test_an_offer_under_way_when_the_stream_broke_is_placed_again_when_its_process_is_back_without_it() -> None:
    rig = Rig()
    worker(rig, "w1")
    lease = rig.place("t1", delivery=STREAM).lease_id
    rig.disconnect("w1")
    worker(rig, "w1", connection=2)
    assert lease_of(rig) != lease
    assert state_of(rig) is TaskState.OFFERED


def test_a_process_that_still_has_something_to_tell_is_not_yet_taken_at_its_list() -> None:
    rig = Rig()
    worker(rig, "w1", slots=2)
    first = rig.place("t1", delivery=STREAM).lease_id
    second = rig.place("t2", delivery=STREAM).lease_id
    rig.disconnect("w1")
    done = LeaseReport(first, ReportKind.FINISHED, Outcome(OutcomeStatus.SUCCEEDED, 5.0))
    worker(rig, "w1", connection=2, slots=2, reports=(done,))
    assert lease_of(rig, "t2") == second, "the report of its end may come with the next message"
    last = LeaseReport(second, ReportKind.FINISHED, Outcome(OutcomeStatus.SUCCEEDED, 5.0))
    rig.beat("w1", reports=(last,), running=())
    rig.beat("w1", running=())
    assert state_of(rig, "t2") is TaskState.FINISHED


@pytest.mark.parametrize("policy", LossPolicy)
def test_another_process_under_the_workers_name_means_that_the_former_is_gone(policy: LossPolicy) -> None:
    rig = Rig()
    worker(rig, "w1", boot="one")
    begun(rig, loss_policy=policy)
    rig.disconnect("w1")
    worker(rig, "w1", boot="two")
    assert state_of(rig) is (TaskState.OFFERED if policy is LossPolicy.REQUEUE else TaskState.LOST)


def test_a_process_that_took_over_what_runs_keeps_it() -> None:
    rig = Rig()
    worker(rig, "w1", boot="one")
    lease = begun(rig)
    rig.disconnect("w1")
    worker(rig, "w1", boot="two", running=(RunningLease(lease, 5.0),), queue_depth=1)
    rig.beat("w1", running=(RunningLease(lease, 6.0),), queue_depth=1)
    assert lease_of(rig) == lease


# ---------------------------------------------------------------------- bounds


def test_a_task_lost_as_often_as_it_has_attempts_is_set_aside() -> None:
    rig = Rig()
    for attempt in (1, 2, 3):
        worker(rig, f"w{attempt}")
        if attempt == 1:
            rig.place("t1", delivery=STREAM, max_attempts=3)
        assert rig.core.ledger.tasks["", "t1"].task.attempt == attempt
        rig.remove(f"w{attempt}")
    assert state_of(rig) is TaskState.SET_ASIDE
    assert FleetEventKind.TASK_SET_ASIDE in rig.events()
    assert rig.core.losses.set_aside == 1


def test_a_task_that_took_down_as_many_workers_as_allowed_is_set_aside_whatever_its_attempts() -> None:
    rig = Rig(CoreSettings(assignment=AssignmentSettings(max_workers_lost=2)))
    worker(rig, "w1", boot="one")
    begun(rig, loss_policy=LossPolicy.REQUEUE, max_attempts=100)
    rig.disconnect("w1")
    worker(rig, "w1", boot="two")
    lease = lease_of(rig)
    tell(rig, "w1", lease, ReportKind.ACKNOWLEDGED, ReportKind.STARTED, running=(lease,))
    rig.disconnect("w1")
    worker(rig, "w1", boot="three")
    assert state_of(rig) is TaskState.SET_ASIDE


def test_a_worker_removed_by_an_operator_is_not_counted_as_taken_down() -> None:
    rig = Rig(CoreSettings(assignment=AssignmentSettings(max_workers_lost=1)))
    worker(rig, "w1")
    begun(rig, loss_policy=LossPolicy.REQUEUE)
    rig.remove("w1")
    assert state_of(rig) is TaskState.WAITING


def test_what_was_set_aside_may_be_sent_again_as_its_next_attempt() -> None:
    rig = Rig()
    worker(rig, "w1")
    rig.place("t1", delivery=STREAM, max_attempts=1)
    rig.remove("w1")
    worker(rig, "w2")
    refusal = rig.refuse("t1", delivery=STREAM, max_attempts=1)
    assert dict(refusal.metadata)["next_attempt"] == "2"
    assert rig.place("t1", delivery=STREAM, max_attempts=1, attempt=2).worker_id == "w2"


# ---------------------------------------------------------------------- asked and cancelled meanwhile


def test_who_asks_for_the_first_attempt_hears_of_the_one_that_the_server_made_of_it() -> None:
    rig = Rig()
    worker(rig, "w1")
    rig.place("t1", delivery=STREAM)
    rig.remove("w1")
    waiting = rig.submit("t1", delivery=STREAM)
    assert (waiting.state, waiting.replayed) == (TaskState.WAITING, True)
    worker(rig, "w2")
    placed = rig.submit("t1", delivery=STREAM)
    assert placed.decision is not None
    assert (placed.replayed, placed.decision.worker_id, placed.decision.task.attempt) == (True, "w2", 2)


def test_a_different_body_under_a_task_that_waits_again_is_a_conflict() -> None:
    rig = Rig()
    worker(rig, "w1")
    rig.place("t1", delivery=STREAM)
    rig.remove("w1")
    assert rig.refuse("t1", delivery=STREAM, priority=0.9).reason == "TASK_CONFLICT"


@pytest.mark.parametrize("again", [False, True], ids=["while it waits", "while it runs again"])
def test_cancelling_the_first_attempt_cancels_what_the_server_made_of_it(again: bool) -> None:
    rig = Rig()
    worker(rig, "w1")
    rig.place("t1", delivery=STREAM)
    rig.remove("w1")
    if again:
        worker(rig, "w2")
    rig.give(Cancel("", "t1", 1))
    assert rig.one(CancelReply).state is TaskState.CANCELLED
    assert rig.refuse("t1", delivery=STREAM).reason == "TASK_CANCELLED"


# ---------------------------------------------------------------------- hand-overs under way


def test_a_worker_with_as_many_unacknowledged_tasks_as_allowed_gets_none_until_it_acknowledges() -> None:
    rig = Rig(CoreSettings(worker=WorkerSettings(max_offers=2)))
    worker(rig, "w1", slots=5)
    first = rig.place("t1", delivery=STREAM).lease_id
    rig.place("t2", delivery=STREAM)
    refusal = rig.refuse("t3", delivery=STREAM)
    assert {reason.name for reason, _ in refusal.rejections} == {"OUTBOUND_FULL"}
    tell(rig, "w1", first, ReportKind.ACKNOWLEDGED, running=(first,))
    assert rig.place("t3", delivery=STREAM).worker_id == "w1"
    rig.cancel("t2")
    assert rig.place("t4", delivery=STREAM).worker_id == "w1"


def test_a_task_kept_elsewhere_is_so_until_its_worker_has_it() -> None:
    rig = Rig()
    worker(rig, "w1")
    task = Task("", "t1", 1, "type")
    rig.give(Submit(task, STREAM, enqueue=True, held=True))
    record = rig.core.ledger.tasks["", "t1"]
    assert record.held
    rig.give(Heartbeat(1, make_sample(reports=(LeaseReport(record.lease_id, ReportKind.ACKNOWLEDGED),))))
    assert not record.held


# ---------------------------------------------------------------------- found in review


def test_a_process_that_always_has_something_to_tell_is_taken_at_its_list_after_the_grace() -> None:
    rig = Rig(CoreSettings(worker=WorkerSettings(reconcile_grace_s=30)))
    worker(rig, "w1", slots=2)
    begun(rig, loss_policy=LossPolicy.REQUEUE)
    lease = lease_of(rig)
    kept = [rig.place(f"short{at}", delivery=STREAM).lease_id for at in range(1)]
    rig.disconnect("w1")
    done = LeaseReport(kept[0], ReportKind.FINISHED, Outcome(OutcomeStatus.SUCCEEDED, 5.0))
    worker(rig, "w1", boot="another", slots=2, reports=(done,))
    rig.core.ledger.tasks["", "t1"].unsure = True  # as after a restart: no other grace is for it
    for _ in range(30):
        rig.tick_for(1)
        rig.beat("w1", reports=(done,), running=())
    assert lease_of(rig) == lease, "its end may still be told"
    rig.tick_for(1)
    rig.beat("w1", reports=(done,), running=())
    assert lease_of(rig) != lease


def test_what_a_worker_that_goes_on_working_gives_back_it_has_declined() -> None:
    """It would get it again at once, and give it back again, for ever."""
    rig = Rig()
    worker(rig, "w1")
    lease = rig.place("t1", delivery=STREAM).lease_id
    tell(rig, "w1", lease, ReportKind.RETURNED)
    assert state_of(rig) is TaskState.WAITING
    assert rig.core.queue.waiting.by_task["", "t1"].event.trail.losses == 1


@pytest.mark.parametrize("slot", [False, True], ids=["without a free slot", "with a free slot"])
def test_what_is_lost_after_its_start_by_is_not_placed_again(slot: bool) -> None:
    rig = Rig()
    worker(rig, "w1")
    rig.place("t1", delivery=STREAM, start_by=rig.now.wall + 1.0)
    if slot:
        worker(rig, "w2")
    rig.go(1.5)
    rig.remove("w1")
    (ended,) = [effect.ended for effect in rig.find(Unqueued)]
    assert ended is not None
    assert ended.state is TaskState.EXPIRED
    assert len(rig.find(Queued)) == 1, "who follows the task hears that it waited"


@pytest.mark.parametrize("placed", [False, True], ids=["while it waits", "while it runs again"])
@pytest.mark.parametrize("restarted", [False, True], ids=["long after", "after a restart"])
def test_the_first_attempt_stands_for_the_next_ones_when_it_is_forgotten_itself(placed: bool, restarted: bool) -> None:
    rig = Rig(CoreSettings(assignment=AssignmentSettings(ended_kept=0, ended_kept_s=1)))
    worker(rig, "w1")
    rig.place("t1", delivery=STREAM)
    rig.remove("w1")
    if placed:
        worker(rig, "w2")
    if restarted:
        again = Rig(rig.settings, incarnation="j")
        again.t = rig.t
        if placed:
            restore_lease(again.core, again.now, lease_to_bytes(rig.core.ledger.tasks["", "t1"]))
        else:
            waiting = waiting_to_bytes(rig.core.queue.waiting.by_task["", "t1"])
            restore_waiting(again.core, again.now, waiting)
        rig = again
    else:
        for _ in range(3):
            rig.tick_for(1)
    assert rig.core.task("", "t1", 1) is None, "forgotten"
    asked = rig.submit("t1", delivery=STREAM)
    assert asked.replayed
    assert asked.state is not None
    assert rig.refuse("t1", delivery=STREAM, priority=0.9).reason == "TASK_CONFLICT"
    rig.give(Cancel("", "t1", 1))
    assert rig.one(CancelReply).state is TaskState.CANCELLED


def test_a_server_that_never_removes_workers_still_loses_the_silent_ones() -> None:
    rig = Rig(CoreSettings(health=HealthSettings(cleanup=False, remove_after_s=60)))
    worker(rig, "w1")
    begun(rig, loss_policy=LossPolicy.REQUEUE)
    rig.tick_for(59.9)
    assert state_of(rig) is TaskState.STARTED
    rig.tick_for(1.2)
    assert state_of(rig) is TaskState.WAITING
    assert "w1" in rig.core.fleet.records
