"""The log in SQLite: tables by version, and how a file is brought to the newest.

Rows are keyed by one number, `run << 40 | sequence`, so that those of a batch lie side by side; `runs` has the run's
name and its last batch. The columns are those of `rows.py`, without incarnation and sequence.

`blocks` and `block_words` say which decisions a filter need not look at (sqlite_blocks.py).
`*_minutes` are sums by minute, so that figures over months are read in milliseconds and kept when the rows are gone.
"""

import sqlite3
from typing import Final

from scheduler_server.storage.decision_log.sqlite_blocks import TABLES as BLOCK_TABLES

APPLICATION_ID: Final = 0x53434C31  # "SCL1": tells this log from any other SQLite file
RUN_BITS: Final = 40
"""Rows of one run: 10,000 a second for three years."""

STRETCH_BITS: Final = 16
TASK: Final = (
    "key IN (SELECT key FROM decisions INDEXED BY decisions_task "
    f"WHERE key >> {STRETCH_BITS} IN (SELECT +number FROM stretches) AND task_id = ?)"
)
"""How a task is found. Its id may be anything, and an index of such ids alone would be written all over for every
batch: that doubled the cost of a row. So it has a part for each stretch of 65,536 entries, and `stretches` lists those
that there are: a batch writes into the newest, a question looks into each, in 3 us. (The + takes the column's type
away: the index has none, and would not be used.)"""

