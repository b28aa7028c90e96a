"""The decision log beside a loop that is always busy: what does it cost the loop, and how fast does it write?

In process, no wire: one thread of real work (the loop), the writer's, and the process that writes. A window hands over
decisions and outcomes at a rate, or nothing; a ticker wants to run every millisecond, and its lateness is what the log
adds to every answer. Then a million decisions are written as fast as they go, counted, and the questions of operators
asked of them. Last, real servers over gRPC: what three shadow policies beside the log cost (log_shadow.py).

ClickHouse is chdb behind our own TCP front (see tests/clickhouse_server.py), or the server that
SCHEDULER_TEST_CLICKHOUSE_URL names; where neither is, it is left out.
"""

import asyncio
import gc
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from scheduler_server.model.decision import Decision
from scheduler_server.model.making import make
from scheduler_server.model.task import Task, TaskKey
from scheduler_server.storage.decision_log import (
    AccuracyQuery,
    ByLease,
    ByTask,
    Decided,
    DecisionFilter,
    DecisionLog,
    Entry,
    Finished,
    LogWriter,
    Sampled,
    Span,
    SqliteLog,
    UtilizationQuery,
)
from scheduler_server.storage.decision_log.clickhouse_log import ClickHouseLog
from tests.clickhouse_server import PYTHON, URL, clickhouse
from tests.decision_rows import START, decision, finished
from tests.performance.bench import log_shadow
from tests.performance.harness import Plan, progress, report, rounded, target
from tests.performance.stats import median_interval, quantile

RATE = 4_000
"""Decisions a second, and as many outcomes: about what one server answers over gRPC on two cores."""

DECISIONS = 1_000_000
_WINDOW_S = 2.0
_PAIRS = 12
_STEP_S = 0.0005  # of the loop's own work between two looks at the clock
_TICK_S = 0.001
_HOUR_S = 3_600.0
_QUERIES = 5
_SLOWEST_QUERY_MS = 200.0
_HAND_OVER_US = 2.0
_RATIO = 0.95


