"""The commands of docs/configuration.md work as they stand, one after another."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.contract.command_lines import ROOT, client, served

PAGE = (ROOT / "docs" / "configuration.md").read_text()
COMMANDS = re.findall(r"^    ((?:schedctl|grpcurl) (?:.*\\\n)*.*)$", PAGE, re.MULTILINE)


def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    grpcurl = Path(client("grpcurl", ROOT / "build" / "bin" / "grpcurl"))
    path = os.pathsep.join([str(Path(sys.executable).parent), str(grpcurl.parent), os.environ["PATH"]])
    assert len(COMMANDS) > 8
    with served() as address:
        around = {**os.environ, "PATH": path, "SCHEDCTL_SERVER": address, "SCHEDCTL_CONFIG": str(tmp_path / "none")}
        for command in COMMANDS:
            words = command.replace("127.0.0.1:50051", address)
            # What the page bases on revision 1 was made when that was the one in force.
            words = words.replace(', "based_on_revision": 1', "")
            ran = subprocess.run(
                ["bash", "-c", words], env=around, capture_output=True, text=True, timeout=60, check=False
            )
            assert ran.returncode == 0, f"{words}: {ran.stderr}"
