"""What is bounded: errors in trailers, messages, streams on a connection, connections that say nothing."""

import asyncio
import base64
import struct
from typing import Any

import grpc
import pytest

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2, worker_pb2
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc.checks import Fault, Faults
from scheduler_server.rpc.errors import CODES, NotSupported, Refused, status_of
from scheduler_server.rpc.server import ServerSettings
from tests.contract.server import (
    DEADLINE_S,
    Problem,
    Running,
    heartbeat,
    problem_of,
    refused,
    running,
    settings,
    task,
    unread,
    until,
)

TRAILERS = 8_192
"""What most clients take in all (grpc's own soft limit, RFC 9113's way to count)."""

WIDE = "\N{GRINNING FACE}"
"""Four bytes of UTF-8, twelve percent-encoded."""

Registration = worker_pb2.WorkerRegistration


def small(problem: Problem) -> Problem:
    assert 0 < problem.trailer_bytes < TRAILERS
    return problem


# ---------------------------------------------------------------------- errors in trailers


@pytest.mark.parametrize("letter", ["x", WIDE, "%"])
async def test_64_missing_capabilities_of_256_characters_fit(live: Running, letter: str) -> None:
    await live.worker()
    wanted = sorted(f"{number:02}" + letter * 254 for number in range(64))
    problem = small(await live.refuse(letter * 256, required_capabilities=wanted, task_type=letter * 256))
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "NO_CAPABLE_WORKER")
    assert problem.refusal is not None
    named = list(problem.refusal.missing_capabilities)
    assert 1 <= len(named) < 64
    assert all(name[:60] == whole[:60] for name, whole in zip(named, wanted, strict=False))
    assert problem.message.endswith("...")
    assert problem.metadata["task_id"][:60] == letter * 60


async def test_labels_of_any_length_fit(live: Running) -> None:
    labels = {f"{number:02}" + WIDE * 254: WIDE * 256 for number in range(64)}
    await live.worker()
    assert small(await live.refuse(match_labels=labels)).reason == "NO_CAPABLE_WORKER"
    await live.worker("all", registration=Registration(labels=labels))
    await live.worker("one more", registration=Registration(labels={"x" + WIDE * 255: "v"}))
    assert (await live.assign("all of them", match_labels=labels)).decision.worker_id == "all"
    assert small(await live.refuse(match_labels={"x" + WIDE * 255: "v"})).fields == ["task.match_labels"]


@pytest.mark.parametrize("letter", ["x", WIDE])
async def test_300_faults_fit(live: Running, letter: str) -> None:
    reports = [worker_pb2.LeaseReport(lease_id=letter * 300) for _ in range(150)]  # too long, and without a fact
    stream = live.stream()
    await stream.call.write(heartbeat("w", reports=reports))
    problem = small(await stream.problem())
    assert problem.message.startswith("300 faults, among them: reports[0].lease_id: ")
    assert len(problem.fields) >= 5


async def test_faults_of_labels_with_long_names_fit(live: Running) -> None:
    problem = small(await live.refuse(match_labels={f"{number}" + WIDE * 300: "v" for number in range(64)}))
    assert problem.code == "INVALID_ARGUMENT"
    assert all(field.startswith("task.match_labels['") for field in problem.fields)


async def test_an_id_of_another_worker_fits(live: Running) -> None:
    stream = await live.worker(WIDE * 256)
    await stream.send(worker_id="\0" * 300)
    assert small(await stream.problem()).fields == ["worker_id"]


@pytest.mark.parametrize("letter", ["x", WIDE, "%", "\n"])
@pytest.mark.parametrize("reason", list(Reason))
def test_no_refusal_can_be_too_long(reason: Reason, letter: str) -> None:
    long = letter * 20_000
    metadata = tuple((f"{number}{'k' * 30}", long) for number in range(100))
    refusal = Refusal(reason, long, (("field", long), *metadata), retry_after_s=1.0)
    fits(refusal, long)
    names = (long,) * 100
    fits(refusal._replace(missing_capabilities=names, missing_labels=names, blocking=next(iter(_blocking()))), long)


def _blocking() -> Any:
    from scheduler_server.model.task import BlockingReason

    return BlockingReason


