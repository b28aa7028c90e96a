"""The README's line for each method: none is missing, and each answers what it says, asked with the real grpcurl."""

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from scheduler_server.rpc.server import DESCRIPTORS
from tests.contract.command_lines import DEADLINE_S, client
from tests.contract.test_readme import ADDRESS, README, _calls, address, path_with_tools

__all__ = ["address"]  # a fixture

METHODS = {f"{service.full_name}/{method.name}" for service in DESCRIPTORS for method in service.methods}


class Line(NamedTuple):
    """A command, and the code that it says it answers."""

    method: str
    command: str
    code: str


def lines() -> list[Line]:
    """Those of the README."""
    block = README.partition("<!-- every method -->\n```bash\n")[2].partition("```")[0]
    found = []
    for text in block.splitlines():
        command, _, said = text.partition("  # ")
        found.append(Line(command.split()[-1], command, said.partition(":")[0] or "OK"))
    return found


def has(method: str) -> bool:
    """Does this version do it?"""
    return any(hasattr(each, method.rpartition("/")[2]) for each in _calls())


def test_every_method_has_one_line_and_nothing_else_has() -> None:
    assert sorted(each.method for each in lines()) == sorted(METHODS)


def test_each_line_answers_what_stands_behind_it(address: str) -> None:
    client("grpcurl", Path(path_with_tools().split(os.pathsep)[0]) / "grpcurl")
    environment = {**os.environ, "PATH": path_with_tools()}
    wrong = []
    for line in lines():
        command = ["bash", "-c", f"set -o pipefail; {line.command.replace(ADDRESS, address)}"]
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=DEADLINE_S, check=False)
        said = re.search(r"^  Code: (\w+)$", ran.stderr, re.MULTILINE)
        code = said[1] if said else "OK" if ran.returncode == 0 else "an error of grpcurl"
        if code != (line.code if has(line.method) else "Unimplemented"):
            wrong.append(f"{line.command}\n{ran.stdout}{ran.stderr}")
    assert not wrong, "\n".join(wrong)
