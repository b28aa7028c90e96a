"""A real Prometheus with deploy/prometheus.yml reads a real server: every panel has data, every rule works."""

import asyncio
import json
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import isnan
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.contract.server import DEADLINE_S, Running
from tests.contract.test_deploy_queries import DEPLOY, RULES, panels, read, substituted
from tests.integration.processes import Child, eventually, free_port
from tests.integration.promtool import program
from tests.integration.test_metrics import lived, measuring
from tests.redis_server import redis_server

NOT_HERE = {"scheduler_dispatch_unread", "scheduler_workers_spread", "scheduler_workers_max_over_mean"}
"""What this server cannot have: it may have a Redis before 7.0, and one worker."""


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def get(self, path: str, **asked: str) -> Any:
        """The data of an answer of its API."""
        query = f"?{urllib.parse.urlencode(asked)}" if asked else ""

        def fetch() -> Any:
            with urllib.request.urlopen(f"{self.url}{path}{query}", timeout=DEADLINE_S) as answer:  # noqa: S310 -- ours
                return json.loads(answer.read())

        told = await asyncio.to_thread(fetch)
        assert told["status"] == "success", told
        return told["data"]

    async def ask(self, expression: str) -> list[dict[str, Any]]:
        """What an expression answers now."""
        found: list[dict[str, Any]] = (await self.get("/api/v1/query", query=expression))["result"]
        return found

    async def ready(self) -> bool:
        try:
            await self.ask("up")
        except OSError:
            return False
        return True


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[Prometheus]:
    """Prometheus with the configuration of deploy/, but for where the server is and how often it is asked."""
    port = free_port()
    config = YAML(typ="safe", pure=True).load(DEPLOY / "prometheus.yml")
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] == "scheduler-server"]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    config["rule_files"] = [str(DEPLOY / each) for each in config["rule_files"]]
    file = folder / "prometheus.json"
    file.write_text(json.dumps(config))
    words = [
        program("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    child = Child(words, folder)
    made = Prometheus(f"http://127.0.0.1:{port}")
    try:
        await eventually(made.ready, f"Prometheus is ready: {child.errors}")
        yield made
    finally:
        child.close()


async def test_every_panel_has_data_and_every_rule_is_well(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as redis:
        async with measuring(tmp_path, redis.url) as server:
            await lived(server)
            target = server.app.metrics_url.removeprefix("http://").removesuffix("/metrics")
            async with prometheus(tmp_path, target) as reader:

                async def was_read() -> bool:
                    return bool(await reader.ask("scheduler_uptime_seconds"))

                await eventually(was_read, "the server was read")
                await something_more(server)  # so that there are rates
                empty = ["not looked yet"]

                async def none_is_empty() -> bool:
                    empty[:] = await without_data(reader)
                    return not empty

                try:
                    await eventually(none_is_empty, "every panel has data")
                except AssertionError:
                    raise AssertionError("panels without data:\n" + "\n".join(empty)) from None

                async def all_looked_at() -> bool:
                    groups = (await reader.get("/api/v1/rules"))["groups"]
                    rules = [rule for group in groups for rule in group["rules"]]
                    assert len(rules) == sum(len(group["rules"]) for group in read(RULES)["groups"])
                    assert not [rule for rule in rules if rule["health"] == "err"]
                    return all(rule["health"] == "ok" for rule in rules)

                await eventually(all_looked_at, "every rule was looked at without a fault")


async def something_more(server: Running) -> None:
    """A task that is refused, and outcomes that let waiting tasks start."""
    await server.refuse("none", required_capabilities=["nobody has it"])
    for number in range(3):
        server.forward(1.0)
        held = next(iter(server.record("w").leases))
        await server.report(held, duration={"seconds": 2 + number})
    await server.assign("more")


async def without_data(reader: Prometheus) -> list[str]:
    """Panels with a question that answers nothing, or nothing but NaN."""
    found = []
    for panel in panels():
        for target in panel.panel["targets"]:
            expression = substituted(target["expr"])
            if any(name in expression for name in NOT_HERE):
                continue
            if all(isnan(float(each["value"][1])) for each in await reader.ask(expression)):
                found.append(f"{panel}: {expression}")
    return found
