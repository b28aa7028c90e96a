import math

import pytest
from google.protobuf.duration_pb2 import Duration

from scheduler_api.v1.task_pb2 import Outcome, Task
from scheduler_api.v1.worker_pb2 import (
    Ack,
    CancelLease,
    Directives,
    Drain,
    Goodbye,
    LeaseReport,
    Probe,
    RunTask,
    Welcome,
    WorkerDirective,
    WorkerHeartbeat,
)
from scheduler_server.worker.measure import Sample
from scheduler_server.worker.profile import Profile
from scheduler_server.worker.running import Leases
from scheduler_server.worker.session import DEFAULT_INTERVAL_S, GAP_S, LOAD_S, Session
from scheduler_server.worker.work import Work


class Story:
    """A session without jitter, and the clock in the test's hands."""

    def __init__(self, work: Work | None = None, worker_id: str = "w1") -> None:
        self.profile = Profile(worker_id=worker_id)
        self.work = work or Work(Leases(1), lambda _: True)
        self.session = Session(self.profile, self.work, 1, uniform=lambda _, high: high)

    def beat(self, now: float, wall_ms: int = 1_000) -> WorkerHeartbeat:
        return self.session.heartbeat(now, wall_ms, Sample(0.5, 0.25))

    def welcome(self, now: float, interval_s: float | None = None, worker_id: str = "") -> None:
        interval = None if interval_s is None else Duration(nanos=int(interval_s * 1e9))
        welcome = Welcome(worker_id=worker_id, heartbeat_interval=interval)
        self.session.receive(WorkerDirective(welcome=welcome), now)

    def ack(self, now: float, sequence: int, interval: Duration | None = None) -> None:
        ack = Ack(sequence=sequence, heartbeat_interval=interval)
        self.session.receive(WorkerDirective(ack=ack), now)


@pytest.fixture
def open_story() -> Story:
    """Greeted at 0 s, default interval."""
    story = Story()
    story.beat(0.0)
    story.welcome(0.0)
    return story


def test_the_first_heartbeat_is_due_at_once_and_then_none_before_the_welcome() -> None:
    story = Story()
    assert story.session.due_at() == -math.inf
    story.beat(0.0)
    story.work.outbox.add(LeaseReport(lease_id="a"))
    assert story.session.due_at() == math.inf
    story.welcome(1.0)
    assert story.session.due_at() < math.inf


def test_without_an_interval_in_the_welcome_the_default_holds(open_story: Story) -> None:
    assert open_story.session.due_at() == DEFAULT_INTERVAL_S


def test_the_interval_of_the_welcome_and_then_that_of_an_ack_hold() -> None:
    story = Story()
    story.beat(0.0)
    story.welcome(1.0, interval_s=0.5)
    assert story.session.due_at() == 1.5
    story.ack(1.2, 1, Duration(seconds=3))
    assert story.session.due_at() == 4.2
    story.ack(2.0, 1, Duration(seconds=3))
    assert story.session.due_at() == 4.2  # unchanged: an ack alone puts nothing off
    story.ack(2.0, 1)
    story.ack(2.0, 1, Duration(seconds=-1))
    assert story.session.due_at() == 4.2


def test_beats_come_up_to_a_tenth_early() -> None:
    bounds: list[float] = []

    def uniform(low: float, high: float) -> float:
        bounds.extend((low, high))
        return low

    session = Session(Profile(worker_id="w1"), Work(Leases(1), lambda _: True), 1, uniform=uniform)
    session.heartbeat(0.0, 0, Sample())
    assert bounds == pytest.approx([4.5, 5.0])


def test_news_of_one_task_at_a_time_are_due_at_once_also_right_after_a_message(open_story: Story) -> None:
    for now, lease_id in ((1.0, "a"), (1.001, "a"), (1.002, "b"), (1.003, "b")):
        open_story.work.outbox.add(LeaseReport(lease_id=lease_id))
        assert open_story.session.due_at() <= now
        open_story.beat(now)
        assert open_story.session.due_at() == now + DEFAULT_INTERVAL_S


