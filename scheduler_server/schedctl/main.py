"""`schedctl`: from words to a command, and from whatever happens to one line and an exit code."""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TextIO

from scheduler_server.schedctl import text
from scheduler_server.schedctl.commands import COMMANDS, load
from scheduler_server.schedctl.completing import complete, steps_of
from scheduler_server.schedctl.fault import Asked, Failed
from scheduler_server.schedctl.options import Parser, common, near
from scheduler_server.schedctl.paper import paper_for
from scheduler_server.schedctl.work import Command, Surroundings, Work

FAILED, ASKED_WRONGLY, INTERRUPTED = 1, 2, 130

_ABOUT = """\
Looks at a scheduler server and steers it, from anywhere.

commands:
{commands}

schedctl COMMAND --help tells each command's options. Which server: --server, or a context (schedctl context set NAME
--server HOST:PORT). Exit codes: 0 it worked, 1 it failed, 2 it was asked wrongly; `check` has those of monitoring.
"""


def parser(words: Sequence[str]) -> Parser:
    """The command line, with the options of those commands that `words` name."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {about}" for name, about in COMMANDS.items())
    made = Parser(
        prog="schedctl",
        description=_ABOUT.format(commands=listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="schedctl [OPTIONS] COMMAND [OPTIONS]",
        parents=[common()],
        allow_abbrev=False,
    )
    steps = made.add_subparsers(
        title=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
        prog="schedctl",
        dest="command",
        metavar="COMMAND",
        required=True,
        parser_class=Parser,
    )
    for name, about in COMMANDS.items():
        step = _step(steps, name, about)
        if name in words:
            _fill(step, load(name))
    return made


def together(words: Sequence[str]) -> list[str]:
    """The words, with a command of two of them (`worker drain`) as one."""
    joined = list(words)
    for at, (first, second) in enumerate(pairwise(joined)):
        if f"{first} {second}" in COMMANDS:
            return [*joined[:at], f"{first} {second}", *joined[at + 2 :]]
        if first in COMMANDS and first != "completion":
            break  # what comes behind it are its own words
    return joined


def _fill(made: argparse.ArgumentParser, command: Command) -> None:
    if command.run is not None:
        made.set_defaults(run=command.run)
    command.options(made)
    if command.steps is not None:
        below = made.add_subparsers(dest="step", metavar="STEP", required=True, parser_class=Parser)
        command.steps(lambda name, about: _step(below, name, about))


def _step(steps: Any, name: str, about: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = steps.add_parser(
        name, description=about[0].upper() + about[1:] + ".", parents=[common()], allow_abbrev=False
    )
    return made


def run(words: Sequence[str], surroundings: Surroundings) -> int:
    """One command; answers its exit code."""
    if not words:
        surroundings.stdout.write(parser(words).format_help())
        return 0
    words = together(words)
    if list(words[:2]) == ["completion", "candidates"]:
        candidates = complete(parser(words[2:]), words[2:], surroundings)
        surroundings.stdout.write("".join(f"{each}\n" for each in candidates))
        return 0
    try:
        given = _parsed(words)
    except Asked as fault:
        return _refuse(surroundings.stderr, str(fault), _asked_wrongly(words))
    form = getattr(given, "form", "table")
    paper = paper_for(surroundings.stdout, surroundings.environment, form=form, colour=getattr(given, "colour", "auto"))
    work = Work(given, paper, surroundings)
    try:
        code: int = given.run(work)
        surroundings.stdout.flush()
        return code
    except Asked as fault:
        return _refuse(surroundings.stderr, str(fault), _asked_wrongly(words))
    except Failed as fault:
        return _refuse(surroundings.stderr, str(fault), FAILED)
    except _wire_errors() as error:
        from scheduler_server.schedctl.complaint import complaint  # noqa: PLC0415 -- grpc is half the start-up

        return _refuse(surroundings.stderr, complaint(error, work.place), FAILED)  # type: ignore[arg-type] # what _wire_errors names
    finally:
        work.close()


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    made = parser(words)
    given, unknown = made.parse_known_args(list(words))
    if not unknown:
        return given
    below: argparse.ArgumentParser = made
    for name in (given.command, getattr(given, "step", "")):
        below = (steps_of(below) or {}).get(name, below)
    step = below.prog.removeprefix("schedctl").strip()
    hint = near(unknown[0].partition("=")[0], list(below._option_string_actions))
    raise Asked(f"{step}: unknown {unknown[0]!r}{hint or '; --help tells what there is'}")


def _asked_wrongly(words: Sequence[str]) -> int:
    """Monitoring reads 2 as critical, and 3 as not known."""
    return 3 if "check" in words[:1] else ASKED_WRONGLY


def _wire_errors() -> tuple[type[Exception], ...]:
    """The client's errors, where a command has loaded the client at all."""
    loaded = sys.modules.get("scheduler_server.client")
    return () if loaded is None else (loaded.SchedulerError,)


def _refuse(stream: TextIO, line: str, code: int) -> int:
    stream.write(f"schedctl: {text.shown(line)}\n")
    return code


def main() -> int:
    """The console script."""
    os.environ.setdefault(
        "GRPC_VERBOSITY", "NONE"
    )  # what it has to say comes with the error, and not across the screen
    for stream in (sys.stdout, sys.stderr):
        if isinstance(getattr(stream, "errors", None), str):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # text streams of the interpreter
    surroundings = Surroundings(stdin=sys.stdin, stdout=sys.stdout, stderr=sys.stderr, environment=os.environ)
    try:
        return run(sys.argv[1:], surroundings)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `schedctl workers | head` is no fault
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


if __name__ == "__main__":
    sys.exit(main())
