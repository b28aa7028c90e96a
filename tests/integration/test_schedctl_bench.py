"""`schedctl bench` in a terminal: it asks, shows how far it is, and Ctrl-C costs nobody a slot."""

import json
import re
import subprocess
from contextlib import closing

from tests.contract.command_lines import served
from tests.integration.test_schedctl import COMMAND, ENVIRONMENT, Terminal, workers


def test_a_load_that_is_broken_off_gives_every_slot_back() -> None:
    with (
        served() as address,
        workers(address, "alpha"),
        closing(Terminal("bench", "-s", address, "--duration", "1h")) as screen,
    ):
        _until(screen, rb"Go on\? \[y/N\] ")
        screen.type("y\n")
        _until(screen, rb"\] [0-9.]+s of 1h15m  [1-9][0-9,]* tasks")
        screen.type("\x03")
        assert screen.end() == 130
        assert b"every lease was given back" in screen.written
        assert b"health Check" in screen.written
        command = [*COMMAND, "status", "-s", address, "-o", "json"]
        status = json.loads(subprocess.run(command, capture_output=True, env=ENVIRONMENT, check=True).stdout)
        assert int(status.get("leases", 0)) == 0


def _until(screen: Terminal, said: bytes) -> None:
    screen.until(lambda _: re.search(said, screen.written), said.decode())
