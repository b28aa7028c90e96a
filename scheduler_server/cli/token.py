"""`scheduler-server token new`: make a bearer token, and its line for the access file."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from scheduler_server.access.grants import GrantsError, parse
from scheduler_server.access.roles import Role
from scheduler_server.access.tokens import new_token, shown

_FAILED, _ASKED_WRONGLY = 1, 2
_SPAN = re.compile(r"([1-9][0-9]{0,4})([hd])")
_HOURS = {"h": 1, "d": 24}

_ABOUT = """\
Prints a token, once: it is nowhere else, and the server keeps its hash only. Its line goes into the access file
(access.file), which a running server reads again by itself. With --append the line is added there, and only the token
is printed, so that it can go into a file of its own:

  umask 077
  scheduler-server token new --identity queue-1 --role producer --append /etc/scheduler/access > queue-1.token
"""


def main(argv: Sequence[str]) -> int:
    """0; 1 when the file cannot be written; 2 when asked wrongly."""
    given = _parser().parse_args(argv)
    token = new_token()
    words = [f"token {shown(token)}", f"identity={given.identity}", f"role={given.role}"]
    if given.workers:
        words.append(f"workers={given.workers}")
    if given.certificate:
        words.append(f"certificate={given.certificate}")
    if given.expires:
        span = _SPAN.fullmatch(given.expires)
        if span is not None:
            ends = datetime.now(UTC) + timedelta(hours=int(span[1]) * _HOURS[span[2]])
            given.expires = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
        words.append(f"expires={given.expires}")
    line = " ".join(words)
    try:
        if "\n" in line or "#" in line:
            raise GrantsError("line 1: no value may have a line break or a #")
        parse(line)
    except GrantsError as error:
        return _refuse(str(error).removeprefix("line 1: "), _ASKED_WRONGLY)
    if not given.append:
        sys.stdout.write(f"token, shown this once:\n{token}\n\nline for the access file:\n{line}\n")
        return 0
    try:
        _append(given.append, line)
    except OSError as error:
        return _refuse(f"{given.append}: cannot be written: {error.strerror}", _FAILED)
    sys.stdout.write(f"{token}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scheduler-server token", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    new = commands.add_parser(
        "new", help="make one", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    new.add_argument("--identity", required=True, help="who it is for, as logs and the audit name it")
    new.add_argument("--role", required=True, help=f"one or more of {', '.join(Role)}, with commas")
    new.add_argument("--workers", help="ids that it may be as a worker, with commas and *; default: the identity")
    new.add_argument("--expires", help="90d, 12h, or an instant such as 2027-06-30T00:00:00Z; default: never")
    new.add_argument("--certificate", help="a name, with *, of the client certificate that it is bound to")
    new.add_argument("--append", metavar="FILE", help="add the line to this access file, made where it is missing")
    return parser


def _append(path: str, line: str) -> None:
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        before = b""
        if size:
            file.seek(size - 1)
            before = b"" if file.read(1) == b"\n" else b"\n"
        file.write(before + line.encode() + b"\n")


def _refuse(line: str, code: int) -> int:
    sys.stderr.write(f"scheduler-server token: {line}\n")
    return code
