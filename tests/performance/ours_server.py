"""The real server in a process of its own, its fleet loaded through its own core."""

import asyncio
import logging
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import uvloop

from scheduler_server.app import App
from scheduler_server.history.settings import HistorySettings
from scheduler_server.model.decision import Cause
from scheduler_server.registry.settings import HealthSettings, WorkerSettings
from scheduler_server.rpc.collector import collect_when_idle, settle
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.scorer.settings import ScorerSettings
from scheduler_server.settings import Settings, StorageSettings
from scheduler_server.shadow.settings import ShadowSettings
from tests.performance import fleet
from tests.performance.processes import arguments, obey

_DAY_S = 86_400.0
_MOST_WORKERS = 1_000_000


def settings(scorer: str, state_folder: str, history: str = "", shadow: tuple[str, ...] = ()) -> Settings:
    """As delivered, but with room for any fleet, in which workers that never beat again stay healthy.

    `history`: "off", or its URL.
    """
    return Settings(
        server=ServerSettings(listen="127.0.0.1:0"),
        storage=StorageSettings(state_folder=state_folder),
        # Twice a day: the score decays from half of the time that makes a worker unhealthy.
        health=HealthSettings(healthy_within_s=2 * _DAY_S, unhealthy_after_s=2 * _DAY_S, remove_after_s=2 * _DAY_S),
        worker=WorkerSettings(lost_track_after_s=_DAY_S, max_workers=_MOST_WORKERS),
        scorer=ScorerSettings(strategy=scorer),
        history=HistorySettings(enabled=history != "off", url="" if history == "off" else history),
        shadow=ShadowSettings(policies=tuple(shadow)),
    )


async def load_fleet(app: App, workers: int) -> None:
    """Register the fleet as streams would, with the speeds that a snapshot would have kept."""
    for at, spec in enumerate(fleet.specs(workers)):
        app.core.link.memories[spec.worker_id] = fleet.memory(spec)
        app.shell.handle(fleet.connect(spec, -1 - at))
        if at % 1_000 == 0:
            await asyncio.sleep(0)


async def main(scorer: str, state_folder: str, workers: int, history: str = "", shadow: tuple[str, ...] = ()) -> None:
    """Serve until the parent goes."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    app = App(settings(scorer, state_folder, history, shadow))
    await app.start()
    settle()  # here and below as `serve` does; a fleet comes after the start
    collecting = asyncio.get_running_loop().create_task(collect_when_idle(lambda: app.shell.last_event))
    await load_fleet(app, workers)

    async def status() -> Mapping[str, Any]:
        placement = app.core.placement
        return {
            "workers": len(app.core.fleet),
            "causes": {Cause(at).name: n for at, n in enumerate(placement.by_cause) if n},
            "refusals": {reason.name: n for reason, n in placement.refusals.items()},
            "streams": len(app.streams),
            "journal": asdict(app.stores.journal.status()),
        }

    async def pending() -> Mapping[str, Any]:
        log = None if app.stores.history is None else app.stores.history.status()
        return {"pending": 0 if log is None else log.pending}

    async def flush() -> Mapping[str, Any]:
        kept = app.stores.history
        if kept is not None and kept.writer is not None:
            await kept.writer.flushed(600.0)
        log = None if kept is None else kept.status()
        return {} if log is None else asdict(log)

    async def shadowed() -> Mapping[str, Any]:
        beside = app.shadow
        return {
            "seen": beside.seen,
            "dropped": beside.dropped,
            "spent_s": beside.spent_s,
            "compared": {name: each.compared for name, each in beside.counts.items()},
        }

    await obey({"status": status, "pending": pending, "flush": flush, "shadow": shadowed}, {"address": app.address})
    collecting.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**arguments()))
