"""One folder, one server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler_server.storage import StateFolder, StateFolderError

HOLDER = """
import sys
from pathlib import Path
from scheduler_server.storage import StateFolder
folder = StateFolder.open(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
AS_NOBODY = """
import os, sys
from pathlib import Path
from scheduler_server.storage import StateFolder, StateFolderError
if os.getuid() == 0:
    os.setuid(65534)
try:
    StateFolder.open(Path(sys.argv[1]))
except StateFolderError as error:
    print(error)
"""


def refusal(path: Path) -> str:
    with pytest.raises(StateFolderError) as caught:
        StateFolder.open(path)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_missing_folder_is_made_with_its_parents_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with StateFolder.open(path) as folder:
        assert path.stat().st_mode & 0o777 == 0o700
        assert (path / "lock").read_text() == f"{os.getpid()}\n"
        assert folder.file("journal") == path / "journal"
    assert sorted(found.name for found in path.iterdir()) == ["lock"]


def test_a_folder_that_was_given_free_can_be_opened_again(tmp_path: Path) -> None:
    StateFolder.open(tmp_path).close()
    folder = StateFolder.open(tmp_path)
    folder.close()
    folder.close()
    StateFolder.open(tmp_path).close()


def test_a_second_server_is_told_the_pid_of_the_first_until_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert refusal(tmp_path) == f"state folder {tmp_path}: is in use by another server (pid {holder.pid})"
        holder.kill()
        holder.wait()
    StateFolder.open(tmp_path).close()


def test_a_file_in_its_place_or_above_it_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert refusal(file) == f"state folder {file}: is not a directory"
    assert refusal(file / "x") == f"state folder {file / 'x'}: cannot be created: Not a directory"


def test_a_symlink_as_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    assert refusal(tmp_path).startswith(f"state folder {tmp_path}: is not writable: ")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(("mode", "below"), [(0o500, ""), (0o500, "deeper")])
def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path, mode: int, below: str) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if "pytest-of-" in str(folder):  # private; the child runs as somebody else when we are root
            folder.chmod(0o755)
    locked = tmp_path / "locked"
    locked.mkdir(mode)
    locked.chmod(0o555)
    path = locked / below
    run = subprocess.run([sys.executable, "-c", AS_NOBODY, str(path)], capture_output=True, text=True, check=True)
    verb = "cannot be created" if below else "is not writable"
    assert run.stdout == f"state folder {path}: {verb}: Permission denied\n"
