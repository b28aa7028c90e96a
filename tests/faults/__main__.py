"""`python -m tests.faults [--seed N] [--faults N] [--short]`: a campaign and its table; exit code 1: one broke."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.campaign import carry_out
from tests.faults.plan import FULL, SHORT, draw
from tests.faults.report import table


def say(text: str) -> None:
    """A line to the terminal, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Carry a campaign out and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of the plan; without it, a new one")
    parser.add_argument("--faults", type=int, default=None, help="only the first so many")
    parser.add_argument("--short", action="store_true", help="a few of each kind")
    parser.add_argument("--log", type=Path, default=Path("build/faults.jsonl"), help="where the event log is left")
    words = parser.parse_args()
    seed = int(time.time()) if words.seed is None else words.seed
    plan = draw(seed, SHORT if words.short else FULL, words.faults)
    say(f"seed {seed}: {len(plan)} faults")
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        try:
            result = asyncio.run(carry_out(Path(folder), plan, seed))
        finally:
            words.log.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(folder) / "events.jsonl", words.log)
    for violation in result.violations:
        say(str(violation))
    say(table(result))
    say(f"event log: {words.log}")
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
