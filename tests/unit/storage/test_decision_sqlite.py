"""The decision log in SQLite when something is wrong: damaged, foreign, newer, locked, full; and how it forgets."""

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler_server.model.task import TaskKey
from scheduler_server.storage.decision_log import (
    AccuracyQuery,
    Audited,
    AuditFilter,
    ByDecision,
    ByTask,
    DecisionFilter,
    Entry,
    HistoryFilter,
    LogError,
    LogFault,
    Retention,
    SqliteLog,
    UtilizationQuery,
    sqlite_reading,
    sqlite_writing,
)
from scheduler_server.storage.decision_log.rows import ROWS
from scheduler_server.storage.decision_log.sqlite_schema import MIGRATIONS, TASK, VERSION
from tests.decision_rows import EXPLAINED, START, batch, decided, finished, sampled

DAY_S = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteLog]:
    made = SqliteLog(path, retention=Retention(rows_days=2, figures_days=10, audit_days=5))
    made.prepare()
    yield made
    made.close_reading()
    made.close()


def count(log: SqliteLog) -> int:
    return len(log.decisions(DecisionFilter(), limit=10_000).items)


def opened(path: Path) -> SqliteLog:
    log = SqliteLog(path)
    log.prepare()
    return log


# ------------------------------------------------------------------ the schema


def test_tables_have_the_columns_of_the_rows_in_order(log: SqliteLog, path: Path) -> None:
    reader = sqlite3.connect(path)
    for table, row in ROWS.items():
        columns = [each[1] for each in reader.execute(f"PRAGMA table_info({table})")]
        assert columns == ["key", *(name for name in row._fields if name not in ("incarnation", "sequence"))], table
    reader.close()


def test_the_file_is_the_owners_alone(log: SqliteLog, path: Path) -> None:
    log.write(batch([decided(1)]))
    assert {side.stat().st_mode & 0o777 for side in path.parent.iterdir()} == {0o600}


def test_every_version_is_brought_to_the_newest_with_what_it_holds(path: Path) -> None:
    for version in range(1, VERSION + 1):
        with sqlite3.connect(path) as old:
            for step in MIGRATIONS[:version]:
                old.executescript(step)
            old.execute("INSERT INTO runs VALUES (1, 'old', 7)")
            old.execute(f"PRAGMA application_id = {0x53434C31}")
            old.execute(f"PRAGMA user_version = {version}")
        old.close()
        log = opened(path)
        log.write(batch([decided(1)], 7, incarnation="old"))  # it is there already
        log.write(batch([decided(2)], 8, incarnation="old"))
        assert [each.decision.decision_id for each in log.decisions(DecisionFilter(), limit=9).items] == ["d-run1-2"]
        log.close_reading()
        log.close()
        path.unlink()


def test_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    opened(path).close()
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA user_version = {VERSION + 1}")
    newer.close()
    held = path.read_bytes()
    log = SqliteLog(path)
    for what in (log.prepare, lambda: log.write(batch([decided(1)])), lambda: log.find(ByDecision("d"))):
        with pytest.raises(LogError, match=f"version {VERSION + 1}") as caught:
            what()
        assert caught.value.reason is LogFault.NEWER_VERSION
    assert path.read_bytes() == held


def test_somebody_elses_file_is_refused_and_left_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (a)")
    other.close()
    held = path.read_bytes()
    with pytest.raises(LogError, match="no decision log of this server") as caught:
        opened(path)
    assert caught.value.reason is LogFault.FOREIGN
    assert path.read_bytes() == held


def test_a_task_is_looked_for_in_each_stretch_of_the_index_and_found_in_every_one(log: SqliteLog, path: Path) -> None:
    for number, first in enumerate([1, 65_530, 65_536, 131_072, 500_000], 1):
        again = TaskKey("tenant", "again", number)
        log.write(batch([decided(10 * number, task=again), decided(10 * number + 1)], number, first=first))
    found = log.decisions(DecisionFilter(task_id="again"), limit=10).items
    assert [each.decision.task.attempt for each in found] == [5, 4, 3, 2, 1]
    latest = log.find(ByTask("tenant", "again"))
    assert latest is not None
    assert latest.decision.task.attempt == 5
    reader = sqlite3.connect(path)
    question = f"SELECT * FROM decisions WHERE {TASK} ORDER BY at, key"  # noqa: S608 -- ours
    plan = reader.execute(f"EXPLAIN QUERY PLAN {question}", ["again"])
    steps = [row[3] for row in plan]
    assert "SEARCH decisions USING COVERING INDEX decisions_task (<expr>=? AND task_id=?)" in steps
    assert not any(step.startswith("SCAN decisions") for step in steps)
    numbers = "SELECT number & 0xff FROM stretches ORDER BY number"
    assert [row[0] for row in reader.execute(numbers)] == [0, 1, 2, 7]
    reader.close()