_1 = """
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, incarnation TEXT NOT NULL UNIQUE, last_batch INTEGER NOT NULL
);
CREATE TABLE decisions (
    key INTEGER PRIMARY KEY, at INTEGER NOT NULL, decision_id TEXT NOT NULL, lease_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    task_id TEXT NOT NULL, attempt INTEGER NOT NULL, task_type TEXT NOT NULL, category TEXT NOT NULL, priority REAL,
    worker_id TEXT NOT NULL, wait_ms REAL, duration_ms REAL, score REAL, terms TEXT NOT NULL, source TEXT NOT NULL,
    cause TEXT NOT NULL, scorer TEXT NOT NULL, policy_revision INTEGER NOT NULL, degraded INTEGER NOT NULL,
    candidates INTEGER NOT NULL, explained INTEGER NOT NULL, candidate_count INTEGER NOT NULL, rejections TEXT NOT NULL,
    margin REAL, changes TEXT NOT NULL, point_ms REAL, mean_ms REAL, p50_ms REAL, p90_ms REAL, confidence REAL,
    sample_count INTEGER NOT NULL,
    prediction_key TEXT NOT NULL, predictor TEXT NOT NULL, enqueued_at INTEGER, expected_p50 INTEGER,
    expected_p90 INTEGER, expected TEXT NOT NULL, waited_ms REAL NOT NULL, wait_bucket INTEGER NOT NULL,
    wait_p50_judged INTEGER NOT NULL,
    wait_p50_held INTEGER NOT NULL, wait_p90_judged INTEGER NOT NULL, wait_p90_held INTEGER NOT NULL,
    caller_choice TEXT NOT NULL, trace_id TEXT NOT NULL, overrides TEXT NOT NULL
);
CREATE INDEX decisions_listed ON decisions (at, worker_id, task_type, tenant, source, cause, scorer, policy_revision);
CREATE TABLE stretches (number INTEGER PRIMARY KEY);
CREATE INDEX decisions_task ON decisions (key >> 16, task_id);
CREATE INDEX decisions_decision ON decisions (decision_id);
CREATE INDEX decisions_lease ON decisions (lease_id);
CREATE TABLE candidates (
    key INTEGER NOT NULL, at INTEGER NOT NULL, place INTEGER NOT NULL, decision_id TEXT NOT NULL,
    worker_id TEXT NOT NULL,
    score REAL, terms TEXT NOT NULL, rejection TEXT NOT NULL, free_slots INTEGER NOT NULL, load REAL, speed REAL,
    wait_ms REAL, duration_ms REAL, PRIMARY KEY (key, place)
) WITHOUT ROWID;
CREATE TABLE outcomes (
    key INTEGER PRIMARY KEY, at INTEGER NOT NULL, decision_id TEXT NOT NULL, lease_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    task_id TEXT NOT NULL, attempt INTEGER NOT NULL, task_type TEXT NOT NULL, category TEXT NOT NULL,
    worker_id TEXT NOT NULL, status TEXT NOT NULL, duration_ms REAL, normal_ms REAL, error_kind TEXT NOT NULL,
    error_message TEXT NOT NULL, decided_at INTEGER NOT NULL, started_at INTEGER, predictor TEXT NOT NULL,
    point_ms REAL,
    completed INTEGER NOT NULL, failed INTEGER NOT NULL, judged INTEGER NOT NULL, within_25 INTEGER NOT NULL,
    within_2 INTEGER NOT NULL, p50_held INTEGER NOT NULL, p90_held INTEGER NOT NULL, bias REAL NOT NULL,
    error_bucket INTEGER NOT NULL, about TEXT NOT NULL
);
CREATE INDEX outcomes_at ON outcomes (at);
CREATE INDEX outcomes_status ON outcomes (status, at);
CREATE INDEX outcomes_decision ON outcomes (decision_id);
CREATE TABLE heartbeats (
    key INTEGER PRIMARY KEY, at INTEGER NOT NULL, worker_id TEXT NOT NULL, health TEXT NOT NULL,
    accounting TEXT NOT NULL, cpu REAL, memory REAL, load REAL, queue_depth INTEGER NOT NULL, slots INTEGER NOT NULL,
    running INTEGER NOT NULL,
    covers_ms REAL NOT NULL, busy_ms REAL NOT NULL, present_ms REAL NOT NULL, waiting_ms REAL NOT NULL
);
CREATE INDEX heartbeats_at ON heartbeats (at);
CREATE TABLE events (
    key INTEGER PRIMARY KEY, at INTEGER NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, severity TEXT NOT NULL,
    worker_id TEXT NOT NULL, task_type TEXT NOT NULL, tenant TEXT NOT NULL, task_id TEXT NOT NULL,
    lease_id TEXT NOT NULL, subject_id TEXT NOT NULL, author TEXT NOT NULL, detail TEXT NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL
);
CREATE INDEX events_at ON events (at, kind, worker_id);
CREATE TABLE shadow_decisions (
    key INTEGER PRIMARY KEY, at INTEGER NOT NULL, policy TEXT NOT NULL, decision_id TEXT NOT NULL, tenant TEXT NOT NULL,
    task_id TEXT NOT NULL, attempt INTEGER NOT NULL, task_type TEXT NOT NULL, live_worker_id TEXT NOT NULL,
    worker_id TEXT NOT NULL, agreed INTEGER NOT NULL, live_wait_ms REAL, wait_ms REAL, live_duration_ms REAL,
    duration_ms REAL, score REAL, source TEXT NOT NULL, cause TEXT NOT NULL, error TEXT NOT NULL
);
CREATE INDEX shadow_decisions_at ON shadow_decisions (at, policy);
CREATE TABLE audit (
    key INTEGER PRIMARY KEY, at INTEGER NOT NULL, entry_id TEXT NOT NULL, author TEXT NOT NULL, role TEXT NOT NULL,
    peer TEXT NOT NULL, method TEXT NOT NULL, subject_id TEXT NOT NULL, reason TEXT NOT NULL, before TEXT NOT NULL,
    after TEXT NOT NULL, code INTEGER NOT NULL, request TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at, author, method, subject_id);
CREATE TABLE accuracy_minutes (
    minute INTEGER NOT NULL, task_type TEXT NOT NULL, predictor TEXT NOT NULL, error_bucket INTEGER NOT NULL,
    judged INTEGER NOT NULL, within_25 INTEGER NOT NULL, within_2 INTEGER NOT NULL, p50_held INTEGER NOT NULL,
    p90_held INTEGER NOT NULL, bias REAL NOT NULL, wait_p50_judged INTEGER NOT NULL, wait_p50_held INTEGER NOT NULL,
    wait_p90_judged INTEGER NOT NULL, wait_p90_held INTEGER NOT NULL,
    PRIMARY KEY (minute, task_type, predictor, error_bucket)
) WITHOUT ROWID;
CREATE TABLE worker_minutes (
    minute INTEGER NOT NULL, worker_id TEXT NOT NULL, busy_ms REAL NOT NULL, present_ms REAL NOT NULL,
    covers_ms REAL NOT NULL, waiting_ms REAL NOT NULL, started INTEGER NOT NULL, waited_ms REAL NOT NULL,
    completed INTEGER NOT NULL, failed INTEGER NOT NULL, PRIMARY KEY (minute, worker_id)
) WITHOUT ROWID;
CREATE TABLE wait_minutes (
    minute INTEGER NOT NULL, wait_bucket INTEGER NOT NULL, started INTEGER NOT NULL, PRIMARY KEY (minute, wait_bucket)
) WITHOUT ROWID;
"""

