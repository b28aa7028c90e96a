"""A server with access control in a process of its own, its fleet loaded through its own core."""

import asyncio
import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import psutil
import uvloop

from scheduler_server.access.settings import AccessSettings, LimitSettings, TlsSettings
from scheduler_server.app import App
from scheduler_server.rpc.collector import collect_when_idle, settle
from tests.performance.ours_server import load_fleet, settings
from tests.performance.processes import arguments, obey


async def main(
    workers: int, tls: dict[str, str], access: dict[str, Any], limits: dict[str, Any], scorer: str = "weighted"
) -> None:
    """Serve until the parent goes; each of `tls`, `access` and `limits` is a section of the settings."""
    logging.basicConfig(level=logging.CRITICAL, stream=sys.stderr)
    configured = replace(
        settings(scorer, "", "off"),
        tls=TlsSettings(**tls),
        access=AccessSettings(**access),
        limits=LimitSettings(**limits),
    )
    app = App(configured)
    await app.start()
    settle()
    collecting = asyncio.get_running_loop().create_task(collect_when_idle(lambda: app.shell.last_event))
    await load_fleet(app, workers)
    process = psutil.Process()

    async def status() -> Mapping[str, Any]:
        return {
            "rss_mib": process.memory_info().rss / 2**20,
            "limits_hit": dict(app.access.limits_hit()),
            "denied": dict(app.access.denied()),
            "rotations": app.access.certificates.revision if app.access.certificates is not None else 0,
            "faults": [files.fault for files in (app.access.certificates, app.access.grants) if files is not None],
            "workers": len(app.core.fleet),
            "prediction_keys": app.core.predictor.keys,
            "classes": len(app.core.fleet.eligibility.classes),
        }

    await obey({"status": status}, {"address": app.address})
    collecting.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**arguments()))
