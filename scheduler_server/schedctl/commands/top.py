"""`schedctl top`: the live screen (`scheduler_server.schedctl.top`)."""

import argparse

from scheduler_server.schedctl import options
from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.top.state import SORTS, State, View
from scheduler_server.schedctl.work import Command, Work

_SHORTEST_S, _LONGEST_S = 0.2, 3_600.0


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interval", type=options.span, default=2.0, metavar="SPAN", help="how often the server is asked (default 2s)"
    )
    parser.add_argument(
        "--view", choices=[view.name.lower() for view in View], default="workers", help="what is shown first"
    )
    parser.add_argument("--sort", choices=SORTS, default="load", help="which workers come first (default load)")
    parser.add_argument("--match", default="", metavar="TEXT", help="only workers whose id contains this, at first")


def _run(work: Work) -> int:
    given = work.given
    if not (work.surroundings.stdin.isatty() and work.surroundings.stdout.isatty()):
        raise Asked("top: needs a terminal; schedctl status and schedctl workers go into files and pipes")
    if work.surroundings.environment.get("TERM", "dumb") == "dumb":
        raise Asked("top: this terminal cannot move its cursor (TERM); schedctl status and schedctl workers need none")
    if not _SHORTEST_S <= given.interval <= _LONGEST_S:
        raise Asked(f"top: --interval must be {_SHORTEST_S:g} s to an hour")
    from scheduler_server.schedctl.top.loop import run  # noqa: PLC0415 -- grpc is half the start-up

    return run(work, State(view=View[given.view.upper()], sort=given.sort, filter=given.match), given.interval)


COMMAND = Command(options=_options, run=_run)
