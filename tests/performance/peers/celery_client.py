"""Tasks through Celery: apply_async, one by one or many in a row; results as Redis publishes them."""

import asyncio
import gc
from collections.abc import Mapping
from importlib.metadata import version
from time import perf_counter
from typing import Any

from tests.performance.peers.celery_tasks import app, noop
from tests.performance.peers.counting import Window
from tests.performance.processes import arguments, obey

_ANSWER_S = 30.0


def _load(window: Window, at_once: int, most: int, producer: Any) -> None:
    """One thread: it publishes `at_once` tasks whenever there is room for them among `most`, else takes results.

    Threads that each wait for their own result share one subscription and disturb each other; this is faster. So it
    is faster than `group` for batches: a group publishes its messages one by one too, and keeps more account.
    """
    out = 0
    drain = app.backend.result_consumer.drain_events

    def submit() -> None:
        nonlocal out
        out += 1
        submitted = perf_counter()

        def ended(_: Any) -> None:
            nonlocal out
            out -= 1
            window.ended(submitted)

        noop.apply_async(producer=producer).then(ended, weak=False)

    while True:
        going = window.open
        while going and out + at_once <= most:
            for _ in range(at_once):
                submit()
        if not going and not out:
            return
        drain(timeout=_ANSWER_S)


async def main(redis: str) -> None:
    """Submit what the parent says."""
    app.conf.update(broker_url=redis, result_backend=redis)
    noop.delay().get(timeout=60.0)

    async def run(way: str, seconds: float, ramp_s: float, in_flight: int, size: int) -> Mapping[str, Any]:
        gc.collect()
        window = Window(ramp_s, seconds)
        with app.producer_pool.acquire(block=True) as producer:
            at_once = size if way == "batches" else 1
            _load(window, at_once, at_once * in_flight, producer)
        return window.told()

    await obey({"run": run}, {"versions": {name: version(name) for name in ("celery", "kombu", "redis")}})


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
