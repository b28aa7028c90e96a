"""The ack of reports waits a moment, so that one says what several would; every other ack is sent at once."""

import asyncio
from typing import Any

import pytest

from scheduler_api.v1 import worker_pb2
from scheduler_server.assignment.effects import Acked, Goodbye
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.worker import GoodbyeReason
from scheduler_server.rpc import streams
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.streams import Session, WorkerStreams
from scheduler_server.storage.memory_journal import UnavailableJournal
from tests.unit.assignment.rig import Rig

DEADLINE_S = 10.0
NUMBER = 1


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> WorkerStreams:
    monkeypatch.setattr(streams, "ACKS_TOGETHER_S", 0.001)
    rig = Rig()
    return WorkerStreams(Shell(rig.core, UnavailableJournal("none"), lambda: rig.now))


def session(served: WorkerStreams, reported: int) -> Session:
    """A stream whose heartbeat of this sequence had reports."""
    handler = asyncio.current_task()
    assert handler is not None
    made = served._sessions[NUMBER] = Session(NUMBER, handler)
    made.reported = reported
    return made


def told(of: Session) -> list[tuple[str, int]]:
    """What is to be written: which directive, and an ack's sequence."""
    return [(str(each.WhichOneof("directive")), int(each.ack.sequence)) for each in of.outbound]


async def written(of: Session) -> list[tuple[str, int]]:
    """What is to be written once the writer is roused."""
    of.wake = asyncio.get_running_loop().create_future()
    await asyncio.wait_for(of.wake, DEADLINE_S)
    return told(of)


async def test_one_ack_stands_for_all_that_came_within_the_moment(served: WorkerStreams) -> None:
    of = session(served, reported=7)
    for sequence in (5, 6, 7):
        served.send(Acked(NUMBER, sequence, 0))
    assert told(of) == []
    assert await written(of) == [("ack", 7)]
    served.send(Acked(NUMBER, 7, 0))  # and again after that
    assert await written(of) == [("ack", 7)]


async def test_a_heartbeat_without_reports_is_answered_at_once_and_for_those_before_it(served: WorkerStreams) -> None:
    of = session(served, reported=5)
    served.send(Acked(NUMBER, 5, 0))
    served.send(Acked(NUMBER, 6, 0))
    assert told(of) == [("ack", 6)]
    of.outbound.clear()
    served._acknowledge_now(of)
    assert told(of) == []


@pytest.mark.parametrize(
    "more",
    [
        {"heartbeat_interval_s": 2.0},
        {"refused": (("l", Refusal(Reason.LEASE_UNKNOWN, "never heard of")),)},
    ],
)
async def test_an_ack_that_says_more_than_that_all_is_well_does_not_wait(
    served: WorkerStreams, more: dict[str, Any]
) -> None:
    of = session(served, reported=5)
    served.send(Acked(NUMBER, 5, 0, **more))
    assert told(of) == [("ack", 5)]


async def test_a_worker_that_numbers_nothing_is_answered_at_once(served: WorkerStreams) -> None:
    of = session(served, reported=0)
    served.send(Acked(NUMBER, 0, 17))
    assert told(of) == [("ack", 0)]


async def test_the_last_word_comes_after_the_ack(served: WorkerStreams) -> None:
    of = session(served, reported=5)
    served.send(Acked(NUMBER, 5, 0))
    served.send(Goodbye(NUMBER, GoodbyeReason.LEFT, "unregistered", None))
    assert told(of) == [("ack", 5), ("goodbye", 0)]
    assert isinstance(of.outbound[0], worker_pb2.WorkerDirective)
    if of.last_words is not None:
        of.last_words.cancel()


async def test_a_stream_that_has_ended_is_acknowledged_no_more(served: WorkerStreams) -> None:
    of = session(served, reported=5)
    served.send(Acked(NUMBER, 5, 0))
    of.closing = True
    served._acknowledge_now(of)
    assert told(of) == []
