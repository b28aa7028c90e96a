"""`scheduler-server backtest`: how well would each predictor have done on this history?"""

import argparse
import json
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from scheduler_server.cli.backtest_tables import show, show_together
from scheduler_server.cli.replays import (
    ASKED_WRONGLY,
    STOPPED,
    Parser,
    add_settings,
    any_letters,
    complain,
    count,
    name_of,
    nobody_reads,
    progress_bar,
    settings_of,
    writable,
)
from scheduler_server.config import ConfigError
from scheduler_server.config.faults import suggestion
from scheduler_server.config.options import options_of
from scheduler_server.config.text import printable
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.predictor.strategies import PREDICTORS
from scheduler_server.settings import Settings
from scheduler_server.simulation.backtest import COUNTED, Report, backtest
from scheduler_server.simulation.trace_file import STANDARD_INPUT, TraceFile, UnusableTrace
from scheduler_server.simulation.trace_layout import FIELDS, BadColumn, Columns, columns
from scheduler_server.simulation.traces import BadRows, read_trace

_PROGRAM = "scheduler-server backtest"
_SECTION = "predictor"
_BASELINE = "ema"  # what several traces are compared with, where it is among them

_DESCRIPTION = f"""\
Replays histories of tasks through predictors in time order: each task is predicted when it was submitted, and learned
when it was over (start + duration; submit + duration where the start is not known).

A FILE is CSV with a header or JSON Lines with the same names as keys, plain or gzip; - is standard input. Fields:
{textwrap.fill(", ".join(FIELDS), 118)}.
submit_time_s, task_type and duration_ms are needed. Instants are seconds or ISO 8601; features are k=v;k=v (in JSON
also an object), and those that start with label_ are ignored.
"""


