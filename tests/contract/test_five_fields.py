"""The smallest worker: five fields, for ever. The bytes here are written by hand, not by protobuf."""

import asyncio
import struct
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor

from scheduler_api.v1 import worker_pb2
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.rpc import decode_beat
from scheduler_server.rpc.streams import MAX_OUTBOUND
from tests.contract.server import WALL_MS, WALL_S, Running, Stream, heartbeat, unread, until

# worker_id "worker-7", cpu_usage 0.5, memory_usage 0.25, queue_depth 3, timestamp_ms 1,800,000,000,000
FIVE_FIELDS = bytes.fromhex(
    "0a08 776f726b65722d37"  # field 1, length-delimited: "worker-7"
    "15 0000003f"  # field 2, 32 bits: 0.5
    "1d 0000803e"  # field 3, 32 bits: 0.25
    "20 03"  # field 4, varint: 3
    "28 80a0f1c2b134"  # field 5, varint: 1,800,000,000,000
)


def test_the_bytes_of_a_five_field_heartbeat_decode() -> None:
    message = worker_pb2.WorkerHeartbeat.FromString(FIVE_FIELDS)
    assert message.worker_id == "worker-7"
    assert (message.cpu_usage, message.memory_usage) == (0.5, 0.25)
    assert (message.queue_depth, message.timestamp_ms) == (3, WALL_MS)
    assert {field.number for field, _ in message.ListFields()} == {1, 2, 3, 4, 5}
    assert message.SerializeToString(deterministic=True) == FIVE_FIELDS


@pytest.mark.parametrize(
    ("number", "name", "kind"),
    [
        (1, "worker_id", FieldDescriptor.TYPE_STRING),
        (2, "cpu_usage", FieldDescriptor.TYPE_FLOAT),
        (3, "memory_usage", FieldDescriptor.TYPE_FLOAT),
        (4, "queue_depth", FieldDescriptor.TYPE_INT32),
        (5, "timestamp_ms", FieldDescriptor.TYPE_INT64),
    ],
)
def test_fields_1_to_5_keep_number_name_and_type_for_ever(number: int, name: str, kind: int) -> None:
    field = worker_pb2.WorkerHeartbeat.DESCRIPTOR.fields_by_number[number]
    assert (field.name, field.type, field.is_repeated, field.has_presence) == (name, kind, False, False)


def test_everything_else_of_a_heartbeat_starts_at_6() -> None:
    numbers = sorted(field.number for field in worker_pb2.WorkerHeartbeat.DESCRIPTOR.fields)
    assert numbers[:6] == [1, 2, 3, 4, 5, 6]


def test_only_the_id_is_needed_and_the_rest_is_0() -> None:
    event = decode_beat.connect(worker_pb2.WorkerHeartbeat.FromString(b"\x0a\x01w"), 1, WALL_S)
    assert event.worker_id == "w"
    assert (event.registration, event.epoch) == (None, None)
    sample = event.sample
    assert (sample.cpu, sample.memory, sample.queue_depth, sample.timestamp_ms) == (0.0, 0.0, 0, 0)
    assert (sample.running, sample.reports) == (None, ())


def test_unknown_fields_are_ignored_and_survive_a_round_trip() -> None:
    newer = FIVE_FIELDS + bytes.fromhex("a2bb01 03 6e6577a8bb01 2a")  # 2996: "new", 2997: 42
    message = worker_pb2.WorkerHeartbeat.FromString(newer)
    known = decode_beat.connect(worker_pb2.WorkerHeartbeat.FromString(FIVE_FIELDS), 1, WALL_S)
    assert decode_beat.connect(message, 1, WALL_S) == known
    assert sorted(message.SerializeToString()) == sorted(newer)
    assert worker_pb2.WorkerHeartbeat.FromString(message.SerializeToString()) == message


def raw(live: Running) -> Any:
    """A stream that sends bytes as they are."""
    return live.channel.stream_stream("/scheduler_api.v1.ScheduleService/Schedule")()


async def test_those_bytes_on_a_stream_make_a_worker_with_the_default_of_5_slots(live: Running) -> None:
    call = raw(live)
    await call.write(FIVE_FIELDS)
    welcome = worker_pb2.WorkerDirective.FromString(await call.read()).welcome
    assert welcome.worker_id == "worker-7"
    record = live.record("worker-7")
    assert (record.slots, record.registration.explicit) == (5, False)
    assert (record.cpu, record.memory, record.queue_depth) == (0.5, 0.25, 3)
    assert record.load == pytest.approx(0.6 * 0.5 + 0.4 * 0.25)
    assert record.free == 2
    registered = [event for event in live.app.shell.events.entries if event.kind is FleetEventKind.WORKER_REGISTERED]
    assert [event.detail for event in registered] == ["by heartbeat, 5 slots"]
    assert (await live.assign()).decision.worker_id == "worker-7"


