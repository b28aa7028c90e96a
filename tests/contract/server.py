"""The real server, in process, on a clock that only the test moves; and what tests say to it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self, cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from scheduler_api.v1 import decision_pb2, schedule_service_pb2_grpc, task_pb2, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.app import App
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings

DEADLINE_S = 10.0
"""Longer than anything here takes; a wait that reaches it fails the test."""

WALL_S = 1_800_000_000.0
WALL_MS = int(WALL_S * 1_000)


class Clock:
    """Time stands still until a test moves it."""

    def __init__(self) -> None:
        self.monotonic = 1_000.0
        self.wall = WALL_S

    def __call__(self) -> Now:
        return Now(self.monotonic, self.wall)


def settings(**parts: Any) -> Settings:
    """The defaults, on a free port, with nothing kept."""
    parts.setdefault("server", ServerSettings(listen="127.0.0.1:0"))
    return Settings(storage=StorageSettings(state_folder=""), **parts)


class Problem(NamedTuple):
    """An error as a caller sees it."""

    code: str
    message: str
    reason: str
    domain: str
    metadata: dict[str, str]
    fields: list[str]
    descriptions: list[str]
    retry_s: float | None
    refusal: decision_pb2.PlacementRefusal | None
    trailer_bytes: int = 0

    def rejections(self) -> dict[str, int]:
        """Workers by the reason that kept them out."""
        assert self.refusal is not None
        return {decision_pb2.RejectionReason.Name(each.reason): each.count for each in self.refusal.rejections}


def problem_of(code: int, message: str, details: Iterable[AnyMessage], trailer_bytes: int = 0) -> Problem:
    """An error from the parts of a google.rpc.Status; ErrorInfo comes first."""
    packed = list(details)
    info = error_details_pb2.ErrorInfo()
    assert packed, f"an error without details: {code} {message}"
    assert packed[0].Unpack(info), "the first detail is no ErrorInfo"
    bad, retry, refusal = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo(), decision_pb2.PlacementRefusal()
    retry_s, refused = None, None
    for each in packed[1:]:
        assert each.Unpack(bad) or each.Unpack(retry) or each.Unpack(refusal), f"a detail not documented: {each}"
        if each.Is(retry.DESCRIPTOR):
            retry_s = retry.retry_delay.ToNanoseconds() / 1e9
        if each.Is(refusal.DESCRIPTOR):
            refused = refusal
    name = next(each.name for each in grpc.StatusCode if each.value[0] == code)
    return Problem(
        name,
        message,
        info.reason,
        info.domain,
        dict(info.metadata),
        [each.field for each in bad.field_violations],
        [each.description for each in bad.field_violations],
        retry_s,
        refused,
        trailer_bytes,
    )


def item_problem(error: api.ItemError) -> Problem:
    """The error of one item of many, read as the google.rpc.Status that it is on the wire."""
    status = status_pb2.Status.FromString(error.SerializeToString())
    return problem_of(status.code, status.message, status.details)


def _problem(error: grpc.aio.AioRpcError) -> Problem:
    status = rpc_status.from_call(cast(Any, error))
    assert status is not None, f"an error without google.rpc.Status: {error.code()} {error.details()}"
    # What HTTP/2 counts (RFC 9113, 6.5.2), with the binary trailer in base64 and the message percent-encoded.
    size = sum(len(key) + 32 + (len(value) + 2) // 3 * 4 for key, value in error.trailing_metadata() or ())
    size += len("grpc-status") + 2 + 32 + len("grpc-message") + 32
    size += sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in (error.details() or "").encode())
    return problem_of(status.code, status.message, status.details, size)


async def refused(call: Any) -> Problem:
    """The error that a call ends with; an answer fails the test."""
    try:
        answer = await asyncio.wait_for(call, DEADLINE_S)
    except grpc.aio.AioRpcError as error:
        return _problem(error)
    raise AssertionError(f"answered: {answer}")


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until something has become true."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 -- what is waited for is the server's own state
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"did not happen: {what}") from None


def span(seconds: float) -> Duration:
    """A Duration."""
    made = Duration()
    made.FromNanoseconds(round(seconds * 1e9))
    return made


def heartbeat(worker_id: str, **fields: Any) -> worker_pb2.WorkerHeartbeat:
    """A heartbeat of a worker that says at least who it is."""
    return worker_pb2.WorkerHeartbeat(worker_id=worker_id, **fields)


def task(task_id: str = "t", **fields: Any) -> task_pb2.Task:
    """A task that can be placed."""
    fields.setdefault("task_type", "resize")
    return task_pb2.Task(task_id=task_id, **fields)


class Stream:
    """One worker's stream, as the worker sees it."""

    def __init__(self, call: Any, worker_id: str) -> None:
        self.call = call
        self.worker_id = worker_id
        self.welcome = worker_pb2.Welcome()
        self.sequence = 1
        self.probes: list[str] = []

    async def send(self, **fields: Any) -> None:
        """Write one heartbeat."""
        await self.call.write(heartbeat(fields.pop("worker_id", self.worker_id), **fields))

    async def next(self) -> worker_pb2.WorkerDirective:
        """The next directive; the end of the stream fails the test."""
        got = await asyncio.wait_for(self.call.read(), DEADLINE_S)
        assert got is not grpc.aio.EOF, f"the stream ended: {await self.call.code()}"
        return cast(worker_pb2.WorkerDirective, got)

    async def open(self, **fields: Any) -> Self:
        """Send the first heartbeat and read the welcome."""
        await self.send(**fields)
        first = await self.next()
        assert first.HasField("welcome"), first
        self.welcome = first.welcome
        self.worker_id = first.welcome.worker_id
        return self

    async def beat(self, **fields: Any) -> worker_pb2.Ack:
        """Send one heartbeat, with a sequence of its own, and read its ack."""
        self.sequence = fields.setdefault("sequence", self.sequence + 1)
        await self.send(**fields)
        got = await self.next()
        while got.HasField("probe"):
            self.probes.append(got.probe.nonce)
            got = await self.next()
        assert got.HasField("ack"), got
        return got.ack

    async def goodbye(self) -> worker_pb2.Goodbye:
        """Read up to the goodbye; after it the stream ends with OK."""
        while True:
            got = await self.next()
            if got.HasField("goodbye"):
                assert await asyncio.wait_for(self.call.read(), DEADLINE_S) is grpc.aio.EOF
                assert await self.call.code() is grpc.StatusCode.OK
                return got.goodbye

    async def problem(self) -> Problem:
        """The error that the stream ends with."""

        async def to_the_end() -> str:
            while (got := await self.call.read()) is not grpc.aio.EOF:
                pass
            return f"{got}, {await self.call.code()}"

        return await refused(to_the_end())

    async def lose(self) -> None:
        """Break the stream without a word."""
        self.call.cancel()


