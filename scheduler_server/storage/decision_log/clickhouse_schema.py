"""The log in ClickHouse: tables by version.

The columns are those of `rows.py`. Rows lie in a partition per day, in the order of time, so that the newest are read
without looking at the rest and retention drops whole parts; ids are found by bloom filters. `*_minutes` are sums by
minute, kept by materialized views. All tables remember the tokens of their last inserts (a window of
`non_replicated_deduplication_window`), so that an insert that is repeated because its answer was lost adds nothing; the
setting `deduplicate_blocks_in_dependent_materialized_views` gives the views the same. A Replicated database or
ClickHouse Cloud makes replicated tables of these; they have such a window of their own.

Every statement may be repeated: several servers may start at once, or one may die between two.
"""

from typing import Final

_WINDOW = 10_000  # inserts; some hours of a busy table, and a retry comes within a minute
_ID = "String CODEC(ZSTD(1))"
_WORD = "LowCardinality(String)"
_AT = "DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1))"
_MAYBE_AT = "Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1))"
_REAL = "Float64 CODEC(Gorilla, ZSTD(1))"
_MAYBE_REAL = "Nullable(Float64) CODEC(ZSTD(1))"
_WHOLE = "Int64 CODEC(T64, ZSTD(1))"
_FLAG = "UInt8 CODEC(ZSTD(1))"
_TEXT = "String CODEC(ZSTD(3))"
_BUCKET = "UInt16 CODEC(ZSTD(1))"

INSTANTS: Final = frozenset({"at", "enqueued_at", "expected_p50", "expected_p90", "decided_at", "started_at"})
"""Columns that are instants here and microseconds in rows."""

_KEY = f"at {_AT}, incarnation {_WORD}, sequence UInt64 CODEC(DoubleDelta, ZSTD(1))"
_TASK = f"tenant {_WORD}, task_id {_ID}, attempt UInt32 CODEC(ZSTD(1)), task_type {_WORD}"


def _rows(name: str, columns: str, indexes: str, kept: str, partition: str = "toYYYYMMDD(at)") -> str:
    return f"""
    CREATE TABLE IF NOT EXISTS {name} ({_KEY}, {columns}{indexes})
    ENGINE = MergeTree PARTITION BY {partition} ORDER BY (at, incarnation, sequence)
    TTL toDateTime(at) + toIntervalDay({{{kept}}})
    SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = {_WINDOW}
    """


def _bloom(*columns: str) -> str:
    return "".join(f", INDEX {column}_bloom {column} TYPE bloom_filter(0.01) GRANULARITY 4" for column in columns)


def _sums(name: str, key: str, columns: str, order: str) -> str:
    return f"""
    CREATE TABLE IF NOT EXISTS {name} (minute UInt32 CODEC(DoubleDelta, ZSTD(1)), {key}, {columns})
    ENGINE = SummingMergeTree PARTITION BY toYYYYMM(toDateTime(minute * 60, 'UTC')) ORDER BY (minute, {order})
    TTL toDateTime(minute * 60, 'UTC') + toIntervalDay({{figures_days}})
    SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = {_WINDOW}
    """


_COUNT, _SUM = "UInt64 CODEC(T64, ZSTD(1))", "Float64 CODEC(ZSTD(1))"
_MINUTE = "toUInt32(intDiv(toUnixTimestamp(source.at), 60)) AS minute"


def _view(name: str, to: str, columns: str, table: str, where: str, by: str) -> str:
    return f"""
    CREATE MATERIALIZED VIEW IF NOT EXISTS {name} TO {to} AS
    SELECT {_MINUTE}, {columns} FROM {table} AS source WHERE {where} GROUP BY minute, {by}
    """


def _sum_of(*columns: str) -> str:
    return ", ".join(f"sum(source.{column}) AS {column}" for column in columns)