def test_under_load_news_are_not_due_within_the_gap_after_a_message(open_story: Story) -> None:
    for lease_id in ("a", "b"):
        open_story.work.outbox.add(LeaseReport(lease_id=lease_id))
    open_story.beat(1.0)  # tells of two leases
    assert open_story.session.due_at() == 1.0 + DEFAULT_INTERVAL_S
    open_story.work.outbox.add(LeaseReport(lease_id="c"))
    assert open_story.session.due_at() == 1.0 + GAP_S
    last = 1.0 + LOAD_S - 0.001
    open_story.beat(last)  # of one
    open_story.work.outbox.add(LeaseReport(lease_id="d"))
    assert open_story.session.due_at() == last + GAP_S
    open_story.beat(1.0 + LOAD_S)  # no load since
    open_story.work.outbox.add(LeaseReport(lease_id="e"))
    assert open_story.session.due_at() == 1.0 + LOAD_S


@pytest.mark.parametrize(("leases", "gap_s"), [(1, 0.0), (2, GAP_S)])
def test_a_second_task_that_is_there_is_load_too(leases: int, gap_s: float) -> None:
    story = Story(Work(Leases(2), lambda _: True))
    story.beat(0.0)
    story.welcome(0.0)
    for number in range(leases):
        story.session.receive(run(str(number)), 0.5)
        story.beat(1.0)
    story.work.finished("0", Outcome(), 1.0)
    assert story.session.due_at() == 1.0 + gap_s


@pytest.mark.parametrize("news", ["registration", "intent", "drain", "probe"])
def test_every_kind_of_news_is_sent_before_the_interval_is_over_and_once(open_story: Story, news: str) -> None:
    match news:
        case "registration":
            open_story.profile.change(slots=2)
        case "intent":
            open_story.work.leave()
        case "drain":
            open_story.session.receive(WorkerDirective(drain=Drain(drain_id="d1")), 1.0)
        case _:
            open_story.session.receive(WorkerDirective(probe=Probe(nonce="n1")), 1.0)
    assert open_story.session.due_at() == 0.0
    open_story.beat(1.0)
    assert open_story.session.due_at() == 1.0 + DEFAULT_INTERVAL_S


def several(*directives: WorkerDirective) -> WorkerDirective:
    return WorkerDirective(several=Directives(directives=directives))


def run(lease_id: str) -> WorkerDirective:
    return WorkerDirective(run_task=RunTask(lease_id=lease_id, task=Task(task_id=f"of-{lease_id}")))


def test_several_directives_in_one_message_are_taken_in_as_if_they_had_come_one_by_one() -> None:
    directives = [
        run("a"),
        run("b"),
        run("c"),
        WorkerDirective(cancel=CancelLease(lease_id="b")),
        WorkerDirective(probe=Probe(nonce="n1")),
    ]
    together, one_by_one = (Story(Work(Leases(2), lambda _: True)) for _ in range(2))
    for story in (together, one_by_one):
        story.beat(0.0)
        story.welcome(0.0)
    together.session.receive(several(*directives), 1.0)
    for each in directives:
        one_by_one.session.receive(each, 1.0)
    beat, effects = together.beat(1.0), together.work.take_effects()
    assert [(each.lease_id, each.WhichOneof("fact")) for each in beat.reports] == [
        ("a", "acknowledged"),
        ("a", "started"),
        ("b", "acknowledged"),
        ("b", "started"),
        ("c", "declined"),
    ]
    assert beat.probe_nonce == "n1"
    assert [[lease.lease_id for lease in each] for each in (effects.start, effects.stop)] == [["a", "b"], ["b"]]
    assert list(beat.reports) == list(one_by_one.beat(1.0).reports)


def test_of_several_directives_one_that_cannot_be_is_left_out_alone(open_story: Story) -> None:
    bad = WorkerDirective(ack=Ack(heartbeat_interval=Duration(seconds=1, nanos=-1)))
    open_story.session.receive(several(bad, WorkerDirective(), run("a")), 1.0)
    assert [lease.lease_id for lease in open_story.beat(1.0).running.leases] == ["a"]


