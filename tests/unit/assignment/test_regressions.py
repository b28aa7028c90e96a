"""What review found wrong once, each as the sentence that holds now."""

from math import inf, nan

import pytest

from scheduler_server.assignment.events import Connect, Heartbeat, Publish
from scheduler_server.assignment.settings import AssignmentSettings, CoreSettings
from scheduler_server.fallback.breaker import BreakerState
from scheduler_server.model.decision import Cause, Rejection
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import OutcomeResult, OutcomeStatus
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.refusal import Reason
from scheduler_server.model.task import Delivery, TaskState
from scheduler_server.model.worker import Accounting, GoodbyeReason, Intent, Registration, RunningLease
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.predictor.published import PublishedPredictor
from scheduler_server.registry.settings import HealthSettings
from tests.unit.assignment.rig import Rig, make_sample


def published(**of_prediction: float) -> PublishedPredictor:
    table = PublishedPredictor("table", EmaPredictor(CoreSettings().predictor))
    table.publish([("type", prediction(**of_prediction))])
    return table


def prediction(point_ms: float = 1_000.0, p90_ms: float = 1_000.0) -> Prediction:
    return Prediction(point_ms, point_ms, point_ms, p90_ms, 0.5, 5, "type=type", "table")


def test_a_trial_that_finds_nobody_to_choose_leaves_the_breaker_ready_for_the_next_trial() -> None:
    rig = Rig(predictor=published(point_ms=nan))
    rig.connect()
    for _ in range(3):
        rig.end(rig.place().lease_id)
    rig.give(Publish((("type", prediction()),)))
    rig.tick_for(30.0)  # the only worker is as old as it may be, and no sweep comes before the next task
    rig.go(0.5)
    assert rig.refuse().reason is Reason.NO_ELIGIBLE_WORKER_NOW
    rig.beat()
    assert rig.place().cause is Cause.ONLY_CANDIDATE
    assert all(state is BreakerState.CLOSED for _, state, _, _ in rig.core.breaker.states(rig.t))


def test_a_prediction_that_is_late_and_not_a_number_reaches_no_timer() -> None:
    rig = Rig(predictor=published(point_ms=nan))
    rig.watch.step_s = 1.0
    rig.connect(bare=True)
    decision = rig.place()
    assert decision.cause is Cause.PREDICTION_INVALID
    assert decision.duration_ms == 5_000.0
    assert rig.core.next_deadline() < inf


@pytest.mark.parametrize("p90_ms", [nan, inf, -1.0])
def test_a_p90_that_is_no_duration_makes_a_fallback(p90_ms: float) -> None:
    rig = Rig(predictor=published(p90_ms=p90_ms))
    rig.connect()
    assert rig.place().cause is Cause.PREDICTION_INVALID


def test_an_excluded_worker_counts_as_excluded_even_while_it_is_full() -> None:
    rig = Rig()
    rig.connect(slots=1)
    rig.place()
    refusal = rig.refuse(excluded=("w1",))
    assert refusal.rejections == ((Rejection.EXCLUDED, 1),)
    assert refusal.reason is Reason.NO_CAPABLE_WORKER
    assert rig.worker().status is Rejection.NO_FREE_SLOT  # and is what it was afterwards


def test_a_bare_worker_that_beats_on_its_old_stream_after_another_stream_took_its_name_is_told_so() -> None:
    rig = Rig()
    rig.connect(bare=True)
    first = rig.session_of["w1"]
    rig.tick_for(302.0)
    assert "w1" not in rig.core.fleet.records
    rig.connect(bare=True)
    rig.give(Heartbeat(first, make_sample()))
    assert [goodbye.reason for goodbye in rig.goodbyes()] == [GoodbyeReason.SUPERSEDED]
    assert sum(len(pool.members) for pool in rig.core.fleet.pools) == 1
    assert rig.worker().session == rig.session_of["w1"]
    rig.give(Heartbeat(first, make_sample()))
    assert rig.out == []


def test_a_heartbeat_restores_the_health_score_in_the_slow_profile() -> None:
    slow = HealthSettings(
        healthy_within_s=600.0, unhealthy_after_s=900.0, remove_after_s=900.0, cleanup_interval_s=300.0,
        heartbeat_min_s=60.0, heartbeat_max_s=300.0,
    )  # fmt: skip
    rig = Rig(CoreSettings(health=slow), scorer="specialist")
    rig.connect()
    rig.tick_for(120.0)
    assert rig.worker().health_score == 0.8
    rig.beat()
    assert rig.worker().health_score == 1.0


def test_a_success_without_a_duration_does_not_count_as_one_of_no_duration() -> None:
    rig = Rig()
    rig.connect()
    for _ in range(9):
        rig.end(rig.place().lease_id, duration_ms=None)
    rig.end(rig.place().lease_id, duration_ms=1_000.0)
    assert rig.worker().average_ms == 1_000.0


