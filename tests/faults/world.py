"""The processes of a campaign: redis-server with a proxy before it, servers, workers, and who watches them."""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import redis

from scheduler_api.v1 import admin_service_pb2 as admin_api
from scheduler_server.client import SchedulerError
from tests.bad_network import BadNetwork
from tests.dispatch_house import DEAD, DURABLE, Stream
from tests.faults.log import EventLog
from tests.integration.processes import House, Server, WorkerProcess, eventually, free_port, housed
from tests.redis_server import RedisServer, any_executable

SETTINGS: dict[str, Any] = {
    "health_healthy_within_s": 1.5,
    "health_unhealthy_after_s": 1.5,
    "health_lost_after_s": 3.0,
    "health_remove_after_s": 30.0,
    "health_restart_grace_s": 8.0,
    "health_cleanup_interval_s": 0.1,
    "health_heartbeat_min_s": 0.2,
    "health_heartbeat_max_s": 0.5,
    "assignment_ack_within_s": 2.0,
    "assignment_max_workers_lost": 3,
    "worker_reconcile_grace_s": 2.0,
    "worker_probe_interval_s": 2.0,
    "worker_probe_within_s": 3.0,
    "predictor_default_ms": 500,
    "dispatch_timeout_s": 0.5,
    "dispatch_claim_after_s": 2.0,
}
"""Everything that waits for silence, as short as two busy cores allow."""

LOST_AFTER_S = float(SETTINGS["health_lost_after_s"])
CLAIM_AFTER_S = float(SETTINGS["dispatch_claim_after_s"])
_PATIENCE_S = min(float(SETTINGS["assignment_ack_within_s"]), LOST_AFTER_S) - float(SETTINGS["health_heartbeat_max_s"])

SLOTS = 3
CAPABILITIES: tuple[tuple[str, ...], ...] = ((), ("gpu",), ("fast",), ("gpu", "fast"))
"""Of the workers, in turn."""

_WATCHED = tuple(
    admin_api.EventKind.Value(f"EVENT_KIND_{name}")
    for name in ("WORKER_FENCED", "WORKER_LOST", "WORKER_SUPERSEDED", "LEASE_LOST_TRACK", "LEASE_LOST", "TASK_REQUEUED")
)
_PROGRAM = Path(__file__).parent / "program.py"
_LOOK_S = 0.05


class Member(WorkerProcess):
    """A worker's process, and what the harness means it to do."""

    process_name = ""
    server = ""
    capabilities: tuple[str, ...] = ()
    stopped = False
    leaving = False  # its end is meant: nobody is to start it again


