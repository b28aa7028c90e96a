"""The journal on disk: what it says about files it cannot use."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler_server.storage import Entry, Journal, JournalError, JournalFault


def refusal(path: Path) -> tuple[JournalFault, str]:
    with pytest.raises(JournalError) as caught:
        Journal.open(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return caught.value.reason, str(caught.value)


def filled(path: Path, count: int = 500) -> list[Entry]:
    entries = [Entry("lease", f"id-{number}", number, b"x" * 100) for number in range(count)]
    journal = Journal.open(path)
    journal.apply(entries, [])
    journal.close()
    return entries


def test_what_was_applied_is_there_in_the_next_process_and_private(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    entries = filled(path)
    assert path.stat().st_mode & 0o777 == 0o600
    journal = Journal.open(path)
    assert journal.load() == entries
    journal.close()


def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"garbage" * 1000)
    reason, text = refusal(path)
    assert reason is JournalFault.CORRUPT
    assert "is corrupt" in text
    assert path.read_bytes() == b"garbage" * 1000


def test_somebody_elses_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (x)")
    other.close()
    before = path.read_bytes()
    assert refusal(path)[0] is JournalFault.CORRUPT
    assert path.read_bytes() == before


def test_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    filled(path)
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 2")
    newer.close()
    before = path.read_bytes()
    assert refusal(path) == (
        JournalFault.NEWER_VERSION,
        f"journal {path}: has version 2, this server knows up to 1",
    )
    assert path.read_bytes() == before


def test_damage_in_any_page_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    filled(path)
    whole = path.read_bytes()
    for page in range(1, len(whole) // 4096):
        path.write_bytes(whole[: page * 4096] + b"\xff" * 64 + whole[page * 4096 + 64 :])
        assert refusal(path)[0] is JournalFault.CORRUPT, page
    path.write_bytes(whole[: len(whole) // 2])
    assert refusal(path)[0] is JournalFault.CORRUPT


def test_a_database_that_another_process_holds_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler_server.storage.journal._BUSY_TIMEOUT_S", 0.01)
    path = tmp_path / "journal"
    filled(path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    reason, text = refusal(path)
    holder.close()
    assert reason is JournalFault.LOCKED
    assert "is locked by another process" in text


def test_a_folder_in_its_place_or_none_above_it_is_unwritable(tmp_path: Path) -> None:
    assert refusal(tmp_path)[0] is JournalFault.UNWRITABLE
    assert refusal(tmp_path / "no" / "journal")[0] is JournalFault.UNWRITABLE


def test_a_batch_that_finds_no_room_changes_nothing_and_fits_once_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal.open(path)
    journal.apply([Entry("lease", "kept", 1, b"x")], [])
    pages = journal._connection.execute("PRAGMA max_page_count = 4").fetchone()[0]
    big = [Entry("lease", f"big-{number}", number, b"x" * 4000) for number in range(2, 20)]
    with pytest.raises(JournalError) as caught:
        journal.apply(big, [("lease", "kept")])
    assert (pages, caught.value.reason) == (4, JournalFault.DISK_FULL)
    assert [entry.id for entry in journal.load()] == ["kept"]
    journal._connection.execute("PRAGMA max_page_count = 1000")
    journal.apply(big, [("lease", "kept")])
    assert journal.load() == big
    journal.close()


def test_history_is_cleaned_away_and_what_is_still_true_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal.open(path)
    body = b"x" * 1_000
    long_lived = [Entry("lease", f"long-{at}", at + 1, body) for at in range(100)]
    sequence = 100
    for at in range(0, 100, 10):  # spread over rows that also hold short-lived ones
        short = [Entry("lease", f"short-{at}-{n}", sequence + n + 1, body) for n in range(10)]
        journal.apply([*long_lived[at : at + 10], *short], [])
        journal.apply([], [("lease", entry.id) for entry in short])
    for round_ in range(200):
        sequence += 100
        short = [Entry("lease", f"r{round_}-{n}", sequence + n, body) for n in range(50)]
        journal.apply(short, [])
        journal.apply([], [("lease", entry.id) for entry in short])
    rows, size = journal._connection.execute("SELECT count(*), sum(length(body)) FROM batches").fetchone()
    journal.close()
    # 100 entries of 1 kB are true; twice that and 256 kB of history are allowed, and one batch may come on top
    assert size < 2 * 101_000 + 256 * 1_024 + 60_000
    assert rows < 60
    reopened = Journal.open(path)
    assert reopened.load() == long_lived
    reopened.close()


def test_an_entry_deleted_before_a_cleaning_does_not_come_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal.open(path)
    journal.apply([Entry("lease", "kept", 1, b"k"), Entry("lease", "gone", 2, b"g")], [])
    journal.apply([], [("lease", "gone")])
    for at in range(300):  # far more history than is allowed, in rows of their own
        journal.apply([Entry("lease", f"n{at}", at + 3, b"x" * 4_000)], [])
        journal.apply([], [("lease", f"n{at}")])
    journal.close()
    reopened = Journal.open(path)
    assert [entry.id for entry in reopened.load()] == ["kept"]
    reopened.close()


def test_a_changed_byte_in_any_batch_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal.open(path)
    journal.apply([Entry("lease", "a", 1, b"body")], [])
    journal._connection.execute("UPDATE batches SET body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB)")
    journal.close()
    with pytest.raises(JournalError, match="batch 1 is damaged") as raised:
        Journal.open(path)
    assert raised.value.reason is JournalFault.CORRUPT


def test_a_batch_that_cannot_be_bound_leaves_no_open_transaction(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal")
    with pytest.raises(UnicodeEncodeError):
        journal.apply([Entry("lease", "\ud800", 1, b"")], [])
    journal.apply([Entry("lease", "good", 2, b"")], [])
    assert [entry.id for entry in journal.load()] == ["good"]
    journal.close()


FULL_DISK = """
import resource, sys
from pathlib import Path
from scheduler_server.storage import Entry, Journal, JournalError
journal = Journal.open(Path(sys.argv[1]))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
kept = 0
try:
    for number in range(100):
        journal.apply([Entry("lease", str(number), number, b"x" * 3000)], [])
        kept += 1
except JournalError as error:
    print(error.reason.value)
print([entry.seq for entry in journal.load()] == list(range(kept)), 0 < kept < 100)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
journal.apply([Entry("lease", "after", 1000, b"")], [])
print(len(journal.load()) == kept + 1)
"""


def test_files_that_may_not_grow_refuse_and_work_again_when_they_may(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "journal")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() in (["io", "True True", "True"], ["disk_full", "True True", "True"])


FULL_AT_START = """
import resource, sys
from pathlib import Path
from scheduler_server.storage import Journal, JournalError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    Journal.open(Path(sys.argv[1]))
except JournalError as error:
    print(error.reason.value)
"""


def test_a_full_disk_is_found_when_the_journal_is_opened(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_AT_START, str(tmp_path / "journal")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    assert run.stdout.strip() in ("io", "disk_full")
