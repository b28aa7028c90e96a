"""`scheduler-server simulate`: how would each policy have done with these tasks on such a fleet?"""

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console

from scheduler_server.cli.replays import (
    ASKED_WRONGLY,
    STOPPED,
    any_letters,
    complain,
    name_of,
    nobody_reads,
    progress_bar,
)
from scheduler_server.cli.simulate_log import read_log
from scheduler_server.cli.simulate_page import write_page
from scheduler_server.cli.simulate_request import PROGRAM, Request, read
from scheduler_server.cli.simulate_tables import show
from scheduler_server.config import ConfigError
from scheduler_server.config.text import printable
from scheduler_server.simulation.arrivals import NoTimes
from scheduler_server.simulation.engine import Stalled
from scheduler_server.simulation.generated import generate
from scheduler_server.simulation.pieces import Piece, Workload, of_rows, recorded
from scheduler_server.simulation.study import Setting, Study, study
from scheduler_server.simulation.trace_file import STANDARD_INPUT, TraceFile, UnusableTrace
from scheduler_server.simulation.trace_layout import BadColumn
from scheduler_server.simulation.traces import BadRows, read_trace

_OWN = "own"
_RARELY = 200_000  # objects between two looks for cycles: a simulation makes none, and much that lives for a while


@dataclass(slots=True)
class Answer:
    """What came of a request."""

    studies: list[Study] = field(default_factory=list)
    bad: dict[str, BadRows] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)


def main(argv: Sequence[str]) -> int:
    """0 when all was simulated, 2 when something could not be or the request makes no sense; one line for each."""
    try:
        request = read(argv)
    except ConfigError as error:
        for fault in error.faults:
            _complain(str(fault))
        return ASKED_WRONGLY
    except BadColumn as error:
        _complain(f"--column: {error}")
        return ASKED_WRONGLY
    any_letters()
    gc.set_threshold(_RARELY)
    try:
        return _run(request)
    except KeyboardInterrupt:
        _complain("stopped")
        return STOPPED
    except BrokenPipeError:
        nobody_reads()
        return 1


def _run(request: Request) -> int:
    answer = Answer()
    console = Console(highlight=False)
    for workload in _workloads(request, answer):
        for arrivals in request.arrivals:
            if arrivals == _OWN and workload.generated:
                continue
            plan = replace(
                request.plan,
                heartbeat_delay_s=request.plan.heartbeat_delay_s + request.delay_tasks * workload.facts.mean_s,
            )
            setting = Setting(
                workload=workload,
                arrivals=arrivals,
                plan=plan,
                load=request.load,
                seeds=request.seeds,
                first_seed=request.first_seed,
            )
            try:
                found = _study(setting, request)
            except (NoTimes, Stalled, UnusableTrace) as error:
                _unusable(answer, setting.name, str(error))
                continue
            answer.studies.append(found)
            if not request.as_json:
                show(console, found, answer.bad.get(workload.name))
    if request.as_json:
        sys.stdout.write(json.dumps(as_json(answer, timing=request.timing), indent=2) + "\n")
    sys.stdout.flush()
    if request.html is not None and answer.studies:
        try:
            write_page(request.html, answer.studies)
        except OSError as error:
            _complain(f"--html: {request.html}: {error.strerror or error}")
            return ASKED_WRONGLY
    return ASKED_WRONGLY if answer.unusable else 0


def _study(setting: Setting, request: Request) -> Study:
    total = setting.workload.facts.tasks * setting.seeds * len(request.choices)
    with progress_bar(setting.name, total) as advance:
        return study(
            setting,
            request.choices,
            request.settings,
            time.perf_counter,
            lambda policy, done: advance(f"{setting.name}: {policy}", done),
        )


# ------------------------------------------------------------------------------------------------ workloads


def _workloads(request: Request, answer: Answer) -> Iterator[Workload]:
    for file in request.files:
        name = name_of(file, request.files)
        bad = answer.bad[name] = BadRows(listed_most=request.bad_rows)
        yield from _tried(name, answer, lambda file=file, name=name, bad=bad: _of_file(request, file, name, bad))  # type: ignore[misc]
    for where in request.decisions:
        name = f"decisions of {where}"
        yield from _tried(name, answer, lambda where=where, name=name: _of_log(request, where, name))  # type: ignore[misc]
    for shape in request.generated:
        yield generate(shape, tasks=request.tasks, mean_s=request.mean_s, seed=request.first_seed)


def _tried(name: str, answer: Answer, make: Callable[[], Workload]) -> Iterator[Workload]:
    try:
        made = make()
    except UnusableTrace as error:
        _unusable(answer, name, str(error))
        return
    yield made


def _of_file(request: Request, file: str, name: str, bad: BadRows) -> Workload:
    with progress_bar(f"reading {name}", None) as advance:

        def rows(first: bool = True) -> Iterator[Piece]:
            with TraceFile(file, sys.stdin.buffer) as source:
                found = bad if first else BadRows(listed_most=0)
                for number, piece in enumerate(
                    of_rows(read_trace(source.lines(), request.columns, found), request.statuses)
                ):
                    if first and not number % 10_000:
                        advance(f"reading {name}: {number:,} tasks", 0.0)
                    yield piece

        passes = iter((True,))
        try:
            return recorded(
                name,
                lambda: rows(next(passes, False)),
                longest_gap_s=request.longest_gap_s,
                again=file != STANDARD_INPUT,
            )
        except UnusableTrace as error:
            if str(error) == "has no tasks":
                raise UnusableTrace(f"has no row of status {', '.join(sorted(request.statuses))}") from None
            raise


def _of_log(request: Request, where: str, name: str) -> Workload:
    pieces = read_log(where)
    return recorded(name, lambda: iter(pieces), longest_gap_s=request.longest_gap_s)


# --------------------------------------------------------------------------------------------------- answer


def as_json(answer: Answer, *, timing: bool) -> dict[str, Any]:
    """What `--json` writes: keys are added, never renamed. Without `timing` the same from the same seeds."""
    studies = []
    for each in answer.studies:
        described = each.described()
        bad = answer.bad.get(each.setting.workload.name)
        described["bad_rows"] = bad.count if bad else 0
        if timing:
            described["simulated_per_s"] = {name: runs.per_s for name, runs in each.runs.items()}
        studies.append(described)
    return {"studies": studies, "unusable": dict(answer.unusable)}


def _unusable(answer: Answer, name: str, why: str) -> None:
    answer.unusable[name] = printable(why)
    _complain(f"{printable(name)}: {answer.unusable[name]}")


def _complain(line: str) -> None:
    complain(PROGRAM, line)
