"""Assign with the decision log on against off: real servers, whole answers over gRPC, everything else the same.

The baseline is the server without a log; SQLite in its state folder and, where there is one, ClickHouse are held
against it, and a ClickHouse that refuses connections, one that never answers, one that refuses the schema, and one
whose disk is full: calls answered (a closed loop, with an outcome for each), then how long callers wait at 1,000
calls/s. Then decisions are placed in batches until there are 200,000, and counted in the logs that work.
"""

import os
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from scheduler_server.storage.decision_log.clickhouse_log import ClickHouseLog
from tests.clickhouse_server import PYTHON, URL, ClickHouse, clickhouse
from tests.performance.bench.assign import HELD
from tests.performance.harness import Plan, progress, ratio_fields, ratio_target, report, rounded, target
from tests.performance.pairs import BASELINE, compare
from tests.performance.processes import Child
from tests.performance.servers import RAMP_S, SETTLE_S, Servers, closed_loop
from tests.performance.stats import quantile

_SCORER = "weighted"
_WORKERS = 10_000
_WINDOW_S = 1.5
_PAIRS = 20
_WARM_UP_S = 2.0
_RATE = 1_000
_RATIO, _P99 = 0.95, 1.2
DECISIONS = 200_000
"""Through the whole server; `BENCH=log` counts a million through the writer alone."""
_BATCH = 64
_BATCH_S = 1.0
_MOST_PENDING = 30_000
"""Decisions placed in batches come faster than a log is meant to be written: they wait for it here."""


class LogServers(Servers):
    """The server without a log, and with each."""

    def __init__(self, folder: Path, logs: dict[str, str]) -> None:
        self._stack = ExitStack()
        self.workers = _WORKERS
        self.children: dict[str, Child] = {}
        try:
            for name, url in {BASELINE: "off", **logs}.items():
                self._start(
                    name,
                    "ours_server",
                    scorer=_SCORER,
                    workers=_WORKERS,
                    state_folder=str(folder / name),
                    history=url,
                )
            self.addresses = {name: str(child.wait_ready()["address"]) for name, child in self.children.items()}
        except BaseException:
            self._stack.close()
            raise


def run(plan: Plan) -> dict[str, Any]:
    """Every log there is."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        logs, counts = {"sqlite": ""}, {"sqlite": lambda: _in_sqlite(folder / "sqlite" / "decisions.sqlite")}
        if PYTHON.exists() or os.environ.get(URL):
            server = stack.enter_context(clickhouse(folder / "clickhouse-server"))
            database = stack.enter_context(server.database())
            logs["clickhouse"] = _url(server, database)
            counts["clickhouse"] = lambda: _in_clickhouse(server, database)
            for name, made in (("clickhouse_refuses", _refusing), ("clickhouse_full", _full)):
                other = stack.enter_context(server.database())
                made(server, other)
                logs[name] = _url(server, other)
        for name, answers in (("clickhouse_away", False), ("clickhouse_silent", True)):
            taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)) if answers else _bound())
            logs[name] = f"clickhouse://nobody@127.0.0.1:{taken.getsockname()[1]}/nothing"
        servers = LogServers(folder, logs)
        stack.enter_context(servers)
        return _measured(plan, servers, list(logs), counts)


def _url(server: ClickHouse, database: str) -> str:
    address = server.address(database)
    host, port = address.hosts[0]
    return f"clickhouse://{address.user}:{address.password}@{host}:{port}/{database}"


def _refusing(server: ClickHouse, database: str) -> None:
    """There is a table of the same name."""
    _tell(server, f"CREATE DATABASE {database}")
    _tell(server, f"CREATE TABLE {database}.decisions (mine String) ENGINE = MergeTree ORDER BY mine")


def _full(server: ClickHouse, database: str) -> None:
    """No insert leaves as much of the disk free as it should."""
    log = ClickHouseLog(server.address(database))
    log.prepare()
    log.close()
    for table in ("decisions", "outcomes"):
        most = f"min_free_disk_bytes_to_perform_insert = {1 << 60}"
        _tell(server, f"ALTER TABLE {database}.{table} MODIFY SETTING {most}")


def _tell(server: ClickHouse, statement: str) -> None:
    client = server.client()
    try:
        client.execute(statement)
    finally:
        client.disconnect()


def _bound() -> socket.socket:
    """A port that is taken, and refuses connections."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken


