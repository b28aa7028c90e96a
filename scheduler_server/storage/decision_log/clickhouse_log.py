"""The decision log at scale: ClickHouse, which many servers may share."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from scheduler_server.storage.decision_log.clickhouse_client import Connection
from scheduler_server.storage.decision_log.clickhouse_schema import (
    INSTANTS,
    KEPT,
    MIGRATIONS,
    SCHEMA_VERSION,
    VERSION,
    VERSIONS,
)
from scheduler_server.storage.decision_log.clickhouse_url import ClickHouseAddress
from scheduler_server.storage.decision_log.port import LogError, LogFault, Retention, Size
from scheduler_server.storage.decision_log.questions import Questions
from scheduler_server.storage.decision_log.rows import ROWS, Batch, Table

_OLDEST = (22, 8)
"""Deduplication of inserts by token without replication, and through materialized views, needs about that."""

_RECIPE = msgspec.msgpack.Encoder()
_READ = msgspec.msgpack.Decoder(tuple[ClickHouseAddress, Retention, float, float])
_NAMED = 5  # columns in a message
_TTL_DAYS = re.compile(r"TTL .*?toIntervalDay\((\d+)\)")


class ClickHouseLog(Questions):
    """A `DecisionLog` by URL. Retention is the tables' TTL; where it differs from what is configured, it is changed."""

    backend = "clickhouse"

    def __init__(
        self,
        address: ClickHouseAddress,
        *,
        retention: Retention = Retention(),  # noqa: B008 -- a value
        timeout_s: float = 30.0,
        connect_timeout_s: float = 5.0,
        alone: bool = False,
    ) -> None:
        """Nothing is connected yet. `timeout_s` bounds an insert, and a question.

        `alone`: no event loop waits for the interpreter while this writes.
        """
        self._made_from = (address, retention, timeout_s, connect_timeout_s)
        self.location = address.shown
        self._days = {
            "rows_days": max(1, round(retention.rows_days)),
            "figures_days": max(1, round(retention.figures_days)),
            "audit_days": max(1, round(retention.audit_days)),
        }
        self._writing = Connection(address, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s, alone=alone)
        reading = Connection(address, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s)
        self._reading = reading
        self._prepared = False
        super().__init__(_Dialect(reading, timeout_s))

    def recipe(self) -> bytes:
        """See Portable."""
        return _RECIPE.encode(self._made_from)

    @classmethod
    def of_recipe(cls, recipe: bytes) -> "ClickHouseLog":
        """What the recipe is of, for a process of its own."""
        address, retention, timeout_s, connect_timeout_s = _READ.decode(recipe)
        return cls(address, retention=retention, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s, alone=True)

    # ------------------------------------------------------------------ one thread writes

    def prepare(self) -> list[str]:
        """See DecisionLog."""
        if self._prepared:
            return []
        run = self._writing.ask
        version = str(run("SELECT version()")[0][0])
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if numbers < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            why = f"ClickHouse {version} is older than {oldest}, the oldest that can be used"
            raise LogError(LogFault.REFUSED, f"decision log {self.location}: {why}")
        there = self._columns()
        applied = 0
        if SCHEMA_VERSION in there:
            applied = int(run(f"SELECT max(version) FROM {SCHEMA_VERSION}")[0][0])
        if applied > VERSION:
            known = f"this server knows up to {VERSION}; left as it is"
            raise LogError(LogFault.NEWER_VERSION, f"decision log {self.location}: has version {applied}, {known}")
        self._refuse_foreign_tables(there, applied)
        if applied == VERSION and not there.keys() >= set(ROWS):
            applied = 0  # somebody took a table away; those that are there stay as they are
        if applied < VERSION:  # an account that may make no tables will do where somebody else has made them
            run(VERSIONS)
        for number, statements in enumerate(MIGRATIONS[applied:], applied + 1):
            for statement in statements:
                run(statement.format(**self._days) if "{" in statement else statement)
            run(f"INSERT INTO {SCHEMA_VERSION} (version) SELECT ?", [number])
        told = self._keep_as_long_as_configured()
        self._prepared = True
        return told

    def _columns(self) -> dict[str, set[str]]:
        """Of every table that is there."""
        found = defaultdict[str, set[str]](set)
        rows = self._writing.ask("SELECT table, name FROM system.columns WHERE database = currentDatabase()")
        for table, column in rows:
            found[table].add(column)
        return found

    def _refuse_foreign_tables(self, there: dict[str, set[str]], applied: int) -> None:
        """A table of the same name that is not ours would be found out by the first row, or by a view that fails."""
        if 0 < applied < VERSION:
            return  # of an older version of ours: what it lacks is added now
        for table, row in ROWS.items():
            if table in there and (lacking := [name for name in row._fields if name not in there[table]]):
                which = ", ".join(lacking[:_NAMED]) + (", ..." if len(lacking) > _NAMED else "")
                why = f"its table {table} lacks columns ({which}): drop or rename that table, or name another database"
                raise LogError(LogFault.FOREIGN, f"decision log {self.location}: {why}")

    def _keep_as_long_as_configured(self) -> list[str]:
        run = self._writing.ask
        told = []
        tables = run("SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()")
        for name, statement in sorted(tables):
            found = _TTL_DAYS.search(statement) if name in KEPT else None
            if found is None:
                continue
            counted_from, which = KEPT[name]
            days = self._days[which]
            if int(found[1]) != days:
                # What is there keeps its parts: they are dropped by the new limit when their time comes.
                ttl = f"ALTER TABLE {name} MODIFY TTL {counted_from} + toIntervalDay({days})"
                try:
                    run(ttl, settings={"materialize_ttl_after_modify": 0})
                except LogError as error:
                    if error.reason is not LogFault.REFUSED:
                        raise
                    told.append(f"{error}: {name} is still kept for {found[1]} days, not for {days}")
                else:
                    told.append(f"decision log {self.location}: {name} was kept for {found[1]} days, now for {days}")
        return told

    def write(self, batch: Batch) -> list[str]:
        """See DecisionLog."""
        told = self.prepare()
        try:
            for table, rows in batch.rows.items():
                if rows:
                    token = f"{batch.incarnation}-{batch.number}-{table}"
                    self._writing.insert(table, ROWS[table]._fields, rows, token)
        except LogError as error:
            if error.reason is LogFault.REFUSED:
                self._prepared = False  # somebody may have taken the tables away
            raise
        return told

    def tidy(self, now: float) -> bool:
        """The tables do it themselves."""
        return False

    def close(self) -> None:
        """See DecisionLog."""
        self._writing.close()

    # ------------------------------------------------------------------ another reads

    def size(self) -> Size:
        """See DecisionLog."""
        decisions = self._reading.ask(
            "SELECT sum(rows) FROM system.parts WHERE active AND database = currentDatabase() AND table = 'decisions'"
        )
        size = self._reading.ask(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()"
        )
        return Size(int(decisions[0][0]), int(size[0][0]))

    def close_reading(self) -> None:
        """See DecisionLog."""
        self._reading.close()


