"""The questions of a log as SQL, once for every store: what differs between dialects is in `Dialect`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, assert_never

from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.storage.decision_log import figures
from scheduler_server.storage.decision_log.flatten import micros, text
from scheduler_server.storage.decision_log.paging import place, token
from scheduler_server.storage.decision_log.port import (
    AccuracyFigures,
    AccuracyQuery,
    AuditFilter,
    ByDecision,
    ByLease,
    ByTask,
    DecisionFilter,
    EventFilter,
    HistoryFilter,
    Lesson,
    LoggedDecision,
    LoggedShadow,
    Page,
    ShadowFilter,
    Span,
    UtilizationFigures,
    UtilizationQuery,
)
from scheduler_server.storage.decision_log.reading import lesson, logged_decision
from scheduler_server.storage.decision_log.rows import (
    AuditRow,
    CandidateRow,
    DecisionRow,
    EventRow,
    OutcomeRow,
    ShadowRow,
    Table,
)

T = TypeVar("T")
_PLACE = (int, str, int)
"""Where a list stopped: instant, run and sequence of the last row."""


class Dialect(Protocol):
    """How one kind of store is asked. Placeholders are `?`."""

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement. Raises LogError."""

    def rows(self, table: Table, where: str, values: Sequence[Any], order: str, limit: int) -> list[tuple[Any, ...]]:
        """Whole rows of a table, as in rows.py; `order`: "" for none, "ASC" or "DESC" by instant, run and sequence."""

    def beyond(self, table: Table, sign: str, at: int, incarnation: str, sequence: int) -> tuple[str, list[Any]]:
        """The condition of rows before (<) or behind (>) a place in their order."""

    def instant(self) -> str:
        """The placeholder for an instant in microseconds, to be compared with `at`."""

    def quotient(self, dividend: str, divisor: int) -> str:
        """A whole division."""

    def of_task(self) -> str:
        """The condition that a decision is about the task ?."""

    def contains(self, column: str) -> str:
        """The condition that a text contains ?."""

    def last_outcome(self, statuses: Sequence[str], since: int | None) -> tuple[str, list[Any]]:
        """The condition that a decision's last outcome is one of these; none is from before `since`."""

    def stretches(
        self, start: int | None, end: int | None, words: Mapping[str, Sequence[Any]]
    ) -> list[tuple[int, int]] | None:
        """Outside of which no decision has one of these words in each of these columns (of overrides: an id).

        Newest first, apart from each other, both ends included, within start and end (excluded), in microseconds.
        None: this store need not know.
        """


