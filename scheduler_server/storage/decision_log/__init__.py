"""What was decided, why, and what came of it: a month later too.

    log = SqliteLog(folder.file("decisions.sqlite"), retention=...)       embedded, the default
    log = ClickHouseLog(parse("clickhouse://..."), retention=...)         by URL, shared by many servers
    writer = LogWriter(log, incarnation=core.incarnation, random=...)     never blocks and never raises on the loop
    writer.put(make(Decided, (decision, task.category, ...)))             a microsecond; False: dropped and counted
    page = await questions.run(log.decisions, DecisionFilter(...), limit=100)      questions: a OneThread

Handed over are values of the model by reference (`entries.py`); the writer's thread packs them, and a process of its
own makes rows of them (`rows.py`: the columns, the same in every store) and writes them in batches, each stored exactly
once. A log that fails stops no decision: the queue to it is bounded, says what it drops, and counts it.

    port.py        what every log promises; questions and answers; errors
    entries.py     what the loop hands over               packing.py    entries into bytes, and back
    writer.py      queue, thread, retries                 status.py     how it is doing
    scribe_remote.py  the process, seen from the server   scribe_main.py   seen from inside
    scribe.py      its work                               frames.py     what the two say to each other
    flatten.py     entries into rows                      rows.py       tables and batches
    questions.py   the questions as SQL, for any dialect  sieve.py      rows that no store can hold
    reading.py     rows back into values                  figures.py    accuracy and utilisation over time
    buckets.py     histograms that stores can add up      paging.py     page tokens
    sqlite_*.py    embedded                               clickhouse_*.py   at scale

May import: the standard library, `msgspec`, `clickhouse_driver`, `model` and `storage/sqlite_file.py`.
"""

from scheduler_server.storage.decision_log.entries import (
    Audited,
    Decided,
    Entry,
    Finished,
    Happened,
    Sampled,
    Shadowed,
    without_payload,
)
from scheduler_server.storage.decision_log.port import (
    AccuracyFigures,
    AccuracyQuery,
    AuditFilter,
    ByDecision,
    ByLease,
    ByTask,
    DecisionFilter,
    DecisionLog,
    EventFilter,
    HistoryFilter,
    Lesson,
    LogError,
    LogFault,
    LoggedDecision,
    LoggedOutcome,
    LoggedShadow,
    Page,
    PageTokenInvalid,
    Retention,
    ShadowFilter,
    Size,
    Span,
    UtilizationFigures,
    UtilizationQuery,
)
from scheduler_server.storage.decision_log.rows import AuditRow, Batch, EventRow, ShadowRow, Table
from scheduler_server.storage.decision_log.sqlite_log import SqliteLog
from scheduler_server.storage.decision_log.status import LogStatus
from scheduler_server.storage.decision_log.writer import LogWriter

__all__ = [
    "AccuracyFigures",
    "AccuracyQuery",
    "AuditFilter",
    "AuditRow",
    "Audited",
    "Batch",
    "ByDecision",
    "ByLease",
    "ByTask",
    "Decided",
    "DecisionFilter",
    "DecisionLog",
    "Entry",
    "EventFilter",
    "EventRow",
    "Finished",
    "Happened",
    "HistoryFilter",
    "Lesson",
    "LogError",
    "LogFault",
    "LogStatus",
    "LogWriter",
    "LoggedDecision",
    "LoggedOutcome",
    "LoggedShadow",
    "Page",
    "PageTokenInvalid",
    "Retention",
    "Sampled",
    "ShadowFilter",
    "ShadowRow",
    "Shadowed",
    "Size",
    "Span",
    "SqliteLog",
    "Table",
    "UtilizationFigures",
    "UtilizationQuery",
    "without_payload",
]
