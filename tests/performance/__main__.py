"""`python -m tests.performance [NAME...]`: run benchmarks by name, or all of them."""

import importlib
import os
import pkgutil
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from tests.performance import bench
from tests.performance.harness import plan_from, progress, write


def names() -> list[str]:
    """Every benchmark there is: the modules of bench/."""
    return sorted(module.name for module in pkgutil.iter_modules(bench.__path__))


def main(asked: Sequence[str]) -> int:
    """0 when every figure was taken, its target met or not; 1 when one could not be taken; 2 when asked wrongly."""
    known = names()
    if asked in (["-h"], ["--help"], ["--list"]):
        sys.stdout.write("".join(f"{name}\n" for name in known))
        return 0
    unknown = [name for name in asked if name not in known]
    if unknown:
        sys.stderr.write(f"bench: no benchmark named {', '.join(unknown)}; there are {', '.join(known)}\n")
        return 2
    try:
        plan = plan_from(os.environ)
    except ValueError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    signal.signal(signal.SIGTERM, _leave)
    failed = 0
    for name in asked or known:
        started = time.monotonic()
        try:
            result = importlib.import_module(f"tests.performance.bench.{name}").run(plan)
        except Exception as error:  # noqa: BLE001 -- one that cannot be taken must not cost the others
            progress(f"{name} failed: {type(error).__name__}: {error}")
            failed = 1
            continue
        progress(f"{name} took {time.monotonic() - started:.0f} s")
        print(write(name, result), flush=True)
    return failed


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)  # so that every child is ended on the way out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
