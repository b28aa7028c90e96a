"""`make pictures`: draws every scene into build/pictures, and those of the README into docs/pictures.

    python -m tests.pictures [--only NAME] [--keep]

Exit code 1 where a line did not fit its terminal or a name reached it as a control character.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from wcwidth import wcswidth  # pyte's own widths, so that nothing is left to the library that schedctl uses

from tests.pictures import fleets
from tests.pictures.relay import relay
from tests.pictures.screen import Terminal
from tests.pictures.svg import picture

ROOT = Path(__file__).resolve().parents[2]
LARGEST_BYTES = 60_000
"""Of a picture that the README shows."""
SCHEDCTL = [sys.executable, "-m", "scheduler_server.schedctl"]
_OURS = re.compile(rb"\x1b\[(?:[0-9;]*m|H|J|K|\?[0-9]+[hl])|\r?\n|\r")
"""All that schedctl itself writes beside text: colours, cursor home, the rest of the line and of the screen."""


class Scene(NamedTuple):
    """One picture: a command at a width. `keys` are typed into a live screen, which shows `shown` then."""

    name: str
    command: str
    lines: int = 40
    keys: str = ""
    shown: str = ""


TABLES = [
    "status", "workers --limit 20", "workers --ranked --limit 12", "worker {worker}", "queue --limit 15",
    "predictions", "decisions --limit 15", "events --last 15", "alerts", "task {task}", "explain {task}",
    "explain {waiting}", "deadletters list", "config get scorer",
]  # fmt: skip
LIVE = {"workers": "1", "queue": "2", "decisions": "3", "accuracy": "4", "events": "5", "worker": "1\r"}

FLEETS: dict[str, Callable[[str], AbstractContextManager[None]]] = {
    "0": fleets.nobody, "3": fleets.odd_names, "8": fleets.at_work, "5000": fleets.thousands,
}  # fmt: skip

README = {
    "top": ("8", "top --sort load", 100, 20),
    "workers": ("8", "workers --sort load", 100, 40),
    "queue": ("8", "queue --limit 8", 100, 40),
    "explain": ("8", "explain {task} --limit 5", 100, 40),
}
"""By name: fleet, command, columns, and the terminal's lines."""


@contextmanager
def _server(folder: str) -> Iterator[str]:
    command = [sys.executable, "-m", "scheduler_server", "serve", "--server-listen", "127.0.0.1:0",
               "--storage-state-folder", folder, "--log-level", "error", "--assignment-explain-share", "1"]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().rpartition(" ")[2].strip()
    finally:
        server.terminate()
        server.wait(30)
        server.stdout.close()


def _said(address: str) -> dict[str, str]:
    """Names of this fleet for commands that need one: a worker, a task that was placed, one that waits; "" for none."""

    def listed(command: str, key: str) -> dict[str, Any]:
        words = [*SCHEDCTL, *command.split(), "--limit", "1", "-s", address, "-o", "json"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return next(iter(json.loads(done.stdout)[key]), {})

    worker = listed("workers --sort load", "workers")
    placed = listed("decisions --outcome succeeded --cause best_score", "records").get("decision", {}).get("task", {})
    waits = listed("queue", "tasks").get("task", {})
    return {
        "worker": worker.get("worker_id", ""),
        "task": placed.get("task_id", ""),
        "task_tenant": placed.get("tenant", ""),
        "waiting": waits.get("task_id", ""),
        "waiting_tenant": waits.get("tenant", ""),
    }


def draw(address: str, command: str, columns: int, lines: int, names: dict[str, str], keys: str = "") -> Terminal:
    """Run it in a terminal; comes back when it has ended, or shows what it is to show. Raises AssertionError."""
    words = [word.format(**names) if "{" in word else word for word in command.split()]
    for key in ("task", "waiting"):
        if f"{{{key}}}" in command and names[f"{key}_tenant"]:
            words += ["--tenant", names[f"{key}_tenant"]]
    with Terminal([*SCHEDCTL, *words, "-s", address], columns=columns, lines=lines) as terminal:
        if words[0] != "top":
            terminal.ended()
            return terminal
        terminal.until(lambda text: "slots" in text and "asking" not in text, "the first answers")
        terminal.type(keys)
        terminal.until(lambda text: "asking" not in text and "q ends" in text, "the view")
        settle = iter(range(25))
        terminal.until(lambda _: next(settle, None) is None, "rates")  # two answers make one
        return terminal


class Wrote(Protocol):
    """Something that wrote to a terminal."""

    raw: bytes


def faults(terminal: Wrote, columns: int) -> list[str]:
    """What a program can say against a screen."""
    said = _OURS.sub(b"\n", terminal.raw).decode()
    found = [f"a control character reached the terminal: {line!r}" for line in said.split("\n")
             if any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in line)]  # fmt: skip
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.raw.decode().replace("\x1b[H", "\n"))
    found += [
        f"wider than {columns}: {line!r}" for line in plain.replace("\r", "").split("\n") if wcswidth(line) > columns
    ]
    return found


