"""What becomes of entries when the leases of their tasks come, go and come again."""

import pytest

from scheduler_server.assignment.events import Cancel, Disconnect, RemoveWorker, ReportOutcome, Submit
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.assignment.settings import AssignmentSettings, CoreSettings
from scheduler_server.dispatch.gateway import Answer
from scheduler_server.dispatch.letters import of_record
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import Delivery, LossPolicy, Task, TaskState
from scheduler_server.model.worker import LeaseReport, ReportKind
from scheduler_server.rpc.shell import WAITING
from tests.unit.dispatch.house import House

STREAM = Delivery.STREAM
NO_PAYLOADS = CoreSettings(queue=QueueSettings(max_payload_bytes=1))


@pytest.fixture
def house() -> House:
    return House()


# ---------------------------------------------------------------------- left to Redis, and read again


def test_a_lease_that_was_given_back_to_redis_is_no_end_of_its_task() -> None:
    house = House(NO_PAYLOADS)
    house.worker()
    source = house.entry(payload="bytes")
    assert len(house.dispatcher.keeper) == 1, "its payload is still in the stream"
    house.dispatcher.keeper.give_back()
    assert not house.lease().live
    house.entry(payload="bytes", source=source)
    assert house.settled(source) == ""
    assert house.lease().live
    assert house.lease().task.attempt == 2


def test_a_task_that_waits_for_its_next_attempt_can_be_left_to_redis_and_read_again(house: House) -> None:
    house.worker()
    source = house.entry()
    house.shell.handle(RemoveWorker("w"))
    assert house.waits()
    house.dispatcher.ownership.withdraw(house.holdings.by_task["", "t"])
    assert not house.waits()
    house.entry(source=source)
    assert house.settled(source) == ""
    assert house.waits()
    trail = house.core.queue.waiting.by_task["", "t"].event.trail
    assert trail.losses == 1, "what it has lost is not forgotten"
    house.worker("v")
    house.acknowledged("v")
    assert house.settled(source) == "acknowledged"


# ---------------------------------------------------------------------- kept back


def test_what_is_kept_back_is_no_attempt_and_its_worker_has_all_its_time_once_it_is_sent() -> None:
    house = House(NO_PAYLOADS)
    house.worker()
    house.entry(payload="bytes", max_attempts=1)
    record = house.lease()
    for _ in range(20):  # Redis stalls
        house.rig.go(1.0)
        house.shell.tick()
        house.tell("w")
    assert (record.live, record.state) == (True, TaskState.OFFERED)
    house.fetched(record, b"bytes")
    for _ in range(4):
        house.rig.go(1.0)
        house.shell.tick()
        house.tell("w")
    assert record.live, "it was sent 4 s ago"
    house.rig.go(1.1)
    house.shell.tick()
    assert house.lease().state is TaskState.SET_ASIDE
    assert house.core.fleet.records["w"].session is None, "fenced"


def test_what_was_kept_back_until_its_worker_was_gone_is_placed_again() -> None:
    house = House(NO_PAYLOADS)
    house.worker()
    house.entry(payload="bytes")
    record = house.lease()
    house.shell.handle(Disconnect(1))
    house.fetched(record, b"bytes")
    house.rig.go(5.1)
    house.shell.tick()
    assert not record.live
    assert house.waits()


# ---------------------------------------------------------------------- who else has the task


def test_an_entry_whose_task_waits_for_a_call_only_is_kept_until_a_worker_has_it(house: House) -> None:
    """The call may give up, and nobody else has the task then."""
    task = Task("", "t", 1, "type")
    house.shell.handle(Submit(task, STREAM, wait_s=1.0, ticket=1))
    source = house.entry()
    assert house.settled(source) == ""
    house.rig.go(2.0)
    house.shell.tick()
    assert house.waits(), "the call has given up"
    assert not house.journal.entries, "Redis keeps it"
    house.worker()
    assert house.settled(source) == ""
    house.acknowledged()
    assert house.settled(source) == "acknowledged"


def test_a_second_entry_of_a_task_that_is_over_is_acknowledged_though_its_payload_would_have_no_room() -> None:
    house = House(NO_PAYLOADS)
    task = Task("", "t", 1, "type", payload=b"p")
    house.worker()
    house.shell.handle(Submit(task, STREAM))
    house.shell.handle(ReportOutcome(house.lease().lease_id, Outcome(OutcomeStatus.SUCCEEDED, 1.0)))
    source = house.entry(payload="p")
    assert house.settled(source) == "acknowledged"


# ---------------------------------------------------------------------- what is written down


def test_a_cancelled_task_does_not_come_back_after_a_kill_though_redis_had_not_heard(house: House) -> None:
    source = house.entry()
    house.shell.handle(Cancel("", "t", 1))
    assert ("settled", str(source)) in house.journal.entries


def test_there_is_always_room_in_the_journal_for_a_task_that_is_placed_again(house: House) -> None:
    house.worker()
    house.entry()
    house.acknowledged()
    house.shell.handle(RemoveWorker("w"))
    assert house.waits()
    assert (WAITING, "0:t") in house.journal.always, "it takes the place of its lease"


def test_a_promise_that_was_given_before_is_not_taken_for_a_new_one(house: House) -> None:
    """Another task waits again in the same event; its place in the journal is nobody's promise here."""
    house.worker()
    house.shell.handle(Submit(Task("", "other", 1, "type"), STREAM))
    event = Submit(Task("", "t", 1, "type"), STREAM, enqueue=True)
    _, _, new = house.shell.enqueue(event)
    assert new
    house.rig.go(6.0)  # the other one was not acknowledged in time
    reply, _, new = house.shell.enqueue(event)
    assert (WAITING, "0:other") in house.journal.entries
    assert reply.replayed
    assert not new


