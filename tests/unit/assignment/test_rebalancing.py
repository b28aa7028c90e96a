"""Staged tasks move to where they start sooner, once they are handed back; and nothing waits beside a free slot."""

from typing import Any

import pytest

from scheduler_server.assignment.effects import AskBack, HandOver, Published, Rebalanced
from scheduler_server.assignment.events import Configured, Rebalance, Submit
from scheduler_server.assignment.rebalance_settings import RebalanceSettings
from scheduler_server.assignment.rebalancing import MoveEnd
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.decision import Cause, Source
from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.model.task import Delivery, Task, TaskState
from scheduler_server.model.worker import LeaseReport, Registration, ReportKind, RunningLease
from tests.unit.assignment.rig import Rig, make_sample

STREAM = Delivery.STREAM
DURATION_S = 5.0  # of a task that nothing is known of


def settings(**more: Any) -> CoreSettings:
    return CoreSettings(rebalance=RebalanceSettings(**more))


class Fleet(Rig):
    """The rig, and workers that hold what they are handed as the SDK does."""

    def __init__(self, **more: Any) -> None:
        more.setdefault("interval_s", 2.0)  # before the first task is predicted to end
        super().__init__(settings(**more))
        self.running: dict[str, list[str]] = {}
        self.queued: dict[str, list[str]] = {}
        self.slots: dict[str, int] = {}
        self.deaf: set[str] = set()  # workers whose software does not know the directive
        self.events_seen: list[FleetEvent] = []
        self.asks: list[AskBack] = []

    def worker(self, worker_id: str = "w1") -> Any:
        return self.core.fleet.records[worker_id]

    def join(self, name: str, slots: int = 1, prefetch: int = 0, load: float = 0.0, **more: Any) -> None:
        self.slots[name], self.running[name], self.queued[name] = slots, [], []
        registration = Registration(slots=slots, accepts_tasks=True, prefetch=prefetch, **more)
        self.connect(name, registration=registration, sample=make_sample(running=(), cpu=load, memory=load))
        self.read()

    def give(self, event: Any) -> Any:
        out = super().give(event)
        self.events_seen += [effect.event for effect in out if isinstance(effect, Published)]
        self.asks += [effect for effect in out if isinstance(effect, AskBack)]
        return out

    def name_of(self, session: int) -> str:
        return next(name for name, each in self.session_of.items() if each == session)

    def read(self) -> None:
        """Let every worker take in what it was just sent, and answer."""
        while True:
            reports: dict[str, list[LeaseReport]] = {}
            for effect in self.out:
                if isinstance(effect, HandOver):
                    name = self.name_of(effect.session)
                    lease_id = effect.decision.lease_id
                    said = reports.setdefault(name, [])
                    said.append(LeaseReport(lease_id, ReportKind.ACKNOWLEDGED))
                    if len(self.running[name]) < self.slots[name]:
                        self.running[name].append(lease_id)
                        said.append(LeaseReport(lease_id, ReportKind.STARTED))
                    else:
                        self.queued[name].append(lease_id)
                elif isinstance(effect, AskBack):
                    name = self.name_of(effect.session)
                    if name not in self.deaf and effect.lease_id in self.queued[name]:
                        self.queued[name].remove(effect.lease_id)
                        reports.setdefault(name, []).append(LeaseReport(effect.lease_id, ReportKind.RETURNED))
            if not reports:
                return
            told = []
            for name, said in reports.items():
                self.say(name, tuple(said))
                told += self.out
            self.out = told

    def say(self, name: str, reports: tuple[LeaseReport, ...] = ()) -> None:
        listed = (*self.running[name], *self.queued[name])
        running = tuple(RunningLease(each, 0.0 if each in self.running[name] else None) for each in listed)
        self.beat(name, reports=reports, running=running, queue_depth=len(listed))

    def stage(self, task_id: str, **more: Any) -> str:
        """Place a task; the worker that has it."""
        placed = self.place(task_id, delivery=STREAM, **more)
        self.read()
        return placed.worker_id

    def rounds(self, seconds: float) -> None:
        """Let time pass, with heartbeats and every tick, and workers that answer at once."""
        until = self.t + seconds
        beat_at = self.t
        while self.t < until:
            self.t = max(self.t, min(until, self.core.next_deadline(), beat_at + 1.0))
            if self.t >= beat_at + 1.0:
                beat_at = self.t
                for name in self.running:
                    if self.core.fleet.records[name].session is not None:
                        self.say(name)
                        self.read()
            self.tick()

    def tick(self) -> None:
        super().tick_for(0.0)
        self.read()

    def tick_for(self, seconds: float) -> Any:
        raise NotImplementedError("rounds() answers, too")

    def where(self, task_id: str) -> str:
        record = self.core.ledger.tasks["", task_id]
        assert record.live, record
        return record.worker_id

    def moved(self) -> list[tuple[str, str, str]]:
        return [(e.subject, e.before, e.after) for e in self.events_seen if e.kind is FleetEventKind.TASK_MOVED]