class NoPicture(Exception):
    """The picture that was asked for cannot be drawn; one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for."""

    files: Sequence[str]
    predictors: Sequence[str]
    settings: PredictorSettings
    columns: Columns
    statuses: Sequence[str]
    by_type: int
    bad_rows: int
    as_json: bool
    plot: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One trace replayed."""

    file: str
    report: Report
    bad: BadRows


def main(argv: Sequence[str]) -> int:
    """0 when every file was replayed, 2 when one could not be or the request makes no sense; one line for each."""
    try:
        request = _request(argv)
    except ConfigError as error:
        for fault in error.faults:
            _complain(str(fault))
        return ASKED_WRONGLY
    except BadColumn as error:
        _complain(f"--column: {error}")
        return ASKED_WRONGLY
    any_letters()
    try:
        return _run(request)
    except NoPicture as error:
        _complain(f"--plot: {printable(str(error))}")
        return ASKED_WRONGLY
    except KeyboardInterrupt:
        _complain("stopped")
        return STOPPED
    except BrokenPipeError:  # nobody reads any more
        nobody_reads()
        return 1


# --------------------------------------------------------------------------------------------- what was asked


def _request(argv: Sequence[str]) -> Request:
    parser = Parser(
        prog=_PROGRAM,
        usage=f"{_PROGRAM} FILE... [OPTIONS]",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a trace")
    parser.add_argument(
        "--predictor", action="append", default=[], metavar="NAME", help=f"of {', '.join(PREDICTORS)} (default: all)"
    )
    parser.add_argument(
        "--column", action="append", default=[], metavar="FIELD=COLUMN", help="which column is which; FIELD= ignores it"
    )
    parser.add_argument(
        "--feature", action="append", default=[], metavar="COLUMN", help="take this column as a feature by its own name"
    )
    parser.add_argument(
        "--statuses",
        default=",".join(COUNTED),
        metavar="NAME,...",
        help="statuses of rows that teach and count; a row without one is unknown (default %(default)s)",
    )
    parser.add_argument(
        "--by-type", type=count, default=5, metavar="N", help="largest types told (default %(default)s)"
    )
    parser.add_argument("--bad-rows", type=count, default=20, metavar="N", help="bad rows listed (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="write a picture: .html, .svg, .png or .pdf")
    options = [each for each in options_of(Settings) if each.section == _SECTION and each.name != "strategy"]
    add_settings(parser, options)
    given = parser.parse_args(argv)
    names = [name.strip() for text in given.predictor for name in text.split(",") if name.strip()]
    for name in names:
        if name not in PREDICTORS:
            parser.error(
                f"--predictor: unknown {name!r}{suggestion(name, list(PREDICTORS))}; there are {', '.join(PREDICTORS)}"
            )
    if given.files.count(STANDARD_INPUT) > 1:
        parser.error("standard input can be read only once")
    return Request(
        files=tuple(dict.fromkeys(given.files)),
        predictors=tuple(dict.fromkeys(names)) or tuple(PREDICTORS),
        settings=settings_of(given, options).predictor,
        columns=columns(given.column, given.feature),
        statuses=tuple(name.strip().lower() for name in given.statuses.split(",") if name.strip()),
        by_type=given.by_type,
        bad_rows=given.bad_rows,
        as_json=given.json,
        plot=given.plot,
    )


# ------------------------------------------------------------------------------------------------- the replay


def _run(request: Request) -> int:
    draw = None if request.plot is None else _drawing(request.plot)
    console = Console(highlight=False)
    outcomes: dict[str, Outcome] = {}
    unusable: dict[str, str] = {}
    for file in request.files:
        name = name_of(file, request.files)
        try:
            outcome = _replay(request, file, name)
        except UnusableTrace as error:
            unusable[file] = printable(str(error))
            _complain(f"{printable(file)}: {unusable[file]}")
            continue
        outcomes[name] = outcome
        if not request.as_json:
            show(console, name, outcome.report, outcome.bad, request.by_type)
    reports = {name: outcome.report for name, outcome in outcomes.items()}
    if len(reports) > 1 and not request.as_json:
        show_together(console, reports, _BASELINE)
    if request.as_json:
        described = as_json(outcomes, unusable, request.settings.strategy, request.by_type)
        sys.stdout.write(json.dumps(described, indent=2) + "\n")
    sys.stdout.flush()
    if draw is not None and reports:
        try:
            draw(reports)
        except OSError as error:
            raise NoPicture(f"{request.plot}: {error.strerror or error}") from None
    return ASKED_WRONGLY if unusable else 0


def _drawing(path: Path) -> Callable[[Mapping[str, Report]], None]:
    """What draws there; NoPicture where that cannot work, before anything is replayed."""
    try:
        from scheduler_server.cli import backtest_plot  # noqa: PLC0415 -- an extra, and slow to import
    except ImportError as error:
        raise NoPicture(f'needs matplotlib ({error}): pip install "scheduler-server[plot]"') from None
    if path.suffix.lower() not in backtest_plot.ENDINGS:
        raise NoPicture(f"{path}: must end in {', '.join(backtest_plot.ENDINGS)}")
    if not writable(path):
        raise NoPicture(f"{path}: cannot be written")
    return lambda reports: backtest_plot.draw(reports, path)


def _replay(request: Request, file: str, name: str) -> Outcome:
    bad = BadRows(listed_most=request.bad_rows)
    predictors: dict[str, Predictor] = {each: PREDICTORS[each](request.settings) for each in request.predictors}
    with TraceFile(file, sys.stdin.buffer) as source, progress_bar(name, source.size) as advance:
        report = backtest(
            read_trace(source.lines(), request.columns, bad),
            predictors,
            time.perf_counter_ns,
            counted=request.statuses,
            calibrations=request.plot is not None,
            every_chunk=lambda: advance(name, source.position),
        )
    if not report.rows:
        raise UnusableTrace(f"has no row of status {', '.join(request.statuses)}{_statuses(report.left_out)}")
    return Outcome(file=file, report=report, bad=bad)


def _statuses(left_out: Counter[str]) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in left_out.most_common(5))
    return f"; it has {counts} (--statuses chooses)"


def as_json(outcomes: Mapping[str, Outcome], unusable: Mapping[str, str], default: str, by_type: int) -> dict[str, Any]:
    """What `--json` writes: keys are added, never renamed."""
    return {
        "traces": {
            name: {
                "file": outcome.file,
                **outcome.report.described(by_type),
                "bad_rows": outcome.bad.count,
                "bad_rows_listed": [each._asdict() for each in outcome.bad.listed],
            }
            for name, outcome in outcomes.items()
        },
        "unusable": dict(unusable),
        "default": default,
    }


def _complain(line: str) -> None:
    complain(_PROGRAM, line)