# ---------------------------------------------------------------------- set aside


def test_a_dead_letter_counts_each_loss_once(house: House) -> None:
    house.worker()
    source = house.entry(max_attempts=1)
    house.shell.handle(RemoveWorker("w"))
    letter = house.outbox.settled[str(source)].dead
    assert letter is not None
    why = "it was lost 1 times; the last: its worker was removed"
    assert letter["detail"] == f"attempt 1 was the last: {why}; the last worker was 'w'"


@pytest.mark.parametrize(
    ("most_lost", "max_attempts", "reason"),
    [(3, 2, "ATTEMPTS_EXHAUSTED"), (2, 2, "POISONOUS"), (2, 9, "POISONOUS"), (1, 9, "POISONOUS")],
)
def test_so_many_lost_workers_and_no_fewer_make_a_task_poisonous(
    most_lost: int, max_attempts: int, reason: str
) -> None:
    house = House(CoreSettings(assignment=AssignmentSettings(max_workers_lost=most_lost)))
    house.entry(max_attempts=max_attempts, loss_policy="LOSS_POLICY_REQUEUE")
    for name in ("a", "b")[:most_lost]:
        house.worker(name)
        lease_id = house.lease().lease_id
        house.tell(name, LeaseReport(lease_id, ReportKind.STARTED), running=(lease_id,))
        house.rig.go(301.0)
        house.shell.tick()
    record = house.lease()
    assert (record.state, record.trail.workers_lost) == (TaskState.SET_ASIDE, min(2, most_lost))
    assert of_record(record).reason.name == reason


def test_what_waited_for_its_next_attempt_before_a_restart_and_expires_is_set_aside(house: House) -> None:
    house.worker()
    house.entry(start_by="2023-11-14T22:14:20Z")
    house.acknowledged()
    house.heard()
    house.shell.handle(RemoveWorker("w"))
    again = House.after(house)
    assert again.waits()
    again.rig.go(60.0)
    again.shell.tick()
    (letter,) = again.outbox.settled.values()
    assert letter.dead is not None
    assert letter.dead["reason"] == "EXPIRED"


# ---------------------------------------------------------------------- by publish


def test_nothing_is_remembered_of_what_was_published_and_is_over() -> None:
    house = House(hand_over="publish")
    house.worker(accepts_tasks=False)
    house.entry()
    channel = house.dispatcher.channel
    assert channel is not None
    record, holding = channel.waiting.popleft()
    channel.told(record, holding, Answer(1))
    house.shell.handle(ReportOutcome(record.lease_id, Outcome(OutcomeStatus.SUCCEEDED, 1.0)))
    assert not channel._sent


def test_what_was_not_published_yet_when_its_worker_was_removed_goes_elsewhere() -> None:
    house = House(hand_over="publish")
    house.worker(accepts_tasks=False)
    source = house.entry()
    channel = house.dispatcher.channel
    assert channel is not None
    house.shell.handle(RemoveWorker("w"))
    assert not house.dispatcher._writer.next().handed
    assert house.settled(source) == ""
    assert house.waits()


@pytest.mark.parametrize("policy", LossPolicy)
def test_what_was_being_published_when_its_worker_was_removed_follows_its_loss_policy(policy: LossPolicy) -> None:
    house = House(hand_over="publish")
    house.worker(accepts_tasks=False)
    source = house.entry(loss_policy=f"LOSS_POLICY_{policy.name}")
    channel = house.dispatcher.channel
    assert channel is not None
    ((record, holding),) = house.dispatcher._writer.next().handed
    house.shell.handle(RemoveWorker("w"))
    assert house.settled(source) == ""
    channel.told(record, holding, Answer(1))
    again = policy is LossPolicy.REQUEUE
    assert (house.waits(), house.settled(source)) == ((True, "") if again else (False, "ATTEMPTS_EXHAUSTED"))


def test_what_was_kept_back_before_it_was_published_goes_elsewhere_when_its_worker_is_removed() -> None:
    house = House(NO_PAYLOADS, hand_over="publish")
    house.worker(accepts_tasks=False)
    source = house.entry(payload="bytes")
    channel = house.dispatcher.channel
    assert channel is not None
    house.shell.handle(RemoveWorker("w"))
    channel.place_lost()
    assert house.settled(source) == ""
    assert house.waits()


def test_what_nobody_heard_can_be_left_to_redis_and_read_again() -> None:
    house = House(hand_over="publish")
    house.worker(accepts_tasks=False)
    source = house.entry()
    channel = house.dispatcher.channel
    assert channel is not None
    channel.told(*channel.waiting.popleft(), Answer(0))
    assert house.waits()
    house.dispatcher.ownership.withdraw(house.holdings.by_task["", "t"])
    house.entry(source=source)
    assert house.settled(source) == ""
    assert house.waits()


@pytest.mark.parametrize("heard", [False, True])
def test_what_waits_to_be_published_is_not_over_because_it_would_be_by_now(heard: bool) -> None:
    """Its worker sends five fields, so its tasks are taken to be over when such tasks are."""
    house = House(hand_over="publish")
    house.worker(accepts_tasks=False, reports_outcomes=False)
    source = house.entry()
    ((record, holding),) = house.dispatcher._writer.next().handed
    house.rig.go(10.0)
    house.shell.tick()
    assert (record.live, house.settled(source)) == (False, "")
    channel = house.dispatcher.channel
    assert channel is not None
    channel.told(record, holding, Answer(int(heard)))
    assert (house.waits(), house.settled(source)) == ((False, "acknowledged") if heard else (True, ""))
