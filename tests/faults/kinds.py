"""How each fault is done. A worker's fault goes on in the background; the others are over when they return."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from functools import partial

import redis

from scheduler_api.v1 import admin_service_pb2 as admin_api
from scheduler_server.client import SchedulerError
from tests.faults.load import Load, Offer
from tests.faults.plan import Fault, Kind
from tests.faults.world import CLAIM_AFTER_S, LOST_AFTER_S, Member, World
from tests.integration.processes import free_port, until

LEAST_UP = 3
"""Workers that stay for the load; a fault waits until there are more."""

_BY_SAME_NAME = 0.4
_AFTER_IT_IS_LOST = 0.7
_SHORT_STOP = 0.4
_AT_ONCE = 0.3  # a poisonous task that kills before the server has heard that it began
POISON_ATTEMPTS = 5


class Faults:
    """Does them to a world."""

    def __init__(self, world: World, load: Load) -> None:
        self._world = world
        self._load = load
        self._group: set[asyncio.Task[None]] = set()
        self._does: dict[Kind, Callable[[Fault], Awaitable[None]]] = {
            Kind.WORKER_KILL: self._kill,
            Kind.WORKER_STOP: self._stop,
            Kind.WORKER_DRAIN: self._drain,
            Kind.WORKER_REMOVE: self._remove,
            Kind.POISON: self._poison,
            Kind.SERVER_KILL: partial(self._kill_server, names=("A",), longest_s=0.5),
            Kind.REDIS_KILL: self._kill_redis,
            Kind.REDIS_STALL: partial(self._stall, longest_s=2.0),
            Kind.REDIS_READ_ONLY: self._read_only,
            Kind.REDIS_MEMORY: self._memory,
            Kind.REDIS_UNANSWERED: self._unanswered,
            Kind.FIGHT_STOP: self._stop_server,
            Kind.FIGHT_KILL: partial(self._kill_server, names=("A", "B"), longest_s=2.0 * CLAIM_AFTER_S),
            Kind.FIGHT_STALL: partial(self._stall, longest_s=2.0 * CLAIM_AFTER_S),
        }

    async def do(self, fault: Fault) -> None:
        """One fault."""
        await self._does[fault.kind](fault)

    async def over(self) -> None:
        """Wait until what goes on in the background is over."""
        while self._group:
            await asyncio.gather(*self._group)

    def _later(self, what: Awaitable[None]) -> None:
        async def run() -> None:
            await what

        task = asyncio.create_task(run())
        self._group.add(task)
        task.add_done_callback(self._group.discard)

    def _begins(self, fault: Fault, target: str) -> None:
        self._world.log.write("fault", number=fault.number, kind=fault.kind.value, target=target)

    def _lifted(self, fault: Fault) -> None:
        self._world.log.write("lifted", number=fault.number)

    # ------------------------------------------------------------------ workers

    async def _victim(self, fault: Fault) -> Member:
        await until(lambda: len(self._world.up()) > LEAST_UP, "there are workers enough for a fault")
        there = self._world.up()
        return there[int(fault.pick * len(there))]

    async def _kill(self, fault: Fault) -> None:
        victim = await self._victim(fault)
        victim.leaving = True
        self._begins(fault, victim.process_name)
        self._world.log.write("killed", process=victim.process_name)
        victim.signal(signal.SIGKILL)
        if fault.variant < _BY_SAME_NAME:
            self._later(self._joins(0.2, victim, victim.worker_id))
        elif fault.variant < _AFTER_IT_IS_LOST:
            self._later(self._joins(LOST_AFTER_S + 1.0, victim, victim.worker_id))
        else:
            self._later(self._joins(0.2, victim, ""))

    async def _joins(self, after_s: float, like: Member, worker_id: str) -> None:
        await asyncio.sleep(after_s)
        self._world.join(like.server, worker_id, like.capabilities)

    async def _stop(self, fault: Fault) -> None:
        victim = await self._victim(fault)
        victim.stopped = True
        self._begins(fault, victim.process_name)
        victim.signal(signal.SIGSTOP)
        self._world.log.write("stopped", process=victim.process_name)
        short = fault.variant < _SHORT_STOP
        self._later(self._goes_on(fault, victim, fault.lasts_s if short else LOST_AFTER_S + 0.5 + 2.0 * fault.lasts_s))

    async def _goes_on(self, fault: Fault, victim: Member, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._world.log.write("continued", process=victim.process_name)
        victim.signal(signal.SIGCONT)
        victim.stopped = False

    async def _drain(self, fault: Fault) -> None:
        victim = await self._victim(fault)
        victim.leaving = True
        self._begins(fault, victim.process_name)
        victim.signal(signal.SIGTERM)
        self._later(self._ends(victim, victim.worker_id))

    async def _ends(self, victim: Member, worker_id: str) -> None:
        code = await victim.ended(60.0)
        self._world.log.write("exited", process=victim.process_name, code=code)
        self._world.join(victim.server, worker_id, victim.capabilities)

    async def _remove(self, fault: Fault) -> None:
        victim = await self._victim(fault)
        victim.leaving = True
        self._begins(fault, victim.process_name)
        server = self._world.servers[victim.server]
        await server.connected(victim.worker_id)  # by this process, not by the one before
        request = admin_api.RemoveWorkerRequest(worker_id=victim.worker_id, force=True, reason="a fault")
        self._world.log.write("removing", process=victim.process_name)
        try:
            await server.client.call(server.client.admin.RemoveWorker, request)
        except SchedulerError as error:  # it has not come back after a restart yet, for one
            self._world.log.write("not_removed", process=victim.process_name, why=str(error))
            victim.leaving = False
            return
        self._world.log.write("removed", process=victim.process_name)
        self._later(self._ends(victim, ""))

    async def _poison(self, fault: Fault) -> None:
        self._begins(fault, f"poison{fault.number}")
        seconds = 0.0 if fault.variant < _AT_ONCE else fault.lasts_s
        await self._load.offer(
            Offer(task_id=f"poison{fault.number}", task_type="poison", seconds=seconds, max_attempts=POISON_ATTEMPTS)
        )

    # ------------------------------------------------------------------ servers

    async def _kill_server(self, fault: Fault, *, names: tuple[str, ...], longest_s: float) -> None:
        name = names[int(fault.pick * len(names))]
        self._begins(fault, name)
        await self._world.kill_server(name)
        await asyncio.sleep(fault.variant * longest_s)
        await self._world.serve(name)

    async def _stop_server(self, fault: Fault) -> None:
        name = ("A", "B")[int(fault.pick * 2)]
        server = self._world.servers[name]
        self._begins(fault, name)
        server.signal(signal.SIGSTOP)
        self._world.log.write("stopped", process=name)
        await asyncio.sleep(CLAIM_AFTER_S * (0.5 + 1.5 * fault.variant))
        self._world.log.write("continued", process=name)
        server.signal(signal.SIGCONT)
        self._lifted(fault)

    # ------------------------------------------------------------------ Redis

    async def _kill_redis(self, fault: Fault) -> None:
        self._begins(fault, "redis")
        await asyncio.to_thread(self._world.redis.stop)
        await asyncio.sleep(fault.lasts_s)
        await asyncio.to_thread(self._world.redis.start)
        self._lifted(fault)

    async def _stall(self, fault: Fault, *, longest_s: float) -> None:
        self._begins(fault, "redis")
        self._world.redis.signal(signal.SIGSTOP)
        await asyncio.sleep(0.3 + longest_s * fault.variant)
        self._world.redis.signal(signal.SIGCONT)
        self._lifted(fault)

    async def _read_only(self, fault: Fault) -> None:
        client = self._world.redis.client()
        self._begins(fault, "redis")
        await asyncio.to_thread(client.replicaof, "127.0.0.1", free_port())
        await asyncio.sleep(2.0 * fault.lasts_s)
        await _at_last(lambda: client.replicaof("NO", "ONE"))
        self._lifted(fault)
        client.close()

    async def _memory(self, fault: Fault) -> None:
        client = self._world.redis.client()
        self._begins(fault, "redis")
        await asyncio.to_thread(client.config_set, "maxmemory", "1mb")
        await asyncio.sleep(2.0 * fault.lasts_s)
        await _at_last(lambda: client.config_set("maxmemory", 0))
        self._lifted(fault)
        client.close()

    async def _unanswered(self, fault: Fault) -> None:
        self._begins(fault, "redis")
        self._world.proxy.mute = True
        await asyncio.sleep(0.6 + fault.lasts_s)  # beyond dispatch.timeout_s
        self._world.proxy.mute = False
        self._lifted(fault)


async def _at_last(what: Callable[[], object]) -> None:
    """Undo it, whatever becomes of the first connection."""
    for _ in range(20):
        try:
            await asyncio.to_thread(what)
            return
        except redis.RedisError:
            await asyncio.sleep(0.1)
    raise AssertionError("Redis cannot be put right again")
