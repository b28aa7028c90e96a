"""What a seed decides, what the log keeps, and what the table makes of it."""

from collections import Counter
from pathlib import Path

from tests.faults.campaign import Result
from tests.faults.history import History
from tests.faults.log import Event, EventLog, read
from tests.faults.plan import FIGHTS, FULL, Kind, draw
from tests.faults.report import recoveries, table


def test_a_seed_repeats_its_plan_and_another_one_does_not() -> None:
    assert draw(1, FULL) == draw(1, FULL)
    assert draw(1, FULL) != draw(2, FULL)
    assert draw(1, FULL, 20) == draw(1, FULL)[:20]


def test_a_plan_has_what_was_asked_for_and_two_servers_come_last() -> None:
    plan = draw(3, FULL)
    assert Counter(fault.kind for fault in plan) == FULL
    assert [fault.kind in FIGHTS for fault in plan] == sorted(fault.kind in FIGHTS for fault in plan)
    assert [fault.number for fault in plan] == list(range(1, len(plan) + 1))


def test_the_full_campaign_is_what_was_promised() -> None:
    assert FULL[Kind.WORKER_KILL] + FULL[Kind.WORKER_STOP] == 100
    assert FULL[Kind.SERVER_KILL] == 20
    assert all(FULL[kind] >= 5 for kind in FULL)


def test_what_several_writers_write_is_read_in_the_order_of_time(tmp_path: Path) -> None:
    one, two = (EventLog(tmp_path / "log") for _ in range(2))
    one.write("later", at=2.0, task="t")
    two.write("earlier", at=1.0)
    one.close()
    two.close()
    assert read(tmp_path / "log") == [Event(1.0, "earlier", {}), Event(2.0, "later", {"task": "t"})]


def test_a_killed_worker_has_recovered_when_the_last_of_its_tasks_has_begun_elsewhere() -> None:
    def of(task: str, lease: str, process: str) -> dict[str, object]:
        return {"task": task, "lease": lease, "process": process, "attempt": 1}

    events = [
        Event(1.0, "handed", of("t", "l1", "a.1")),
        Event(1.0, "handed", of("u", "l2", "a.1")),
        Event(1.0, "handed", of("over", "l3", "a.1")),
        Event(1.5, "ended", of("over", "l3", "a.1") | {"stopped": False}),
        Event(2.0, "fault", {"number": 1, "kind": Kind.WORKER_KILL.value, "target": "a.1"}),
        Event(3.0, "began", of("t", "l4", "b.1")),
        Event(5.5, "began", of("u", "l5", "b.1")),
    ]
    history = History(events)
    assert list(recoveries(history)) == [(Kind.WORKER_KILL.value, 3.5)]
    assert "worker kill -9" in table(Result(history, []))


def test_redis_has_recovered_when_a_task_accepted_since_has_begun() -> None:
    accepted = {"policy": "REQUEUE", "required": [], "max_attempts": 5}
    events = [
        Event(0.5, "accepted", {"task": "before", **accepted}),
        Event(1.0, "fault", {"number": 1, "kind": Kind.REDIS_STALL.value, "target": "redis"}),
        Event(3.0, "lifted", {"number": 1}),
        Event(3.1, "began", {"task": "before", "process": "a.1", "lease": "l1", "attempt": 1}),
        Event(3.2, "accepted", {"task": "since", **accepted}),
        Event(3.5, "began", {"task": "since", "process": "a.1", "lease": "l2", "attempt": 1}),
    ]
    assert list(recoveries(History(events))) == [(Kind.REDIS_STALL.value, 0.5)]
