"""What `simulate` was asked for: read from the command line and checked, every number with its limits."""

import argparse
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.cli.replays import Parser, add_settings, count, settings_of, writable
from scheduler_server.config.faults import suggestion
from scheduler_server.config.options import options_of
from scheduler_server.config.text import printable
from scheduler_server.model.calendar import DAY_MINUTES, UTC, Calendar, WorkingHours
from scheduler_server.settings import Settings
from scheduler_server.simulation.arrivals import ARRIVALS
from scheduler_server.simulation.backtest import COUNTED
from scheduler_server.simulation.fleet import Capability, FleetPlan
from scheduler_server.simulation.generated import DURATIONS
from scheduler_server.simulation.names import EVERY, USUAL, Choice, UnknownPolicy, choice, words
from scheduler_server.simulation.pieces import LONGEST_GAP_S
from scheduler_server.simulation.trace_file import STANDARD_INPUT
from scheduler_server.simulation.trace_layout import Columns, columns

PROGRAM = "scheduler-server simulate"

_SECTIONS = ("assignment", "health", "worker", "predictor", "scorer", "fallback", "queue")
_MOST_MACHINES = 100_000
_MOST_SLOTS = 10_000
_MOST_SEEDS = 1_000
_MOST_TASKS = 100_000_000
_MOST_LOAD = 10.0
_MOST_S = 1e9
_DAY_S = 86_400.0

_DESCRIPTION = f"""\
Runs tasks through a virtual fleet, once for every policy and seed: the server's own core on a virtual clock, beside
simple policies to compare with. Nothing waits for real time, and the same seed gives the same figures.

A FILE is a trace as `scheduler-server backtest` reads it. --decisions takes the history of a live server instead,
--generate makes tasks up.

A policy is one of random, round_robin, p2c, least_loaded, central_fifo; or words joined by + that each say one thing
that is to be otherwise than in the settings, `default` saying nothing:
{
    textwrap.fill(
        "; ".join(
            (
                "scorers and orders by their names",
                "balanced, latency, throughput, even (objectives)",
                "patience=20",
                "predictors by their names, oracle (true durations), failing (predictor and scorer)",
                "immediate (tasks are staged on workers as they come) or late",
            )
        ),
        118,
    )
}.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for."""

    files: tuple[str, ...]
    decisions: tuple[str, ...]
    generated: tuple[str, ...]
    tasks: int
    mean_s: float
    arrivals: tuple[str, ...]
    choices: tuple[Choice, ...]
    plan: FleetPlan
    delay_tasks: float
    load: float
    seeds: int
    first_seed: int
    columns: Columns
    statuses: frozenset[str]
    longest_gap_s: float
    bad_rows: int
    settings: CoreSettings
    as_json: bool
    timing: bool
    html: Path | None


