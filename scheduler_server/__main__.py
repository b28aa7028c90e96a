"""The command line: `scheduler-server serve | demo | enqueue | backtest | simulate | ...`; USAGE lists all."""

import sys
from collections.abc import Callable, Sequence

USAGE = """\
usage: scheduler-server COMMAND [OPTIONS]

A gRPC task scheduler: which worker should run this task, when will it start, and why?

commands:
  serve      run the server (serve --help lists every setting, serve --print-config what is in effect)
  demo       a server, six worker processes and a queue of real tasks, for half a minute
  enqueue    put tasks into the Redis stream that servers take them from
  backtest   replay a history of tasks through the predictors: how well would each have done?
  simulate   run tasks through a virtual fleet: how would each policy have done?
  health     ask a running server whether it serves; exit code 0 if so (for probes)
  token      make a bearer token, and its line for the access file
  settings   the table of all settings, in Markdown
  version    what is installed
"""


def _serve(argv: Sequence[str]) -> int:
    from scheduler_server.cli.serve import main as serve

    return serve(argv)


def _demo(argv: Sequence[str]) -> int:
    from scheduler_server.demo.main import main as demo

    return demo(argv)


def _enqueue(argv: Sequence[str]) -> int:
    from scheduler_server.cli.enqueue import main as enqueue

    return enqueue(argv)


def _backtest(argv: Sequence[str]) -> int:
    from scheduler_server.cli.backtest import main as backtest

    return backtest(argv)


def _simulate(argv: Sequence[str]) -> int:
    from scheduler_server.cli.simulate import main as simulate

    return simulate(argv)


def _health(argv: Sequence[str]) -> int:
    from scheduler_server.cli.health import main as health

    return health(argv)


def _token(argv: Sequence[str]) -> int:
    from scheduler_server.cli.token import main as token

    return token(argv)


def _settings(_argv: Sequence[str]) -> int:
    from scheduler_server.config import render_markdown_table
    from scheduler_server.settings import Settings

    sys.stdout.write(render_markdown_table(Settings))
    return 0


def _version(_argv: Sequence[str]) -> int:
    from importlib.metadata import version

    packages = ("scheduler-server", "grpcio", "protobuf", "numpy")
    sys.stdout.write("".join(f"{package} {version(package)}\n" for package in packages))
    return 0


_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "serve": _serve,
    "demo": _demo,
    "enqueue": _enqueue,
    "backtest": _backtest,
    "simulate": _simulate,
    "health": _health,
    "token": _token,
    "settings": _settings,
    "version": _version,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; answers its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] in {"-h", "--help", "help"}:
        sys.stdout.write(USAGE)
        return 0
    command = _COMMANDS.get(given[0])
    if command is None:
        sys.stderr.write(f"scheduler-server: unknown command {given[0]!r}; see scheduler-server --help\n")
        return 2
    return command(given[1:])


if __name__ == "__main__":
    sys.exit(main())
