"""The options that every command has, and readers of values that several have."""

import argparse
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.figures import Kind, names, value_of
from scheduler_server.schedctl.figures import span as written

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?")


class Parser(argparse.ArgumentParser):
    """Faults are `Asked`, with names that are near."""

    def error(self, message: str) -> NoReturn:
        """Told by exception, so that there is one place that writes."""
        step = self.prog.removeprefix("schedctl").strip()
        raise Asked(f"{step}: {message}; --help tells more" if step else f"{message}; --help tells more")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(each) for each in action.choices]
            near = get_close_matches(str(value), choices, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(choices)}"
            raise argparse.ArgumentError(action, f"unknown {value!r}; {hint}")


def common() -> Parser:
    """What stands behind every command, and before it."""
    parser = Parser(add_help=False, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    printing = parser.add_argument_group("what is printed")
    printing.add_argument(
        "-o",
        "--output",
        dest="form",
        choices=("table", "wide", "json"),
        help="table (default), wide: every column in full, json",
    )
    printing.add_argument(
        "--color",
        "--colour",
        dest="colour",
        choices=("auto", "always", "never"),
        help="default auto: on a terminal, unless NO_COLOR is set",
    )
    reach(parser.add_argument_group("which server"))
    return parser


def reach(group: Any) -> None:
    """How to reach a server."""
    group.add_argument(
        "--context",
        metavar="NAME",
        help="a context of the file (schedctl context list); default SCHEDCTL_CONTEXT, or the current one",
    )
    server(group)


def server(group: Any) -> None:
    """The fields of a context."""
    group.add_argument(
        "-s",
        "--server",
        metavar="HOST:PORT",
        help="the server, without any context; default SCHEDCTL_SERVER, or 127.0.0.1:50051",
    )
    group.add_argument(
        "--timeout", dest="timeout_s", type=span, metavar="SPAN", help="longest time for an answer (default 5s)"
    )
    group.add_argument(
        "--tls", action="store_true", help="TLS, with the system's authorities; any file below implies it"
    )
    group.add_argument("--ca-file", metavar="PEM", help="authorities to trust instead")
    group.add_argument("--cert-file", metavar="PEM", help="our certificate, where the server asks for one")
    group.add_argument("--key-file", metavar="PEM", help="its key")
    group.add_argument(
        "--tls-name", metavar="NAME", help="name in the server's certificate, where it is not the address"
    )
    group.add_argument("--token-file", metavar="FILE", help="holds a bearer token; read anew for each call")


def span(said: str) -> float:
    """Seconds of "90", "90s", "1.5m" or "250ms"."""
    found = _SPAN.fullmatch(said)
    if found is None:
        raise argparse.ArgumentTypeError(f"must be a span such as 90s, 1.5m or 250ms, not {said!r}")
    return float(found[1]) * _UNITS_S[found[2] or "s"]


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number in bounds, both included."""

    def read(said: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", said) or not least <= int(said) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least:,} to {most:,}, not {said!r}")
        return int(said)

    return read


class OneOf:
    """Reads a value of an enum by its name, in any case, with - or _. `names` are for completion."""

    def __init__(self, kind: Kind) -> None:
        self.names = names(kind)
        self._kind = kind

    def __call__(self, said: str) -> int:
        """The value. Raises ArgumentTypeError, with names that are near."""
        try:
            value = value_of(self._kind, said)
        except ValueError:
            value = 0
        if value:
            return value
        near = get_close_matches(said.lower().replace("-", "_"), self.names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(self.names)}"
        raise argparse.ArgumentTypeError(f"unknown {said!r}; {hint}")


def label(said: str) -> tuple[str, str]:
    """Key and value of "zone=a"."""
    key, equals, value = said.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, not {said!r}")
    return key, value


def add_reason(parser: argparse.ArgumentParser) -> None:
    """Why, for the record."""
    parser.add_argument("--reason", default="", help="why, for the record")


def near(name: str, known: Sequence[str]) -> str:
    """A question to append, "; did you mean a or b?", or nothing."""
    found = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""


def add_expiry(parser: argparse.ArgumentParser) -> None:
    """When it ends by itself."""
    parser.add_argument("--for", dest="expires_s", type=span, metavar="SPAN", help="ends by itself after this time")


def set_expiry(request: Any, given: argparse.Namespace) -> None:
    """Put that into a request."""
    if given.expires_s is not None:
        request.expires_after.FromNanoseconds(round(given.expires_s * 1e9))


def until(given: argparse.Namespace) -> str:
    """The same to append, in words."""
    return f" for {written(given.expires_s)}" if given.expires_s is not None else ""