@pytest.mark.parametrize("letter", ["x", WIDE, "%"])
def test_no_list_of_faults_can_be_too_long(letter: str) -> None:
    long = letter * 5_000
    fits(Faults([Fault(long, long)] * 500), long)
    fits(NotSupported(long, long), long)


def fits(error: Any, long: str) -> None:
    status = status_of(error)
    problem = problem_of(status.code, status.message, status.details)
    assert problem.reason
    encoded = base64.b64encode(status.SerializeToString())
    message = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in status.message.encode())
    assert len(encoded) + message + 200 < TRAILERS
    assert len(problem.message) > 50  # cut, not dropped


def test_every_reason_has_its_status_code() -> None:
    assert set(CODES) == set(Reason)
    for reason in Reason:
        status = status_of(Refused(Refusal(reason, "why", (("lease_id", "l"),))))
        problem = problem_of(status.code, status.message, status.details)
        assert (problem.reason, problem.domain, problem.metadata) == (
            reason.value,
            "scheduler-server",
            {"lease_id": "l"},
        )


# ---------------------------------------------------------------------- messages


async def test_a_message_of_4_mib_is_taken_and_one_byte_more_is_not(live: Running) -> None:
    limit = 4 * 1024 * 1024
    request = api.CancelTaskRequest(task=task_pb2.TaskKey(task_id="t"), reason="x" * (limit - 100))
    request.reason += "x" * (limit - request.ByteSize())
    assert request.ByteSize() == limit
    assert (await refused(live.stub.CancelTask(request))).fields == ["reason"]
    request.reason += "x"
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await live.stub.CancelTask(request)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await live.still_places("after")


async def test_a_heartbeat_above_the_limit_ends_its_stream_and_nothing_else(live: Running) -> None:
    other = await live.worker("other")
    stream = await live.worker()
    await stream.send(probe_nonce="x" * 5_000_000)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stream.next()
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await live.gone()
    assert (await other.beat()).sequence == 2


async def test_the_largest_payload_goes_through_a_worker_stream(live: Running) -> None:
    stream = await live.sdk_worker()
    payload = bytes(range(256)) * 256
    await live.assign(payload=payload, delivery=task_pb2.DELIVERY_STREAM)
    assert (await stream.next()).run_task.task.payload == payload


async def test_ten_thousand_running_leases_are_reconciled_in_one_heartbeat(live: Running) -> None:
    stream = await live.sdk_worker(slots=10_000)
    leases = [worker_pb2.RunningLease(lease_id=f"unknown {number}") for number in range(10_000)]
    ack = await stream.beat(running=worker_pb2.RunningLeases(leases=leases))
    assert len(ack.verdicts) == 10_000


# ---------------------------------------------------------------------- HTTP/2, by hand

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7
END_HEADERS, ACK = 0x4, 0x1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header(name: str, value: str) -> bytes:
    """A literal that is not indexed and not Huffman-coded (RFC 7541, 6.2.2)."""
    assert len(name) < 127
    assert len(value) < 127
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def call(method: str, stream: int) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/scheduler_api.v1.ScheduleService/{method}",
        ":authority": "test",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    return frame(HEADERS, END_HEADERS, stream, b"".join(header(*each) for each in fields.items()))