async def test_unknown_fields_on_a_stream_change_nothing(live: Running) -> None:
    call = raw(live)
    await call.write(FIVE_FIELDS + bytes.fromhex("a2bb01 03 6e6577"))
    assert worker_pb2.WorkerDirective.FromString(await call.read()).welcome.worker_id == "worker-7"
    await call.write(FIVE_FIELDS + bytes.fromhex("a8bb01 2a"))
    assert worker_pb2.WorkerDirective.FromString(await call.read()).ack.timestamp_ms == WALL_MS
    assert live.record("worker-7").cpu == 0.5


async def test_a_bare_worker_that_never_reads_its_acks_keeps_being_heard(live: Running) -> None:
    beats = 5_000
    async with unread(live) as client:
        call = client.stub.Schedule()
        for number in range(1, beats + 1):
            await call.write(heartbeat("w", queue_depth=number % 5, timestamp_ms=WALL_MS + number))
        record = live.record()
        await until(lambda: record.heartbeats == beats, f"{beats} heartbeats are heard")
        assert record.timestamp_ms == WALL_MS + beats
        assert record.queue_depth == beats % 5
        assert (record.connected, record.dropped) == (True, 0)
        # Acks have come to a stand, and are not kept for it: the newest stands for all before.
        (session,) = live.app.streams._sessions.values()
        assert [directive.ack.timestamp_ms for directive in session.outbound] == [WALL_MS + beats]
        assert live.app.streams.overflowed == 0
        assert (await live.assign()).decision.worker_id == "w"
        call.cancel()


async def test_a_change_of_interval_is_not_lost_with_an_ack_that_a_newer_one_replaced(live: Running) -> None:
    stream = await live.worker()
    (session,) = live.app.streams._sessions.values()
    record = live.record()
    record.heartbeat_interval_s *= 2  # as if the fleet had been larger
    live.app.shell.handle(decode_beat.heartbeat(heartbeat("w", sequence=2), session.number, "w", WALL_S))
    live.app.shell.handle(decode_beat.heartbeat(heartbeat("w", sequence=3), session.number, "w", WALL_S))
    ack = (await stream.next()).ack
    assert ack.sequence == 3
    assert ack.heartbeat_interval.ToTimedelta().total_seconds() == pytest.approx(record.heartbeat_interval_s, abs=1e-6)


async def test_acks_that_carry_news_are_bounded_for_a_worker_that_does_not_read(live: Running) -> None:
    stream = await live.worker()
    (session,) = live.app.streams._sessions.values()
    reports = [worker_pb2.LeaseReport(lease_id="nobody's", started=worker_pb2.LeaseStarted())]
    for number in range(2, MAX_OUTBOUND + 10):  # in one go: the writer gets no turn, as with a reader that has stopped
        beat = heartbeat("w", sequence=number, reports=reports)
        live.app.shell.handle(decode_beat.heartbeat(beat, session.number, "w", WALL_S))
    assert live.app.streams.overflowed == 1
    assert len(session.outbound) <= MAX_OUTBOUND
    problem = await stream.problem()
    assert (problem.code, problem.reason) == ("DEADLINE_EXCEEDED", "STREAM_SILENT")
    await live.gone()


async def test_the_ids_of_a_stream_are_the_same_on_every_message(live: Running) -> None:
    stream = await live.worker()
    await stream.send(worker_id="another")
    problem = await stream.problem()
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["worker_id"])
    assert "another" not in live.core.fleet.records


async def test_a_later_message_may_leave_its_id_out(live: Running) -> None:
    stream = await live.worker()
    assert (await stream.beat(worker_id="", cpu_usage=0.5)).sequence == 2
    assert live.record().cpu == 0.5


@pytest.mark.parametrize(
    ("load", "health"),
    [
        (0.9, "DEGRADED"),  # arrives as 0.8999999762
        (0.900001, "DEGRADED"),
        (0.899999, "HEALTHY"),
    ],
)
async def test_a_load_of_0_9_is_degraded_although_float32_has_no_such_number(
    live: Running, load: float, health: str
) -> None:
    assert struct.unpack("<f", struct.pack("<f", 0.9))[0] < 0.9
    stream = await live.worker()
    assert live.health() == "HEALTHY"
    await stream.beat(cpu_usage=load, memory_usage=load)
    assert live.health() == health


