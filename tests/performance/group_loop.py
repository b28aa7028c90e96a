"""The baseline of dispatch: a plain consumer of a group. XREADGROUP, XACK, and nothing between."""

import asyncio
import threading
import time
from collections.abc import Mapping
from typing import Any

import redis

from tests.performance.processes import arguments, obey

_GROUP = "plain"


def consume(url: str, stream: str, batch: int) -> None:
    """For ever."""
    client = redis.Redis.from_url(url)
    client.xgroup_create(stream, _GROUP, id="0", mkstream=True)
    while True:
        got: Any = client.xreadgroup(_GROUP, "plain", {stream: ">"}, count=batch, block=1_000)
        rows = (next(iter(got.values()))[0] if isinstance(got, dict) else got[0][1]) if got else []
        if rows:
            client.xack(stream, _GROUP, *(entry_id for entry_id, _ in rows))


async def main(url: str, loops: dict[str, int]) -> None:
    """One loop for each stream, of its batch size; idle ones wait in Redis."""
    for stream, batch in loops.items():
        threading.Thread(target=consume, args=(url, stream, batch), daemon=True).start()

    async def cpu() -> Mapping[str, Any]:
        return {"cpu_s": time.process_time()}

    await obey({"cpu": cpu}, {})


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