class Raw:
    """One connection, spoken by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, live: Running, first: bytes = PREFACE + frame(SETTINGS, 0, 0)) -> "Raw":
        host, _, port = live.app.address.rpartition(":")
        made = cls(*await asyncio.open_connection(host, int(port)))
        await made.send(first)
        return made

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def frames(self, wanted: set[int]) -> dict[int, int]:
        """Read until a frame of one of these kinds came, or the end; how many of each kind came."""
        seen: dict[int, int] = {}
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not wanted & seen.keys():
                    head = await self.reader.readexactly(9)
                    await self.reader.readexactly(int.from_bytes(head[:3], "big"))
                    seen[head[3]] = seen.get(head[3], 0) + 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        return seen

    def close(self) -> None:
        self.writer.transport.abort()


async def test_2_000_streams_opened_and_reset_leave_honest_calls_alone(live: Running) -> None:
    await live.worker(registration=Registration(max_concurrent_tasks=10_000, reports_outcomes=True))
    attacker = await Raw.open(live)

    async def attack() -> None:
        try:
            for stream in range(1, 4_001, 2):
                method = "Schedule" if stream % 4 == 1 else "Assign"
                await attacker.send(call(method, stream) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))
        except ConnectionError:
            pass  # the server may have had enough of it

    async def honest() -> None:
        for number in range(100):
            assert (await live.assign(f"t{number}")).decision.worker_id == "w"

    await asyncio.gather(attack(), honest())
    attacker.close()
    await until(lambda: len(live.app.streams) == 1, "only the honest stream is left")


async def test_2_000_worker_streams_cancelled_by_their_clients_leave_nothing(live: Running) -> None:
    honest = await live.worker("honest")
    for number in range(2_000):
        doomed = live.stub.Schedule()
        if number % 2:
            await doomed.write(heartbeat(f"w{number % 50}"))
        doomed.cancel()
    assert (await honest.beat()).sequence == 2
    assert (await live.assign()).decision.worker_id
    await until(lambda: len(live.app.streams) == 1, "only the honest stream is left")
    await until(lambda: len(live.core.link.sessions) == 1, "only the honest session is left")


async def test_calls_that_never_finish_their_message_are_bounded_per_connection() -> None:
    server = ServerSettings(listen="127.0.0.1:0", max_streams_per_connection=10)
    async with running(settings(server=server)) as live:
        half = await Raw.open(live)
        for stream in range(1, 2 * 10, 2):  # a message of 1,000 bytes is announced, 3 come
            await half.send(call("Assign", stream) + frame(DATA, 0, stream, b"\0" + struct.pack(">I", 1_000) + b"abc"))
        assert RST_STREAM not in (await half.frames({SETTINGS}))
        await half.send(call("Assign", 21))
        assert {RST_STREAM, GOAWAY} & (await half.frames({RST_STREAM, GOAWAY})).keys()
        await live.still_places("meanwhile")
        half.close()
        await live.still_places("after")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        PREFACE[:10],
        PREFACE,
        PREFACE + frame(SETTINGS, 0, 0) + call("Schedule", 1)[:20],
        PREFACE + frame(SETTINGS, 0, 0) + call("Schedule", 1),
        PREFACE + frame(SETTINGS, 0, 0) + call("Schedule", 1) + frame(DATA, 0, 1, b"\0\xff\xff\xff\xff"),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff" * 1_000,
    ],
    ids=[
        "nothing",
        "half a preface",
        "only a preface",
        "half a header",
        "a stream without a word",
        "a message of 4 GiB announced",
        "HTTP/1.1",
        "noise",
    ],
)
async def test_connections_that_stay_half_open_harm_nobody(live: Running, first: bytes) -> None:
    connections = [await Raw.open(live, first) for _ in range(50)]
    await live.still_places("meanwhile")
    assert len(live.core.fleet) == 1
    for each in connections:
        each.close()
    await until(lambda: len(live.app.streams) == 1, "only the honest stream is left")
    await live.still_places("after")


async def test_a_connection_may_hold_as_many_streams_as_the_settings_say() -> None:
    server = ServerSettings(listen="127.0.0.1:0", max_streams_per_connection=3)
    async with running(settings(server=server)) as live:
        for number in range(3):
            await live.worker(f"w{number}")
        waiting = live.stream("w3")
        with pytest.raises(TimeoutError):  # the client holds it back until a stream is free
            await asyncio.wait_for(waiting.open(), 0.2)
        assert len(live.core.fleet) == 3


async def test_a_worker_that_does_not_read_does_not_hold_up_decisions(live: Running) -> None:
    async with unread(live) as client:
        stalled = await client.sdk_worker("stalled", slots=10_000)
        (session,) = live.app.streams._sessions.values()
        payload = b"x" * 65_536
        for number in range(50):
            request = api.AssignRequest(task=task(f"t{number}", payload=payload), delivery=task_pb2.DELIVERY_STREAM)
            await live.stub.Assign(request, timeout=DEADLINE_S)
        assert session.outbound
        assert live.record("stalled").occupied == 50
        live.forward(5.1)  # none was acknowledged
        assert await live.state("t0") == "WAITING"
        assert not live.record("stalled").connected
        await live.still_places("after")
        stalled.call.cancel()
    await until(lambda: len(live.app.streams) == 1, "only the honest stream is left")