def stuck(**more: Any) -> Fleet:
    """A worker that runs one task and holds two, and another that becomes free afterwards."""
    fleet = Fleet(**more)
    fleet.join("full", slots=1, prefetch=2)
    assert [fleet.stage(name) for name in ("t1", "t2", "t3")] == ["full"] * 3
    fleet.join("idle")
    return fleet


def test_a_staged_task_moves_to_a_worker_that_became_free() -> None:
    fleet = stuck()
    assert fleet.where("t2") == "full"
    fleet.rounds(6.0)
    assert fleet.where("t2") == "idle"
    assert fleet.where("t3") == "full", "there was one free slot, and it goes to the one that came first"
    assert fleet.moved() == [("t2", "full", "idle")]
    told = {event.kind for event in fleet.events_seen}
    assert not told & {FleetEventKind.TASK_REQUEUED, FleetEventKind.TASK_DECLINED}, "nothing of it is trouble"


def test_the_decision_says_that_it_was_rebalanced_and_the_attempt_before_that_it_was_handed_back() -> None:
    fleet = stuck()
    fleet.rounds(6.0)
    record = fleet.core.ledger.tasks["", "t2"]
    assert (record.decision.cause, record.decision.source) == (Cause.REBALANCED, Source.PREDICTED)
    assert record.task.attempt == 2
    assert record.previous is not None
    assert record.previous.state is TaskState.LOST
    assert record.trail.losses == 0, "what is handed back costs no attempt"
    assert fleet.core.placement.by_cause[Cause.REBALANCED] == 1
    assert fleet.core.rebalancing.ends == {MoveEnd.MOVED: 1}


def test_the_task_is_placed_nowhere_before_its_worker_has_handed_it_back() -> None:
    fleet = stuck()
    fleet.deaf.add("full")
    fleet.rounds(2.5)
    assert [ask.lease_id for ask in fleet.asks] == [fleet.core.ledger.tasks["", "t2"].lease_id]
    assert fleet.where("t2") == "full"
    assert not fleet.core.fleet.records["idle"].leases


def test_a_worker_that_does_not_answer_keeps_its_tasks_and_is_not_asked_again_while_it_holds_that_one() -> None:
    fleet = stuck(confirm_within_s=3.0, interval_s=1.0)
    fleet.deaf.add("full")
    fleet.rounds(3.0)
    assert len(fleet.asks) == 1
    fleet.rounds(1.5)
    assert fleet.core.rebalancing.ends == {MoveEnd.UNANSWERED: 1}
    asked = len(fleet.asks)
    fleet.rounds(20.0)
    assert len(fleet.asks) == asked
    lease_id = fleet.asks[0].lease_id  # it starts, and the worker may know by now
    fleet.queued["full"].remove(lease_id)
    fleet.end(fleet.running["full"][0])
    fleet.running["full"] = [lease_id]
    fleet.say("full", (LeaseReport(lease_id, ReportKind.STARTED),))
    fleet.rounds(5.0)
    assert len(fleet.asks) > asked