def main() -> int:
    """All scenes, or those of one fleet."""
    parser = argparse.ArgumentParser(description="Pictures of schedctl.")
    parser.add_argument("--only", choices=[*FLEETS, "readme"])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "pictures")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    bad = 0
    for fleet, made in FLEETS.items():
        if given.only not in (None, fleet) and not (given.only == "readme" and fleet == "8"):
            continue
        with tempfile.TemporaryDirectory() as state, _server(state) as honest, made(honest), relay(honest) as forged:
            names = _said(honest)
            if given.only != "readme":
                for columns in (80, 160):
                    bad += _scenes(given.folder, fleet, forged, columns, names)
            if fleet == "8":
                bad += _readme(honest, names)
    return 1 if bad else 0


def _scenes(folder: Path, fleet: str, address: str, columns: int, names: dict[str, str]) -> int:
    scenes = [Scene(command.split()[0] + ("-waiting" if "{waiting}" in command else "")
                    + ("-ranked" if "--ranked" in command else ""), command) for command in TABLES]  # fmt: skip
    scenes += [
        Scene(f"top-{view}", "top --interval 0.5s", 24 if columns == 80 else 40, keys) for view, keys in LIVE.items()
    ]
    bad = 0
    for scene in scenes:
        if any(f"{{{name}}}" in scene.command and not said for name, said in names.items()):
            continue  # there is none of these in this fleet
        terminal = draw(address, scene.command, columns, scene.lines, names, scene.keys)
        file = folder / f"{fleet}-{columns}-{scene.name}.svg"
        file.write_text(picture(terminal.screen, f"schedctl {_titled(scene.command, names)}", _used(terminal)))
        for fault in faults(terminal, columns):
            bad += 1
            _tell(f"{file.name}: {fault}"[:300])
    return bad


def _titled(command: str, names: dict[str, str]) -> str:
    """The command without names that are too long for a line."""
    return " ".join(word.format(**names) if len(word.format(**names)) < 40 else "NAME" for word in command.split())


def _readme(address: str, names: dict[str, str]) -> int:
    bad = 0
    for name, (_, command, columns, lines) in README.items():
        terminal = draw(address, command, columns, lines, names)
        drawn = picture(terminal.screen, f"schedctl {_titled(command, names)}", _used(terminal))
        (ROOT / "docs" / "pictures" / f"{name}.svg").write_text(drawn)
        bad += len(faults(terminal, columns)) + (len(drawn.encode()) > LARGEST_BYTES)
        _tell(f"docs/pictures/{name}.svg: {len(drawn.encode()):,} bytes")
    return bad


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _used(terminal: Terminal) -> int:
    """Lines up to the last with letters."""
    return max(1, len(terminal.text().rstrip("\n").split("\n")))


if __name__ == "__main__":
    sys.exit(main())