class Conditions:
    """What must hold, and the values of its placeholders."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._parts: list[str] = []
        self.values: list[Any] = []

    def add(self, part: str, *values: Any) -> None:
        """One more."""
        self._parts.append(part)
        self.values += values

    def equal(self, column: str, value: Any) -> None:
        """A column has a value, unless that is None or "" or 0."""
        if value:
            self.add(f"{column} = ?", value)

    def among(self, column: str, values: Iterable[Any]) -> None:
        """A column has one of the values, unless there are none."""
        if given := list(values):
            self.add(f"{column} IN ({', '.join('?' * len(given))})", *given)

    def within(self, span: Span) -> None:
        """The instant lies in a span."""
        if span.start is not None:
            self.add(f"at >= {self._dialect.instant()}", micros(span.start))
        if span.end is not None:
            self.add(f"at < {self._dialect.instant()}", micros(span.end))

    def behind(self, table: Table, sign: str, kind: str, after: str) -> tuple[int, str, int] | None:
        """The rows that come after a page token; the place that it names."""
        found: tuple[int, str, int] | None = place(kind, _PLACE, after)
        if found is not None:
            part, values = self._dialect.beyond(table, sign, *found)
            self.add(part, *values)
        return found

    def __str__(self) -> str:
        return " AND ".join(self._parts) or "1 = 1"


class Questions:
    """Answers the questions of the port."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    # ------------------------------------------------------------------ decisions

    def find(self, which: ByDecision | ByLease | ByTask) -> LoggedDecision | None:
        """See DecisionLog."""
        where, values = "", list[Any]()
        match which:
            case ByDecision(decision_id):
                where, values = "decision_id = ?", [decision_id]
            case ByLease(lease_id):
                # A decision and its lease have the same number of the same run, so one index does for both.
                where, values = "decision_id = ? AND lease_id = ?", [f"d{lease_id[1:]}", lease_id]
            case ByTask(tenant, task_id, attempt):
                where, values = f"{self._dialect.of_task()} AND tenant = ?", [task_id, tenant]
                if not attempt:
                    latest = self._dialect.ask(f"SELECT max(attempt), count(*) FROM decisions WHERE {where}", values)
                    attempt = latest[0][0] if latest and latest[0][1] else 0
                where, values = f"{where} AND attempt = ?", [*values, attempt]
            case _:
                assert_never(which)
        found = self._dialect.rows(Table.DECISIONS, where, values, "DESC", 1)
        return self._logged([DecisionRow(*found[0])], candidates=True)[0] if found else None

    def decisions(
        self, which: DecisionFilter, *, limit: int, after: str = "", candidates: bool = False
    ) -> Page[LoggedDecision]:
        """See DecisionLog."""
        where = Conditions(self._dialect)
        if which.task_id:
            where.add(self._dialect.of_task(), which.task_id)
        words: dict[str, list[Any]] = {
            "source": [source.name for source in which.sources],
            "cause": [cause.name for cause in which.causes],
        }
        for column in ("task_type", "worker_id", "policy_revision", "scorer"):
            words[column] = [wanted] if (wanted := getattr(which, column)) else []
        if which.tenant is not None:
            words["tenant"] = [which.tenant]
        words = {column: wanted for column, wanted in words.items() if wanted}
        for column, wanted in words.items():
            where.among(column, wanted)
        if which.override_id:
            where.add(self._dialect.contains("overrides"), text([which.override_id])[:-1] + ",")
            words["overrides"] = [which.override_id]
        # A task's decisions are found by themselves.
        parts = None
        if words and not which.task_id:
            start, end = (None if each is None else micros(each) for each in which.span)
            parts = self._dialect.stretches(start, end, words)
        if parts is None:
            where.within(which.span)
        if which.outcomes:
            statuses = [OutcomeStatus(status).name for status in which.outcomes]
            since = None if which.span.start is None else micros(which.span.start)
            part, values = self._dialect.last_outcome(statuses, since)
            where.add(part, *values)
        page = self._page(Table.DECISIONS, where, "DESC", "d", limit, after, parts)
        return Page(self._logged([DecisionRow(*row) for row in page.items], candidates=candidates), page.next)

    def _page(
        self,
        table: Table,
        where: Conditions,
        order: str,
        kind: str,
        limit: int,
        after: str,
        parts: list[tuple[int, int]] | None = None,
    ) -> Page[tuple[Any, ...]]:
        """Rows that a condition holds for; with `parts`, in these stretches only, one after the other."""
        found = where.behind(table, "<" if order == "DESC" else ">", kind, after)
        if parts is None:
            rows = self._dialect.rows(table, str(where), where.values, order, limit + 1)
        else:
            rows, instant = [], self._dialect.instant()
            for first, last in parts:
                if found is not None:
                    if first > found[0]:
                        continue
                    last = min(last, found[0])  # noqa: PLW2901 -- the store takes one bound: the nearest
                part, values = f"at >= {instant} AND at <= {instant}", [first, last]
                rows += self._dialect.rows(
                    table, f"{where} AND {part}", [*where.values, *values], order, limit + 1 - len(rows)
                )
                if len(rows) > limit:
                    break
        if len(rows) <= limit:
            return Page(rows)
        return Page(rows[:limit], token(kind, *rows[limit - 1][:3]))

    def _logged(self, rows: list[DecisionRow], *, candidates: bool) -> list[LoggedDecision]:
        if not rows:
            return []
        last = self._last_outcomes([row.decision_id for row in rows], min(row.at for row in rows))
        looked_at: dict[str, list[CandidateRow]] = {}
        if candidates:
            explained = [row for row in rows if row.explained]
            for row in explained:
                looked_at[row.decision_id] = []
            for found in self._candidates(explained):
                candidate = CandidateRow(*found)
                looked_at[candidate.decision_id].append(candidate)
        for each in looked_at.values():
            each.sort(key=lambda candidate: candidate.place)
        return [logged_decision(row, last.get(row.decision_id), looked_at.get(row.decision_id, [])) for row in rows]

    def _last_outcomes(self, ids: list[str], since: int) -> dict[str, OutcomeRow]:
        """By decision. An outcome comes after its decision: `since` bounds what has to be looked at."""
        where = f"decision_id IN ({', '.join('?' * len(ids))}) AND at >= {self._dialect.instant()}"
        last: dict[str, OutcomeRow] = {}
        for found in self._dialect.rows(Table.OUTCOMES, where, [*ids, since], "ASC", 10 * len(ids) + 100):
            outcome = OutcomeRow(*found)
            last[outcome.decision_id] = outcome
        return last

    def _candidates(self, rows: list[DecisionRow]) -> list[tuple[Any, ...]]:
        if not rows:
            return []
        oldest, newest = min(row.at for row in rows), max(row.at for row in rows)
        marks, instant = ", ".join("?" * len(rows)), self._dialect.instant()
        where = f"decision_id IN ({marks}) AND at >= {instant} AND at <= {instant}"
        values = [*(row.decision_id for row in rows), oldest, newest]
        return self._dialect.rows(Table.CANDIDATES, where, values, "", 1_000 * len(rows))

    # ------------------------------------------------------------------ lists

    def lessons(self, which: HistoryFilter, *, limit: int, after: str = "") -> Page[Lesson]:
        """See DecisionLog."""
        where = Conditions(self._dialect)
        where.within(which.span)
        where.equal("task_type", which.task_type)
        where.add("status = ?", OutcomeStatus.SUCCEEDED.name)
        where.add("normal_ms > 0")
        page = self._page(Table.OUTCOMES, where, "ASC", "l", limit, after)
        return Page([lesson(OutcomeRow(*row)) for row in page.items], page.next)

    def audit(self, which: AuditFilter, *, limit: int, after: str = "") -> Page[AuditRow]:
        """See DecisionLog."""
        where = Conditions(self._dialect)
        where.within(which.span)
        where.equal("author", which.author)
        where.equal("method", which.method)
        where.equal("subject_id", which.subject_id)
        page = self._page(Table.AUDIT, where, "DESC", "a", limit, after)
        return Page([AuditRow(*row) for row in page.items], page.next)

    def events(self, which: EventFilter, *, limit: int, after: str = "") -> Page[EventRow]:
        """See DecisionLog."""
        where = Conditions(self._dialect)
        where.within(which.span)
        where.among("kind", which.kinds)
        where.equal("worker_id", which.worker_id)
        page = self._page(Table.EVENTS, where, "DESC", "e", limit, after)
        return Page([EventRow(*row) for row in page.items], page.next)

    def shadows(self, which: ShadowFilter, *, limit: int, after: str = "") -> Page[LoggedShadow]:
        """See DecisionLog."""
        where = Conditions(self._dialect)
        where.within(which.span)
        where.equal("policy", which.policy)
        page = self._page(Table.SHADOW, where, "DESC", "s", limit, after)
        rows = [ShadowRow(*row) for row in page.items]
        if not rows:
            return Page([])
        ids = list(dict.fromkeys(row.decision_id for row in rows))
        last = self._last_outcomes(ids, min(row.at for row in rows))
        succeeded = OutcomeStatus.SUCCEEDED.name
        took = {name: each.duration_ms for name, each in last.items() if each.status == succeeded}
        return Page([LoggedShadow(row, took.get(row.decision_id)) for row in rows], page.next)

    # ------------------------------------------------------------------ figures

    def accuracy(self, query: AccuracyQuery, *, limit: int, after: str = "") -> Page[AccuracyFigures]:
        """See DecisionLog."""
        return figures.accuracy(self._dialect, query, limit, after)

    def utilization(self, query: UtilizationQuery, *, limit: int, after: str = "") -> Page[UtilizationFigures]:
        """See DecisionLog."""
        return figures.utilization(self._dialect, query, limit, after)
