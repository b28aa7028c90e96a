"""Tasks into the stream for as long as a campaign lasts, each added again under its id until Redis has answered."""

import asyncio
import json
import random
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.dispatch_house import TASKS
from tests.faults.log import EventLog
from tests.redis_server import RedisServer

ATTEMPTS = 20
"""Of an ordinary task: more than any of them meets faults."""

_ANSWER_WITHIN_S = 0.7
_AGAIN_S = 0.1

NEEDS: tuple[tuple[str, ...], ...] = ((), (), (), ("gpu",), ("fast",))
"""What tasks require; most of them nothing."""

_REPORT_RATIO = 0.15
_EXCLUDES_RATIO = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A task as it is added."""

    task_id: str
    task_type: str = "nap"
    seconds: float
    required: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    policy: str = "REQUEUE"
    max_attempts: int = ATTEMPTS

    def fields(self) -> dict[str, Any]:
        """The entry."""
        return {
            "task_id": self.task_id,
            "task_type": self.task_type,
            "payload": json.dumps({"s": self.seconds}),
            "required_capabilities": json.dumps(self.required),
            "excluded_workers": json.dumps(self.excluded),
            "loss_policy": f"LOSS_POLICY_{self.policy}",
            "max_attempts": str(self.max_attempts),
        }


class Load:
    """A queue service: it offers tasks at a rate, one after another."""

    def __init__(self, server: RedisServer, log: EventLog, seed: int, rate_per_s: float) -> None:
        # redis-py's own retries would add an entry twice without the log knowing.
        once = Retry(NoBackoff(), 0)
        self._client = server.client(
            socket_timeout=_ANSWER_WITHIN_S, socket_connect_timeout=_ANSWER_WITHIN_S, retry=once
        )
        self._log = log
        self._chance = random.Random(seed)
        self._every_s = 1.0 / rate_per_s
        self._number = 0
        self._stopping = False

    async def run(self) -> None:
        """Offer until it is told to stop."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._stopping:
            await self.offer(self._next())
            due = max(due + self._every_s, loop.time() - 1.0)  # what an outage held up is not all made good at once
            await asyncio.sleep(max(0.0, due - loop.time()))

    def stop(self) -> None:
        """Offer no more; the last one is still added."""
        self._stopping = True

    async def offer(self, offer: Offer) -> None:
        """Add one until Redis says that it has it."""
        while True:
            self._log.write("offered", task=offer.task_id)
            try:
                await asyncio.to_thread(self._client.xadd, TASKS, offer.fields())
                break
            except redis.RedisError:
                await asyncio.sleep(_AGAIN_S)
        self._log.write(
            "accepted",
            task=offer.task_id,
            policy=offer.policy,
            required=offer.required,
            max_attempts=offer.max_attempts,
        )

    def _next(self) -> Offer:
        self._number += 1
        chance = self._chance
        return Offer(
            task_id=f"t{self._number}",
            seconds=round(chance.uniform(0.1, 0.9), 3),
            required=chance.choice(NEEDS),
            excluded=("w0",) if chance.random() < _EXCLUDES_RATIO else (),
            policy="REPORT" if chance.random() < _REPORT_RATIO else "REQUEUE",
        )