def test_a_report_after_a_cancel_is_late_the_first_time_and_a_duplicate_the_second() -> None:
    rig = Rig()
    rig.connect()
    lease_id = rig.place("t").lease_id
    rig.cancel("t")
    assert rig.end(lease_id).result is OutcomeResult.LATE
    assert rig.end(lease_id).result is OutcomeResult.DUPLICATE


def test_a_late_outcome_that_changes_a_workers_speed_changes_its_key() -> None:
    rig = Rig(predictor=published(point_ms=16_000.0), scorer="earliest_finish")
    rig.connect(slots=500)
    leases = [rig.place().lease_id for _ in range(200)]
    rig.disconnect()
    rig.tick_for(200.0)
    rig.connect(slots=500)
    for lease_id in leases:
        rig.core.outcomes.lost(rig.now, rig.core.ledger.leases[lease_id], [])
    for lease_id in leases:
        assert rig.end(lease_id, duration_ms=1_000.0).result is OutcomeResult.LATE
        record = rig.worker()
        key = record.pool.keys[record.pos]
        rig.core.fleet.refresh(record)
        assert record.pool.keys[record.pos] == key
    assert rig.worker().speed > 1.0


def test_a_late_outcome_from_the_queue_service_makes_a_bare_worker_tracked() -> None:
    rig = Rig()
    rig.connect(bare=True)
    lease_id = rig.place().lease_id
    rig.tick_for(25.0)
    assert rig.core.ledger.leases[lease_id].state is TaskState.FINISHED  # by estimate
    assert rig.end(lease_id, duration_ms=25_000.0).result is OutcomeResult.LATE
    assert rig.worker().accounting is Accounting.TRACKED


def test_a_bare_worker_whose_stream_is_lost_is_not_taken_to_finish_anything() -> None:
    rig = Rig()
    rig.connect(bare=True)
    lease_id = rig.place("t").lease_id
    rig.disconnect()
    rig.tick_for(290.0)
    assert rig.core.ledger.leases[lease_id].live
    rig.tick_for(20.0)
    assert rig.refuse("t").reason is Reason.ATTEMPT_LOST


def test_timers_of_bare_workers_do_not_pile_up_with_heartbeats() -> None:
    rig = Rig()
    rig.connect(bare=True)
    rig.worker().depth_departures, rig.worker().depth_area = 10.0, 360_000.0  # tasks of ten hours
    for _ in range(500):
        rig.go(1.0)
        rig.beat(queue_depth=5)
    assert len(rig.core._timers) < 5


def test_a_second_unanswered_offer_does_not_fence_the_session_that_came_after_the_first() -> None:
    rig = Rig()
    rig.connect(accepts_tasks=True, slots=4)
    rig.place("a", delivery=Delivery.STREAM)
    rig.go(1.0)
    second = rig.place("b", delivery=Delivery.STREAM)
    rig.tick_for(4.1)
    assert rig.core.task("", "a", 1).state is TaskState.LOST  # type: ignore[union-attr]
    rig.connect(accepts_tasks=True, slots=4)
    rig.tick_for(3.0)
    assert rig.goodbyes() == []
    assert rig.core.ledger.leases[second.lease_id].state is TaskState.LOST


def test_a_listed_offer_counts_as_acknowledged() -> None:
    rig = Rig()
    rig.connect(accepts_tasks=True)
    lease_id = rig.place("a", delivery=Delivery.STREAM).lease_id
    rig.beat(running=(RunningLease(lease_id, None),), queue_depth=1)
    rig.tick_for(6.0)
    assert rig.core.ledger.leases[lease_id].state is TaskState.ACKNOWLEDGED


def test_a_lost_short_lease_behind_a_long_one_is_still_lost_track_of() -> None:
    table = published(point_ms=1e8, p90_ms=1e8)
    rig = Rig(predictor=table)
    rig.connect(slots=2)
    long = rig.place("long").lease_id
    rig.give(Publish((("type", prediction()),)))
    short = rig.place("short").lease_id
    for _ in range(70):
        rig.tick_for(10.0)
        rig.beat(queue_depth=1)
    assert rig.core.ledger.leases[long].live
    assert rig.core.ledger.leases[short].state is TaskState.LOST
    assert rig.worker().free == 1


def test_a_draining_worker_that_holds_nothing_more_is_told_of_as_drained() -> None:
    rig = Rig()
    rig.connect()
    lease_id = rig.place().lease_id
    rig.beat(intent=Intent.DRAIN, queue_depth=1)
    assert FleetEventKind.WORKER_DRAINING in rig.events()
    assert FleetEventKind.WORKER_DRAINED not in rig.events()
    rig.end(lease_id)
    assert rig.events().count(FleetEventKind.WORKER_DRAINED) == 1


def test_an_idle_worker_that_drains_is_drained_at_once() -> None:
    rig = Rig()
    rig.connect()
    rig.beat(intent=Intent.DRAIN)
    assert rig.events() == [FleetEventKind.WORKER_DRAINING, FleetEventKind.WORKER_DRAINED]


