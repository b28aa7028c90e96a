"""What `backtest` and `simulate` have in common on the command line."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from scheduler_server.config import load
from scheduler_server.config.options import Option
from scheduler_server.config.text import printable
from scheduler_server.settings import PROFILES, Settings
from scheduler_server.simulation.trace_file import STANDARD_INPUT

ASKED_WRONGLY = 2
STOPPED = 130
_IGNORED = ("SCHEDULER_CONFIG", "SCHEDULER_TEST_CLICKHOUSE_URL")  # set by the build and the tests


class Parser(argparse.ArgumentParser):
    """One line per mistake, as everywhere in this program."""

    def error(self, message: str) -> NoReturn:
        """End with that line."""
        complain(self.prog, f"{printable(message)}; see {self.prog} --help")
        raise SystemExit(ASKED_WRONGLY)


def complain(program: str, line: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"{program}: {line}\n")


def count(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 (got {printable(text)[:40]})")
    return int(text)


def add_settings(parser: argparse.ArgumentParser, options: Sequence[Option]) -> None:
    """Flags of the server's own settings."""
    group = parser.add_argument_group("settings", "as the server takes them; environment and file count as well")
    group.add_argument("--config", metavar="PATH", help="TOML file of settings")
    for option in options:
        group.add_argument(
            option.flag, action="append", metavar=option.type.placeholder, help=option.setting.help.replace("%", "%%")
        )


def settings_of(given: argparse.Namespace, options: Sequence[Option]) -> Settings:
    """The settings that these flags, the environment and the file make. Raises ConfigError."""
    flags = [f"--config={given.config}"] if given.config is not None else []
    for option in options:
        texts = getattr(given, option.flag.removeprefix("--").replace("-", "_")) or ()
        flags += [f"{option.flag}={text}" for text in texts]
    return load(Settings, flags, os.environ, profiles=PROFILES, ignored_variables=_IGNORED).config


def name_of(file: str, files: Sequence[str]) -> str:
    """The file's name without its endings, or all of it where two would be the same."""

    def short(path: str) -> str:
        stem = "stdin" if path == STANDARD_INPUT else Path(path).name
        for ending in (".gz", ".csv", ".jsonl", ".ndjson", ".json"):
            stem = stem.removesuffix(ending) or stem
        return stem

    return short(file) if [short(each) for each in files].count(short(file)) == 1 else file


@contextlib.contextmanager
def progress_bar(name: str, total: float | None) -> Iterator[Callable[[str, float], None]]:
    """A bar on a terminal's standard error, moved by what it is called with: what is done now, and how much is done.

    Elsewhere nothing, so that logs and pipes stay clean.
    """
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda _name, _completed: None
        return
    bar = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*bar, console=console, transient=True) as progress:
        replay = progress.add_task(printable(name), total=total)
        yield lambda name, completed: progress.update(replay, description=printable(name), completed=completed)


def writable(path: Path) -> bool:
    """Can a file be written there?"""
    return not path.is_dir() and os.access(path if path.exists() else path.parent, os.W_OK)


def any_letters() -> None:
    """Let standard output take names with letters that this terminal has not."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def nobody_reads() -> None:
    """Standard output is closed: let nothing more be said about that on the way out."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
