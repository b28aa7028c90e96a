"""Several directives in one message, for workers that registered `takes_several`: the same ones, in the same order."""

import asyncio

import grpc
import pytest

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import worker_pb2
from scheduler_server.assignment import effects
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.worker import GoodbyeReason
from scheduler_server.rpc import streams
from scheduler_server.worker import TaskContext, Worker
from tests.contract.server import DEADLINE_S, Running, Stream, task, until
from tests.contract.test_enqueue import STREAM
from tests.contract.test_worker_stream import acknowledged, finished, registration


def probe(live: Running, *nonces: str, worker_id: str = "w") -> None:
    """Let directives be ready for a worker in one step of the server."""
    session = live.record(worker_id).session
    assert session is not None
    for nonce in nonces:
        live.app.streams.send(effects.ProbeSent(session, nonce))


def nonces(message: worker_pb2.WorkerDirective) -> list[str]:
    """Those of one message, whichever way it carries them."""
    if message.HasField("several"):
        assert len(message.several.directives) > 1
        return [each.probe.nonce for each in message.several.directives]
    return [message.probe.nonce]


async def directives(stream: Stream, count: int) -> list[worker_pb2.WorkerDirective]:
    """So many, in however many messages."""
    found: list[worker_pb2.WorkerDirective] = []
    while len(found) < count:
        got = await stream.next()
        found += got.several.directives if got.HasField("several") else [got]
    return found


async def test_what_is_ready_at_once_is_one_message_in_its_order(live: Running) -> None:
    stream = await live.sdk_worker(takes_several=True)
    probe(live, "a", "b", "c")
    assert nonces(await stream.next()) == ["a", "b", "c"]


async def test_one_directive_alone_is_sent_as_ever(live: Running) -> None:
    stream = await live.sdk_worker(takes_several=True)
    probe(live, "a")
    assert (await stream.next()).probe.nonce == "a"


async def test_a_worker_that_did_not_register_it_is_sent_each_by_itself(live: Running) -> None:
    stream = await live.sdk_worker()
    probe(live, "a", "b")
    assert [(await stream.next()).probe.nonce for _ in range(2)] == ["a", "b"]


async def test_a_later_registration_says_it_anew_and_another_stream_begins_without_it(live: Running) -> None:
    stream = await live.sdk_worker()
    await stream.beat(registration=registration(accepts_tasks=True, takes_several=True))
    probe(live, "a", "b")
    assert nonces(await stream.next()) == ["a", "b"]
    await stream.beat(registration=registration(accepts_tasks=True))
    probe(live, "c", "d")
    assert [(await stream.next()).probe.nonce for _ in range(2)] == ["c", "d"]
    await stream.beat(registration=registration(accepts_tasks=True, takes_several=True))
    await stream.lose()
    await live.gone()
    stream = await live.worker()  # without a registration: what it registered once is known, but not this of the stream
    probe(live, "e", "f")
    assert [(await stream.next()).probe.nonce for _ in range(2)] == ["e", "f"]


@pytest.mark.parametrize(("count", "sizes"), [(99, [99]), (100, [100]), (101, [100, 1]), (202, [100, 100, 2])])
async def test_a_message_has_at_most_a_hundred(live: Running, count: int, sizes: list[int]) -> None:
    stream = await live.sdk_worker(takes_several=True)
    probe(live, *(str(number) for number in range(count)))
    got = [nonces(await stream.next()) for _ in sizes]
    assert [len(each) for each in got] == sizes
    assert [each for message in got for each in message] == [str(number) for number in range(count)]


