"""Heartbeats that are late cost no lease, and leases that workers do not have are found all the same."""

from collections import deque

import pytest

from scheduler_server.assignment.effects import Effect, Published
from scheduler_server.assignment.events import Heartbeat
from scheduler_server.assignment.lateness import Lateness, Others
from scheduler_server.assignment.settings import AssignmentSettings, CoreSettings
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.task import TaskState
from scheduler_server.model.worker import RunningLease, Sample
from tests.unit.assignment.rig import Rig, make_sample

BEAT_S, SHORT_S, GRACE_S, LOST_TRACK_S = 10.0, 40.0, 30.0, 600.0
GIVEN_UP = {FleetEventKind.WORKER_LEDGER_REPAIRED, FleetEventKind.LEASE_LOST_TRACK}


class Late:
    """One worker of three slots whose heartbeats are on their way for long: two run short tasks without a rest.

    `tasks` holds what really runs, by lease, with its end.
    """

    def __init__(self, *, lists: bool, late_s: float) -> None:
        # What has ended is remembered for longer than heartbeats are late.
        self.rig = Rig(CoreSettings(assignment=AssignmentSettings(ended_kept_s=10_000.0)))
        self.rig.connect(slots=3, sample=self._sample({}, lists))
        self.lists = lists
        self.late_s = late_s
        self.tasks: dict[str, tuple[float, float]] = {}
        self.under_way: deque[tuple[float, Sample]] = deque()
        self.given_up = 0

    def _sample(self, tasks: dict[str, tuple[float, float]], lists: bool) -> Sample:
        now = self.rig.t
        running = tuple(RunningLease(lease, (now - began) * 1e3) for lease, (began, _) in tasks.items())
        return make_sample(queue_depth=len(tasks), running=running if lists else None)

    def run(self, lasts_s: float) -> str:
        """A task that the worker really runs; its lease."""
        lease = self.rig.place().lease_id
        self.tasks[lease] = (self.rig.t, self.rig.t + lasts_s)
        return lease

    def live(self, lease: str) -> bool:
        """Does the ledger hold it?"""
        return self.rig.core.ledger.leases[lease].live

    def go(self, seconds: float, short: int = 2) -> None:
        """Let time pass, with so many short tasks at work at any time."""
        rig = self.rig
        for _ in range(round(seconds / BEAT_S)):
            for lease, (began, ends) in list(self.tasks.items()):
                if ends <= rig.t:
                    rig.end(lease, duration_ms=(ends - began) * 1e3)
                    del self.tasks[lease]
            began_at = [began for began, ends in self.tasks.values() if ends - began == SHORT_S]
            if len(began_at) < short and rig.t - max(began_at, default=0.0) >= SHORT_S / 2:
                self.run(SHORT_S)  # in turns
            self.under_way.append((rig.t + self.late_s, self._sample(self.tasks, self.lists)))
            if self.under_way[0][0] > rig.t:  # what was sent before it had anything
                self._hear(self._sample({}, self.lists))
            while self.under_way and self.under_way[0][0] <= rig.t:
                self._hear(self.under_way.popleft()[1])
            rig.tick_for(BEAT_S)

    def _hear(self, sample: Sample) -> None:
        told: list[Effect] = self.rig.give(Heartbeat(1, sample))
        self.given_up += sum(isinstance(each, Published) and each.event.kind in GIVEN_UP for each in told)


def beats(rig: Rig, seconds: float, queue_depth: int) -> None:
    """Heartbeats of a worker that only counts, for so long."""
    until = rig.t + seconds
    while rig.t < until:
        rig.beat(queue_depth=queue_depth)
        rig.go(min(BEAT_S, until - rig.t))


@pytest.mark.parametrize("lists", [True, False], ids=["lists", "counts"])
@pytest.mark.parametrize("late_s", [50.0, 400.0, 3_000.0])
def test_heartbeats_late_by_many_tasks_cost_no_lease(lists: bool, late_s: float) -> None:
    late = Late(lists=lists, late_s=late_s)
    late.go(20.0)
    long = late.run(5_000.0)
    late.go(4_000.0)
    assert (late.given_up, late.live(long)) == (0, True)
    late.go(2_000.0)
    assert late.given_up == 0
    assert late.rig.core.ledger.leases[long].state is TaskState.FINISHED
    assert late.rig.worker().free == 1


def test_what_a_late_list_names_and_has_ended_since_is_not_background_work() -> None:
    late = Late(lists=True, late_s=400.0)
    late.go(1_000.0)
    record = late.rig.worker()
    assert (record.occupied, record.background, record.free) == (2, 0, 1)


def test_a_cancelled_task_that_a_list_still_names_takes_its_slot() -> None:
    rig = Rig()
    rig.connect(slots=2, sample=make_sample(running=()))
    lease = rig.place("t1").lease_id
    rig.cancel("t1")
    rig.beat(running=(RunningLease(lease, 1.0),), queue_depth=1)
    assert (rig.worker().background, rig.worker().free) == (1, 1)


def test_a_lease_that_a_worker_with_late_lists_never_got_is_found_once_younger_ones_are_listed() -> None:
    late = Late(lists=True, late_s=400.0)
    late.go(1_000.0)
    never = late.rig.place().lease_id
    late.go(400.0)
    assert late.live(never)
    late.go(SHORT_S + GRACE_S + 4 * BEAT_S)
    assert not late.live(never)
    assert late.given_up == 1