def test_stretches_go_with_their_decisions(log: SqliteLog, path: Path) -> None:
    for number, day in enumerate([0.0, 1.0, 5.0], 1):
        at = START + day * DAY_S
        log.write(batch([decided(number, decided_at=at)], number, first=number * 65_536))
    while log.tidy(START + 3.5 * DAY_S):
        pass
    reader = sqlite3.connect(path)
    assert [row[0] & 0xFF for row in reader.execute("SELECT number FROM stretches")] == [3]
    reader.close()
    assert count(log) == 1


# ------------------------------------------------------------------ damage


@pytest.mark.parametrize("content", [b"garbage", b"SQLite format 3\0" + bytes(4_000), b"x" * 100_000])
def test_a_file_that_is_damaged_is_set_aside_and_a_new_one_begun(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    log = SqliteLog(path)
    told = log.prepare()
    assert "is corrupt" in told[0]
    assert "was set aside as decisions.sqlite.damaged, a new one was begun" in told[1]
    assert (path.parent / "decisions.sqlite.damaged").read_bytes() == content
    log.write(batch([decided(1)]))
    assert count(log) == 1
    log.close_reading()
    log.close()


def test_damage_that_is_found_while_writing_costs_the_file_and_not_the_batch(path: Path) -> None:
    log = opened(path)
    for number in range(1, 40):
        log.write(batch([decided(100 * number + each) for each in range(100)], number, first=100 * number))
    assert count(log) == 3_900
    log.close_reading()
    log.close()
    data = bytearray(path.read_bytes())
    chance = random.Random(1)
    for page in range(40, len(data) // 4_096):  # not where the schema lies: it opens
        data[page * 4_096 : page * 4_096 + 64] = chance.randbytes(64)
    path.write_bytes(data)
    log = SqliteLog(path)
    assert log.prepare() == []
    with pytest.raises(LogError) as caught:
        log.decisions(DecisionFilter(), limit=10)
    assert caught.value.reason is LogFault.CORRUPT
    told = log.write(batch([decided(1)], 50, first=9_000))
    assert "is corrupt" in told[0]
    assert "was set aside" in told[1]
    assert count(log) == 1  # the reader sees the new file
    log.close_reading()
    log.close()


# ------------------------------------------------------------------ in the way


def test_a_file_that_another_process_holds_is_locked_until_it_lets_go(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writing, "_BUSY_TIMEOUT_S", 0.0)
    log = opened(path)
    log.write(batch([decided(1)]))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogError, match="is locked by another process") as caught:
        log.write(batch([decided(2)], 2, first=10))
    assert caught.value.reason is LogFault.LOCKED
    assert count(log) == 1  # it can be read all the while
    other.execute("ROLLBACK")
    other.close()
    log.write(batch([decided(2)], 2, first=10))
    assert count(log) == 2
    log.close_reading()
    log.close()


def test_a_full_disk_keeps_what_is_there_and_goes_on_when_there_is_room(log: SqliteLog) -> None:
    log.write(batch([decided(1)]))
    connection = log._writing._connection
    assert connection is not None
    connection.execute("PRAGMA max_page_count = 1")  # no more than it has
    large = batch([decided(number) for number in range(2, 2_000)], 2, first=10)
    for _ in range(2):
        with pytest.raises(LogError, match="has no room left") as caught:
            log.write(large)
        assert caught.value.reason is LogFault.DISK_FULL
    assert count(log) == 1
    connection.execute("PRAGMA max_page_count = 1000000")
    log.write(large)
    assert count(log) == 1_999


FULL = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.path[:0] = sys.argv[2:]
from scheduler_server.storage.decision_log import LogError, SqliteLog
from tests.decision_rows import batch, decided
log = SqliteLog(Path(sys.argv[1]))
log.prepare()
log.write(batch([decided(1)]))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
failed = set()
for number in range(2, 50):
    try:
        log.write(batch([decided(number * 1000 + each) for each in range(100)], number, first=number * 1000))
    except LogError as error:
        failed.add(error.reason.value)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for number in range(2, 50):
    log.write(batch([decided(number * 1000 + each) for each in range(100)], number, first=number * 1000))
print(sorted(failed), log.size().decisions)
"""


def test_a_disk_that_is_really_full_loses_nothing_that_is_written_again(path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(path), str(Path.cwd())]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    # Only batches beyond the last one stored are taken: those before it that failed are known as written.
    reasons, decisions = run.stdout.strip().rsplit(" ", 1)
    assert reasons in ("['disk_full']", "['io']", "['disk_full', 'io']")
    assert int(decisions) == 4_801


def test_a_folder_that_cannot_be_written_is_told_by_its_name(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "missing" / "decisions.sqlite")
    with pytest.raises(LogError, match="cannot be opened: No such file or directory") as caught:
        log.prepare()
    assert caught.value.reason is LogFault.UNWRITABLE


def test_a_question_to_a_log_that_was_never_made_is_an_error_and_makes_no_file(path: Path) -> None:
    with pytest.raises(LogError) as caught:
        SqliteLog(path).find(ByDecision("d"))
    assert caught.value.reason is LogFault.UNWRITABLE
    assert not path.exists()


def test_a_question_that_takes_too_long_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_reading, "_STEPS", 100)
    opened(path).close()
    log = SqliteLog(path, timeout_s=-1.0)
    log.prepare()
    log.write(batch([decided(number) for number in range(1_000)]))
    with pytest.raises(LogError, match="more than it can read in time") as caught:
        log.decisions(DecisionFilter(), limit=1_000)
    assert caught.value.reason is LogFault.TOO_SLOW
    log.close_reading()
    log.close()


def test_a_value_that_no_store_can_hold_is_told_and_nothing_of_its_batch_is_kept(log: SqliteLog) -> None:
    for bad in (decided(2, worker_id="\ud800"), decided(2, policy_revision=2**63)):
        with pytest.raises(LogError) as caught:
            log.write(batch([decided(1), bad]))
        assert caught.value.reason is LogFault.UNSUITABLE_ROW
    assert count(log) == 0


# ------------------------------------------------------------------ forgetting


def test_what_is_older_than_its_days_goes_in_steps_and_figures_stay(log: SqliteLog) -> None:
    old, new = START - 3 * DAY_S, START
    for number, begin in enumerate((old, new), 1):
        entries: list[Entry] = [
            each
            for at in range(700)
            for each in (
                decided(1_000 * number + at, decided_at=begin + at, explanation=EXPLAINED if at < 70 else None),
                finished(1_000 * number + at, decided_at=begin + at),
            )
        ]
        entries += [
            sampled(begin - START, "w-1", 4, 2),
            Audited(begin, f"a-{number}", "", "", "", "", "", "", "", "", 0, ""),
        ]
        log.write(batch(entries, number, first=10_000 * number))
    steps = 0
    while log.tidy(new):
        steps += 1
        assert steps < 100
    assert steps >= 5  # 1,400 rows and 140 candidates by 500 and 50
    assert count(log) == 700
    assert len(log.lessons(HistoryFilter(), limit=10_000).items) == 700
    assert log._reading.ask("SELECT count(*) FROM candidates") == [(140,)]
    assert log._reading.ask("SELECT count(*) FROM heartbeats") == [(1,)]
    assert len(log.audit(AuditFilter(), limit=10).items) == 2  # kept for longer
    assert log.accuracy(AccuracyQuery(), limit=1).items[0].sample_count == 1_400
    assert not log.tidy(new)
    while log.tidy(new + 8 * DAY_S):
        pass
    assert log.accuracy(AccuracyQuery(), limit=1).items[0].sample_count == 700
    assert log.audit(AuditFilter(), limit=10).items == []
    while log.tidy(new + 30 * DAY_S):
        pass
    assert log.accuracy(AccuracyQuery(), limit=1).items == []
    assert log.utilization(UtilizationQuery(), limit=1).items == []


@pytest.mark.parametrize("which", [DecisionFilter(), DecisionFilter(worker_id="w-1")])
def test_a_page_token_whose_rows_were_forgotten_since_goes_on_with_what_is_left(
    log: SqliteLog, path: Path, which: DecisionFilter
) -> None:
    for number, day in enumerate((0.0, 1.0, 5.0, 5.5), 1):
        log.write(batch([decided(number, worker_id="w-1", decided_at=START + day * DAY_S)], number, first=number))
    page = log.decisions(which, limit=1)
    assert [each.decision.decision_id for each in page.items] == ["d-run1-4"]
    while log.tidy(START + 6 * DAY_S):
        pass
    rest = log.decisions(which, limit=10, after=page.next)
    assert ([each.decision.decision_id for each in rest.items], rest.next) == (["d-run1-3"], "")
    log.close_reading()
    log.close()
    path.write_bytes(b"x" * 10_000)
    log.prepare()  # set aside, and begun anew
    assert log.decisions(which, limit=10, after=page.next).items == []


def test_a_file_that_has_grown_too_large_loses_its_oldest_rows(path: Path) -> None:
    log = SqliteLog(path, retention=Retention(most_bytes=1_000_000))
    log.prepare()
    for number in range(1, 11):
        log.write(batch([decided(1_000 * number + at, decided_at=START + 1_000 * number + at) for at in range(500)],
                        number, first=1_000 * number))  # fmt: skip
    assert log._writing.used_bytes() > 1_000_000
    while log.tidy(START):
        pass
    assert log._writing.used_bytes() <= 1_000_000
    left = [each.decision.decided_at for each in log.decisions(DecisionFilter(), limit=10_000).items]
    assert 500 <= len(left) < 5_000
    assert left[0] == START + 10_499  # the newest is there
    log.close_reading()
    log.close()