def test_pools_of_workers_long_gone_do_not_pile_up() -> None:
    rig = Rig()
    rig.connect("stays")
    for number in range(500):
        rig.connect(f"w{number}", capabilities=(f"only-{number}",))
        rig.beat(f"w{number}", intent=Intent.LEAVE)
    assert len(rig.core.fleet.pools) < 100
    assert rig.place().worker_id == "stays"


def test_forgetting_ended_tasks_takes_a_bounded_share_of_any_event() -> None:
    rig = Rig(CoreSettings(assignment=AssignmentSettings(ended_kept_s=60.0)))
    rig.connect(slots=10)
    for _ in range(5_000):
        rig.end(rig.place().lease_id)
    last = rig.place().lease_id
    rig.t += 61.0
    before = len(rig.core.ledger.leases)
    rig.core.outcomes.lost(rig.now, rig.core.ledger.leases[last], [])
    assert before - len(rig.core.ledger.leases) < 100


@pytest.mark.parametrize("start_s", [0.0, 0.1, 0.3, 1.7, 3.14159])
def test_a_worker_at_the_very_end_of_an_age_band_is_decided_on_in_finite_time(start_s: float) -> None:
    for last_digit in range(-3, 4):
        rig = Rig(start_s=start_s)
        rig.connect()
        rig.t = start_s + 15.0 + last_digit * 1.8e-15
        assert rig.place().worker_id == "w1"


def test_memories_of_workers_that_never_came_back_are_not_written_for_ever() -> None:
    first = Rig()
    first.connect(capabilities=("gpu",))
    first.end(first.place().lease_id)
    kept = list(first.core.snapshot(first.now))
    second = Rig(incarnation="j")
    assert second.core.restore(second.now, kept) == []
    assert {record["part"] for record in second.core.snapshot(second.now)} == {
        "worker", "capabilities", "predictor", "accuracy",
    }  # fmt: skip
    second.tick_for(301.0)
    assert {record["part"] for record in second.core.snapshot(second.now)} == {"predictor", "accuracy"}


@pytest.mark.parametrize(
    "record",
    [
        {"part": "worker", "worker_id": "w", "completed": 10**400, "failed": 0, "average_ms": 1.0, "log_speed": 0.0,
         "speed_samples": 1, "speed_group": 0},
        {"part": "worker", "worker_id": "w", "completed": -1, "failed": 0, "average_ms": 1.0, "log_speed": 0.0,
         "speed_samples": 1, "speed_group": 0},
        {"part": "worker", "worker_id": "w", "completed": 1, "failed": 0, "average_ms": -1.0, "log_speed": 0.0,
         "speed_samples": 1, "speed_group": 0},
        {"part": "predictor", "strategy": "ema", "type": "a", "mean_ms": 1.0, "variance": 10**400, "samples": 1},
        {"part": "predictor", "strategy": "ema", "type": "a", "mean_ms": 1.0, "variance": 1.0, "samples": 10**400},
        {"part": "breaker", "circuit": "a", "state": 2, "failures": 3, "open_for_s": nan},
        {"part": "breaker", "circuit": "a", "state": 9, "failures": 3, "open_for_s": 0.0},
        {"part": "capabilities", "all": 3},
        {"part": "accuracy", "type": "a", "judged": 10**400, "outcomes": [1.0]},
        {"part": "accuracy", "type": "a", "judged": 0, "outcomes": [1.0]},
        {"part": "accuracy", "type": "a", "judged": 1, "outcomes": [nan]},
        {"part": "accuracy", "type": "a", "judged": 1, "outcomes": [-1e9]},
        {"part": "accuracy", "type": "a", "judged": 1, "outcomes": ["1"]},
        {"part": "accuracy", "type": None, "judged": 1, "outcomes": [1.0]},
        {"part": "unheard of"},
        {},
    ],
)  # fmt: skip
def test_a_record_that_makes_no_sense_is_told_and_left_out(record: dict[str, object]) -> None:
    rig = Rig()
    assert len(rig.core.restore(rig.now, [record])) == 1
    rig.connect("w")
    assert rig.place().worker_id == "w"


def test_an_offer_is_not_lost_by_a_reconnect_before_its_deadline() -> None:
    rig = Rig()
    rig.connect(accepts_tasks=True)
    lease_id = rig.place("a", delivery=Delivery.STREAM).lease_id
    rig.give(
        Connect(
            99, "w1", None, Registration(slots=2, accepts_tasks=True),
            make_sample(queue_depth=1, running=(RunningLease(lease_id, 10.0),)),
        )
    )  # fmt: skip
    rig.tick_for(10.0)
    assert rig.core.ledger.leases[lease_id].state is TaskState.STARTED
    assert rig.end(lease_id, OutcomeStatus.SUCCEEDED).result is OutcomeResult.ACCEPTED
