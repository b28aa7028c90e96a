"""What the worker SDK promises on the wire, against a server that does what each test says."""

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import grpc
import psutil
import pytest

from scheduler_api.v1.task_pb2 import Outcome, OutcomeStatus, Task
from scheduler_api.v1.worker_pb2 import (
    CancelLease,
    Directives,
    Drain,
    GoodbyeReason,
    LeaseStarted,
    LeaseVerdict,
    LeaseVerdictKind,
    Probe,
    RunTask,
    WorkerDirective,
    WorkerHeartbeat,
    WorkerIntent,
)
from scheduler_server.worker import (
    TaskContext,
    TaskDeclined,
    Worker,
    WorkerDismissed,
    WorkerRefused,
    WorkerSuperseded,
)
from tests.fakes.schedule_server import DEADLINE_S, FakeSession, ScheduleServer, schedule_server

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[ScheduleServer]:
    with schedule_server() as fake:
        yield fake


@pytest.fixture
def make(server: ScheduleServer) -> Iterator[Callable[..., Worker]]:
    """Workers that are ended with the test, whatever became of it."""
    made: list[Worker] = []

    def worker(**settings: object) -> Worker:
        made.append(Worker(server.target, **{"drain_timeout": 1.0, **settings}))  # type: ignore[arg-type]
        return made[-1]

    yield worker
    for each in made:
        each.stop(0.0)


def done(_: TaskContext) -> bytes:
    return b"done"


def listed(beat: WorkerHeartbeat) -> set[str]:
    return {lease.lease_id for lease in beat.running.leases}


def several_beats_after_now(session: FakeSession, count: int = 5) -> None:
    seen = len(session.beats)
    session.until(lambda _: len(session.beats) >= seen + count, f"{count} more heartbeats")


# ------------------------------------------------------------------------------------------- registration


def test_the_first_heartbeat_registers_the_whole_worker(server: ScheduleServer, make: Callable[..., Worker]) -> None:
    worker = make(
        worker_id="w1",
        slots=4,
        prefetch=2,
        capabilities=["gpu", "avx"],
        specializations=["bug"],
        worker_type="build",
        labels={"zone": "a"},
        node="host-1",
        metadata=[("authorization", "Bearer invented")],
    )
    worker.task("resize")(done)
    worker.start()
    session = server.session()
    first = session.beats[0]
    assert (first.worker_id, first.sequence, first.protocol_version) == ("w1", 1, 1)
    assert (first.epoch.connection, len(first.epoch.boot_id)) == (1, 32)
    assert first.intent == WorkerIntent.WORKER_INTENT_WORK
    assert first.timestamp_ms > 1_600_000_000_000
    assert 0 <= first.cpu_usage <= 1
    assert 0 < first.memory_usage <= 1
    registration = first.registration
    assert registration.node == "host-1"
    assert list(registration.capabilities) == ["gpu", "avx"]
    assert list(registration.specializations) == ["bug"]
    assert registration.worker_type == "build"
    assert (registration.max_concurrent_tasks, registration.prefetch) == (4, 2)
    assert dict(registration.labels) == {"zone": "a"}
    assert registration.accepts_tasks
    assert registration.reports_outcomes
    assert registration.software.startswith("scheduler-server-python/")
    assert session.metadata["authorization"] == "Bearer invented"