class Running:
    """A server that runs, its clock, and a client of it."""

    def __init__(self, app: App, clock: Clock, channel: grpc.aio.Channel) -> None:
        self.app = app
        self.core = app.core
        self.clock = clock
        self.channel = channel
        self.stub = schedule_service_pb2_grpc.ScheduleServiceStub(channel)

    # ------------------------------------------------------------------ time

    def forward(self, seconds: float) -> None:
        """Let time pass, as it does for a server that runs: a tick every second."""
        whole, rest = divmod(seconds, 1.0)
        for step in [rest] + [1.0] * int(whole):  # the last second is a whole one: it ends with a sweep
            self.clock.monotonic += step
            self.clock.wall += step
            self.app.shell.tick()

    def sleep(self, seconds: float) -> None:
        """Let time pass in one step: the server was not running."""
        self.clock.monotonic += seconds
        self.clock.wall += seconds
        self.app.shell.tick()

    # ------------------------------------------------------------------ workers

    def stream(self, worker_id: str = "w") -> Stream:
        """A stream on which nothing has been said."""
        return Stream(self.stub.Schedule(), worker_id)

    async def worker(self, worker_id: str = "w", **fields: Any) -> Stream:
        """A worker that has been welcomed. Without `registration` it is a bare one."""
        return await self.stream(worker_id).open(**fields)

    async def sdk_worker(self, worker_id: str = "w", *, slots: int = 2, **registration: Any) -> Stream:
        """A worker that takes tasks from its stream."""
        return await self.worker(
            worker_id,
            sequence=1,
            registration=worker_pb2.WorkerRegistration(accepts_tasks=True, max_concurrent_tasks=slots, **registration),
        )

    def record(self, worker_id: str = "w") -> WorkerRecord:
        """What the server knows of a worker."""
        return self.core.fleet.records[worker_id]

    def health(self, worker_id: str = "w") -> str:
        """A worker's health."""
        return self.record(worker_id).health.name

    async def gone(self, worker_id: str = "w") -> None:
        """Wait until a worker's stream is known to be lost."""
        await until(lambda: not self.record(worker_id).connected, f"the stream of {worker_id} is lost")

    def told(self, *kinds: FleetEventKind) -> list[tuple[str, str, str, str]]:
        """Events of these kinds: kind, worker, before, after."""
        return [
            (event.kind.name, event.worker_id, event.before, event.after)
            for event in self.app.shell.events.entries
            if not kinds or event.kind in kinds
        ]

    # ------------------------------------------------------------------ tasks

    async def assign(
        self, task_id: str = "t", *, delivery: int = 0, view: int = 0, **fields: Any
    ) -> api.AssignResponse:
        """Place a task."""
        request = api.AssignRequest(task=task(task_id, **fields), delivery=cast(Any, delivery), view=cast(Any, view))
        return await self.stub.Assign(request, timeout=DEADLINE_S)

    async def refuse(self, task_id: str = "t", *, delivery: int = 0, **fields: Any) -> Problem:
        """Ask for a task to be placed, and be refused."""
        return await refused(
            self.stub.Assign(api.AssignRequest(task=task(task_id, **fields), delivery=cast(Any, delivery)))
        )

    async def report(self, lease_id: str, status: int = 1, **outcome: Any) -> api.OutcomeReportResult:
        """Say how one task ended."""
        report = api.OutcomeReport(lease_id=lease_id, outcome=task_pb2.Outcome(status=cast(Any, status), **outcome))
        answer = await self.stub.ReportOutcome(api.ReportOutcomeRequest(reports=[report]), timeout=DEADLINE_S)
        return answer.results[0]

    async def status(self, task_id: str = "t", **key: Any) -> api.TaskStatus:
        """Where a task stands."""
        request = api.GetTaskRequest(task=task_pb2.TaskKey(task_id=task_id, **key))
        return (await self.stub.GetTask(request, timeout=DEADLINE_S)).task

    async def state(self, task_id: str = "t", **key: Any) -> str:
        """The state of a task, by name and without its prefix."""
        return task_pb2.TaskState.Name((await self.status(task_id, **key)).state).removeprefix("TASK_STATE_")

    async def cancel(self, task_id: str = "t", **fields: Any) -> api.CancelTaskResponse:
        """Cancel a task."""
        request = api.CancelTaskRequest(task=task_pb2.TaskKey(task_id=task_id), **fields)
        return await self.stub.CancelTask(request, timeout=DEADLINE_S)

    async def unreadable(self, method: str, data: bytes) -> Problem:
        """Send bytes that are no message to a unary method."""
        call: Any = self.channel.unary_unary(f"/scheduler_api.v1.ScheduleService/{method}")
        return await refused(call(data))

    async def still_places(self, task_id: str) -> None:
        """An honest worker and an honest caller get on."""
        stream = await self.worker(f"worker of {task_id}", registration=worker_pb2.WorkerRegistration())
        assert (await self.assign(task_id)).decision.worker_id
        assert (await stream.beat()).sequence