_2 = f"{BLOCK_TABLES}; DROP INDEX decisions_lease"

MIGRATIONS: Final[tuple[str, ...]] = (_1, _2)
"""What makes each version out of the one before; never changed once released."""

VERSION: Final = len(MIGRATIONS)

SUMS: Final = ("accuracy_minutes", "worker_minutes", "wait_minutes")
"""The tables of sums by minute."""

_MINUTE = 60_000_000

# One statement each over the rows of a batch (:low to :high), so that the sums change with the rows or not at all.
ROLLUPS: Final[tuple[str, ...]] = (
    f"""
    INSERT INTO accuracy_minutes
    SELECT at / {_MINUTE}, task_type, predictor, error_bucket, sum(judged), sum(within_25), sum(within_2),
        sum(p50_held), sum(p90_held), sum(bias), 0, 0, 0, 0
    FROM outcomes WHERE key BETWEEN :low AND :high AND judged GROUP BY 1, 2, 3, 4
    ON CONFLICT DO UPDATE SET judged = judged + excluded.judged, within_25 = within_25 + excluded.within_25,
        within_2 = within_2 + excluded.within_2, p50_held = p50_held + excluded.p50_held,
        p90_held = p90_held + excluded.p90_held, bias = bias + excluded.bias
    """,
    f"""
    INSERT INTO accuracy_minutes
    SELECT at / {_MINUTE}, task_type, predictor, 0, 0, 0, 0, 0, 0, 0, sum(wait_p50_judged), sum(wait_p50_held),
        sum(wait_p90_judged), sum(wait_p90_held)
    FROM decisions WHERE key BETWEEN :low AND :high AND (wait_p50_judged OR wait_p90_judged) GROUP BY 1, 2, 3
    ON CONFLICT DO UPDATE SET wait_p50_judged = wait_p50_judged + excluded.wait_p50_judged,
        wait_p50_held = wait_p50_held + excluded.wait_p50_held,
        wait_p90_judged = wait_p90_judged + excluded.wait_p90_judged,
        wait_p90_held = wait_p90_held + excluded.wait_p90_held
    """,
    f"""
    INSERT INTO worker_minutes
    SELECT at / {_MINUTE}, worker_id, 0, 0, 0, 0, count(*), sum(waited_ms), 0, 0
    FROM decisions WHERE key BETWEEN :low AND :high GROUP BY 1, 2
    ON CONFLICT DO UPDATE SET started = started + excluded.started, waited_ms = waited_ms + excluded.waited_ms
    """,
    f"""
    INSERT INTO worker_minutes
    SELECT at / {_MINUTE}, worker_id, 0, 0, 0, 0, 0, 0, sum(completed), sum(failed)
    FROM outcomes WHERE key BETWEEN :low AND :high AND (completed OR failed) GROUP BY 1, 2
    ON CONFLICT DO UPDATE SET completed = completed + excluded.completed, failed = failed + excluded.failed
    """,
    f"""
    INSERT INTO worker_minutes
    SELECT at / {_MINUTE}, worker_id, sum(busy_ms), sum(present_ms), sum(covers_ms), sum(waiting_ms), 0, 0, 0, 0
    FROM heartbeats WHERE key BETWEEN :low AND :high GROUP BY 1, 2
    ON CONFLICT DO UPDATE SET busy_ms = busy_ms + excluded.busy_ms, present_ms = present_ms + excluded.present_ms,
        covers_ms = covers_ms + excluded.covers_ms, waiting_ms = waiting_ms + excluded.waiting_ms
    """,
    f"""
    INSERT INTO wait_minutes
    SELECT at / {_MINUTE}, wait_bucket, count(*) FROM decisions WHERE key BETWEEN :low AND :high GROUP BY 1, 2
    ON CONFLICT DO UPDATE SET started = started + excluded.started
    """,
)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring a file from a version to the newest, all or nothing."""
    run = connection.execute
    run("BEGIN IMMEDIATE")
    try:
        for step in MIGRATIONS[version:]:
            for statement in step.split(";"):
                if statement.strip():
                    run(statement)
        run(f"PRAGMA application_id = {APPLICATION_ID}")
        # Writes a page even where nothing changes: a full or read-only disk is found now, not at the first row.
        run(f"PRAGMA user_version = {VERSION}")
        run("COMMIT")
    except BaseException:
        if connection.in_transaction:
            run("ROLLBACK")
        raise