def test_later_heartbeats_of_a_session_carry_no_registration(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    make(worker_id="w1").start()
    session = server.session()
    several_beats_after_now(session)
    assert [beat.HasField("registration") for beat in session.beats[:5]] == [True, False, False, False, False]
    assert [beat.sequence for beat in session.beats[:5]] == [1, 2, 3, 4, 5]


def test_a_worker_without_a_handler_accepts_no_tasks(server: ScheduleServer, make: Callable[..., Worker]) -> None:
    make(worker_id="w1").start()
    assert not server.session().beats[0].registration.accepts_tasks


def test_an_id_made_by_the_server_is_kept_for_the_session_and_for_the_next(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    worker = make()
    worker.start()
    session = server.session()
    assert session.beats[0].worker_id == ""
    session.beat(lambda beat: beat.worker_id == "made-by-server")
    assert worker.worker_id == "made-by-server"
    session.finish(grpc.StatusCode.UNAVAILABLE)
    again = server.session(2).beats[0]
    assert (again.worker_id, again.epoch.connection) == ("made-by-server", 2)
    assert again.epoch.boot_id == session.beats[0].epoch.boot_id
    assert again.HasField("registration")


def test_a_change_is_registered_at_once(server: ScheduleServer, make: Callable[..., Worker]) -> None:
    server.interval_s = 60.0
    worker = make(worker_id="w1", slots=1, capabilities=["cpu"])
    worker.start()
    session = server.session()
    worker.update(capabilities=["gpu"], labels={"zone": "b"}, slots=3)
    beat = session.beat(lambda beat: beat.registration.max_concurrent_tasks == 3)
    assert list(beat.registration.capabilities) == ["gpu"]
    assert dict(beat.registration.labels) == {"zone": "b"}


# --------------------------------------------------------------------------------------------- heartbeats


def test_heartbeats_go_on_while_a_sync_handler_keeps_python_busy(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    enough = threading.Event()
    worker = make(worker_id="w1")

    @worker.task("spin")
    def spin(task: TaskContext) -> None:
        while not enough.is_set():
            sum(range(1_000))

    worker.start()
    session = server.session()
    session.run("l1", "spin")
    session.report("l1", "started")
    several_beats_after_now(session)
    assert listed(session.beats[-1]) == {"l1"}
    assert session.beats[-1].queue_depth == 1
    enough.set()
    session.report("l1", "finished")


def test_heartbeats_go_on_while_an_async_handler_blocks_its_loop(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    enough = threading.Event()
    worker = make(worker_id="w1")

    @worker.task("block")
    async def block(task: TaskContext) -> None:
        enough.wait(DEADLINE_S)

    worker.start()
    session = server.session()
    session.run("l1", "block")
    session.report("l1", "started")
    several_beats_after_now(session)
    assert "finished" not in session.facts("l1")
    enough.set()
    session.report("l1", "finished")


async def test_heartbeats_go_on_while_the_programs_own_loop_is_blocked(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    worker = make(worker_id="w1")
    async with worker:
        session = server.session()  # blocks this loop
        several_beats_after_now(session)  # so does this
    assert session.beats[-1].intent == WorkerIntent.WORKER_INTENT_LEAVE


def test_a_probe_is_echoed_at_once_and_once(server: ScheduleServer, make: Callable[..., Worker]) -> None:
    server.interval_s = 60.0
    worker = make(worker_id="w1")
    worker.start()
    session = server.session()
    session.send(probe=Probe(nonce="n1"))
    session.beat(lambda beat: beat.probe_nonce == "n1")
    worker.update(slots=2)
    later = session.beat(lambda beat: beat.registration.max_concurrent_tasks == 2)
    assert later.probe_nonce == ""


def test_an_unknown_kind_of_directive_is_ignored(server: ScheduleServer, make: Callable[..., Worker]) -> None:
    make(worker_id="w1").start()
    session = server.session()
    session.send()
    several_beats_after_now(session)
    assert len(server.sessions) == 1


# -------------------------------------------------------------------------------------------------- tasks


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_task_is_acknowledged_started_and_finished_with_its_result(
    server: ScheduleServer, make: Callable[..., Worker], kind: str
) -> None:
    server.interval_s = 60.0  # what is told here is told because it is news
    seen: list[TaskContext] = []
    worker = make(worker_id="w1")

    def reverse(task: TaskContext) -> bytes:
        seen.append(task)
        return task.payload[::-1]

    async def reverse_async(task: TaskContext) -> bytes:
        await asyncio.sleep(0)
        return reverse(task)

    worker.task("reverse")(reverse if kind == "sync" else reverse_async)
    worker.start()
    session = server.session()
    session.run("l1", "reverse", b"abc", attempt=2, tenant="acme", features={"bytes": 3.0})
    outcome = session.report("l1", "finished").finished
    assert session.facts("l1") == ["acknowledged", "started", "finished"]
    assert (outcome.status, outcome.result) == (OutcomeStatus.OUTCOME_STATUS_SUCCEEDED, b"cba")
    assert outcome.HasField("duration")
    task = seen[0]
    assert (task.task_id, task.attempt, task.tenant, task.task_type) == ("t-l1", 2, "acme", "reverse")
    assert (task.lease_id, dict(task.features), task.predicted_duration_s) == ("l1", {"bytes": 3.0}, None)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (KeyError("width"), OutcomeStatus.OUTCOME_STATUS_FAILED, "KeyError"),
        (TimeoutError("too slow"), OutcomeStatus.OUTCOME_STATUS_TIMED_OUT, "TimeoutError"),
        (SystemExit(3), OutcomeStatus.OUTCOME_STATUS_FAILED, "SystemExit"),
    ],
)
def test_an_exception_is_an_outcome_and_the_worker_goes_on(
    server: ScheduleServer,
    make: Callable[..., Worker],
    error: BaseException,
    status: OutcomeStatus.ValueType,
    kind: str,
) -> None:
    worker = make(worker_id="w1")

    @worker.task("fail")
    def fail(task: TaskContext) -> None:
        raise error

    @worker.task("afail")
    async def afail(task: TaskContext) -> None:
        raise error

    worker.start()
    session = server.session()
    for lease_id, task_type in (("l1", "fail"), ("l2", "afail"), ("l3", "fail"), ("l4", "afail")):
        session.run(lease_id, task_type)
        outcome = session.report(lease_id, "finished").finished
        assert (outcome.status, outcome.error_kind) == (status, kind)
        assert str(error) in outcome.error_message


def test_a_task_of_unknown_type_is_declined_with_the_reason(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    worker = make(worker_id="w1")
    worker.task("known")(done)
    worker.start()
    session = server.session()
    session.run("l1", "unknown")
    assert "'unknown'" in session.report("l1", "declined").declined.reason
    assert session.facts("l1") == ["declined"]


def test_a_task_declined_by_its_handler_is_not_reported_as_failed(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    worker = make(worker_id="w1")

    @worker.task("picky")
    def picky(task: TaskContext) -> None:
        raise TaskDeclined("not today")

    worker.start()
    session = server.session()
    session.run("l1", "picky")
    assert session.report("l1", "declined").declined.reason == "not today"
    assert "finished" not in session.facts("l1")


def test_tasks_beyond_the_slots_wait_up_to_prefetch_and_are_declined_beyond(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    enough = threading.Event()
    worker = make(worker_id="w1", slots=1, prefetch=1)

    @worker.task("hold")
    def hold(task: TaskContext) -> None:
        enough.wait(DEADLINE_S)

    worker.start()
    session = server.session()
    for lease_id in ("l1", "l2", "l3"):
        session.run(lease_id, "hold")
    assert "slot" in session.report("l3", "declined").declined.reason
    beat = session.beat(lambda beat: listed(beat) == {"l1", "l2"})
    assert [lease.HasField("elapsed") for lease in beat.running.leases] == [True, False]
    assert beat.queue_depth == 2
    enough.set()
    session.report("l2", "finished")
    assert session.facts("l2") == ["acknowledged", "started", "finished"]


def test_a_cancelled_async_handler_is_cancelled_and_says_so(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    begun, cleaned_up = threading.Event(), threading.Event()
    worker = make(worker_id="w1")

    @worker.task("wait")
    async def wait(task: TaskContext) -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    worker.start()
    session = server.session()
    session.run("l1", "wait")
    assert begun.wait(DEADLINE_S)
    session.send(cancel=CancelLease(lease_id="l1"))
    outcome = session.report("l1", "finished").finished
    assert outcome.status == OutcomeStatus.OUTCOME_STATUS_CANCELLED
    assert cleaned_up.is_set()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_task_cancelled_before_its_first_step_still_ends(
    server: ScheduleServer, make: Callable[..., Worker], kind: str
) -> None:
    ran: list[str] = []
    worker = make(worker_id="w1", slots=200)

    def note(task: TaskContext) -> None:
        ran.append(task.lease_id)

    async def note_async(task: TaskContext) -> None:
        ran.append(task.lease_id)

    worker.task("note")(note if kind == "sync" else note_async)
    worker.start()
    session = server.session()
    for number in range(100):  # some of them are cancelled in the few microseconds before they run
        session.run(f"l{number}", "note")
        session.send(cancel=CancelLease(lease_id=f"l{number}"))
    for number in range(100):
        session.report(f"l{number}", "finished")
    assert len(ran) == len(set(ran))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_task_handed_over_and_cancelled_in_one_message_never_runs_and_ends(
    server: ScheduleServer, make: Callable[..., Worker], kind: str
) -> None:
    ran: list[str] = []
    worker = make(worker_id="w1", slots=2)

    def note(task: TaskContext) -> None:
        ran.append(task.lease_id)

    async def note_async(task: TaskContext) -> None:
        ran.append(task.lease_id)

    worker.task("note")(note if kind == "sync" else note_async)
    worker.start()
    directives = [
        WorkerDirective(run_task=RunTask(lease_id="l1", task=Task(task_id="t1", task_type="note"))),
        WorkerDirective(cancel=CancelLease(lease_id="l1")),
        WorkerDirective(run_task=RunTask(lease_id="l2", task=Task(task_id="t2", task_type="note"))),
    ]
    session = server.session()
    session.send(several=Directives(directives=directives))
    assert session.report("l1", "finished").finished.status == OutcomeStatus.OUTCOME_STATUS_CANCELLED
    assert session.report("l2", "finished").finished.status == OutcomeStatus.OUTCOME_STATUS_SUCCEEDED
    assert ran == ["l2"]


def test_a_cancelled_sync_handler_sees_the_event(server: ScheduleServer, make: Callable[..., Worker]) -> None:
    worker = make(worker_id="w1")

    @worker.task("wait")
    def wait(task: TaskContext) -> bytes:
        assert task.cancelled.wait(DEADLINE_S)
        return b"half done"

    worker.start()
    session = server.session()
    session.run("l1", "wait")
    session.report("l1", "started")
    session.send(cancel=CancelLease(lease_id="l1"))
    outcome = session.report("l1", "finished").finished
    assert (outcome.status, outcome.result) == (OutcomeStatus.OUTCOME_STATUS_CANCELLED, b"")


def test_a_cancel_of_a_lease_that_is_not_here_is_answered_with_nothing(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    make(worker_id="w1").start()
    session = server.session()
    session.send(cancel=CancelLease(lease_id="gone"))
    several_beats_after_now(session)
    assert session.facts("gone") == []


# ---------------------------------------------------------------------------------------------- reconnect


def test_reports_are_repeated_until_they_are_acknowledged(server: ScheduleServer, make: Callable[..., Worker]) -> None:
    server.acknowledges = False
    worker = make(worker_id="w1")
    worker.task("quick")(done)
    worker.start()
    session = server.session()
    session.run("l1", "quick")

    def carriers() -> list[WorkerHeartbeat]:
        return [beat for beat in session.beats if any(r.HasField("finished") for r in beat.reports)]

    session.until(lambda _: len(carriers()) >= 3, "three times the same report")
    server.acknowledges = True
    session.until(lambda _: not session.beats[-1].reports, "a heartbeat without reports")


def test_after_a_lost_stream_running_leases_are_listed_and_outcomes_repeated(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    enough = threading.Event()
    server.acknowledges = False
    worker = make(worker_id="w1", slots=2)

    @worker.task("hold")
    def hold(task: TaskContext) -> bytes:
        enough.wait(DEADLINE_S)
        return b"held"

    worker.task("quick")(done)
    worker.start()
    session = server.session()
    session.run("runs", "hold")
    session.run("ended", "quick")
    session.report("runs", "started")
    session.report("ended", "finished")
    session.finish(grpc.StatusCode.UNAVAILABLE)
    second = server.session(2)
    first = second.beats[0]
    assert listed(first) == {"runs"}
    assert first.running.leases[0].HasField("elapsed")
    finished = [report for report in first.reports if report.HasField("finished")]
    assert [(report.lease_id, report.finished.result) for report in finished] == [("ended", b"done")]
    server.acknowledges = True
    enough.set()
    assert second.report("runs", "finished").finished.result == b"held"


def test_a_server_that_comes_back_on_its_port_finds_the_worker_again() -> None:
    with schedule_server() as before:
        worker = Worker(before.target, worker_id="w1")
        worker.start()
        before.session()
    with schedule_server(int(before.target.rpartition(":")[2])) as after:
        beat = after.session().beats[0]
        worker.stop(0.0)
    assert beat.worker_id == "w1"
    assert beat.epoch.connection >= 2
    assert beat.HasField("registration")


class Listener(logging.Handler):
    """Lets a test wait for what another thread logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: SimpleQueue[str] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self.told.put(record.getMessage())


def test_a_heartbeat_that_the_server_finds_faulty_is_logged_and_tried_again_after_the_longest_wait(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    listener = Listener()
    log = logging.getLogger("scheduler_server.worker.link")
    log.addHandler(listener)
    try:
        server.refuses = grpc.StatusCode.INVALID_ARGUMENT
        make(worker_id="w1").start()
        message = listener.told.get(timeout=DEADLINE_S)
    finally:
        log.removeHandler(listener)
    found = re.search(r"INVALID_ARGUMENT: as the test says\); connecting again in ([0-9.]+) s", message)
    assert found
    assert float(found[1]) >= 7.5


def test_a_welcome_acknowledges_no_report(server: ScheduleServer, make: Callable[..., Worker]) -> None:
    server.interval_s = 60.0
    worker = make(worker_id="w1")
    worker.report("l1", Outcome(status=OutcomeStatus.OUTCOME_STATUS_SUCCEEDED))
    worker.start()
    session = server.session()
    session.until(lambda _: len(session.beats) >= 2, "the second heartbeat")
    assert [[report.lease_id for report in beat.reports] for beat in session.beats[:2]] == [["l1"], ["l1"]]


def test_verdicts_stop_one_lease_and_let_an_unknown_one_end_unheard(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    enough = threading.Event()
    ended = threading.Event()
    worker = make(worker_id="w1", slots=3)

    @worker.task("wait")
    def wait(task: TaskContext) -> None:
        while not (task.cancelled.wait(0.01) or enough.is_set()):
            pass
        if task.lease_id == "unknown":
            ended.set()

    worker.start()
    session = server.session()
    for lease_id in ("stop", "unknown", "keep"):
        session.run(lease_id, "wait")
        session.report(lease_id, "started")
    server.verdicts = [
        LeaseVerdict(lease_id="stop", verdict=LeaseVerdictKind.LEASE_VERDICT_KIND_STOP),
        LeaseVerdict(lease_id="unknown", verdict=LeaseVerdictKind.LEASE_VERDICT_KIND_UNKNOWN),
        LeaseVerdict(lease_id="keep", verdict=LeaseVerdictKind.LEASE_VERDICT_KIND_KEEP),
    ]
    session.finish(grpc.StatusCode.UNAVAILABLE)
    second = server.session(2)
    stopped = second.report("stop", "finished").finished
    assert stopped.status == OutcomeStatus.OUTCOME_STATUS_CANCELLED
    beat = second.beat(lambda beat: listed(beat) == {"keep"})
    assert beat.queue_depth == 2
    enough.set()
    second.report("keep", "finished")
    assert ended.wait(DEADLINE_S)
    several_beats_after_now(second)
    assert second.facts("unknown") == []


@pytest.mark.parametrize(
    "reason",
    [
        GoodbyeReason.GOODBYE_REASON_SERVER_SHUTDOWN,
        GoodbyeReason.GOODBYE_REASON_REMOVED,
        GoodbyeReason.GOODBYE_REASON_FENCED,
    ],
)
def test_after_a_goodbye_the_worker_comes_back_not_before_it_may(
    server: ScheduleServer, make: Callable[..., Worker], reason: GoodbyeReason.ValueType
) -> None:
    make(worker_id="w1").start()
    session = server.session()
    session.goodbye(reason, after_s=0.3)
    assert session.closed.wait(DEADLINE_S)
    said = time.monotonic()
    second = server.session(2)
    assert second.arrived_at[0] - said >= 0.25
    assert second.beats[0].HasField("registration")


# ------------------------------------------------------------------------------------------------ the end


def test_a_superseded_worker_stops_with_an_error_that_says_so(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    worker = make(worker_id="w1")
    worker.start()
    server.session().goodbye(GoodbyeReason.GOODBYE_REASON_SUPERSEDED)
    with pytest.raises(WorkerSuperseded, match="as the test says"):
        worker.wait(DEADLINE_S)
    assert len(server.sessions) == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.ABORTED, WorkerSuperseded),
        (grpc.StatusCode.UNAUTHENTICATED, WorkerRefused),
        (grpc.StatusCode.PERMISSION_DENIED, WorkerRefused),
    ],
)
def test_a_status_that_no_retry_mends_stops_the_worker(
    server: ScheduleServer, make: Callable[..., Worker], code: grpc.StatusCode, error: type[Exception]
) -> None:
    server.refuses = code
    worker = make(worker_id="w1")
    worker.start()
    with pytest.raises(error, match="as the test says"):
        worker.wait(DEADLINE_S)


def test_a_goodbye_of_a_kind_not_known_yet_without_a_way_back_stops_the_worker(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    worker = make(worker_id="w1")
    worker.start()
    server.session().goodbye(GoodbyeReason.GOODBYE_REASON_UNSPECIFIED)
    with pytest.raises(WorkerDismissed):
        worker.wait(DEADLINE_S)


async def test_a_superseded_worker_ends_serve_with_the_error(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    worker = make(worker_id="w1")
    serving = asyncio.create_task(worker.serve())
    session = await asyncio.to_thread(server.session)
    session.goodbye(GoodbyeReason.GOODBYE_REASON_SUPERSEDED)
    with pytest.raises(WorkerSuperseded):
        await asyncio.wait_for(serving, DEADLINE_S)


async def test_serve_runs_async_handlers_on_the_callers_loop_and_drains_when_cancelled(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    worker = make(worker_id="w1")

    @worker.task("where")
    async def where(task: TaskContext) -> None:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)

    serving = asyncio.create_task(worker.serve())
    session = await asyncio.to_thread(server.session)
    session.run("l1", "where")
    await asyncio.to_thread(session.report, "l1", "finished")
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    with pytest.raises(RuntimeError, match="once"):
        await worker.serve()
    assert loops == [asyncio.get_running_loop()]
    assert session.beats[-1].intent == WorkerIntent.WORKER_INTENT_LEAVE


def test_the_servers_drain_gives_back_what_is_held_and_takes_no_more(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    enough = threading.Event()
    worker = make(worker_id="w1", slots=1, prefetch=1)

    @worker.task("hold")
    def hold(task: TaskContext) -> None:
        enough.wait(DEADLINE_S)

    worker.start()
    session = server.session()
    session.run("runs", "hold")
    session.run("held", "hold")
    session.report("held", "acknowledged")
    session.send(drain=Drain(drain_id="d1"))
    session.report("held", "returned")
    session.beat(lambda beat: beat.drain_id == "d1" and listed(beat) == {"runs"})
    session.run("late", "hold")
    session.report("late", "returned")
    enough.set()
    session.report("runs", "finished")
    assert "started" not in session.facts("held")


def test_stop_finishes_what_runs_returns_what_is_held_and_leaves_last(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    enough = threading.Event()
    worker = make(worker_id="w1", slots=1, prefetch=1, drain_timeout=DEADLINE_S)

    @worker.task("hold")
    def hold(task: TaskContext) -> bytes:
        enough.wait(DEADLINE_S)
        return b"done"

    worker.start()
    session = server.session()
    session.run("runs", "hold")
    session.run("held", "hold")
    session.report("held", "acknowledged")
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    session.beat(lambda beat: beat.intent == WorkerIntent.WORKER_INTENT_DRAIN)
    session.report("held", "returned")
    enough.set()
    assert session.report("runs", "finished").finished.result == b"done"
    stopping.join(DEADLINE_S)
    assert not stopping.is_alive()
    assert session.beats[-1].intent == WorkerIntent.WORKER_INTENT_LEAVE
    assert session.closed.wait(DEADLINE_S)
    assert len(server.sessions) == 1
    assert worker.wait(0)


def test_stop_gives_up_what_still_runs_after_the_drain_timeout(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    released = threading.Event()
    worker = make(worker_id="w1")

    @worker.task("stubborn")
    def stubborn(task: TaskContext) -> None:
        if task.cancelled.wait(DEADLINE_S):
            released.set()

    worker.start()
    session = server.session()
    session.run("l1", "stubborn")
    session.report("l1", "started")
    worker.stop(0.1)
    last = session.beats[-1]
    assert (last.intent, listed(last)) == (WorkerIntent.WORKER_INTENT_LEAVE, {"l1"})
    assert released.wait(DEADLINE_S)
    assert "finished" not in session.facts("l1")


# ------------------------------------------------------------------------------------------ only reporting


def test_a_task_delivered_elsewhere_is_listed_while_it_runs_and_reported(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    worker = make(worker_id="w1")
    worker.start()
    session = server.session()
    with worker.running_task("l1") as task:
        session.beat(lambda beat: listed(beat) == {"l1"})
        assert not task.cancelled.is_set()
    assert session.report("l1", "finished").finished.status == OutcomeStatus.OUTCOME_STATUS_SUCCEEDED
    assert session.facts("l1") == ["started", "finished"]
    with pytest.raises(ZeroDivisionError), worker.running_task("l2"):
        raise ZeroDivisionError("by hand")
    outcome = session.report("l2", "finished").finished
    assert (outcome.status, outcome.error_kind) == (OutcomeStatus.OUTCOME_STATUS_FAILED, "ZeroDivisionError")


def test_a_report_that_the_server_would_refuse_is_refused_here(make: Callable[..., Worker]) -> None:
    worker = make(worker_id="w1")
    with pytest.raises(ValueError, match="lease_id"):
        worker.report("", LeaseStarted())
    with pytest.raises(ValueError, match="outcome"):
        worker.report("l1", Outcome(status=OutcomeStatus.OUTCOME_STATUS_LOST))


def test_a_worker_that_only_beats_lists_no_leases_and_counts_its_own_tasks(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    make(worker_id="w1", reports_outcomes=False, background_tasks=lambda: 7).start()
    first = server.session().beats[0]
    assert not first.HasField("running")
    assert not first.registration.reports_outcomes
    assert first.queue_depth == 7


# ---------------------------------------------------------------------------------------- a real process

PROGRAM = """
import sys, time
from scheduler_server.worker import Worker
worker = Worker(sys.argv[1], worker_id="child", drain_timeout=float(sys.argv[2]))
@worker.task("nap")
def nap(task):
    time.sleep(float(task.payload))
    return b"rested"
worker.run()
print("ended")
"""


@pytest.fixture
def child(server: ScheduleServer) -> Iterator[Callable[[float], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(drain_timeout_s: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, server.target, str(drain_timeout_s)]
        path = os.pathsep.join([str(ROOT), str(ROOT / "generated")])
        environment = {**os.environ, "PYTHONPATH": path}
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_a_real_process_which_ends_with_0_and_leaves_none_behind(
    server: ScheduleServer, child: Callable[[float], subprocess.Popen[str]], number: int
) -> None:
    process = child(DEADLINE_S)
    session = server.session()
    session.run("l1", "nap", b"0.5")
    session.report("l1", "started")
    process.send_signal(number)
    assert session.report("l1", "finished").finished.result == b"rested"
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, output) == (0, "ended\n")
    assert session.beats[-1].intent == WorkerIntent.WORKER_INTENT_LEAVE
    assert not psutil.pid_exists(process.pid)


def test_a_process_whose_handler_does_not_end_exits_with_0_after_the_drain_timeout(
    server: ScheduleServer, child: Callable[[float], subprocess.Popen[str]]
) -> None:
    process = child(0.2)
    session = server.session()
    session.run("l1", "nap", b"60")
    session.report("l1", "started")
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 0
    assert session.beats[-1].intent == WorkerIntent.WORKER_INTENT_LEAVE


def test_a_second_signal_ends_a_draining_process_at_once(
    server: ScheduleServer, child: Callable[[float], subprocess.Popen[str]]
) -> None:
    process = child(60.0)
    session = server.session()
    session.run("l1", "nap", b"60")
    session.report("l1", "started")
    process.send_signal(signal.SIGTERM)
    session.beat(lambda beat: beat.intent == WorkerIntent.WORKER_INTENT_DRAIN)
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 128 + signal.SIGTERM
    assert session.beats[-1].intent == WorkerIntent.WORKER_INTENT_DRAIN


def test_a_signal_that_another_thread_gets_ends_run_which_puts_the_handlers_back(
    server: ScheduleServer, make: Callable[..., Worker]
) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    worker = make(worker_id="w1")

    def stop_when_connected() -> None:
        server.session()
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # the kernel may choose any thread

    threading.Thread(target=stop_when_connected).start()
    worker.run()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
