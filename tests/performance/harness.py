"""What a benchmark is told, what it answers, targets, and the JSON object."""

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from tests.performance.pairs import BASELINE, LEAST_PAIRS, Compared
from tests.performance.stats import Interval, median_interval

RESULTS = Path("build/bench")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the caller asks for; None leaves it to the benchmark."""

    seconds: float | None = None
    pairs: int | None = None

    def window_s(self, default: float) -> float:
        """Seconds counted per window."""
        return self.seconds if self.seconds is not None else default

    def pair_count(self, default: int) -> int:
        """Pairs per variant."""
        return self.pairs if self.pairs is not None else default


def plan_from(environment: Mapping[str, str]) -> Plan:
    """BENCH_SECONDS and BENCH_PAIRS; ValueError where one is no positive number."""
    seconds, pairs = environment.get("BENCH_SECONDS"), environment.get("BENCH_PAIRS")
    plan = Plan(seconds=float(seconds) if seconds else None, pairs=int(pairs) if pairs else None)
    if (plan.seconds is not None and not 0 < plan.seconds < float("inf")) or (
        plan.pairs is not None and plan.pairs < 1
    ):
        raise ValueError("BENCH_SECONDS and BENCH_PAIRS must be above 0")
    return plan


def ratio_fields(compared: Compared, variant: str) -> dict[str, Any]:
    """A variant's ratio beside the baseline's with itself."""
    return {**_named("ratio", compared.ratio(variant)), **aa_fields(compared.ratios[BASELINE])}


def aa_fields(ratios: list[float]) -> dict[str, Any]:
    """The baseline against itself; absent where there were too few windows for even one pair."""
    if not ratios:
        return {"aa_ratio": None, "aa_lo": None, "aa_hi": None, "aa_pairs": 0}
    fields = _named("aa_ratio", median_interval(ratios))
    return {
        "aa_ratio": fields["aa_ratio"],
        "aa_lo": fields["aa_ratio_lo"],
        "aa_hi": fields["aa_ratio_hi"],
        "aa_pairs": len(ratios),
    }


def _named(name: str, found: Interval) -> dict[str, Any]:
    return {name: rounded(found.median), f"{name}_lo": rounded(found.lo), f"{name}_hi": rounded(found.hi)}


def target(
    name: str,
    sign: Literal[">=", "<=", "<"],
    bound: float,
    value: float,
    lo: float | None = None,
    hi: float | None = None,
) -> dict[str, Any]:
    """One thing to reach. With an interval it is reached when the interval reaches it, without when the value does."""
    best = (hi if hi is not None else value) if sign == ">=" else (lo if lo is not None else value)
    reached = best >= bound if sign == ">=" else best <= bound if sign == "<=" else best < bound
    return {"name": name, "target": f"{sign} {bound:g}", "value": rounded(value), "met": bool(reached)}


def ratio_target(
    sign: Literal[">=", "<="], bound: float, fields: Mapping[str, Any], name: str = "ratio"
) -> dict[str, Any]:
    """The same for a ratio with its interval."""
    return target(name, sign, bound, fields["ratio"], fields["ratio_lo"], fields["ratio_hi"])


def report(
    bench: str, fields: Mapping[str, Any], targets: list[dict[str, Any]], pairs: int, window_s: float | None
) -> dict[str, Any]:
    """The object of one benchmark."""
    return {
        "bench": bench,
        **fields,
        "target": "; ".join(f"{each['name']} {each['target']}" for each in targets),
        "met": all(each["met"] for each in targets),
        "targets": targets,
        "pairs": pairs,
        "enough_pairs": pairs >= LEAST_PAIRS,
        "window_s": window_s,
        "cpus": os.cpu_count(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """What it ran on."""
    found = {"python": platform.python_version()}
    for package in ("grpcio", "protobuf", "uvloop", "numpy"):
        found[package] = version(package)
    return found


def write(name: str, result: Mapping[str, Any], folder: Path = RESULTS) -> str:
    """Keep the object as build/bench/<name>.json; its one line."""
    line = json.dumps(result)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(line + "\n")
    return line


def rounded(value: float, digits: int = 4) -> float:
    """So many significant digits: more would pretend to a precision that is not there."""
    return float(f"{value:.{digits}g}")


def progress(what: str) -> None:
    """Tell whoever watches; standard output is for results."""
    sys.stderr.write(f"bench: {what}\n")
    sys.stderr.flush()