def digest(server: Running) -> dict[str, Any]:
    """Everything of the core that a refused request must not change, as plain values."""
    core = server.core
    volatile = {"pool", "leases", "registration", "epoch"}
    return {
        "events": core.events,
        "published": len(server.app.shell.events.entries),
        "fleet": {
            worker_id: {
                **{name: getattr(record, name) for name in _SLOTS if name not in volatile},
                "recent_grants": tuple(record.recent_grants),
                "registration": record.registration,
                "epoch": record.epoch,
                "leases": tuple(record.leases),
                "profile": record.pool.profile,
                "key": float(record.pool.keys[record.pos]),
            }
            for worker_id, record in core.fleet.records.items()
        },
        "sessions": sorted(core.link.sessions),
        "grants": core.fleet.grants,
        "labels": core.fleet.eligibility.label_keys,
        "tasks": {key: (repr(each), each.outcome, each.taught) for key, each in core.ledger.tasks.items()},
        "leases": {key: (repr(each), each.outcome, each.expires_at) for key, each in core.ledger.leases.items()},
        "orphans": {key: len(each) for key, each in core.ledger.orphans.items()},
        "learned": list(core.predictor.state()),
        "breaker": list(core.breaker.state(server.clock.monotonic)),
        "decisions": dict(core.placement.by_source),
        "outcomes": dict(core.outcomes.by_status),
    }


_SLOTS = [name for each in WorkerRecord.__mro__ for name in getattr(each, "__slots__", ())]


def fields_of(message: Message) -> set[str]:
    """Names of the fields that a message has."""
    return {field.name for field, _ in message.ListFields()}


@asynccontextmanager
async def running(
    configured: Settings | None = None, *, clock: Clock | None = None, **options: Any
) -> AsyncIterator[Running]:
    """A server while it runs."""
    clock = clock or Clock()
    app = App(configured or settings(), now=clock, **options)
    await app.start()
    try:
        async with grpc.aio.insecure_channel(app.address, options=_OPTIONS) as channel:
            yield Running(app, clock, channel)
    finally:
        await app.stop(0.0)


# A pool of its own per channel: otherwise channels to one address share a connection, and so their limits.
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


@asynccontextmanager
async def unread(server: Running) -> AsyncIterator[Running]:
    """Another client of a server, for streams that nobody reads: a kilobyte fills them, by default megabytes do."""
    options = (*_OPTIONS, ("grpc.http2.lookahead_bytes", 1_024), ("grpc.http2.bdp_probe", 0))
    async with grpc.aio.insecure_channel(server.app.address, options=options) as channel:
        yield Running(server.app, server.clock, channel)