def test_a_late_hand_back_is_a_move_all_the_same() -> None:
    fleet = stuck(confirm_within_s=3.0)
    fleet.deaf.add("full")
    fleet.rounds(5.5)
    assert fleet.core.rebalancing.ends == {MoveEnd.UNANSWERED: 1}
    lease_id = fleet.asks[0].lease_id
    fleet.queued["full"].remove(lease_id)
    fleet.say("full", (LeaseReport(lease_id, ReportKind.RETURNED),))
    fleet.read()
    assert fleet.where("t2") == "idle"
    assert fleet.core.ledger.tasks["", "t2"].trail.losses == 0


def test_what_has_started_meanwhile_stays() -> None:
    fleet = stuck()
    fleet.deaf.add("full")
    fleet.rounds(2.2)
    assert len(fleet.asks) == 1
    done, lease_id = fleet.running["full"][0], fleet.asks[0].lease_id
    fleet.running["full"] = [lease_id]
    fleet.queued["full"].remove(lease_id)
    fleet.end(done)
    fleet.say("full", (LeaseReport(lease_id, ReportKind.STARTED),))
    fleet.rounds(10.0)
    assert fleet.where("t2") == "full"
    assert fleet.core.rebalancing.ends[MoveEnd.STARTED] == 1
    assert fleet.core.ledger.tasks["", "t2"].task.attempt == 1


def test_running_tasks_are_never_asked_back() -> None:
    fleet = Fleet()
    fleet.join("full", slots=2, prefetch=1)
    for name in ("t1", "t2"):
        fleet.stage(name)
    fleet.join("idle")
    fleet.rounds(30.0)
    assert fleet.asks == []


@pytest.mark.parametrize(("least_s", "moves"), [(4.9, 1), (5.1, 0)])
def test_a_task_moves_only_where_it_starts_sooner_by_the_least_gain(least_s: float, moves: int) -> None:
    # Nothing has run when the round comes at once: t2 waits for all of t1's 5 s.
    fleet = stuck(least_gain_s=least_s, least_gain_ratio=0.0, interval_s=0.0)
    moved = order(fleet, "t2")
    assert len(moved) == moves


def order(fleet: Fleet, *names: str) -> tuple[Any, ...]:
    leases = tuple(fleet.core.ledger.tasks["", name].lease_id for name in names)
    fleet.give(Rebalance(leases=leases))
    return fleet.one(Rebalanced).moves


def test_by_order_it_tells_the_target_and_the_gain() -> None:
    fleet = stuck(interval_s=0.0)
    (move,) = order(fleet, "t2", "t3")
    assert (move.target, move.lease.task.task_id) == ("idle", "t2")
    assert move.gain_s == pytest.approx(DURATION_S)


def test_two_tasks_are_not_asked_back_for_one_slot() -> None:
    fleet = stuck(interval_s=0.0)
    fleet.deaf.add("full")
    assert len(order(fleet, "t2")) == 1
    assert order(fleet, "t3") == ()


def test_a_move_makes_the_next_one_dearer_and_has_to_rest_first() -> None:
    fleet = stuck(interval_s=0.0, rest_s=10.0, least_gain_s=1.0, least_gain_ratio=0.0)
    lease = fleet.core.ledger.tasks["", "t2"]
    elsewhere = fleet.core.rebalancing._elsewhere
    assert elsewhere.needed_gain_s(lease, 5.0) == 1.0
    lease.trail = lease.trail._replace(moves=1, moved_at=fleet.now.wall)
    assert elsewhere.needed_gain_s(lease, 5.0) == 2.0
    assert order(fleet, "t2") == ()
    fleet.go(9.9)
    assert not elsewhere.may_move(lease, fleet.now)
    fleet.go(0.2)
    assert elsewhere.may_move(lease, fleet.now)
    lease.trail = lease.trail._replace(moves=3)
    assert not elsewhere.may_move(lease, fleet.now), "three moves are the most"