def _measured(
    plan: Plan, servers: LogServers, logs: list[str], counts: dict[str, Callable[[], tuple[int, int]]]
) -> dict[str, Any]:
    window_s, pairs = plan.window_s(_WINDOW_S), plan.pair_count(_PAIRS)
    client = servers.client("closed_loop", workers=_WORKERS)
    for each in servers.children:
        closed_loop(servers, client, each, _WARM_UP_S, held=HELD)
    cpu_us: dict[str, list[float]] = {each: [] for each in servers.children}

    def rate(name: str) -> float:
        loaded = closed_loop(servers, client, name, window_s, held=HELD)
        cpu_us[name].append(loaded.server_cpu_us)
        return loaded.per_s

    rates = compare(rate, pairs, logs)
    progress(f"log_assign: rates {[(name, rates.ratio(name)) for name in logs]}")
    calls = servers.client("open_loop", workers=_WORKERS)
    latencies: dict[str, list[float]] = {each: [] for each in servers.children}

    def p99(name: str) -> float:
        answer = calls.ask(
            "run", window_s + 60.0, target=name, rate_per_s=_RATE, seconds=window_s, ramp_s=RAMP_S, held=512, at_once=16
        )
        time.sleep(SETTLE_S)
        latencies[name] += answer["latencies_ms"]
        return quantile(answer["latencies_ms"], 0.99)

    waits = compare(p99, pairs, logs)
    progress(f"log_assign: p99 {[(name, waits.ratio(name)) for name in logs]}")
    by_log: dict[str, Any] = {}
    targets = []
    for name in logs:
        ratio, wait = ratio_fields(rates, name), ratio_fields(waits, name)
        by_log[name] = {
            "assign": {**ratio, "per_s": rounded(rates.ratio(name).median * median(rates.windows[BASELINE]))},
            "p99": {**wait, "ms": rounded(quantile(latencies[name], 0.99))},
            "cpu_us": rounded(median(cpu_us[name])),
        }
        targets += [
            ratio_target(">=", _RATIO, ratio, f"{name} ratio"),
            ratio_target("<=", _P99, wait, f"{name} p99 ratio"),
        ]
        if name in counts:
            counted = by_log[name]["counted"] = _counted(servers, client, name, counts[name])
            targets += [
                target(f"{name} lost", "<=", 0, counted["lost"]),
                target(f"{name} doubled", "<=", 0, counted["doubled"]),
            ]
        progress(f"log_assign: {name}: {by_log[name]}")
    off = {"per_s": rounded(median(rates.windows[BASELINE])), "p99_ms": rounded(quantile(latencies[BASELINE], 0.99))}
    fields = {"off": {**off, "cpu_us": rounded(median(cpu_us[BASELINE]))}, "by_log": by_log, "workers": _WORKERS}
    return report("log_assign", fields, targets, pairs, window_s)


def _counted(servers: LogServers, client: Child, name: str, count: Callable[[], tuple[int, int]]) -> dict[str, Any]:
    server = servers.children[name]
    began = time.monotonic()
    while (placed := sum(server.ask("status")["causes"].values())) < DECISIONS:
        closed_loop(servers, client, name, _BATCH_S, held=HELD, batch=_BATCH)
        while server.ask("pending")["pending"] > _MOST_PENDING:
            time.sleep(0.1)
    told = server.ask("flush", 600.0)
    took_s = time.monotonic() - began
    rows, different = count()
    return {
        "placed": placed,
        "rows": rows,
        "lost": placed - different - told["lost_by_table"]["decisions"],
        "dropped": told["lost_by_table"]["decisions"],
        "doubled": rows - different,
        "took_s": rounded(took_s),
    }


def _in_sqlite(path: Path) -> tuple[int, int]:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return tuple(connection.execute("SELECT count(*), count(DISTINCT decision_id) FROM decisions").fetchone())
    finally:
        connection.close()


def _in_clickhouse(server: Any, database: str) -> tuple[int, int]:
    client = server.client(database)
    try:
        ((rows, different),) = client.execute("SELECT count(), uniqExact(decision_id) FROM decisions")
    finally:
        client.disconnect()
    return rows, different
