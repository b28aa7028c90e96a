"""The second story: tasks come by Redis, one worker's process is killed on the way, and nothing is lost.

No comparison with round robin, which loses what its workers lose.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from scheduler_server.client import AsyncTaskStream, SchedulerError
from scheduler_server.demo.account import STREAM, Account, take_account
from scheduler_server.demo.child import DemoFailed
from scheduler_server.demo.kill import News, kill_the_busiest, tell_of_losses
from scheduler_server.demo.queue_client import QueueClient
from scheduler_server.demo.scene import Scene
from scheduler_server.demo.stage import Stage
from scheduler_server.demo.summary import summary_over_redis
from scheduler_server.demo.tape import Tape
from scheduler_server.demo.waiting_view import WaitingView
from scheduler_server.demo.way_in import ByStream

PHASE = 0.6  # of --seconds: arrivals; the rest is starting, the tail, and ending
LOST_AFTER_S = 5  # of silence, a worker is lost: its stream may come back; by default it has minutes for that
REDIS_S = 10.0  # for each answer of Redis; usually a millisecond


def settings(socket: Path) -> Sequence[str]:
    """What the server is told beyond its defaults."""
    told = ["--dispatch-url", f"unix://{socket}", "--health-heartbeat-max-s", str(LOST_AFTER_S // 2)]
    for name in ("healthy-within", "unhealthy-after", "lost-after"):  # each at most the next
        told += [f"--health-{name}-s", str(LOST_AFTER_S)]
    return told


async def play_over_redis(stage: Stage, socket: Path) -> None:
    """The one phase, and the account of it.

    Raises:
        DemoFailed: something was lost, or no worker could be killed.
    """
    span_s = PHASE * stage.options.seconds
    items = await stage.plan(span_s, f"{stage.options.tasks} tasks by XADD")
    tape = Tape("scheduler", items, span_s)
    news = News(tape, stage.screen.say)
    redis: Any = Redis(unix_socket_path=str(socket), socket_timeout=REDIS_S)
    try:
        way_in = ByStream(AsyncTaskStream(redis, STREAM))
        queue = QueueClient(stage.client, way_in, tape, stage.chunks, news.placed_again)
        ask = WaitingView(stage.client, tape).ask
        scene = Scene(title="by Redis", tape=tape, rates=queue.rates, ask=ask, news=lambda: news.last)
        async with asyncio.TaskGroup() as group:
            losses = group.create_task(tell_of_losses(stage.client, news))
            killed = group.create_task(kill_the_busiest(stage.fleet, tape, news))
            await stage.phase(scene, queue)
            losses.cancel()
            killed.cancel()
        if killed.cancelled():
            raise DemoFailed("no worker ran a task when one was to be killed")
        account = await _account(redis, stage)
    finally:
        await redis.aclose()
    accuracy = await stage.view.accuracy()
    stage.screen.say("\n" + summary_over_redis(tape, killed.result(), account, accuracy) + "\n")
    if faults := account.faults(len(items)):
        raise DemoFailed("; ".join(faults))
    stage.screen.say(f"{len(items)} tasks ran, nothing was lost, every result was right; seed {stage.options.seed}")


async def _account(redis: Any, stage: Stage) -> Account:
    try:
        return await take_account(redis, stage.client)
    except (RedisError, OSError, SchedulerError) as error:
        raise DemoFailed(f"nobody can say whether anything was lost: {error}") from error