class World:
    """Starts, ends and restarts processes, and writes into the log what it does."""

    def __init__(self, house: House, log: EventLog, store: RedisServer, proxy: BadNetwork) -> None:
        self.house, self.log, self.redis, self.proxy = house, log, store, proxy
        self.servers: dict[str, Server] = {}
        self.members: dict[str, Member] = {}
        self._ports: dict[str, int] = {}
        self._names = 0
        self._lives: dict[str, int] = {}
        self._watches: set[asyncio.Task[None]] = set()
        self._supervisor: asyncio.Task[None] | None = None
        rules = {"patience_s": _PATIENCE_S, "claim_after_s": CLAIM_AFTER_S}
        rules["restart_grace_s"] = float(SETTINGS["health_restart_grace_s"])
        log.write("rules", **rules, max_workers_lost=SETTINGS["assignment_max_workers_lost"])

    @property
    def stream(self) -> Stream:
        """The task stream as an operator sees it, on a connection of its own."""
        return Stream(self.redis, socket_timeout=5.0)

    # ------------------------------------------------------------------ servers

    async def serve(self, name: str) -> Server:
        """Start a server, or start it again: then it has its folder and its port."""
        port = self._ports.setdefault(name, free_port())
        url = f"redis://{self.proxy.address}"
        server = self.servers[name] = await self.house.server(port=port, folder=name, dispatch_url=url, **SETTINGS)
        self.log.write("serving", process=name)
        watch = asyncio.create_task(self._watch(name, server))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        return server

    async def kill_server(self, name: str) -> None:
        """SIGKILL; it is gone when this returns."""
        server = self.servers[name]
        self.log.write("killed", process=name)
        server.signal(signal.SIGKILL)
        await server.ended()

    async def _watch(self, name: str, server: Server) -> None:
        """Write down what the server publishes of lost and fenced sessions, until it is gone."""
        request = admin_api.WatchEventsRequest(kinds=_WATCHED, replay_last=1_000)
        offset_s = time.time() - time.monotonic()
        with contextlib.suppress(grpc.RpcError):
            async for told in server.client.admin.WatchEvents(request):
                if told.HasField("event"):
                    event = told.event
                    kind = admin_api.EventKind.Name(event.kind).removeprefix("EVENT_KIND_")
                    task = {"task": event.task.task_id} if event.task.task_id else {}
                    at = event.at.ToNanoseconds() / 1e9 - offset_s
                    self.log.write(
                        "said", at=at, server=name, kind=kind, worker=event.worker_id, detail=event.detail, **task
                    )

    # ------------------------------------------------------------------ workers

    def join(self, server: str, worker_id: str = "", capabilities: tuple[str, ...] | None = None) -> Member:
        """Start a worker's process; without an id under a new one."""
        if capabilities is None:
            capabilities = CAPABILITIES[self._names % len(CAPABILITIES)]
        if not worker_id:
            worker_id = f"w{self._names}"
            self._names += 1
        life = self._lives[worker_id] = self._lives.get(worker_id, 0) + 1
        process = f"{worker_id}.{life}"
        about = {"worker_id": worker_id, "slots": SLOTS, "capabilities": capabilities}
        self.log.write(
            "worker", process=process, worker=worker_id, server=server, slots=SLOTS, capabilities=capabilities
        )
        told = {"address": self.servers[server].address, "log": str(self.log.path), "process": process, **about}
        member = Member([sys.executable, str(_PROGRAM), json.dumps(told)], self.house.folder)
        member.worker_id, member.process_name = worker_id, process
        member.server, member.capabilities = server, capabilities
        self.members[process] = self.house.keep(member)
        return member

    def up(self) -> list[Member]:
        """Those that run and are not meant to end, by name."""
        found = [each for each in self.members.values() if each.running and not each.stopped and not each.leaving]
        return sorted(found, key=lambda each: each.process_name)

    async def supervise(self) -> None:
        """Start again whoever died without having been meant to: who ran a poisonous task."""
        while True:
            for name, member in list(self.members.items()):
                if not member.running and not member.leaving:
                    del self.members[name]
                    member.leaving = True
                    self.log.write("died", process=name, code=member.process.returncode, errors=member.errors[-3:])
                    self.join(member.server, member.worker_id, member.capabilities)
            await asyncio.sleep(_LOOK_S)

    # ------------------------------------------------------------------ the end

    async def left(self) -> dict[str, int]:
        """What there still is to do; -1 where it cannot be known."""
        stream = self.stream
        try:
            pending = await asyncio.to_thread(stream.pending)
            unread = int(not await asyncio.to_thread(stream.idle))
        except redis.RedisError:
            pending = unread = -1
        finally:
            stream.client.close()
        found = {"pending": pending, "unread": unread, "waiting": 0, "leases": 0, "untold": 0}
        for server in self.servers.values():
            try:
                status = await server.status()
            except SchedulerError:
                return found | {"waiting": -1}
            found["waiting"] += status.waiting_tasks
            found["leases"] += status.leases
            # What was set aside a moment ago is not in Redis yet.
            found["untold"] += sum(store.pending for store in status.stores if store.name == "tasks")
        return found

    async def settled(self, within_s: float) -> None:
        """Wait until nothing is left to do; write down what was, and every dead letter."""
        left: dict[str, int] = {}

        async def over() -> bool:
            left.update(await self.left())
            return not any(left.values())

        with contextlib.suppress(AssertionError):  # the log says what was left, and the checker what that means
            await eventually(over, "nothing is left", within_s)
        self.log.write("left", **left)
        stream = self.stream
        offset_s = time.time() - time.monotonic()
        for letter in stream.dead():
            workers = json.loads(letter.get("workers", "[]"))
            about = {"task": letter.get("task_id", ""), "reason": letter["reason"], "detail": letter.get("detail", "")}
            self.log.write("letter", at=float(letter["at"]) / 1e3 - offset_s, workers=workers, **about)
        stream.client.close()

    async def close(self) -> None:
        """Watch nothing any more. The house ends the processes."""
        for task in [*self._watches]:
            task.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Redis and nothing else yet; all that comes into being ends with it."""
    store = RedisServer(folder / "redis", any_executable(), *DURABLE)
    await asyncio.to_thread(store.start)
    log = EventLog(folder / "events.jsonl")
    try:
        async with BadNetwork(f"127.0.0.1:{store.port}") as proxy, housed(folder) as house:
            made = World(house, log, store, proxy)
            try:
                yield made
            finally:
                await made.close()
                await asyncio.to_thread(store.stop)  # before the house looks for what is left
    finally:
        store.stop()
        log.close()


__all__ = ["CAPABILITIES", "CLAIM_AFTER_S", "DEAD", "LOST_AFTER_S", "SETTINGS", "SLOTS", "Member", "World", "world"]