async def test_a_degraded_worker_is_used_after_all_healthy_ones(live: Running) -> None:
    await live.worker("busy", cpu_usage=0.9, memory_usage=0.9)
    await live.worker("calm", cpu_usage=0.8, memory_usage=0.8)
    placed = [(await live.assign(f"t{number}")).decision.worker_id for number in range(6)]
    assert placed == ["calm"] * 5 + ["busy"]


# ---------------------------------------------------------------------- silence


async def bare(live: Running) -> Stream:
    return await live.worker(queue_depth=1)


@pytest.mark.parametrize(("silence_s", "health"), [(29.999, "HEALTHY"), (30.0, "HEALTHY"), (30.001, "UNHEALTHY")])
async def test_a_bare_worker_is_unhealthy_after_30_seconds_of_silence(
    live: Running, silence_s: float, health: str
) -> None:
    await bare(live)
    live.forward(silence_s)
    assert live.health() == health
    if health == "HEALTHY":
        assert (await live.assign()).decision.worker_id == "w"
        return
    problem = await live.refuse()
    assert (problem.code, problem.reason) == ("RESOURCE_EXHAUSTED", "NO_ELIGIBLE_WORKER_NOW")
    assert problem.rejections() == {"REJECTION_REASON_UNHEALTHY": 1}
    assert ("WORKER_HEALTH_CHANGED", "w", "healthy", "unhealthy") in live.told()


async def test_one_heartbeat_makes_a_silent_worker_healthy_again(live: Running) -> None:
    stream = await bare(live)
    live.forward(31)
    assert live.health() == "UNHEALTHY"
    await stream.beat()
    assert live.health() == "HEALTHY"
    assert (await live.assign()).decision.worker_id == "w"


@pytest.mark.parametrize(("silence_s", "known"), [(299.9, True), (300.0, True), (301.1, False)])
async def test_a_worker_is_forgotten_after_5_minutes_of_silence(live: Running, silence_s: float, known: bool) -> None:
    await bare(live)
    live.forward(silence_s)
    live.forward(0)
    assert ("w" in live.core.fleet.records) is known
    if not known:
        assert ("WORKER_REMOVED", "w", "", "") in live.told()
        assert (await live.refuse()).reason == "NO_WORKERS"


async def test_a_bare_worker_that_was_forgotten_is_registered_again_when_it_beats(live: Running) -> None:
    stream = await bare(live)
    live.forward(302)
    assert "w" not in live.core.fleet.records
    assert (await stream.beat(queue_depth=2)).sequence == 2
    assert (live.health(), live.record().queue_depth) == ("HEALTHY", 2)
    assert [kind for kind, *_ in live.told(FleetEventKind.WORKER_REGISTERED)] == ["WORKER_REGISTERED"] * 2
    assert (await live.assign()).decision.worker_id == "w"


async def test_a_bare_worker_reconnects_by_starting_to_beat_again(live: Running) -> None:
    stream = await bare(live)
    await stream.lose()
    await live.gone()
    assert live.health() == "UNHEALTHY"
    again = await live.worker()
    assert again.welcome.epoch.connection == stream.welcome.epoch.connection + 1
    assert live.health() == "HEALTHY"


async def test_a_second_bare_stream_of_one_id_takes_over_from_the_first(live: Running) -> None:
    first = await bare(live)
    second = await bare(live)
    assert (await first.goodbye()).reason == worker_pb2.GOODBYE_REASON_SUPERSEDED
    assert (await second.beat()).sequence == 2


async def test_a_thousand_bare_workers_on_one_connection_are_all_heard(live: Running) -> None:
    streams = await asyncio.gather(*(live.worker(f"w{number}", queue_depth=1) for number in range(990)))
    assert len(live.core.fleet) == 990
    assert live.core.fleet.records["w989"].queue_depth == 1
    for stream in streams:
        stream.call.cancel()
    await until(lambda: len(live.app.streams) == 0, "all sessions are over")


async def test_the_status_of_a_stream_that_the_worker_ends_is_ok(live: Running) -> None:
    stream = await live.worker()
    await stream.call.done_writing()
    assert await stream.call.code() is grpc.StatusCode.OK
    await live.gone()