def read(argv: Sequence[str]) -> Request:
    """The request. Ends the program with one line where it makes no sense; raises ConfigError and BadColumn."""
    parser = _parser()
    options = [each for each in options_of(Settings) if each.section in _SECTIONS]
    add_settings(parser, options)
    given = parser.parse_args(argv)
    files = tuple(dict.fromkeys(given.files))
    generated = _names(parser, "--generate", given.generate, DURATIONS)
    if not (files or given.decisions or generated):
        parser.error("nothing to simulate: name a FILE, --decisions or --generate")
    if given.files.count(STANDARD_INPUT) > 1:
        parser.error("standard input can be read only once")
    arrivals = _names(parser, "--arrivals", given.arrivals, ARRIVALS) or ("poisson",)
    if arrivals == ("own",) and generated:
        parser.error("--generate: what is made up has no times of its own (--arrivals poisson,bursty)")
    if given.html is not None and not writable(given.html):
        parser.error(f"--html: {given.html}: cannot be written")
    return Request(
        files=files,
        decisions=tuple(dict.fromkeys(given.decisions)),
        generated=generated,
        tasks=given.tasks,
        mean_s=given.mean_s,
        arrivals=arrivals,
        choices=_choices(parser, given),
        plan=_plan(parser, given),
        delay_tasks=given.heartbeat_delay_tasks,
        load=given.load,
        seeds=given.seeds,
        first_seed=given.seed,
        columns=columns(given.column, given.feature),
        statuses=frozenset(name.strip().lower() for name in given.statuses.split(",") if name.strip()),
        longest_gap_s=given.longest_gap_days * _DAY_S,
        bad_rows=given.bad_rows,
        settings=settings_of(given, options).core(),
        as_json=given.json,
        timing=given.timing,
        html=given.html,
    )


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [FILE...] [OPTIONS]",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="a trace; - is standard input")
    add("--policy", action="append", default=[], metavar="NAME,...", help=f"(default {','.join(USUAL)})")
    add("--every-policy", action="store_true", help="all that there is, one thing changed at a time")
    add("--json", action="store_true", help="one JSON object instead of tables")
    add("--timing", action="store_true", help="real time in the JSON as well: it is another each time")
    add("--html", type=Path, metavar="PATH", help="write a report, one file")

    tasks = parser.add_argument_group("tasks")
    add = tasks.add_argument
    add("--decisions", action="append", default=[], metavar="PATH", help="decision log: a file, a state folder, a URL")
    add("--generate", action="append", default=[], metavar="NAME,...", help=f"of {', '.join(DURATIONS)}")
    add("--tasks", type=_whole(1, _MOST_TASKS), default=20_000, metavar="N", help="to generate (default %(default)s)")
    add(
        "--mean-s", type=_number(1e-3, 1e7), default=60.0, metavar="S", help="their mean duration (default %(default)g)"
    )
    add("--arrivals", action="append", default=[], metavar="NAME,...", help="poisson (default), bursty, own (scaled)")
    add("--statuses", default=",".join(COUNTED), metavar="NAME,...", help="rows that count (default %(default)s)")
    add(
        "--column", action="append", default=[], metavar="FIELD=COLUMN", help="which column is which; FIELD= ignores it"
    )
    add("--feature", action="append", default=[], metavar="COLUMN", help="take this column as a feature")
    add("--bad-rows", type=count, default=20, metavar="N", help="bad rows listed (default %(default)s)")
    add(
        "--longest-gap-days", type=_number(1e-3, 1e6), default=LONGEST_GAP_S / _DAY_S, metavar="D",
        help="a longer gap between two tasks is cut to this (default %(default)g)",
    )  # fmt: skip

    fleet = parser.add_argument_group("fleet")
    add = fleet.add_argument
    add("--workers", type=_whole(1, _MOST_MACHINES), default=20, metavar="N", help="(default %(default)s)")
    add("--slots", type=_whole(1, _MOST_SLOTS), default=4, metavar="N", help="of each (default %(default)s)")
    add("--speeds", default="0.5,1,1,2", metavar="X,...", help="given out in turn (default %(default)s)")
    add(
        "--load", type=_number(1e-3, _MOST_LOAD), default=0.9, metavar="X",
        help="share of the fleet's capacity that tasks ask for (default %(default)g)",
    )  # fmt: skip
    add(
        "--capability", action="append", default=[], metavar="NAME=X:Y",
        help="a share X of the workers has it, a share Y of the tasks needs it",
    )  # fmt: skip
    add("--mtbf-s", type=_number(0, _MOST_S), default=0.0, metavar="S", help="mean time to a worker's failure; 0: none")
    add("--repair-s", type=_number(1e-3, _MOST_S), default=300.0, metavar="S", help="mean repair (default %(default)g)")
    add("--background", type=_number(0, 1), default=0.0, metavar="X", help="share of workers with work of others")
    add(
        "--background-slots", type=_number(0, 1), default=0.5, metavar="X",
        help="share of their slots that it takes (default %(default)g)",
    )  # fmt: skip
    add(
        "--background-period-s", type=_number(0, _MOST_S), default=0.0, metavar="S",
        help="mean length of its stretches and rests; 0: it never rests",
    )  # fmt: skip
    add("--heartbeat-s", type=_number(0.05, 86_400), default=10.0, metavar="S", help="(default %(default)g)")
    add("--heartbeat-delay-s", type=_number(0, _MOST_S), default=0.0, metavar="S", help="heartbeats are so old")
    add(
        "--heartbeat-delay-tasks", type=_number(0, 1e6), default=0.0, metavar="X",
        help="the same in mean task durations, added",
    )  # fmt: skip
    add("--hours", metavar="HH:MM-HH:MM", help="workers take tasks at these hours (UTC) of --days only")
    add("--days", default="1-5", metavar="N-N", help="1 is Monday, where the simulation begins (default %(default)s)")
    add("--hours-share", type=_number(0, 1), default=1.0, metavar="X", help="share of workers with hours (default 1)")
    add("--bare", action="store_true", help="workers tell how many tasks they have, and not which")
    add("--by-user", action="store_true", help="users are tenants (order fair)")

    chance = parser.add_argument_group("chance")
    add = chance.add_argument
    add(
        "--seeds", type=_whole(1, _MOST_SEEDS), default=3, metavar="N", help="runs of each policy (default %(default)s)"
    )
    add("--seed", type=_whole(0, 2**31), default=1, metavar="N", help="the first of them (default %(default)s)")
    return parser


