"""Drains in the core: what the scenarios leave out, and a machine that holds it against a plain second account."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from scheduler_server.assignment import drain_jobs, drain_register, draining
from scheduler_server.assignment.drain_record import Drain, KeptDrain, KeptLine, drain_of, line_of, to_bytes
from scheduler_server.assignment.effects import (
    DrainForgotten,
    DrainLeft,
    DrainMoved,
    DrainSent,
    DrainStands,
    Effect,
    Recall,
)
from scheduler_server.assignment.events import DrainEnded, DrainOrdered, Submit
from scheduler_server.assignment.recording import effect_lines, event_line, read_line
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.assignment.state import lease_to_bytes, restore_lease
from scheduler_server.model.clock import Now
from scheduler_server.model.drain import AtDeadline, DrainCounts, DrainOrder, DrainState
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import Delivery, Task
from scheduler_server.model.worker import Intent, LeaseReport, ReportKind, RunningLease
from tests.unit.assignment.rig import Rig

STREAM = Delivery.STREAM


def order(rig: Rig, drain_id: str, *worker_ids: str, **more: Any) -> Drain:
    rig.give(DrainOrdered(DrainOrder(drain_id, worker_ids, created=rig.now.wall, **more)))
    return rig.core.drains.drains[drain_id]


def worker(rig: Rig, name: str = "w1", **registration: Any) -> None:
    rig.connect(name, accepts_tasks=True, **registration)


def report(lease_id: str, kind: ReportKind, status: OutcomeStatus | None = None) -> LeaseReport:
    return LeaseReport(lease_id, kind, None if status is None else Outcome(status, 1_000.0))


# ---------------------------------------------------------------------- in slices


def test_a_large_fleet_is_covered_and_let_go_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_jobs, "_SLICE", 10 * drain_jobs.CHANGED)
    rig = Rig()
    for number in range(35):
        worker(rig, f"w{number}")
    drain = order(rig, "d1", *(f"w{number}" for number in range(35)))
    assert (len(drain.lines), drain.covering, drain.state) == (10, True, DrainState.ACTIVE)
    assert rig.core.next_deadline() <= rig.t  # it asks for its next turn at once
    rig.tick_for(0.0)
    rig.tick_for(0.0)
    rig.tick_for(0.0)
    assert (len(drain.lines), drain.covering, drain.state) == (35, False, DrainState.COMPLETE)
    rig.give(DrainEnded("d1"))
    assert drain.state is DrainState.CANCELLED
    assert sum(record.draining for record in rig.core.fleet.records.values()) == 25
    rig.tick_for(0.0)
    rig.tick_for(0.0)
    rig.tick_for(0.0)
    assert not any(record.draining for record in rig.core.fleet.records.values())
    assert (drain.workers, rig.core.drains.draining) == (35, 0)


def test_a_drain_called_off_while_it_spreads_covers_nobody_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_jobs, "_SLICE", 10 * drain_jobs.CHANGED)
    rig = Rig()
    for number in range(35):
        worker(rig, f"w{number}")
    order(rig, "d1", *(f"w{number}" for number in range(35)))
    rig.give(DrainEnded("d1"))
    rig.tick_for(1.0)
    assert not any(record.draining for record in rig.core.fleet.records.values())
    assert not rig.core.drains.by_worker


def test_a_worker_with_more_leases_than_a_slice_is_stopped_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_jobs, "_SLICE", 10 * drain_jobs.CHANGED)
    rig = Rig()
    worker(rig, slots=35)
    leases = [rig.place(delivery=STREAM).lease_id for _ in range(35)]
    rig.beat(reports=tuple(report(lease, ReportKind.STARTED) for lease in leases), queue_depth=35)
    drain = order(rig, "d1", "w1", deadline=rig.now.wall + 1, at_deadline=AtDeadline.CANCEL)
    asked = [effect.lease_id for effect in rig.tick_for(2.0) if isinstance(effect, Recall)]
    assert sorted(asked) == sorted(leases)  # each once
    drain.stop_by = rig.t
    rig.tick_for(40.0)
    assert (drain.left, drain.counts.stopped, drain.state) == (0, 35, DrainState.COMPLETE)


# ---------------------------------------------------------------------- kept, forgotten


def test_ended_drains_are_forgotten_by_age_and_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_register, "_ENDED_KEPT", 3)
    settings = CoreSettings()
    settings = replace(settings, assignment=replace(settings.assignment, drains_kept_s=100.0))
    rig = Rig(settings)
    worker(rig)
    forgotten: list[Effect] = []
    for number in range(5):
        order(rig, f"d{number}", "w1")
        forgotten += rig.give(DrainEnded(f"d{number}"))
    assert list(rig.core.drains.drains) == ["d2", "d3", "d4"]
    assert [each.drain_id for each in forgotten if isinstance(each, DrainForgotten)] == ["d0", "d1"]
    rig.tick_for(100.0)
    assert list(rig.core.drains.drains) == ["d2", "d3", "d4"]
    rig.tick_for(2.0)
    assert not rig.core.drains.drains


def test_a_complete_drain_of_an_operator_is_not_forgotten() -> None:
    rig = Rig()
    worker(rig)
    assert order(rig, "d1", "w1").state is DrainState.COMPLETE
    rig.go(10 * 86_400.0)
    rig.tick_for(10.0)
    assert "d1" in rig.core.drains.drains


def test_of_workers_that_are_gone_the_counts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "_GONE_KEPT", 2)
    rig = Rig()
    drain = order(rig, "d1", labels=(("zone", "a*"),))
    for number in range(5):
        name = f"w{number}"
        worker(rig, name, labels=(("zone", "b"),))
        lease = rig.place(delivery=STREAM).lease_id
        rig.beat(name, reports=(report(lease, ReportKind.STARTED),), queue_depth=1)
        registration = rig.worker(name).registration._replace(labels=(("zone", "a1"),))
        rig.beat(name, registration=registration, queue_depth=1)
        rig.beat(name, reports=(report(lease, ReportKind.FINISHED, OutcomeStatus.SUCCEEDED),))
        rig.remove(name)
    assert (drain.workers, drain.counts, list(drain.lines)) == (5, DrainCounts(0, 5, 0), ["w3", "w4"])
    assert drain.past == 3


def test_a_worker_that_changes_out_of_a_pattern_is_let_go_and_stays_counted() -> None:
    rig = Rig()
    worker(rig, labels=(("zone", "a"),))
    worker(rig, "w2", labels=(("zone", "b"),))
    drain = order(rig, "d1", labels=(("zone", "a"),))
    assert rig.worker().draining
    rig.beat(registration=rig.worker().registration._replace(labels=(("zone", "b"),)))
    assert not rig.worker().draining
    assert (drain.workers, list(drain.lines)) == (1, [])


def test_who_is_named_and_matches_too_keeps_draining_whatever_its_labels() -> None:
    rig = Rig()
    worker(rig, labels=(("zone", "a"),))
    order(rig, "d1", "w1", labels=(("zone", "a"),))
    rig.beat(registration=rig.worker().registration._replace(labels=(("zone", "b"),)))
    assert rig.worker().draining


# ---------------------------------------------------------------------- small truths


def test_an_own_drain_of_a_worker_that_does_not_come_back_after_a_restart_is_over() -> None:
    rig = Rig()
    rig.core.drains.restore(KeptDrain(DrainOrder("own", ("w1",), author="w1", own=True)))
    assert rig.core.drains.restore_line(KeptLine("own", "w1"))
    rig.core.drains.restored(rig.now, rig.t + 20.0)
    own = rig.core.drains.drains["own"]
    over = []
    for seconds in (19.0, 3.0):
        rig.tick_for(seconds)
        over.append(own.over)
    assert over == [False, True]
    worker(rig)
    assert not rig.worker().draining


def test_a_line_of_a_drain_that_is_over_means_nothing() -> None:
    rig = Rig()
    over = KeptDrain(DrainOrder("d1", ("w1",)), 1.0, True, True, DrainCounts(1, 2, 3), 4)
    rig.core.drains.restore(over)
    assert not rig.core.drains.restore_line(KeptLine("d1", "w1", DrainCounts(9, 9, 9)))
    assert not rig.core.drains.restore_line(KeptLine("unheard", "w1"))
    drain = rig.core.drains.drains["d1"]
    assert (drain.workers, drain.counts, drain.kept()) == (4, DrainCounts(1, 2, 3), over)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x91\x01"])
def test_what_is_no_entry_of_the_journal_is_told(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a drain"):
        drain_of(body)
    with pytest.raises(ValueError, match="not a drain's worker"):
        line_of(body)


def test_a_bare_worker_is_told_nothing() -> None:
    rig = Rig()
    rig.connect(bare=True)
    order(rig, "d1", "w1")
    assert not rig.find(DrainSent)


def test_it_begins_to_drain_once_and_is_drained_once_under_two_drains() -> None:
    rig = Rig()
    worker(rig)
    lease = rig.place(delivery=STREAM).lease_id
    rig.beat(reports=(report(lease, ReportKind.STARTED),), queue_depth=1)
    kinds = []
    for name in ("d1", "d2"):
        order(rig, name, "w1")
        kinds += rig.events()
    rig.beat(reports=(report(lease, ReportKind.FINISHED, OutcomeStatus.SUCCEEDED),))
    kinds += rig.events()
    assert kinds.count(FleetEventKind.WORKER_DRAINING) == 1
    assert kinds.count(FleetEventKind.WORKER_DRAINED) == 1


def test_a_log_with_drains_reads_back_and_its_effects_are_the_same_in_any_process() -> None:
    made = DrainOrder("d1", ("w1",), (("zone", "a*"),), 5.0, AtDeadline.LOSE, "why", "who", 1.0)
    for event in (DrainOrdered(made), DrainEnded("d1", forget=True)):
        _, again, _ = read_line(event_line(Now(1.0, 2.0), event, []))
        assert again == event
    rig = Rig()
    worker(rig)
    rig.give(DrainOrdered(made))
    assert not any("0x" in line for line in effect_lines(rig.out))  # no address of an object


# ---------------------------------------------------------------------- the machine


class Journal:
    """What effects write down, applied as the shell does."""

    def __init__(self) -> None:
        self.drains: dict[str, bytes] = {}
        self.lines: dict[tuple[str, str], bytes] = {}

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, DrainStands):
                self.drains[effect.kept.order.drain_id] = to_bytes(effect.kept)
            elif isinstance(effect, DrainMoved) and effect.kept is not None:
                self.lines[effect.drain_id, effect.worker_id] = to_bytes(effect.kept)
            elif isinstance(effect, DrainLeft):
                self.lines.pop((effect.drain_id, effect.worker_id), None)
            elif isinstance(effect, DrainForgotten):
                self.drains.pop(effect.drain_id, None)


class Draining(RuleBasedStateMachine):
    """Workers, tasks, drains, restarts in any order; after each step the core is held against what it should be."""

    drains = Bundle("drains")

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(incarnation="a")
        self.journal = Journal()
        self.runs = iter("bcdefghijklmnopqrstuvwxyz" * 9)
        self.made = 0
        self.boots = 0
        self.seen: dict[str, tuple[int, ...]] = {}
        self.held: dict[str, set[str]] = {}  # by worker, as its process knows
        self.wish: dict[str, Intent] = {}

    def _give(self, event: Any) -> None:
        self.journal.take(self.rig.give(event))

    def _connected(self, name: str) -> bool:
        record = self.rig.core.fleet.records.get(name)
        return record is not None and record.session is not None

    def _beat(self, name: str, *reports: LeaseReport) -> None:
        listed = tuple(RunningLease(lease, None) for lease in sorted(self.held[name]))
        self.rig.beat(name, reports=reports, running=listed, queue_depth=len(listed), intent=self.wish[name])
        self.journal.take(self.rig.out)

    @rule(name=st.sampled_from("uvwx"), zone=st.sampled_from("ab"), keep=st.booleans())
    def connect(self, name: str, zone: str, keep: bool) -> None:
        """A new session: of the same process with what it has, or of another with nothing."""
        if not keep or name not in self.held:
            self.held[name], self.wish[name] = set(), Intent.WORK
            self.boots += 1
        record = self.rig.core.fleet.records.get(name)
        connection = record.epoch.connection + 1 if record is not None else 1
        boot = f"boot-{name}-{self.boots}" if not keep or record is None else record.epoch.boot_id
        worker(self.rig, name, slots=3, labels=(("zone", zone),), epoch=(boot, connection))
        self.journal.take(self.rig.out)
        self._beat(name)

    @rule(name=st.sampled_from("uvwx"))
    def disconnect(self, name: str) -> None:
        if self._connected(name):
            self.rig.disconnect(name)
            self.journal.take(self.rig.out)

    @rule(name=st.sampled_from("uvwx"))
    def remove(self, name: str) -> None:
        self.rig.remove(name)
        self.journal.take(self.rig.out)

    @rule(stream=st.booleans())
    def submit(self, stream: bool) -> None:
        self.made += 1
        task = Task("", f"t{self.made}", 1, "type")
        self._give(Submit(task, STREAM if stream else Delivery.CALLER))
        draining_now = {name for name, record in self.rig.core.fleet.records.items() if record.draining}
        placed = self.rig.core.task("", task.task_id, 1)
        if placed is not None:
            assert placed.worker_id not in draining_now
            self.held[placed.worker_id].add(placed.lease_id)

    @rule(name=st.sampled_from("uvwx"), kind=st.sampled_from(["started", "finished", "returned", "cancelled"]))
    def say(self, name: str, kind: str) -> None:
        if not self._connected(name) or not self.held.get(name):
            return
        lease = min(self.held[name])
        record = self.rig.core.fleet.records[name]
        lived = record.leases.get(lease)
        before = {drain_id: line.drain.counts for drain_id, line in self._lines(name).items()}
        if kind == "started":
            self._beat(name, report(lease, ReportKind.STARTED))
            return
        self.held[name].discard(lease)
        if kind == "returned":
            self._beat(name, report(lease, ReportKind.RETURNED))
        else:
            status = OutcomeStatus.SUCCEEDED if kind == "finished" else OutcomeStatus.CANCELLED
            self._beat(name, report(lease, ReportKind.FINISHED, status))
        stopped = kind == "cancelled" and lived is not None and lived.stop_asked is not None
        end = "stopped" if stopped else "finished" if kind == "cancelled" else kind
        for drain_id, counts in before.items():
            more = DrainCounts(**{end: int(lived is not None)})
            assert self.rig.core.drains.drains[drain_id].counts == counts.plus(more)

    def _lines(self, name: str) -> Any:
        return self.rig.core.drains.by_worker.get(name, {})

    @rule(name=st.sampled_from("uvwx"), wish=st.sampled_from([Intent.WORK, Intent.DRAIN]))
    def wants(self, name: str, wish: Intent) -> None:
        if self._connected(name):
            self.wish[name] = wish
            self._beat(name)

    @rule(target=drains, ids=st.sets(st.sampled_from("uvwx"), max_size=2), zone=st.sampled_from(["", "a", "*"]),
          action=st.sampled_from(list(AtDeadline)), within=st.sampled_from([None, 5.0]))  # fmt: skip
    def order(self, ids: set[str], zone: str, action: AtDeadline, within: float | None) -> Any:
        if not ids and not zone:
            return multiple()
        self.made += 1
        drain_id = f"d{self.made}"
        labels = (("zone", zone),) if zone else ()
        deadline = None if within is None else self.rig.now.wall + within
        made = DrainOrder(drain_id, tuple(sorted(ids)), labels, deadline, action, "", "", self.rig.now.wall)
        self._give(DrainOrdered(made))
        return drain_id

    @rule(drain_id=drains)
    def end(self, drain_id: str) -> None:
        self._give(DrainEnded(drain_id))

    @rule(seconds=st.sampled_from([0.0, 1.0, 6.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.journal.take(self.rig.tick_for(seconds))

    @rule()
    def restart(self) -> None:
        """Another core takes over what the journal has, and nothing else."""
        before = self.rig
        leases = [lease_to_bytes(each) for each in before.core.ledger.leases.values() if each.live]
        rig = self.rig = Rig(start_s=before.t, incarnation=next(self.runs))
        rig._start_s = before._start_s
        rig._sessions, rig.session_of = before._sessions, {}
        for body in leases:
            restore_lease(rig.core, rig.now, body)
        for body in self.journal.drains.values():
            rig.core.drains.restore(drain_of(body))
        self.journal.lines = {
            key: body for key, body in self.journal.lines.items() if rig.core.drains.restore_line(line_of(body))
        }
        rig.core.drains.restored(rig.now, rig.t + 30.0)
        for name, drain in before.core.drains.drains.items():
            again = rig.core.drains.drains[name]
            assert (again.counts, again.workers) == (drain.counts, drain.workers)
            assert (again.cancelled, again.over, again.left) == (drain.cancelled, drain.over, drain.left)

    @invariant()
    def all_adds_up(self) -> None:
        core = self.rig.core
        drains = core.drains
        for name, record in core.fleet.records.items():
            assert record.draining == bool(drains.by_worker.get(name))
        assert drains.draining == sum(record.draining for record in core.fleet.records.values())
        for drain in drains.drains.values():
            lines = drain.lines.values()
            for line in lines:
                known = core.fleet.records.get(line.worker_id)
                holds = len(known.leases) if known else len(core.ledger.orphans.get(line.worker_id, ()))
                assert line.left == holds, (drain, line.worker_id)
                assert drains.by_worker[line.worker_id][drain.order.drain_id] is line
            assert drain.left == sum(line.left for line in lines)
            assert drain.holding == sum(line.left > 0 for line in lines)
            assert drain.acknowledged == sum(line.acknowledged for line in lines)
            summed = drain.past_counts
            for line in lines:
                summed = summed.plus(line.counts)
            assert summed == drain.counts
            assert (drain.ended is not None) == (drain.state in (DrainState.COMPLETE, DrainState.CANCELLED)), drain
            before = self.seen.get(drain.order.drain_id, (0, 0, 0))
            assert all(now >= then for now, then in zip(drain.counts, before, strict=True))
            self.seen[drain.order.drain_id] = tuple(drain.counts)
            if not drain.over and not drain.covering:
                for name, record in core.fleet.records.items():
                    labels = dict(record.registration.labels)
                    pattern = dict(drain.order.labels).get("zone")
                    matches = name in drain.ids or (pattern is not None and pattern in ("*", labels["zone"]))
                    assert (name in drain.lines) == matches


TestDraining = Draining.TestCase
TestDraining.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
