"""`schedctl bench`: how much does the server take, from here? Real Assign calls, beside calls that do nothing."""

import argparse
import asyncio
import secrets
import signal
import threading
from contextlib import suppress
from time import perf_counter
from typing import Any

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import asking, figures, options, ranking, text
from scheduler_server.schedctl.bench.load import IDLE_SHARE, Load, Plan
from scheduler_server.schedctl.bench.tally import Calls, Tally
from scheduler_server.schedctl.connection import open_async
from scheduler_server.schedctl.fault import Asked, Failed
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.table import Column
from scheduler_server.schedctl.work import Command, Work

TASK_TYPE = "schedctl-bench"
_SHORTEST_S, _LONGEST_S = 0.1, 3_600.0
_MOST_PER_S = 100_000
_DRAWN_EVERY_S = 0.2
_BAR = 10
_USUAL = 80  # columns, where standard output is no terminal
_INTERRUPTED = 130


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--duration", type=options.span, default=10.0, metavar="SPAN", help="for so long (default 10s)")
    parser.add_argument(
        "--rate",
        type=options.whole(1, _MOST_PER_S),
        metavar="N",
        help="N tasks a second, their times counted from when they were due; default as fast as it goes",
    )
    parser.add_argument(
        "--callers",
        type=options.whole(1, 1_000),
        default=8,
        metavar="N",
        help="calls at a time at most, and so slots (default 8)",
    )
    parser.add_argument("--tenant", default="", help="the tasks' tenant (default the nameless one)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    ranking.add_task(parser, f"the tasks (of type {TASK_TYPE} where nothing is said)")


def _run(work: Work) -> int:
    given = work.given
    if not _SHORTEST_S <= given.duration <= _LONGEST_S:
        raise Asked(f"bench: --duration must be {_SHORTEST_S:g} s to an hour, not {figures.span(given.duration)}")
    task = asking.task_of(work, "bench")
    task.task_type = task.task_type or TASK_TYPE
    task.tenant = given.tenant or task.tenant
    status: api.GetStatusResponse = work.ask("GetStatus", api.GetStatusRequest())
    load: api.GetLoadResponse = work.ask("GetLoad", api.GetLoadRequest())
    _confirm(work, load)
    plan = Plan(
        task=task,
        run=f"bench-{secrets.token_hex(4)}",
        duration_s=given.duration,
        callers=given.callers,
        timeout_s=work.place.timeout_s,
        rate=given.rate,
        # A report would have a worker's slots counted exactly from then on, of which so far nobody reports.
        by_cancel=status.workers.sampled > 0,
    )
    tally = asyncio.run(_made(work, plan))
    if work.json:
        work.paper.json(as_plain(tally, plan, work.place.server))
    else:
        _show(work, tally, plan)
    if tally.interrupted:
        return _INTERRUPTED
    return 0 if tally.assign.taken.count and not tally.left else 1


def _confirm(work: Work, load: api.GetLoadResponse) -> None:
    given = work.given
    if given.yes:
        return
    server = work.place.server
    if not work.surroundings.stdin.isatty():
        raise Asked(f"bench: takes up to {counted(given.callers, 'slot')} of {server}; --yes says that it is meant")
    stderr = work.surroundings.stderr
    stderr.write(
        text.shown(
            f"This takes up to {counted(given.callers, 'slot')} of {server} ({load.free_capacity:,} free) again and"
            f" again for {figures.span(given.duration)}; its decisions count in history, metrics and alerts, and teach"
            " nothing. Go on? [y/N] "
        )
    )
    stderr.flush()
    if work.surroundings.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Failed("nothing was done")


# ---------------------------------------------------------------------- doing


async def _made(work: Work, plan: Plan) -> Tally:
    """Make the calls. The first Ctrl-C ends them in good order, the second at once."""
    client = open_async(work.place, retries=False)
    load = Load(client, plan)
    loop = asyncio.get_running_loop()
    ours = threading.current_thread() is threading.main_thread()  # signals go nowhere else

    def end() -> None:
        load.stop()
        for number in _ENDING:
            loop.remove_signal_handler(number)

    if ours:
        for number in _ENDING:
            loop.add_signal_handler(number, end)
    drawing = asyncio.create_task(_draw(work, load, plan)) if work.surroundings.stderr.isatty() else None
    try:
        return await load.run()
    finally:
        if drawing is not None:
            drawing.cancel()
            with suppress(asyncio.CancelledError):
                await drawing
        if ours:
            for number in _ENDING:
                loop.remove_signal_handler(number)
        await client.close()


_ENDING = (signal.SIGINT, signal.SIGTERM)


async def _draw(work: Work, load: Load, plan: Plan) -> None:
    """A line on standard error, drawn over itself, and gone at the end."""
    stream = work.surroundings.stderr
    start, done, shown = perf_counter(), 0, 0.0
    try:
        while True:
            now = perf_counter()
            tasks = load.tally.assign.taken.count
            rate = (tasks - done) / (now - shown) if shown else 0.0
            done, shown = tasks, now
            line = bar(now - start, plan, tasks, rate, sum(load.tally.faults.values()))
            stream.write(f"\r{text.cut(line, (work.paper.wide or _USUAL) - 1, '~')}\x1b[K")
            stream.flush()
            await asyncio.sleep(_DRAWN_EVERY_S)
    finally:
        stream.write("\r\x1b[K")
        stream.flush()


def bar(passed_s: float, plan: Plan, tasks: int, per_second: float, failed: int) -> str:
    """How far it is, in less than 80 columns."""
    whole = plan.duration_s * (1.0 + IDLE_SHARE)
    full = min(_BAR, int(_BAR * passed_s / whole))
    said = f"[{'#' * full}{'.' * (_BAR - full)}] {figures.span(min(passed_s, whole))} of {figures.span(whole)}"
    said += f"  {counted(tasks, 'task')}  {per_second:,.0f}/s"
    return said + (f"  {failed:,} failed" if failed else "")


# ---------------------------------------------------------------------- telling


def as_plain(tally: Tally, plan: Plan, server: str) -> dict[str, Any]:
    """What came of it, as JSON has it. Times in milliseconds; null where nothing was measured."""
    return {
        "server": server,
        "loop": "closed" if plan.rate is None else "open",
        "rate": plan.rate,
        "callers": plan.callers,
        "duration_s": plan.duration_s,
        "task_type": plan.task.task_type,
        "calls": [
            {
                "call": name,
                "answered": calls.taken.count,
                "failed": calls.failed,
                "per_second": calls.per_second,
                "p50_ms": _ms(calls.taken.quantile_s(0.5)),
                "p90_ms": _ms(calls.taken.quantile_s(0.9)),
                "p99_ms": _ms(calls.taken.quantile_s(0.99)),
                "max_ms": _ms(calls.taken.longest_s) if calls.taken.count else None,
            }
            for name, calls in _rows(tally, plan)
        ],
        "errors": [{**fault._asdict(), "count": number} for fault, number in tally.faults.most_common()],
        "unsent": tally.unsent,
        "latency_ratio": tally.latency_ratio,
        "throughput_ratio": tally.throughput_ratio if plan.rate is None else None,
        "leases_left": tally.left,
        "interrupted": tally.interrupted,
    }


def _show(work: Work, tally: Tally, plan: Plan) -> None:
    paper = work.paper
    pace = f"{plan.rate:,} tasks a second" if plan.rate is not None else "as fast as it goes"
    per_second = tally.assign.per_second or 0.0
    paper.facts(
        [
            ("load", f"{pace}, at most {plan.callers:,} at a time, for {figures.span(plan.duration_s)}"),
            ("tasks", (f"{tally.assign.taken.count:,} placed, {per_second:,.0f} a second", "strong")),
        ]
    )
    if tally.unsent:
        paper.facts([("not made", (f"{counted(tally.unsent, 'call')} that were due: all callers were busy", "warn"))])
    paper.line()
    paper.table(_COLUMNS, _rows(tally, plan))
    paper.line()
    if tally.latency_ratio is not None:
        said = f"an Assign takes {tally.latency_ratio:.2f} of a health check, by their medians"
        if plan.rate is None and tally.throughput_ratio is not None:
            said += f"; {tally.throughput_ratio:.2f} of the calls a second"
        paper.facts([("compared", said)])
    for fault, number in tally.faults.most_common():
        said = " ".join(filter(None, fault))
        paper.facts([("failed", (f"{number:,} {said}", "bad"))])
    if tally.left:
        left = f"{counted(tally.left, 'lease')} may be left; `schedctl workers` shows who holds them"
        paper.facts([("not ended", (left, "bad"))])
    elif tally.interrupted:
        paper.facts([("interrupted", "every lease was given back")])


def _rows(tally: Tally, plan: Plan) -> list[tuple[str, Calls]]:
    return [
        ("Assign", tally.assign),
        ("CancelTask" if plan.by_cancel else "ReportOutcome", tally.end),
        ("health Check", tally.idle),
    ]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1_000.0


def _said_ms(seconds: float | None) -> str:
    return figures.ABSENT if seconds is None else f"{seconds * 1_000.0:,.2f}ms"


def _per_second(calls: Calls) -> str:
    return figures.ABSENT if calls.per_second is None else f"{calls.per_second:,.0f}"


_COLUMNS: list[Column[tuple[str, Calls]]] = [
    Column(title="CALL", cell=lambda row: row[0]),
    Column(title="ANSWERED", cell=lambda row: figures.count(row[1].taken.count), right=True),
    Column(title="FAILED", cell=lambda row: (str(row[1].failed), "bad" if row[1].failed else ""), right=True),
    Column(title="PER SECOND", cell=lambda row: _per_second(row[1]), right=True),
    Column(title="P50", cell=lambda row: _said_ms(row[1].taken.quantile_s(0.5)), right=True),
    Column(title="P90", cell=lambda row: _said_ms(row[1].taken.quantile_s(0.9)), right=True),
    Column(title="P99", cell=lambda row: _said_ms(row[1].taken.quantile_s(0.99)), right=True),
    Column(title="MAX", cell=lambda row: _said_ms(row[1].taken.longest_s or None), right=True),
]

COMMAND = Command(options=_options, run=_run)