class _Dialect:
    """The dialect of ClickHouse."""

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self._connection = connection
        self._settings = {"max_execution_time": max(1, int(timeout_s))}

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See Dialect."""
        return self._connection.ask(sql, values, self._settings)

    def rows(self, table: Table, where: str, values: Sequence[Any], order: str, limit: int) -> list[tuple[Any, ...]]:
        """See Dialect."""
        columns = ", ".join(
            f"toUnixTimestamp64Micro({name})" if name in INSTANTS else name for name in ROWS[table]._fields
        )
        by = f" ORDER BY at {order}, incarnation {order}, sequence {order}" if order else ""
        return self.ask(f"SELECT {columns} FROM {table} WHERE {where}{by} LIMIT {limit}", values)

    def beyond(self, table: Table, sign: str, at: int, incarnation: str, sequence: int) -> tuple[str, list[Any]]:
        """See Dialect."""
        instant = self.instant()
        # The second condition follows from the first; it is the one that the order of the table helps with.
        part = f"(at, incarnation, sequence) {sign} ({instant}, ?, ?) AND at {sign}= {instant}"
        return part, [at, incarnation, sequence, at]

    def instant(self) -> str:
        """See Dialect."""
        return "fromUnixTimestamp64Micro(toInt64(?))"

    def quotient(self, dividend: str, divisor: int) -> str:
        """See Dialect."""
        return f"intDiv({dividend}, {divisor})"

    def of_task(self) -> str:
        """See Dialect."""
        return "task_id = ?"

    def contains(self, column: str) -> str:
        """See Dialect."""
        return f"position({column}, ?) > 0"

    def stretches(
        self, start: int | None, end: int | None, words: Mapping[str, Sequence[Any]]
    ) -> list[tuple[int, int]] | None:
        """See Dialect. A million words are read in milliseconds here."""
        return None

    def last_outcome(self, statuses: Sequence[str], since: int | None) -> tuple[str, list[Any]]:
        """See Dialect."""
        where, values = ("", []) if since is None else (f"WHERE at >= {self.instant()} ", [since])
        part = (
            f"decision_id IN (SELECT decision_id FROM outcomes {where}GROUP BY decision_id "
            f"HAVING argMax(status, (at, incarnation, sequence)) IN ({', '.join('?' * len(statuses))}))"
        )
        return part, [*values, *statuses]
