"""The README tells the truth: its table is current, and its commands work as they stand."""

import os
import pkgutil
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

from scheduler_server import rpc
from tests.redis_server import any_executable

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
ADDRESS = "127.0.0.1:50051"


class Block(NamedTuple):
    """A block of commands, and how it is to be run: to its end, to a failure, or beside the others."""

    how: str
    commands: str


def _block(match: re.Match[str]) -> Block:
    commands = match[3]
    if match[2] == "python":
        commands = f"python - <<'END'\n{commands}END\n"
    return Block((match[1] or "to its end").strip(": "), commands)


BLOCKS = [
    _block(match) for match in re.finditer(r"<!-- run(: \w+)? -->\n```(bash|python)\n(.*?)```", README, re.DOTALL)
]

SAID = re.findall(r"^  Message: (.*)$", README, re.MULTILINE)
"""What the README says that failing commands say, in their order."""


def path_with_tools() -> str:
    """PATH with what the build installs."""
    return os.pathsep.join([str(ROOT / "build" / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of its own process."""
    command = [sys.executable, "-m", "scheduler_server", "serve", "--server-listen", "127.0.0.1:0"]
    command += ["--storage-state-folder", str(tmp_path / "state")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().rpartition(" ")[2].strip()
    finally:
        server.terminate()
        server.wait(20)
        server.stdout.close()


def test_the_table_of_settings_is_current() -> None:
    command = [sys.executable, str(ROOT / ".ci" / "tables.py"), "readme", "--check"]
    check = subprocess.run(command, capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr


def _calls() -> list[type]:
    """The classes that have the services' methods."""
    modules = [import_module(f"{rpc.__name__}.{each.name}") for each in pkgutil.iter_modules(rpc.__path__)]
    found = [each for module in modules for each in vars(module).values() if isinstance(each, type)]
    return [each for each in found if each.__name__.endswith(("Calls", "Streams"))]


def test_every_method_that_this_version_has_stands_in_the_readme_and_no_other() -> None:
    from scheduler_server.rpc.admin import AdminCalls
    from scheduler_server.rpc.schedule import ScheduleCalls
    from scheduler_server.rpc.server import DESCRIPTORS
    from scheduler_server.rpc.streams import WorkerStreams

    commands = "".join(block.commands for block in BLOCKS)
    parts = {"ScheduleService": (ScheduleCalls, WorkerStreams), "AdminService": (AdminCalls,)}
    for service in DESCRIPTORS:
        for method in service.methods:
            named = f"{service.full_name}/{method.name}" in commands
            assert named or not any(hasattr(part, method.name) for part in parts[service.name]), method.full_name
            assert not named or any(hasattr(part, method.name) for part in _calls()), method.full_name


def test_the_commands_work_in_the_order_in_which_they_stand(address: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": path_with_tools()}
    for tool in ("grpcurl", "buf"):
        if shutil.which(tool, path=environment["PATH"]) is None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{tool} is not installed, and this is CI")
            pytest.skip(f"{tool} is not installed; .ci/run installs it")
    any_executable()  # for the demo over Redis
    assert len(BLOCKS) > 5
    background: list[tuple[subprocess.Popen[bytes], Path]] = []
    messages = iter(SAID)
    try:
        for number, block in enumerate(BLOCKS):
            commands = "set -o pipefail\n" + block.commands.replace(ADDRESS, address)
            if block.how == "background":
                output = tmp_path / f"background-{number}"
                with output.open("wb") as stream:
                    process = subprocess.Popen(
                        ["bash", "-c", commands],
                        stdout=stream,
                        stderr=subprocess.STDOUT,
                        env=environment,
                        start_new_session=True,
                    )
                background.append((process, output))
                until = time.monotonic() + 20
                while b"}" not in output.read_bytes():  # its first answer
                    assert time.monotonic() < until, output.read_text()
                    assert process.poll() is None, output.read_text()
                    time.sleep(0.05)
                continue
            run = subprocess.run(
                ["bash", "-c", "set -e\n" + commands],
                capture_output=True,
                text=True,
                env=environment,
                timeout=60,
                check=False,
            )
            said = run.stdout + run.stderr
            assert (run.returncode == 0) == (block.how != "fails"), f"{commands}\n{said}"
            if block.how == "fails":
                assert next(messages).partition(" (")[0] in said  # how many workers there are may differ
    finally:
        for process, _ in background:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
