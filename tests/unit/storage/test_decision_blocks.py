"""What a filter need not look at: the answers are those of a plain look at every decision."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_server.model.decision import Cause, Source
from scheduler_server.model.task import TaskKey
from scheduler_server.storage.decision_log import (
    Decided,
    DecisionFilter,
    LogError,
    Retention,
    Span,
    SqliteLog,
    sqlite_blocks,
)
from scheduler_server.storage.decision_log.sqlite_blocks import BLOCK_BITS, FIELDS
from scheduler_server.storage.decision_log.sqlite_schema import APPLICATION_ID, MIGRATIONS
from tests.decision_rows import START, batch, decided, finished

DAY_S = 86_400.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    made = SqliteLog(tmp_path / "decisions.sqlite", retention=Retention(rows_days=1))
    made.prepare()
    yield made
    made.close_reading()
    made.close()


def ids(log: SqliteLog, which: DecisionFilter, limit: int = 1_000) -> list[str]:
    """Of all pages."""
    found: list[str] = []
    after = ""
    while True:
        page = log.decisions(which, limit=limit, after=after)
        found += [each.decision.decision_id for each in page.items]
        after = page.next
        if not after:
            return found


def statements(log: SqliteLog) -> list[str]:
    """What is asked of SQLite from now on."""
    asked: list[str] = []
    log._reading._open().set_trace_callback(asked.append)
    return asked


# ------------------------------------------------------------------ the same answers

_WORDS = {
    "tenant": st.sampled_from(["", "a", "b"]),
    "task_type": st.sampled_from(["x", "y", "z"]),
    "worker_id": st.sampled_from([f"w-{each}" for each in range(6)]),
    "source": st.sampled_from(list(Source)),
    "cause": st.sampled_from([Cause.BEST_SCORE, Cause.ONLY_CANDIDATE]),
    "scorer": st.sampled_from(["weighted", "earliest_finish"]),
    "policy_revision": st.sampled_from([1, 2]),
    "override": st.sampled_from(["", "o-1", 'o-"2"']),
}
_MADE = st.fixed_dictionaries({**_WORDS, "at": st.integers(0, 30), "run": st.sampled_from(["r1", "r2"])})
_WANTED = st.fixed_dictionaries({name: st.none() | words for name, words in _WORDS.items()})


def _decided(number: int, made: dict[str, Any]) -> Decided:
    return decided(
        number,
        about={"overrides": ((made["override"], "pinned"),)} if made["override"] else None,
        decision_id=f"d-{number}",
        task=TaskKey(made["tenant"], f"t-{number}", 1),
        decided_at=START + made["at"],
        incarnation=made["run"],
        **{name: made[name] for name in ("task_type", "worker_id", "source", "cause", "scorer", "policy_revision")},
    )


def _wanted(wanted: dict[str, Any], span: Span) -> DecisionFilter:
    return DecisionFilter(
        span,
        tenant=wanted["tenant"],
        task_type=wanted["task_type"] or "",
        worker_id=wanted["worker_id"] or "",
        sources=() if wanted["source"] is None else (wanted["source"],),
        causes=() if wanted["cause"] is None else (wanted["cause"],),
        scorer=wanted["scorer"] or "",
        policy_revision=wanted["policy_revision"] or 0,
        override_id=wanted["override"] or "",
    )


@settings(max_examples=25, deadline=None)
@given(
    made=st.lists(_MADE, min_size=1, max_size=60),
    wanted=st.lists(_WANTED, min_size=1, max_size=5),
    start=st.none() | st.integers(0, 30),
    end=st.none() | st.integers(0, 31),
    limit=st.integers(1, 10),
)
def test_every_filter_finds_what_a_look_at_each_decision_finds(
    tmp_path_factory: pytest.TempPathFactory,
    made: list[dict[str, Any]],
    wanted: list[dict[str, Any]],
    start: int | None,
    end: int | None,
    limit: int,
) -> None:
    """Blocks of eight entries here. Decisions come in any order of time, of two runs that take turns."""
    log = SqliteLog(tmp_path_factory.mktemp("log") / "decisions.sqlite")
    sequence, number = {"r1": 0, "r2": 0}, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_blocks, "BLOCK_BITS", 3)
        for turn, first in enumerate(range(0, len(made), 7), 1):
            for run in ("r1", "r2"):
                mine = [(at, each) for at, each in enumerate(made[first : first + 7], first) if each["run"] == run]
                log.write(batch([_decided(at, each) for at, each in mine], turn, run, sequence[run] + 1))
                sequence[run] += len(mine)
                number += len(mine)
    assert number == len(made)
    order = sorted(range(len(made)), key=lambda at: (made[at]["at"], made[at]["run"], at), reverse=True)
    span = Span(*(None if each is None else START + each for each in (start, end)))
    for each in wanted:
        expected = [
            f"d-{at}"
            for at in order
            if all(made[at][name] == word for name, word in _asked(each).items())
            and (start is None or made[at]["at"] >= start)
            and (end is None or made[at]["at"] < end)
        ]
        assert ids(log, _wanted(each, span), limit) == expected
    log.close_reading()
    log.close()


def _asked(wanted: dict[str, Any]) -> dict[str, Any]:
    """Without what is no condition: "" names nothing, except a tenant."""
    return {name: word for name, word in wanted.items() if word is not None and (word != "" or name == "tenant")}


# ------------------------------------------------------------------ what is not looked at


def test_a_filter_that_nothing_matches_looks_at_no_decision(log: SqliteLog) -> None:
    log.write(batch([decided(number) for number in range(1, 2_001)]))
    asked = statements(log)
    for nobody in (
        DecisionFilter(tenant="nobody"),
        DecisionFilter(task_type="nothing"),
        DecisionFilter(Span(START, START + 5_000.0), worker_id="nobody"),
        DecisionFilter(sources=(Source.OVERRIDE,)),
        DecisionFilter(causes=(Cause.OVERRIDE_PIN,)),
        DecisionFilter(scorer="nothing"),
        DecisionFilter(policy_revision=99),
        DecisionFilter(override_id="o-1"),
        DecisionFilter(tenant="tenant", task_type="resize", worker_id="nobody"),
    ):
        assert ids(log, nobody) == []
    assert len(asked) == 9
    assert not any("FROM decisions" in each for each in asked)


def test_what_is_rare_is_looked_for_only_where_it_is(log: SqliteLog) -> None:
    size = 1 << BLOCK_BITS
    for number in range(1, 6):
        first, worker_id = number * size, "rare" if number in (2, 4) else "w-1"
        log.write(batch([decided(first), decided(first + 1, worker_id=worker_id)], number, first=first))
    asked = statements(log)
    assert ids(log, DecisionFilter(worker_id="rare")) == [f"d-run1-{number * size + 1}" for number in (4, 2)]
    looked_at = [each for each in asked if "FROM decisions" in each]
    assert len(looked_at) == 2


def test_stretches_are_apart_newest_first_and_within_what_was_asked_for() -> None:
    blocks = [(0, 10, 1), (12, 20, 1), (21, 30, 0), (31, 40, 1), (35, 50, 0), (39, 60, 1), (61, 62, 0), (70, 80, 1)]
    assert sqlite_blocks.stretches(lambda *_: blocks, 5, 75, {"scorer": ["x"]}) == [
        (70, 74),
        (31, 60),
        (5, 20),
    ]


# ------------------------------------------------------------------ as the log lives


def test_what_a_failed_write_has_noted_is_noted_again(log: SqliteLog) -> None:
    log.write(batch([decided(1)]))
    connection = log._writing._connection
    assert connection is not None
    connection.execute("PRAGMA max_page_count = 1")
    more = batch([decided(number, worker_id=f"w-{number}") for number in range(2, 1_000)], 2, first=2)
    with pytest.raises(LogError):
        log.write(more)
    connection.execute("PRAGMA max_page_count = 1000000")
    log.write(more)
    log.write(batch([decided(1_000, worker_id="w-7")], 3, first=1_000))
    assert ids(log, DecisionFilter(worker_id="w-7")) == ["d-run1-1000", "d-run1-7"]


def test_another_process_goes_on_in_the_same_block(log: SqliteLog, tmp_path: Path) -> None:
    log.write(batch([decided(1, worker_id="a")]))
    log.close()
    other = SqliteLog(tmp_path / "decisions.sqlite")
    other.write(batch([decided(2, worker_id="b"), decided(3, worker_id="a")], 2, first=2))
    other.close()
    assert ids(log, DecisionFilter(worker_id="a")) == ["d-run1-3", "d-run1-1"]
    assert ids(log, DecisionFilter(worker_id="b")) == ["d-run1-2"]


def test_blocks_go_with_their_decisions(log: SqliteLog, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        at, first = START + (number - 1) * 2 * DAY_S, number << BLOCK_BITS
        log.write(batch([decided(number, decided_at=at), finished(number, decided_at=at)], number, first=first))
    while log.tidy(START + 4.5 * DAY_S):
        pass
    with closing(sqlite3.connect(tmp_path / "decisions.sqlite")) as reader:
        assert reader.execute("SELECT count(*) FROM blocks").fetchone() == (1,)
        assert reader.execute("SELECT count(DISTINCT block), count(*) FROM block_words").fetchone() == (1, len(FIELDS))
    assert ids(log, DecisionFilter(task_type="resize")) == ["d-run1-3"]


def test_decisions_of_an_older_file_are_found_by_every_filter(tmp_path: Path) -> None:
    path = tmp_path / "decisions.sqlite"
    old = batch([decided(1), decided(2, about={"overrides": (("o-1", "pinned"), ("o-2", "boosted"))}, worker_id="b")])
    with closing(sqlite3.connect(path)) as made:
        made.executescript(MIGRATIONS[0])
        made.execute("INSERT INTO runs VALUES (1, 'run1', 1)")
        for row in old.rows["decisions"]:  # type: ignore[index]  # a StrEnum is its text
            values = ((1 << 40) + row[2], row[0], *row[3:])
            made.execute(f"INSERT INTO decisions VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608 -- ours
        made.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        made.execute("PRAGMA user_version = 1")
        made.commit()
    log = SqliteLog(path)
    log.prepare()
    assert ids(log, DecisionFilter(tenant="tenant", task_type="resize")) == ["d-run1-2", "d-run1-1"]
    for only in (DecisionFilter(worker_id="b"), DecisionFilter(override_id="o-1"), DecisionFilter(override_id="o-2")):
        assert ids(log, only) == ["d-run1-2"]
    assert ids(log, DecisionFilter(policy_revision=3)) == ["d-run1-2", "d-run1-1"]
    assert ids(log, DecisionFilter(policy_revision=4)) == []
    log.close_reading()
    log.close()
