"""What every snapshot store promises, held against a folder and against real Redis servers, 6.2 and newer."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler_server.storage import SnapshotError, SnapshotStore
from tests.integration.snapshot_stores import FilePlace, Place, RedisPlace, harm, write
from tests.redis_server import KINDS, executable, redis_server

OLD, NEW = (
    [b"old"] * 3,
    [b"", b"one", bytes(range(256)), b"3 x\n{}\n", b"\n", b"{", random.Random(1).randbytes(600_000)],
)
FLIPS = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("r")


@pytest.fixture(scope="module", params=["file", *(f"redis {kind}" for kind in KINDS)])
def anywhere(request: pytest.FixtureRequest, folder: Path) -> Iterator[Place]:
    if request.param == "file":
        (folder / "f").mkdir()
        yield FilePlace(folder / "f")
        return
    kind = request.param.removeprefix("redis ")
    # It would save if asked to: otherwise each snapshot warns that it does not.
    with redis_server(folder / kind, "--save", "900", "1000000000", program=executable(kind)) as server:
        yield RedisPlace(server)


@pytest.fixture
def place(anywhere: Place) -> Place:
    anywhere.put({})
    return anywhere


def two_editions(place: Place) -> SnapshotStore:
    """OLD behind NEW, as a server has them that has read them."""
    store = place.store()
    store.read()
    write(store, *OLD, at=1.0)
    write(store, *NEW, at=2.0)
    return store


def test_nothing_there_is_no_records_and_no_warning(place: Place) -> None:
    content = place.store().read()
    assert (content.records, content.created_at, content.version, content.warnings) == ([], None, None, ())


def test_what_was_written_is_read_by_the_next_server_with_its_time_and_size(place: Place) -> None:
    edition = write(place.store(), *NEW, at=1234.5)
    content = place.store().read()
    assert (content.records, content.created_at, content.version) == (NEW, 1234.5, 3)
    assert content.warnings == ()
    assert content.size_bytes == edition.size_bytes > 600_000
    assert (edition.records, edition.notes, edition.rival) == (len(NEW), (), "")


def test_only_the_newest_and_the_one_before_stay(place: Place) -> None:
    store = two_editions(place)
    before = len(place.keys())
    for number in range(3):
        write(store, *OLD, at=3.0 + number)
        write(store, *NEW, at=3.5 + number)
    assert len(place.keys()) == before
    assert place.store().read().records == NEW


def test_an_edition_that_was_begun_and_left_changes_nothing(place: Place) -> None:
    store = two_editions(place)
    session = store.begin(created_at=9.0)
    session.append([bytes(300_000)])
    assert place.store().read().records == NEW  # and so it stays if the writer dies here
    session.abort()
    session.abort()
    assert place.store().read().records == NEW


def test_a_snapshot_cut_anywhere_is_told_and_the_one_before_used(place: Place) -> None:
    two_editions(place)
    for seed in range(60):
        with harm(place, seed) as chance:
            name = chance.choice(place.newest())
            whole = place.copy()
            data = whole[name]
            place.put({**whole, name: data[: chance.choice([0, 1, len(data) - 1, chance.randrange(len(data))])]})
            store = place.store()
            content = store.read()
            assert content.records == OLD, (seed, name)
            assert "is damaged" in content.warnings[0]
            assert "set aside" in content.warnings[0]
            assert "the previous edition is used" in content.warnings[1]
            again = place.store()  # it was set aside: it is told once
            assert again.read().records == OLD
            write(again, b"next", at=5.0)
            assert place.store().read().records == [b"next"]
    assert place.store().read().records == NEW


def test_any_flipped_bit_is_told_and_the_one_before_used(place: Place) -> None:
    two_editions(place)
    for seed in range(FLIPS):
        with harm(place, seed) as chance:
            name = chance.choice(place.newest())
            whole = place.copy()
            data = bytearray(whole[name])
            # Half of them near the ends, where header and trailer are.
            position = chance.choice([chance.randrange(len(data)), chance.randrange(100), -chance.randrange(1, 100)])
            data[position] ^= 1 << chance.randrange(8)
            place.put({**whole, name: bytes(data)})
            content = place.store().read()
            assert content.records == OLD, (seed, name, position)
            assert content.warnings, seed


def test_a_missing_piece_is_told_and_the_one_before_used(place: Place) -> None:
    two_editions(place)
    pieces = place.newest()
    for name in pieces:
        with harm(place, 0):
            place.put({key: data for key, data in place.copy().items() if key != name})
            content = place.store().read()
            assert content.records == OLD, name
            assert content.warnings, name


def test_damage_of_both_starts_empty_and_says_so(place: Place) -> None:
    two_editions(place)
    place.put({name: data[:-1] for name, data in place.copy().items()})
    content = place.store().read()
    assert (content.records, content.created_at) == ([], None)
    assert "starting without it" in content.warnings[-1]
    write(place.store(), *NEW)
    assert place.store().read().records == NEW


def test_a_newer_version_is_left_alone_when_read_and_kept_when_written_over(place: Place) -> None:
    newer = place.store(version=4)
    newer.read()
    write(newer, b"of version 4, before")
    write(newer, b"of version 4")
    held = place.copy()
    older = place.store(version=3)
    content = older.read()
    assert content.records == []
    assert "has version 4, this server knows up to 3; left as it is" in content.warnings[0]
    assert place.copy() == held
    for at in (5.0, 6.0, 7.0):  # one more than there are editions
        write(older, b"of version 3", at=at)
    assert place.store(version=3).read().records == [b"of version 3"]
    beside, before = sorted(name for name in place.copy() if ".version-4" in name)
    for name, records in ((beside, [b"of version 4"]), (before, [b"of version 4, before"])):
        with harm(place, 0):
            place.put({name.partition(".version-4")[0]: place.copy()[name], **only_chunks(place)})
            assert place.store(version=4).read().records == records


def only_chunks(place: Place) -> dict[str, bytes]:
    return {name: data for name, data in place.copy().items() if ":snapshot:" in name}


def test_an_older_version_is_read(place: Place) -> None:
    write(place.store(version=3), *OLD)
    content = place.store(version=4).read()
    assert (content.version, content.records) == (3, OLD)


def test_what_a_server_never_read_is_kept_beside_however_often_it_writes(place: Place) -> None:
    two_editions(place)
    blind = place.store(server="two")
    notes = [write(blind, b"young", at=5.0 + number).notes for number in range(4)]
    assert len(notes[0]) == 1
    assert ".kept" in notes[0][0]
    assert notes[1:] == [(), (), ()]
    assert place.store().read().records == [b"young"]
    (kept,) = (name for name in place.copy() if name.endswith(".kept"))
    place.put({kept.removesuffix(".kept"): place.copy()[kept], **only_chunks(place)})
    assert place.store().read().records == NEW


def test_of_two_kept_editions_the_one_with_more_records_stays(place: Place) -> None:
    write(place.store(), *NEW)
    write(place.store(server="two"), b"young")  # NEW is kept
    write(place.store(server="three"), b"younger")  # of no use instead of NEW
    (kept,) = (name for name in place.copy() if name.endswith(".kept"))
    place.put({kept.removesuffix(".kept"): place.copy()[kept], **only_chunks(place)})
    assert place.store().read().records == NEW


def test_what_was_read_but_not_taken_over_can_be_kept(place: Place) -> None:
    two_editions(place)
    store = place.store(server="two")
    assert store.read().records == NEW
    store.keep()
    assert ".kept" in write(store, b"young").notes[0]


def test_a_record_that_nobody_could_read_back_is_refused(place: Place) -> None:
    session = place.store().begin(created_at=1.0)
    with pytest.raises((SnapshotError, ValueError), match="longer than"):
        session.append([bytes((16 << 20) + 1)])
    session.abort()
    write(place.store(), bytes(16 << 20))
    assert len(place.store().read().records[0]) == 16 << 20
