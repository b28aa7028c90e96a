"""What every journal promises, asked of each of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler_server.storage import Entry, Journal, JournalStore, MemoryJournal


@pytest.fixture(params=["sqlite", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JournalStore]:
    store: JournalStore = MemoryJournal() if request.param == "memory" else Journal.open(tmp_path / "journal")
    yield store
    store.close()


def test_a_new_journal_is_empty(journal: JournalStore) -> None:
    assert journal.load() == []


def test_entries_come_back_in_the_order_of_their_sequence(journal: JournalStore) -> None:
    journal.apply([Entry("lease", "b", 3, b"x"), Entry("task", "a", 1, b"y")], [])
    journal.apply([Entry("lease", "a", 2, b"z")], [])
    assert [entry.seq for entry in journal.load()] == [1, 2, 3]


def test_any_bytes_and_any_text_come_back_as_they_were(journal: JournalStore) -> None:
    every_byte = bytes(range(256)) * 3
    entries = [
        Entry("lease", "", 1, b""),
        Entry("lease", "a'b\"c\\d\0e\n", 2, every_byte),
        Entry("", "\U0001f680é", 2**62, b"\0"),
    ]
    journal.apply(entries, [])
    assert journal.load() == entries


def test_a_put_replaces_and_a_delete_of_something_unknown_does_nothing(journal: JournalStore) -> None:
    journal.apply([Entry("lease", "a", 1, b"old"), Entry("lease", "b", 2, b"kept")], [])
    journal.apply([Entry("lease", "a", 3, b"new")], [("lease", "never"), ("task", "b")])
    assert journal.load() == [Entry("lease", "b", 2, b"kept"), Entry("lease", "a", 3, b"new")]


def test_the_same_id_of_two_kinds_is_two_entries(journal: JournalStore) -> None:
    journal.apply([Entry("lease", "a", 1, b"1"), Entry("task", "a", 2, b"2")], [])
    journal.apply([], [("lease", "a")])
    assert journal.load() == [Entry("task", "a", 2, b"2")]


@pytest.mark.parametrize("count", [999, 1000, 1001, 2500])
def test_a_batch_around_the_size_of_a_statement_is_kept_whole(journal: JournalStore, count: int) -> None:
    entries = [Entry("lease", str(number), number, b"%d" % number) for number in range(count)]
    journal.apply(entries, [])
    assert journal.load() == entries
    journal.apply([], [("lease", entry.id) for entry in entries[1:]])
    assert journal.load() == entries[:1]


def test_closing_twice_is_closing_once(journal: JournalStore) -> None:
    journal.close()
    journal.close()


_KEYS = st.tuples(st.sampled_from(["lease", "task"]), st.sampled_from("abcd"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sets(_KEYS), st.sets(_KEYS)), max_size=8))
def test_it_is_a_plain_map_ordered_by_sequence(
    journal: JournalStore, batches: list[tuple[set[tuple[str, str]], set[tuple[str, str]]]]
) -> None:
    journal.apply([], [(entry.kind, entry.id) for entry in journal.load()])
    plain: dict[tuple[str, str], Entry] = {}
    sequence = 0
    for puts, deletes in batches:
        entries = []
        for key in sorted(puts):
            sequence += 1
            entries.append(Entry(*key, sequence, b"%d" % sequence))
        for key in deletes - puts:
            plain.pop(key, None)
        plain.update({(entry.kind, entry.id): entry for entry in entries})
        journal.apply(entries, sorted(deletes - puts))
        assert journal.load() == sorted(plain.values(), key=lambda entry: entry.seq)
