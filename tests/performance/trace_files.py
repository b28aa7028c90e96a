"""Real histories, wherever TRACES says they are: replayed through every predictor."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.predictor.strategies import PREDICTORS
from scheduler_server.simulation.backtest import backtest
from scheduler_server.simulation.trace_file import TraceFile
from scheduler_server.simulation.trace_layout import columns
from scheduler_server.simulation.traces import BadRows, read_trace
from tests.performance.harness import progress

DEFAULT = "../shared/data"
_ROOT = Path(__file__).resolve().parents[2]
_ENDINGS = (".csv", ".jsonl", ".ndjson")


def files(given: str | None = None) -> tuple[list[Path], list[str]]:
    """The traces that TRACES names (files and folders, separated by colons; or the default), and what is not there."""
    found: list[Path] = []
    missing: list[str] = []
    for part in (given or DEFAULT).split(os.pathsep):
        path = _ROOT / part
        if path.is_dir():
            found += sorted(each for each in path.iterdir() if _is_trace(each))
        elif path.exists():
            found.append(path)
        else:
            missing.append(part)
    return found, missing


def _is_trace(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(_ENDINGS)


def name_of(path: Path) -> str:
    """A trace's name: the file's, without its endings."""
    return path.name.partition(".")[0]


def replayed(settings: PredictorSettings) -> tuple[dict[str, dict[str, Any]], str]:
    """The figures of each predictor on each trace, by names; and why there are none."""
    found, missing = files(os.environ.get("TRACES"))
    traces: dict[str, dict[str, Any]] = {}
    for path in found:
        progress(f"predict: {path.name}")
        bad = BadRows()
        predictors = {name: make(settings) for name, make in PREDICTORS.items()}
        with TraceFile(str(path), sys.stdin.buffer) as file:
            report = backtest(read_trace(file.lines(), columns(), bad), predictors, time.perf_counter_ns)
        hindsight = report.hindsight_hit25()
        traces[name_of(path)] = {
            name: {**score.figures(), "hindsight": hindsight, "bad_rows": bad.count}
            for name, score in report.scores.items()
        }
    skipped = f"no trace at {', '.join(missing)} (TRACES names files and folders)" if missing else ""
    return traces, skipped or ("" if traces else "TRACES names folders without traces")