def test_staged_tasks_do_not_go_to_and_fro_between_two_equal_workers() -> None:
    fleet = Fleet(interval_s=1.0)
    fleet.join("a", prefetch=4)
    fleet.join("b", prefetch=4)
    for number in range(8):
        fleet.stage(f"t{number}")
    fleet.rounds(60.0)  # nothing ends: every prediction is wrong by then
    counts = [record.trail.moves for record in fleet.core.ledger.leases.values() if record.live]
    assert sum(counts) <= 4
    assert max(counts) <= 1


def test_a_round_asks_no_more_than_its_most() -> None:
    fleet = Fleet(max_tasks=2)
    fleet.join("full", slots=1, prefetch=9)
    for number in range(10):
        fleet.stage(f"t{number}")
    fleet.join("idle", slots=5)
    fleet.rounds(2.5)
    assert len(fleet.asks) == 2
    assert {fleet.where("t1"), fleet.where("t2")} == {"idle"}
    fleet.rounds(2.0)
    assert len(fleet.asks) == 4


def test_the_highest_priority_moves_first() -> None:
    fleet = Fleet(interval_s=0.0)
    fleet.join("full", slots=1, prefetch=3)
    for name, priority in (("t1", 0.0), ("t2", 0.0), ("t3", 1.0)):
        fleet.stage(name, priority=priority)
    fleet.join("idle")
    search = fleet.core.rebalancing.search(10)
    while not search.step(fleet.now):
        pass
    assert [move.lease.task.task_id for move in search.moves()] == ["t3", "t2"]
    search = fleet.core.rebalancing.search(1)
    assert search.step(fleet.now)
    assert [move.lease.task.task_id for move in search.moves()] == ["t3"]


def test_a_slower_worker_that_would_end_it_later_gets_nothing() -> None:
    fleet = stuck(interval_s=0.0)
    fleet.worker("idle").speed = 0.4  # 12.5 s there against 5 s after 5 s
    assert order(fleet, "t2") == ()
    fleet.worker("idle").speed = 0.6
    assert len(order(fleet, "t2")) == 1


def test_a_degraded_worker_gets_nothing_that_a_healthy_one_holds() -> None:
    fleet = Fleet(interval_s=0.0)
    fleet.join("full", slots=1, prefetch=2)
    fleet.stage("t1")
    fleet.stage("t2")
    fleet.join("degraded", load=0.95)
    assert order(fleet, "t2") == ()


def test_what_a_task_needs_and_excludes_holds_for_its_move() -> None:
    fleet = Fleet(interval_s=0.0)
    fleet.join("full", slots=1, prefetch=3, capabilities=("gpu",))
    fleet.stage("t1")
    fleet.stage("t2", required=("gpu",))
    fleet.stage("t3", excluded=("idle",))
    fleet.join("idle")
    assert order(fleet, "t2", "t3") == ()


def test_a_worker_that_has_no_slots_for_a_while_is_looked_at_as_well() -> None:
    fleet = stuck(interval_s=0.0)
    fleet.core.fleet.resize(fleet.worker("full"), 0)
    (move,) = order(fleet, "t2")
    assert move.target == "idle"


def test_what_must_be_placed_by_an_instant_is_not_moved() -> None:
    fleet = Fleet(interval_s=0.0)
    fleet.join("full", slots=1, prefetch=3)
    fleet.stage("t1")
    fleet.stage("t2", start_by=fleet.now.wall + 3_600.0)
    fleet.join("idle")
    assert order(fleet, "t2") == ()


def test_a_task_that_is_handed_back_too_late_for_its_slot_waits_for_the_next_one_and_is_not_lost() -> None:
    fleet = stuck(interval_s=0.0)
    fleet.deaf.add("full")
    (move,) = order(fleet, "t2")
    assert fleet.stage("t9") == "idle"  # somebody was faster
    fleet.deaf.clear()
    lease_id = move.lease.lease_id
    fleet.queued["full"].remove(lease_id)
    fleet.say("full", (LeaseReport(lease_id, ReportKind.RETURNED),))
    fleet.read()
    record = fleet.core.ledger.tasks["", "t2"]
    assert record.live
    assert fleet.core.rebalancing.ends[MoveEnd.CAME_BACK] == 1
    assert record.decision.cause is not Cause.REBALANCED
    assert fleet.moved() == []


