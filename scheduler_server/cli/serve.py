"""`scheduler-server serve`: run the server until SIGTERM or SIGINT."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from google.protobuf.internal import api_implementation

from scheduler_server.app import App, StartError
from scheduler_server.config import ConfigError, load, render_config, render_help
from scheduler_server.config.text import printable
from scheduler_server.rpc.collector import collect_when_idle, settle
from scheduler_server.rpc.configuring import Kept, open_config
from scheduler_server.settings import PROFILES, Settings, state_path
from scheduler_server.storage.state_folder import StateFolderError
from scheduler_server.telemetry.logs import configure

_ASKED_WRONGLY = 2

# Set by the build and the tests, not settings of the server.
_OTHERS = ("SCHEDULER_CONFIG", "SCHEDULER_TEST_CLICKHOUSE_URL")


_SWITCHES = {
    "hints": "print three commands to try, once the server runs",
    "ignore-live-changes": "leave out what UpdateConfig has changed; its history is kept, and can be rolled back to",
}

_HINTS = """
Be a worker for a minute, give it a task, and see who is there (each in a terminal of its own):

  (for i in $(seq 12); do echo '{{"worker_id": "w1", "cpu_usage": 0.2}}'; sleep 5; done) | \\
    grpcurl -plaintext -d @ {address} scheduler_api.v1.ScheduleService/Schedule
  grpcurl -plaintext -d '{{"task": {{"task_id": "t1", "task_type": "resize"}}}}' {address} \\
    scheduler_api.v1.ScheduleService/Assign
  grpcurl -plaintext {address} scheduler_api.v1.AdminService/ListWorkers

Ctrl-C ends the server. More in README.md.
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 after a clean stop, 2 when it cannot start."""
    try:
        loaded = load(Settings, argv, os.environ, profiles=PROFILES, switches=_SWITCHES, ignored_variables=_OTHERS)
    except ConfigError as error:
        for fault in error.faults:
            sys.stderr.write(f"scheduler-server: {fault}\n")
        return _ASKED_WRONGLY
    if loaded.wants_help:
        sys.stdout.write(render_help(Settings, program="scheduler-server serve", switches=_SWITCHES))
        return 0
    kept = open_config(loaded, _folder(loaded.config), time.time(), ignore="ignore-live-changes" in loaded.switches)
    if loaded.wants_print_config:
        sys.stdout.write(render_config(kept.live.shown()))
        return 0
    settings = kept.live.running
    if api_implementation.Type() != "upb":
        sys.stderr.write(
            "scheduler-server: protobuf runs without its C implementation (upb), 20 times slower; mend that\n"
        )
        return _ASKED_WRONGLY
    kind: Literal["text", "json"] = "json" if settings.log.format == "json" else "text"
    logs = configure(settings.log.level, kind, sys.stderr)
    try:
        return _run(settings, kept, hints="hints" in loaded.switches)
    except (StartError, StateFolderError) as error:
        sys.stderr.write(f"scheduler-server: {printable(str(error))}\n")  # a path may have a line break
        if changed := sorted(kept.live.overlay):
            hint = "was changed while the server ran; --ignore-live-changes starts it without that"
            sys.stderr.write(f"scheduler-server: {', '.join(changed)} {hint}\n")
        return _ASKED_WRONGLY
    finally:
        logs.close()


def _folder(settings: Settings) -> Path | None:
    """The state folder; None where there is none, or where it cannot be told: starting tells why."""
    try:
        return state_path(settings.storage)
    except RuntimeError:
        return None


def _run(settings: Settings, kept: Kept, *, hints: bool) -> int:
    try:
        import uvloop  # noqa: PLC0415 -- 10-20 % of the transport, where it exists
    except ImportError:
        return asyncio.run(_serve(settings, kept, hints=hints))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, kept, hints=hints))


async def _serve(settings: Settings, kept: Kept, *, hints: bool) -> int:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():  # a second signal: at once
            os._exit(1)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    app = App(settings, config=kept)
    await app.start()
    settle()
    collecting = loop.create_task(collect_when_idle(lambda: app.shell.last_event))
    sys.stdout.write(f"scheduler-server: serving on {app.address}\n")
    if app.metrics_url:
        sys.stdout.write(f"scheduler-server: metrics on {app.metrics_url}\n")
    if hints:
        sys.stdout.write(_HINTS.format(address=app.address))
    sys.stdout.flush()
    await stopping.wait()
    logging.getLogger(__name__).info("draining")
    collecting.cancel()
    await app.stop()
    return 0