def _plan(parser: Parser, given: argparse.Namespace) -> FleetPlan:
    plan = FleetPlan(
        machines=given.workers,
        slots=given.slots,
        speeds=_speeds(parser, given.speeds),
        capabilities=tuple(_capability(parser, each) for each in given.capability),
        mtbf_s=given.mtbf_s,
        repair_s=given.repair_s,
        background_share=given.background,
        background_slots=given.background_slots,
        background_period_s=given.background_period_s,
        heartbeat_s=given.heartbeat_s,
        heartbeat_delay_s=given.heartbeat_delay_s,
        calendar=None if given.hours is None else _calendar(parser, given.hours, given.days),
        calendar_share=given.hours_share,
    )
    if plan.capacity <= 0.0:
        parser.error("--background: work of others takes every slot of the fleet")
    if sum(each.tasks for each in plan.capabilities) > 1.0:
        parser.error("--capability: the shares of tasks are more than 1 together: a task needs one capability at most")
    return plan


def _speeds(parser: Parser, text: str) -> tuple[float, ...]:
    read_one = _number(1e-3, 1e3)
    try:
        speeds = tuple(read_one(each) for each in text.split(","))
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --speeds: {error}")
    return speeds


def _capability(parser: Parser, text: str) -> Capability:
    name, _, shares = text.partition("=")
    machines, _, tasks = shares.partition(":")
    read_one = _number(0, 1)
    try:
        if not name.strip():
            raise argparse.ArgumentTypeError("must be NAME=X:Y")
        return Capability(name=name.strip(), machines=read_one(machines), tasks=read_one(tasks))
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --capability: {printable(text)[:60]!r}: {error}")


def _calendar(parser: Parser, hours: str, days: str) -> Calendar:
    found = re.fullmatch(r"(\d\d?):(\d\d)-(\d\d?):(\d\d)", hours)
    between = re.fullmatch(r"([1-7])(?:-([1-7]))?", days)
    if between is None or (between[2] is not None and between[2] < between[1]):
        parser.error(f"argument --days: must be 1-7, or one of 1 to 7 (got {printable(days)[:40]})")
    first, last = int(between[1]), int(between[2] or between[1])
    clock = [int(each) for each in found.groups()] if found is not None else [24, 0, 0, 0]
    start, end = clock[0] * 60 + clock[1], clock[2] * 60 + clock[3]
    if start >= DAY_MINUTES or not 0 < end <= DAY_MINUTES or clock[1] > 59 or clock[3] > 59:  # noqa: PLR2004 -- minutes
        parser.error(f"argument --hours: must be like 08:00-18:00 (got {printable(hours)[:40]})")
    return Calendar(UTC, (WorkingHours(tuple(range(first, last + 1)), start, end),))


def _choices(parser: Parser, given: argparse.Namespace) -> tuple[Choice, ...]:
    asked = [name.strip() for text in given.policy for name in text.split(",") if name.strip()]
    names = [*(EVERY if given.every_policy else () if asked else USUAL), *asked]
    found = {}
    for name in names:
        try:
            made = choice(name, lists=not given.bare, by_user=given.by_user)
        except UnknownPolicy as error:
            near = suggestion(error.word, list(words())) if error.word else ""
            parser.error(f"--policy: {error}{near}")
        found[made.name] = made
    return tuple(found.values())


def _names(parser: Parser, flag: str, texts: Sequence[str], known: Mapping[str, object]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))
    for name in names:
        if name not in known:
            near = suggestion(name, list(known))
            parser.error(f"{flag}: unknown {name!r}{near}; there are {', '.join(known)}")
    return names


def _number(least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = float("nan")
        if not (isfinite(found) and least <= found <= most):
            raise argparse.ArgumentTypeError(
                f"must be a number from {least:g} to {most:g} (got {printable(text)[:40]})"
            )
        return found

    return number


def _whole(least: int, most: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            limits = f"must be a whole number from {least:,} to {most:,}"
            raise argparse.ArgumentTypeError(f"{limits} (got {printable(text)[:40]})")
        return int(text)

    return whole