def test_a_worker_that_drains_hands_back_for_its_drain() -> None:
    fleet = stuck(interval_s=0.0)
    fleet.deaf.add("full")
    (move,) = order(fleet, "t2")
    fleet.worker("full").draining = True
    fleet.queued["full"].remove(move.lease.lease_id)
    fleet.say("full", (LeaseReport(move.lease.lease_id, ReportKind.RETURNED),))
    assert fleet.core.ledger.tasks["", "t2"].decision.cause is not Cause.REBALANCED
    assert fleet.core.ledger.tasks["", "t2"].trail.moves == 0


def test_with_an_interval_of_0_nothing_happens_by_itself_and_it_can_be_set_at_run_time() -> None:
    fleet = stuck(interval_s=0.0)
    fleet.rounds(30.0)
    assert fleet.core.rebalancing.rounds == 0
    fleet.give(Configured(settings(interval_s=2.0), 2))
    fleet.rounds(2.5)
    assert fleet.core.rebalancing.rounds == 1
    assert fleet.where("t2") == "idle"
    fleet.give(Configured(settings(interval_s=0.0), 3))
    fleet.rounds(10.0)
    assert fleet.core.rebalancing.rounds == 1


@pytest.mark.parametrize(("interval_s", "faults"), [(0.0, []), (0.099, ["interval_s"]), (0.1, []), (5.0, [])])
def test_rounds_do_not_follow_each_other_at_once(interval_s: float, faults: list[str]) -> None:
    assert [field for field, _ in RebalanceSettings(interval_s=interval_s).faults()] == faults


# ---------------------------------------------------------------------- what waits


def forgotten(fleet: Fleet, *names: str) -> None:
    """Tasks that wait beside a free slot, which the core itself never lets come to pass."""
    for name in names:
        fleet.give(Submit(Task("", name, 1, "type"), STREAM, enqueue=True))
        assert ("", name) in fleet.core.queue.waiting.by_task
    registration = Registration(slots=2, accepts_tasks=True)
    fleet.slots["new"], fleet.running["new"], fleet.queued["new"] = 2, [], []
    queue = fleet.core.queue
    queue.open = False
    fleet.connect("new", registration=registration, sample=make_sample(running=()))
    queue.open = True
    fleet.core.fleet.opened.clear()
    assert len(queue.waiting) == len(names)


def test_a_round_places_what_waits_beside_a_free_slot_and_counts_it() -> None:
    fleet = Fleet()
    forgotten(fleet, "t1", "t2", "t3")
    fleet.rounds(5.5)
    assert fleet.where("t1") == fleet.where("t2") == "new"
    assert len(fleet.core.queue.waiting) == 1
    assert fleet.core.rebalancing.placed == 2


def test_by_order_the_tasks_named_are_placed() -> None:
    fleet = Fleet(interval_s=0.0)
    forgotten(fleet, "t1", "t2", "t3")
    fleet.give(Rebalance(tasks=(("", "t2"), ("", "unknown"))))
    (placed,) = fleet.one(Rebalanced).placed
    assert (placed.task.task_id, placed.worker_id) == ("t2", "new")
    fleet.read()
    assert fleet.core.rebalancing.placed == 1


def test_ordinarily_there_is_nothing_left_to_place() -> None:
    fleet = Fleet(interval_s=1.0)
    for number in range(20):
        fleet.give(Submit(Task("", f"t{number}", 1, "type"), STREAM, enqueue=True))
    fleet.join("w1", slots=4)
    fleet.rounds(5.0)
    assert len(fleet.core.queue.waiting) == 16
    assert fleet.core.rebalancing.rounds >= 4
    assert fleet.core.rebalancing.placed == 0