_1 = (
    _rows(
        "decisions",
        f"""decision_id {_ID}, lease_id {_ID}, {_TASK}, category {_WORD}, priority {_REAL}, worker_id {_WORD},
        wait_ms {_REAL}, duration_ms {_REAL}, score {_REAL}, terms {_TEXT}, source {_WORD}, cause {_WORD},
        scorer {_WORD}, policy_revision {_WHOLE}, degraded {_FLAG}, candidates {_WHOLE}, explained {_FLAG},
        candidate_count {_WHOLE},
        rejections {_TEXT}, margin {_MAYBE_REAL}, changes {_TEXT}, point_ms {_MAYBE_REAL}, mean_ms {_MAYBE_REAL},
        p50_ms {_MAYBE_REAL}, p90_ms {_MAYBE_REAL}, confidence {_MAYBE_REAL}, sample_count {_WHOLE},
        prediction_key {_WORD}, predictor {_WORD}, enqueued_at {_MAYBE_AT}, expected_p50 {_MAYBE_AT},
        expected_p90 {_MAYBE_AT}, expected {_TEXT}, waited_ms {_REAL},
        wait_bucket {_BUCKET}, wait_p50_judged {_FLAG}, wait_p50_held {_FLAG}, wait_p90_judged {_FLAG},
        wait_p90_held {_FLAG}, caller_choice {_ID}, trace_id {_ID}, overrides {_TEXT}""",
        _bloom("decision_id", "lease_id", "task_id", "worker_id"),
        "rows_days",
    ),
    _rows(
        "candidates",
        f"""place UInt16 CODEC(ZSTD(1)), decision_id {_ID}, worker_id {_WORD}, score {_MAYBE_REAL}, terms {_TEXT},
        rejection {_WORD}, free_slots {_WHOLE}, load {_REAL}, speed {_REAL}, wait_ms {_REAL}, duration_ms {_REAL}""",
        _bloom("decision_id"),
        "rows_days",
    ),
    _rows(
        "outcomes",
        f"""decision_id {_ID}, lease_id {_ID}, {_TASK}, category {_WORD}, worker_id {_WORD}, status {_WORD},
        duration_ms {_MAYBE_REAL}, normal_ms {_MAYBE_REAL}, error_kind {_WORD}, error_message {_TEXT}, decided_at {_AT},
        started_at {_MAYBE_AT}, predictor {_WORD}, point_ms {_MAYBE_REAL}, completed {_FLAG}, failed {_FLAG},
        judged {_FLAG}, within_25 {_FLAG}, within_2 {_FLAG}, p50_held {_FLAG}, p90_held {_FLAG}, bias {_REAL},
        error_bucket {_BUCKET}, about {_TEXT}""",
        _bloom("decision_id", "task_id", "worker_id"),
        "rows_days",
    ),
    _rows(
        "heartbeats",
        f"""worker_id {_WORD}, health {_WORD}, accounting {_WORD}, cpu {_REAL}, memory {_REAL}, load {_REAL},
        queue_depth {_WHOLE}, slots {_WHOLE}, running {_WHOLE}, covers_ms {_REAL}, busy_ms {_REAL}, present_ms {_REAL},
        waiting_ms {_REAL}""",
        _bloom("worker_id"),
        "rows_days",
    ),
    _rows(
        "events",
        f"""number UInt64 CODEC(DoubleDelta, ZSTD(1)), kind {_WORD}, severity {_WORD}, worker_id {_WORD},
        task_type {_WORD}, tenant {_WORD}, task_id {_ID}, lease_id {_ID}, subject_id {_ID}, author {_WORD},
        detail {_TEXT}, before {_TEXT}, after {_TEXT}""",
        _bloom("worker_id"),
        "rows_days",
    ),
    _rows(
        "shadow_decisions",
        f"""policy {_WORD}, decision_id {_ID}, {_TASK}, live_worker_id {_WORD}, worker_id {_WORD}, agreed {_FLAG},
        live_wait_ms {_REAL}, wait_ms {_REAL}, live_duration_ms {_REAL}, duration_ms {_REAL}, score {_REAL},
        source {_WORD}, cause {_WORD}, error {_TEXT}""",
        _bloom("decision_id"),
        "rows_days",
    ),
    _rows(
        "audit",
        f"""entry_id {_ID}, author {_WORD}, role {_WORD}, peer {_ID}, method {_WORD}, subject_id {_ID}, reason {_TEXT},
        before {_TEXT}, after {_TEXT}, code Int32 CODEC(ZSTD(1)), request {_TEXT}""",
        "",
        "audit_days",
        partition="toYYYYMM(at)",
    ),
    _sums(
        "accuracy_minutes",
        f"task_type {_WORD}, predictor {_WORD}, error_bucket {_BUCKET}",
        f"""judged {_COUNT}, within_25 {_COUNT}, within_2 {_COUNT}, p50_held {_COUNT}, p90_held {_COUNT}, bias {_SUM},
        wait_p50_judged {_COUNT}, wait_p50_held {_COUNT}, wait_p90_judged {_COUNT}, wait_p90_held {_COUNT}""",
        "task_type, predictor, error_bucket",
    ),
    _sums(
        "worker_minutes",
        f"worker_id {_WORD}",
        f"""busy_ms {_SUM}, present_ms {_SUM}, covers_ms {_SUM}, waiting_ms {_SUM}, started {_COUNT}, waited_ms {_SUM},
        completed {_COUNT}, failed {_COUNT}""",
        "worker_id",
    ),
    _sums("wait_minutes", f"wait_bucket {_BUCKET}", f"started {_COUNT}", "wait_bucket"),
    _view(
        "accuracy_of_outcomes",
        "accuracy_minutes",
        "task_type, predictor, error_bucket, "
        + _sum_of("judged", "within_25", "within_2", "p50_held", "p90_held", "bias"),
        "outcomes",
        "source.judged = 1",
        "task_type, predictor, error_bucket",
    ),
    _view(
        "accuracy_of_waits",
        "accuracy_minutes",
        "task_type, predictor, toUInt16(0) AS error_bucket, "
        + _sum_of("wait_p50_judged", "wait_p50_held", "wait_p90_judged", "wait_p90_held"),
        "decisions",
        "source.wait_p50_judged = 1 OR source.wait_p90_judged = 1",
        "task_type, predictor",
    ),
    _view(
        "work_started",
        "worker_minutes",
        "worker_id, count() AS started, " + _sum_of("waited_ms"),
        "decisions",
        "1",
        "worker_id",
    ),
    _view(
        "work_ended",
        "worker_minutes",
        "worker_id, " + _sum_of("completed", "failed"),
        "outcomes",
        "source.completed = 1 OR source.failed = 1",
        "worker_id",
    ),
    _view(
        "work_sampled",
        "worker_minutes",
        "worker_id, " + _sum_of("busy_ms", "present_ms", "covers_ms", "waiting_ms"),
        "heartbeats",
        "1",
        "worker_id",
    ),
    _view("waits_ended", "wait_minutes", "wait_bucket, count() AS started", "decisions", "1", "wait_bucket"),
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (_1,)
"""What makes each version out of the one before, with holes for the days that things are kept; never changed once
released."""

VERSION: Final = len(MIGRATIONS)

SCHEMA_VERSION: Final = "schema_version"
VERSIONS: Final = f"""
    CREATE TABLE IF NOT EXISTS {SCHEMA_VERSION} (version UInt32, applied_at DateTime('UTC') DEFAULT now())
    ENGINE = MergeTree ORDER BY version
"""

KEPT: Final = {
    **dict.fromkeys(
        ("decisions", "candidates", "outcomes", "heartbeats", "events", "shadow_decisions"),
        ("toDateTime(at)", "rows_days"),
    ),
    "audit": ("toDateTime(at)", "audit_days"),
    **dict.fromkeys(
        ("accuracy_minutes", "worker_minutes", "wait_minutes"), ("toDateTime(minute * 60, 'UTC')", "figures_days")
    ),
}
"""By table what its TTL counts from, and which retention it follows."""