def test_a_lease_that_a_worker_whose_lists_were_late_never_got_is_found_once_the_doubt_has_passed() -> None:
    late = Late(lists=True, late_s=100.0)
    late.go(1_000.0)
    late.go(200.0, short=0)
    never = late.rig.place().lease_id  # and nothing after it
    late.go(1_000.0, short=0)
    assert late.live(never)
    late.go(10 * LOST_TRACK_S - 1_000.0 + GRACE_S, short=0)
    assert not late.live(never)


@pytest.mark.parametrize("lists", [True, False], ids=["lists", "counts"])
def test_a_lease_that_a_busy_worker_never_got_is_found_where_heartbeats_are_on_time(lists: bool) -> None:
    late = Late(lists=lists, late_s=0.0)
    late.go(200.0)
    never = late.rig.place().lease_id
    limit_s = GRACE_S if lists else LOST_TRACK_S
    late.go(limit_s)
    assert late.live(never)
    late.go(2 * BEAT_S)
    assert not late.live(never)
    assert late.given_up == 1


def test_a_lease_that_a_worker_had_and_lists_no_more_is_found_after_the_grace_though_its_lists_are_late() -> None:
    late = Late(lists=True, late_s=400.0)
    late.go(1_000.0)
    dropped = late.run(10_000.0)
    late.go(600.0)
    assert late.rig.core.ledger.leases[dropped].state is TaskState.STARTED
    del late.tasks[dropped]
    late.go(400.0)
    assert late.live(dropped)
    late.go(GRACE_S + 2 * BEAT_S)
    assert not late.live(dropped)


def test_a_count_taken_before_a_lease_was_granted_costs_no_older_one() -> None:
    """The sample crossed the grant: it has one task, and that is the old one."""
    rig = Rig()
    rig.connect(slots=2)
    old = rig.place("old").lease_id
    beats(rig, LOST_TRACK_S + 1.0, 1)
    rig.place("young")
    rig.go(0.9)
    rig.beat(queue_depth=1)
    assert rig.core.ledger.leases[old].live
    rig.go(0.2)  # worker.hand_over_s has passed
    rig.beat(queue_depth=1)
    assert not rig.core.ledger.leases[old].live


def test_one_that_was_given_up_and_ended_after_all_makes_the_server_wait_longer_for_the_next() -> None:
    rig = Rig()
    rig.connect(slots=1)
    first = rig.place("t1").lease_id
    beats(rig, LOST_TRACK_S + 1.0, 1)
    rig.beat(queue_depth=0)
    assert not rig.core.ledger.leases[first].live
    rig.end(first, duration_ms=700_000.0)
    second = rig.place("t2").lease_id
    beats(rig, LOST_TRACK_S + 1.0, 0)
    rig.beat(queue_depth=0)
    assert rig.core.ledger.leases[second].live
    beats(rig, 10.0 * LOST_TRACK_S, 0)
    rig.beat(queue_depth=0)
    assert not rig.core.ledger.leases[second].live


def test_a_list_without_a_short_task_that_crossed_it_proves_nothing() -> None:
    rig = Rig()
    rig.connect(slots=2, sample=make_sample(running=()))
    for _ in range(20):
        lease = rig.place().lease_id
        rig.go(1.0)
        rig.beat(running=())
        rig.go(5.0)
        rig.end(lease, duration_ms=6_000.0)
        rig.beat(running=(RunningLease(lease, 5_900.0),), queue_depth=1)
        assert rig.worker().lateness is None


def test_the_load_of_a_late_sample_is_an_average_and_one_on_time_says_what_it_says() -> None:
    others = Others()
    late = Lateness("w", others)
    assert late.usual(0.0, 0.8, 4, 4, LOST_TRACK_S) == (0.8, 4)
    others.shown(0.0, "a", 100.0)
    others.shown(0.0, "b", 100.0)
    assert late.usual(1.0, 0.2, 1, 1, LOST_TRACK_S) == pytest.approx((0.5, 2.5))


# ---------------------------------------------------------------------- of others


def test_what_was_shown_of_two_workers_is_believed_of_one_of_which_nothing_is_known() -> None:
    others = Others()
    new = Lateness("new", others)
    others.shown(0.0, "a", 100.0)
    others.shown(1.0, "a", 120.0)
    assert new.lag_s(2.0, 60.0) == 0.0, "one may only keep in its list what is over"
    others.shown(2.0, "b", 90.0)
    assert new.lag_s(3.0, 60.0) == 90.0
    new.taken_at = 3.0
    assert new.lag_s(3.0, 60.0) == 0.0, "its lists speak for themselves"


@pytest.mark.parametrize(("passed", "lag_s"), [(1_000.0, 100.0), (1_000.1, 0.0)])
def test_a_doubt_passes_after_ten_times_its_length(passed: float, lag_s: float) -> None:
    others = Others()
    others.shown(0.0, "a", 100.0)
    others.shown(0.0, "b", 100.0)
    assert Lateness("new", others).lag_s(passed, 60.0) == lag_s