def test_a_worker_says_that_it_takes_several() -> None:
    assert Story().beat(0.0).registration.takes_several


def test_a_probe_is_echoed_in_one_heartbeat(open_story: Story) -> None:
    open_story.session.receive(WorkerDirective(probe=Probe(nonce="n1")), 1.0)
    assert [open_story.beat(1.0).probe_nonce, open_story.beat(2.0).probe_nonce] == ["n1", ""]


def test_a_heartbeat_carries_the_sample_the_depth_and_a_rising_sequence(open_story: Story) -> None:
    open_story.work.hand_over(RunTask(lease_id="a", task=Task(task_id="t")), 1.0)
    beat = open_story.beat(1.5)
    assert (beat.cpu_usage, beat.memory_usage, beat.queue_depth, beat.sequence) == (0.5, 0.25, 1, 2)
    assert [lease.lease_id for lease in beat.running.leases] == ["a"]
    assert beat.running.leases[0].elapsed.ToNanoseconds() == 500_000_000
    assert open_story.beat(2.0).sequence == 3


def test_a_clock_that_is_set_back_does_not_make_heartbeats_older(open_story: Story) -> None:
    stamps = [open_story.beat(1.0, wall_ms).timestamp_ms for wall_ms in (5_000, 4_000, 5_000, 5_001)]
    assert stamps == [5_000, 5_000, 5_000, 5_001]


def test_the_id_from_the_welcome_is_on_every_later_message() -> None:
    story = Story(worker_id="")
    assert story.beat(0.0).worker_id == ""
    story.welcome(0.0, worker_id="made")
    assert story.beat(1.0).worker_id == "made"
    assert story.profile.worker_id == "made"


def test_the_regular_beat_repeats_unacknowledged_reports_and_a_prompt_one_only_new_ones(
    open_story: Story,
) -> None:
    def carried(now: float) -> list[str]:
        return [report.lease_id for report in open_story.beat(now).reports]

    open_story.work.outbox.add(LeaseReport(lease_id="a"))
    assert carried(1.0) == ["a"]
    open_story.work.outbox.add(LeaseReport(lease_id="b"))
    assert carried(1.5) == ["b"]
    assert carried(1.5 + DEFAULT_INTERVAL_S) == ["a", "b"]
    open_story.ack(7.0, 2)
    assert carried(20.0) == ["b"]


def test_reports_of_the_first_message_go_again_after_the_welcome() -> None:
    work = Work(Leases(1), lambda _: True)
    work.outbox.add(LeaseReport(lease_id="a"))
    story = Story(work)
    assert len(story.beat(0.0).reports) == 1
    story.welcome(0.0)
    assert story.session.due_at() == 0.0
    assert len(story.beat(0.1).reports) == 1


def test_a_new_session_repeats_what_the_old_one_carried_and_forgets_its_drain(open_story: Story) -> None:
    open_story.work.outbox.add(LeaseReport(lease_id="a"))
    open_story.session.receive(WorkerDirective(drain=Drain(drain_id="d1")), 1.0)
    assert open_story.beat(1.0).drain_id == "d1"
    first = Story(open_story.work).beat(2.0)
    assert ([report.lease_id for report in first.reports], first.drain_id) == (["a"], "")
    assert first.HasField("registration")


def test_after_the_goodbye_nothing_more_is_due(open_story: Story) -> None:
    open_story.session.receive(WorkerDirective(goodbye=Goodbye(message="bye")), 1.0)
    open_story.work.outbox.add(LeaseReport(lease_id="a"))
    assert open_story.session.due_at() == math.inf
    assert open_story.session.goodbye == Goodbye(message="bye")


def test_a_directive_of_a_kind_not_known_yet_changes_nothing(open_story: Story) -> None:
    due_at = open_story.session.due_at()
    open_story.session.receive(WorkerDirective.FromString(b"\xfa\x01\x02hi"), 1.0)
    assert (open_story.session.due_at(), open_story.session.goodbye) == (due_at, None)