def run(plan: Plan) -> dict[str, Any]:
    """Every log there is."""
    found: dict[str, Any] = {"hand_over_us": _hand_over_us()}
    targets = [target("hand-over us", "<=", _HAND_OVER_US, found["hand_over_us"])]
    pairs = plan.pair_count(_PAIRS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        found["sqlite"] = _of(plan, pairs, lambda name: SqliteLog(path / f"{name}.sqlite", timeout_s=60.0))
        if PYTHON.exists() or os.environ.get(URL):
            with clickhouse(path / "clickhouse") as server, server.database() as one, server.database() as two:
                names = {"beside": one, "million": two}
                found["clickhouse"] = _of(
                    plan, pairs, lambda name: ClickHouseLog(server.address(names[name]), timeout_s=60.0)
                )
    for name in ("sqlite", "clickhouse"):
        if name not in found:
            progress(f"log: no {name}")
            continue
        each = found[name]
        slowest = max(each["million"]["query_ms"].values())
        targets += [
            target(f"{name} work ratio", ">=", _RATIO, *each["beside"]["work_ratio"]),
            target(f"{name} lost", "<=", 0, each["beside"]["lost"] + each["million"]["lost"]),
            target(f"{name} doubled", "<=", 0, each["million"]["doubled"]),
            target(f"{name} slowest query ms", "<=", _SLOWEST_QUERY_MS, slowest),
        ]
    found["shadow"], more = log_shadow.measured(plan)
    targets += more
    return report("log", {"rate_per_s": 2 * RATE, **found}, targets, pairs, plan.window_s(_WINDOW_S))


def _of(plan: Plan, pairs: int, made: Callable[[str], DecisionLog]) -> dict[str, Any]:
    beside = _on_a_loop(_beside(made("beside"), plan.window_s(_WINDOW_S), pairs))
    progress(f"log: beside a busy loop: {beside}")
    million = _on_a_loop(_million(made("million")))
    progress(f"log: a million: {million}")
    return {"beside": beside, "million": million}


def _on_a_loop(what: Any) -> Any:
    try:
        import uvloop  # as the server runs, where it exists
    except ImportError:
        return asyncio.run(what)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(what)


class _Spent:
    """Processor time of the writer's thread, which the server pays, and of the process that writes."""

    def __init__(self, writer: LogWriter) -> None:
        self._clock = time.pthread_getcpuclockid(writer._thread.ident or 0)
        self._process = psutil.Process(writer.status().pid)
        self._before = self._now()

    def _now(self) -> tuple[float, float]:
        times = self._process.cpu_times()
        return time.clock_gettime(self._clock), times.user + times.system

    def us_per_entry(self, entries: int) -> dict[str, Any]:
        """Since it was made."""
        names = ("thread_cpu_us_per_entry", "process_cpu_us_per_entry")
        spent = zip(names, self._now(), self._before, strict=True)
        return {name: rounded((now - before) / entries * 1e6) for name, now, before in spent}


# ------------------------------------------------------------------ what the loop pays


class _Nowhere:
    """Takes everything and keeps nothing: the writer's thread sleeps."""

    backend = location = "nowhere"

    def prepare(self) -> list[str]:
        return []

    def write(self, batch: Any) -> list[str]:
        return []

    def tidy(self, now: float) -> bool:
        return False

    def close(self) -> None:
        return


def _hand_over_us() -> float:
    """One decision or outcome, made and handed over, with nothing else going on: the least of many rounds."""

    async def rounds() -> list[float]:
        log: Any = _Nowhere()
        writer = LogWriter(log, incarnation="bench", random=random.random, flush_interval_s=0.5, max_pending=1_000_000)
        task = Task("tenant", "task", 1, "resize", "feature")
        made = [decision(number) for number in range(1_000)]
        took = []
        for _ in range(60):
            began = time.perf_counter()
            for each in made:
                writer.put(make(Decided, (each, task.category, task.priority, task.caller_choice, None, None, "", ())))
                writer.put(make(Finished, (each, task, 1, 100.0, "", "", START, START, 1.0)))
            took.append((time.perf_counter() - began) / (2 * len(made)) * 1e6)
            await writer.flushed(5.0)
        await writer.close(5.0)
        return took

    return rounded(min(asyncio.run(rounds())))


class _Busy:
    """A loop that always has something to do, at a rate of entries or none, and how late its ticker is."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._number = 0
        self.handed_over = 0

    async def window(self, seconds: float, rate: float) -> tuple[float, list[float]]:
        """Steps of its own work per second, and the lateness of every tick in milliseconds."""
        late: list[float] = []
        loop = asyncio.get_running_loop()
        ending = False

        def tick(due: float) -> None:
            now = time.perf_counter()
            late.append((now - due) * 1e3)
            if not ending:
                loop.call_later(_TICK_S, tick, now + _TICK_S)

        loop.call_later(_TICK_S, tick, time.perf_counter() + _TICK_S)
        began = time.perf_counter()
        done = steps = 0
        while (now := time.perf_counter()) - began < seconds:
            due = int((now - began) * RATE)
            self._make(due - done, rate > 0)
            done = due
            until = now + _STEP_S
            while time.perf_counter() < until:
                steps += 1
            await asyncio.sleep(0)
        ending = True
        return steps / (time.perf_counter() - began), late

    def _make(self, count: int, hand_over: bool) -> None:
        """Decisions are made in every window, and handed over in some."""
        for _ in range(count):
            self._number = number = self._number + 1
            made = _decision(number, START + number / RATE)
            task = Task("tenant", made.task.task_id, 1, made.task_type, "feature")
            if not hand_over:
                continue
            self._writer.put(make(Decided, (made, "feature", 0.5, "", None, None, "", ())))
            self._writer.put(make(Finished, (made, task, 1, 90.0 + number % 40, "", "", START, made.decided_at, 1.0)))
            self.handed_over += 2


def _decision(number: int, at: float) -> Decision:
    return decision(
        number,
        decision_id=f"d-bench-{number}",
        lease_id=f"l-bench-{number}",
        task=TaskKey(f"tenant-{number % 10}", f"task-{number * 7_919 % 10_000_019}", 1),
        task_type=f"type-{number % 40}",
        worker_id=f"worker-{number * 31 % 1_000}",
        decided_at=at,
    )


async def _beside(log: DecisionLog, window_s: float, pairs: int) -> dict[str, Any]:
    writer = LogWriter(log, incarnation="bench", random=random.random, max_pending=1_000_000)
    busy = _Busy(writer)
    await busy.window(window_s, RATE)  # statements, connections and caches exist
    await writer.flushed(120.0)
    gc.collect()
    gc.freeze()
    work: list[float] = []
    quiet: list[float] = []
    logging: list[float] = []
    behind = catching_up = 0.0
    spent, before = _Spent(writer), writer.status().written
    for _ in range(pairs):
        # off, on, on, off: an even drift cancels
        off_1, late_1 = await busy.window(window_s, 0)
        on_1, late_2 = await busy.window(window_s, RATE)
        on_2, late_3 = await busy.window(window_s, RATE)
        behind = max(behind, float(writer.status().pending))
        began = time.perf_counter()
        await writer.flushed(120.0)
        catching_up += time.perf_counter() - began
        off_2, late_4 = await busy.window(window_s, 0)
        work += [on_1 / off_1, on_2 / off_2]
        quiet += late_1 + late_4
        logging += late_2 + late_3
    gc.unfreeze()
    cpu_us = spent.us_per_entry(writer.status().written - before)
    await writer.close(60.0)
    status = writer.status()
    ratio = median_interval(work)
    return {
        "work_ratio": [rounded(ratio.median), rounded(ratio.lo), rounded(ratio.hi)],
        **{
            f"late_ms_{name}": {share: rounded(quantile(late, share)) for share in (0.5, 0.99, 0.999, 1.0)}
            for name, late in (("off", quiet), ("on", logging))
        },
        "most_behind": behind,
        "catching_up_s": rounded(catching_up / pairs),
        **cpu_us,
        "lost": busy.handed_over - status.written,
    }


# ------------------------------------------------------------------ a million


async def _million(log: DecisionLog) -> dict[str, Any]:
    """An hour's worth each in the last hour and the rest before: written as fast as it goes."""
    writer = LogWriter(log, incarnation="bench", random=random.random, max_pending=50_000, flush_interval_s=0.05)
    writer.put(Sampled(START, "", "", "", 0, 0, 0, 0, 0, 0, 0.0))
    await writer.flushed(60.0)  # its process is there
    began = time.perf_counter()
    spent = _Spent(writer)
    step = _HOUR_S / DECISIONS

    async def put(entry: Entry) -> None:
        while not writer.put(entry):  # noqa: ASYNC110 -- as fast as it goes: room is all there is to wait for
            await asyncio.sleep(0.005)

    for number in range(DECISIONS):
        at = START + number * step
        await put(Decided(_decision(number, at), "feature", 0.5, ""))
        if number % 4 == 0:
            await put(finished(number, 90.0 + number % 40, decision_id=f"d-bench-{number}", decided_at=at))
        if number % 10_000 == 0:
            await put(Sampled(at, f"worker-{number // 10_000}", "", "", 0, 0, 0, 1, 4, 1, 36.0))
    assert await writer.flushed(600.0)
    took, taken = time.perf_counter() - began, writer.status().taken
    cpu_us = spent.us_per_entry(taken)
    await writer.close(60.0)
    status = writer.status()
    size = log.size()
    end = START + _HOUR_S
    span = Span(START, end)
    questions: dict[str, Callable[[], Any]] = {
        "newest": lambda: log.decisions(DecisionFilter(), limit=100),
        "last hour of a worker": lambda: log.decisions(DecisionFilter(span, worker_id="worker-17"), limit=100),
        "last hour of a type": lambda: log.decisions(DecisionFilter(span, task_type="type-7"), limit=100),
        "last hour of nobody": lambda: log.decisions(DecisionFilter(span, worker_id="nobody"), limit=100),
        "last hour of an override": lambda: log.decisions(DecisionFilter(span, override_id="o-1"), limit=100),
        "a task": lambda: log.decisions(DecisionFilter(task_id="task-7919"), limit=100),
        "one by its task": lambda: log.find(ByTask("tenant-1", "task-7919")),
        "one by its lease": lambda: log.find(ByLease("l-bench-777777")),
        "accuracy by minute": lambda: log.accuracy(AccuracyQuery(span, 60), limit=100),
        "accuracy by type": lambda: log.accuracy(AccuracyQuery(span, by_task_type=True), limit=100),
        "utilisation by minute": lambda: log.utilization(UtilizationQuery(span, 60), limit=100),
        "utilisation by worker": lambda: log.utilization(UtilizationQuery(span, by_worker=True), limit=100),
    }
    times = {}
    for name, ask in questions.items():
        each = []
        for _ in range(_QUERIES):
            asked = time.perf_counter()
            ask()
            each.append((time.perf_counter() - asked) * 1e3)
        times[name] = rounded(sorted(each)[len(each) // 2])
    log.close_reading()
    log.close()
    written = status.written_by_table
    return {
        "entries_per_s": rounded(taken / took),
        **cpu_us,
        "lost": taken - status.written,
        # What the log has beyond what was handed over; below 0, what it has not.
        "doubled": abs(size.decisions - sum(count for table, count in written.items() if table == "decisions")),
        "bytes_per_decision": rounded(size.size_bytes / DECISIONS),
        "query_ms": times,
    }
