"""Alerts of a server process with worker processes, as grpcurl, a watcher of events and Prometheus see them."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.contract.command_lines import ROOT, client, run
from tests.integration.processes import House, Server, eventually, nap, until
from tests.integration.test_metrics import METRICS, samples, scrape, url_of
from tests.redis_server import redis_server

QUICK: dict[str, Any] = {
    "metrics_listen": "127.0.0.1:0",
    "alerts_interval_s": 0.1,
    "alerts_for_s": "sustained_high_load=0.5,store_unreachable=0.5",
    "alerts_clear_after_s": 0.5,
}


async def listed(server: Server, **request: Any) -> list[dict[str, Any]]:
    """ListAlerts, by grpcurl."""
    grpcurl = client("grpcurl", ROOT / "build" / "bin" / "grpcurl")
    words = ("-plaintext", "-d", json.dumps(request), server.address, "scheduler_api.v1.AdminService/ListAlerts")
    ran = await asyncio.to_thread(run, grpcurl, *words)
    assert ran.code == 0, ran.err
    found: list[dict[str, Any]] = json.loads(ran.out).get("alerts", [])
    return found


async def events(server: Server, *kinds: str) -> list[dict[str, Any]]:
    """The events of these kinds so far, by grpcurl."""
    grpcurl = client("grpcurl", ROOT / "build" / "bin" / "grpcurl")
    request = json.dumps({"kinds": kinds, "replay_last": 100})
    words = ("-plaintext", "-max-time", "1", "-d", request, server.address, "scheduler_api.v1.AdminService/WatchEvents")
    told = (await asyncio.to_thread(run, grpcurl, *words)).out
    decoder, found = json.JSONDecoder(), []
    while told.strip():
        message, end = decoder.raw_decode(told.lstrip())
        told = told.lstrip()[end:]
        if "event" in message:
            found.append(message["event"])
    return found


async def until_state(server: Server, rule: str, state: str) -> dict[str, Any]:
    """Wait until the latest alert of a rule is in this state."""
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        found[:] = await listed(server, rule=rule, states=[f"ALERT_STATE_{state}"])
        return bool(found)

    await eventually(there, f"{rule} is {state}")
    return found[0]


async def gauge(server: Server, rule: str, severity: str) -> float:
    await until(lambda: any(line.startswith(METRICS) for line in server.lines), "it tells where its metrics are")
    got = samples(await scrape(url_of(server)))
    return got[f'scheduler_alerts{{rule="{rule}",severity="{severity}",state="raised"}}']


async def test_a_load_that_lasts_is_raised_told_everywhere_and_cleared(house: House) -> None:
    server = await house.server(**QUICK)
    await house.workers(server, "a", "b", slots=1)
    tasks = [nap(name, 600.0) for name in ("one", "two")]
    for task in tasks:
        await server.hand_over(task)
    alert = await until_state(server, "sustained_high_load", "RAISED")
    assert (alert["severity"], alert["value"], alert["threshold"]) == ("SEVERITY_WARNING", 1, 0.9)
    assert alert["detail"] == "2 of 2 slots of active workers are taken"
    assert await gauge(server, "sustained_high_load", "warning") == 1
    status = await server.status()
    assert status.raised_alerts == 1
    assert [part.name for part in status.degraded] == ["alert.sustained_high_load"]
    for task in tasks:
        await server.client.cancel_task(task.task_id)
    over = await until_state(server, "sustained_high_load", "CLEARED")
    assert over["alert_id"] == alert["alert_id"]
    told = await events(server, "EVENT_KIND_ALERT_RAISED", "EVENT_KIND_ALERT_CLEARED")
    assert [(each["kind"], each["subject_id"]) for each in told] == [
        ("EVENT_KIND_ALERT_RAISED", alert["alert_id"]),
        ("EVENT_KIND_ALERT_CLEARED", alert["alert_id"]),
    ]
    assert await gauge(server, "sustained_high_load", "warning") == 0
    assert any("alert sustained_high_load is raised" in line for line in server.errors)
    assert await server.terminate() == 0


async def test_a_redis_that_is_killed_is_raised_and_cleared_when_it_is_back(house: House, tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as redis:
        server = await house.server(dispatch_url=redis.url, **QUICK)
        await house.workers(server, "a")
        redis.stop()
        alert = await until_state(server, "store_unreachable", "RAISED")
        assert (alert["subject_id"], alert["severity"]) == ("tasks", "SEVERITY_CRITICAL")
        assert await gauge(server, "store_unreachable", "critical") == 1
        task = nap("meanwhile", 0.01)
        await server.hand_over(task)  # decisions go on
        await server.finished(task)
        redis.start()
        over = await until_state(server, "store_unreachable", "CLEARED")
        assert over["alert_id"] == alert["alert_id"]
        assert await server.terminate() == 0