async def test_a_message_is_ended_by_the_directive_that_makes_it_large(
    live: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = await live.sdk_worker(takes_several=True)
    each = worker_pb2.WorkerDirective(probe=worker_pb2.Probe(nonce="a")).ByteSize()
    for limit, sizes in ((2 * each, [2, 2]), (2 * each + 1, [3, 1])):
        monkeypatch.setattr(streams, "BYTES_TOGETHER", limit)
        probe(live, *"abcd")
        assert [len(nonces(await stream.next())) for _ in sizes] == sizes


async def test_the_welcome_and_the_goodbye_are_messages_of_their_own(live: Running) -> None:
    stream = await live.sdk_worker(takes_several=True)  # reads a welcome, and nothing else, first
    session = live.record().session
    assert session is not None
    probe(live, "a", "b")
    live.app.streams.send(effects.Goodbye(session, GoodbyeReason.LEFT, "bye", None))
    assert nonces(await stream.next()) == ["a", "b"]
    assert (await stream.next()).goodbye.message == "bye"
    assert await asyncio.wait_for(stream.call.read(), DEADLINE_S) is grpc.aio.EOF


async def test_a_welcome_with_more_behind_it_is_alone(live: Running) -> None:
    stream = await live.sdk_worker(takes_several=True)
    session = live.record().session
    assert session is not None
    live.app.streams.send(effects.Welcomed(session, "w", "boot", 1, 5.0, ()))
    probe(live, "a", "b")
    assert (await stream.next()).HasField("welcome")
    assert nonces(await stream.next()) == ["a", "b"]


async def test_many_placed_by_one_call_are_handed_over_in_order_and_end(live: Running) -> None:
    stream = await live.sdk_worker(slots=20, takes_several=True)
    items = [api.AssignRequest(task=task(f"t{number}"), delivery=STREAM) for number in range(20)]
    await live.stub.AssignBatch(api.AssignBatchRequest(requests=items))
    runs = [each.run_task for each in await directives(stream, 20)]
    assert [each.task.task_id for each in runs] == [f"t{number}" for number in range(20)]
    reports = [report for each in runs for report in (acknowledged(each.lease_id), finished(each.lease_id))]
    await stream.beat(reports=reports)
    assert live.record().occupied == 0


async def test_a_waiting_ack_goes_along_with_what_is_written_before_it_is_due(
    live: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ACKS_TOGETHER_S", 2 * DEADLINE_S)
    stream = await live.sdk_worker(takes_several=True)
    lease = (await live.assign(delivery=STREAM)).decision.lease_id
    assert (await stream.next()).run_task.lease_id == lease
    await stream.send(sequence=2, reports=[acknowledged(lease)])
    session = live.app.streams._sessions[live.record().session or 0]
    await until(lambda: session.ack is not None, "the report has been handled")
    probe(live, "a")
    told = (await stream.next()).several.directives
    assert [each.WhichOneof("directive") for each in told] == ["probe", "ack"]
    assert told[1].ack.sequence == 2


async def test_an_ack_that_refuses_a_report_waits_for_nothing(live: Running) -> None:
    stream = await live.sdk_worker(takes_several=True)
    session = live.record().session
    assert session is not None
    refused = (("l", Refusal(Reason.LEASE_UNKNOWN, "no such lease")),)
    probe(live, "a")
    live.app.streams.send(effects.Acked(session, 2, 0, None, (), refused))
    told = (await stream.next()).several.directives
    assert [each.WhichOneof("directive") for each in told] == ["probe", "ack"]
    assert told[1].ack.refused[0].lease_id == "l"


async def test_a_worker_of_the_sdk_takes_them_in(live: Running) -> None:
    worker = Worker(live.app.address, worker_id="w", slots=20)
    done: list[str] = []

    @worker.task("resize")
    def resize(context: TaskContext) -> None:
        done.append(context.task_id)

    worker.start()
    try:
        await until(lambda: "w" in live.core.fleet.records, "the worker registers")
        session = live.app.streams._sessions[live.record().session or 0]
        assert session.several
        items = [api.AssignRequest(task=task(f"t{number}"), delivery=STREAM) for number in range(20)]
        await live.stub.AssignBatch(api.AssignBatchRequest(requests=items))
        await until(lambda: len(done) == 20 and live.record().occupied == 0, "all tasks have ended")
        assert sorted(done) == sorted(f"t{number}" for number in range(20))
    finally:
        await asyncio.to_thread(worker.stop, 1.0)
