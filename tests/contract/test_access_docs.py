"""docs/access.md: its table of roles is the one in force, and its ten lines work."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler_server.access.roles import ROLES, Role
from scheduler_server.access.settings import LimitSettings
from scheduler_server.model.refusal import Reason
from scheduler_server.rpc.access_guard import REASONS

PAGE = (Path(__file__).parents[2] / "docs" / "access.md").read_text()


def test_the_table_of_roles_is_the_one_in_force() -> None:
    table = PAGE.partition("<!-- roles -->\n")[2].partition("<!-- end of roles -->")[0]
    told = dict(re.findall(r"^\| (\w+) \| (.+) \|$", table, re.MULTILINE))
    for role in (Role.WORKER, Role.PRODUCER, Role.VIEWER):
        methods = sorted(method.rpartition("/")[2] for method, roles in ROLES.items() if role in roles)
        assert told[role] == ", ".join(methods)
    assert told[Role.ADMIN].startswith("everything")


def test_every_reason_and_every_limit_is_told() -> None:
    for reason in (*REASONS, Reason.RATE_LIMITED, Reason.TOO_MANY_STREAMS, Reason.TOO_MANY_NAMES):
        assert reason.value in PAGE
    for limit in LimitSettings.__dataclass_fields__:
        assert f"`{limit}`" in PAGE or f"limits.{limit}" in PAGE


def test_the_ten_lines_set_it_up(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    lines = PAGE.partition("## Set it up in ten lines\n\n")[2].partition("\n\n")[0].splitlines()
    assert len(lines) == 10
    *setting_up, serving, looking = (line.strip() for line in lines)
    program = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{program}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    environment |= {"SCHEDULER_SERVER_LISTEN": "127.0.0.1:0", "SCHEDULER_STORAGE_STATE_FOLDER": ""}

    def bash(text: str) -> "subprocess.CompletedProcess[str]":
        command = ["bash", "-ec", text]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    done = bash("\n".join(setting_up))
    assert done.returncode == 0, done.stderr
    command = ["bash", "-c", f"cd access; exec {serving.removesuffix(' &')}"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().rpartition(" ")[2].strip()
            looked = bash(f"cd access; {looking} --server {address}")
            assert (looked.returncode, looked.stderr) == (0, "")
        finally:
            server.terminate()
