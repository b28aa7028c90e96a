"""Written whole or not at all; damage is found at any byte; nothing good is lost."""

import json
from pathlib import Path

import pytest

from scheduler_server.storage import SnapshotError, SnapshotFile

OLD, NEW = [b"old"], [b"", b"one", bytes(range(256)), b"3 x\n{}\n", b"\n"]


@pytest.fixture
def file(tmp_path: Path) -> SnapshotFile:
    return SnapshotFile(tmp_path / "state", format="test", version=3)


def names(file: SnapshotFile) -> list[str]:
    return sorted(found.name for found in file.path.parent.iterdir())


def test_nothing_there_is_no_records_and_no_warning(file: SnapshotFile) -> None:
    content = file.read()
    assert (content.records, content.created_at, content.version, content.warnings) == ([], None, None, ())


def test_records_of_any_bytes_come_back_with_their_time_and_version(file: SnapshotFile) -> None:
    file.write(NEW, created_at=1234.5)
    content = file.read()
    assert (content.records, content.created_at, content.version) == (NEW, 1234.5, 3)
    assert content.warnings == ()
    assert names(file) == ["state"]
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_a_snapshot_of_no_records_is_a_snapshot(file: SnapshotFile) -> None:
    file.write([], created_at=1.0)
    assert file.read().created_at == 1.0


def test_the_previous_edition_is_kept_and_only_that(file: SnapshotFile) -> None:
    for number in range(3):
        file.write([b"%d" % number], created_at=float(number))
    assert names(file) == ["state", "state.1"]
    assert file.read().records == [b"2"]
    file.path.unlink()  # as a crash between the two renames leaves it
    content = file.read()
    assert content.records == [b"1"]
    assert content.warnings == (f"snapshot {file.previous}: the previous edition is used",)


def test_an_older_version_is_read_and_named(file: SnapshotFile) -> None:
    file.write(OLD, created_at=1.0)
    newer = SnapshotFile(file.path, format="test", version=4)
    assert (newer.read().version, newer.read().records) == (3, OLD)


def damaged(file: SnapshotFile, data: bytes) -> tuple[list[bytes], tuple[str, ...]]:
    """What is read when `data` stands in place of the newest edition, and OLD behind it."""
    for found in file.path.parent.iterdir():
        found.unlink()
    file.write(OLD, created_at=1.0)
    file.path.rename(file.previous)
    file.path.write_bytes(data)
    content = file.read()
    return content.records, content.warnings


def test_a_snapshot_cut_at_any_byte_is_set_aside_and_the_previous_one_used(file: SnapshotFile) -> None:
    file.write(NEW, created_at=2.0)
    whole = file.path.read_bytes()
    for length in range(len(whole)):
        records, warnings = damaged(file, whole[:length])
        assert records == OLD, length
        assert len(warnings) == 2, length
        assert "is damaged" in warnings[0], length
        assert names(file) == ["state.1", "state.damaged-1"], length
        assert file.path.with_name("state.damaged-1").read_bytes() == whole[:length]
    assert damaged(file, whole) == (NEW, ())


def test_any_flipped_bit_is_noticed_and_the_previous_one_used(file: SnapshotFile) -> None:
    file.write(NEW, created_at=2.0)
    whole = file.path.read_bytes()
    for position in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        records, warnings = damaged(file, bytes(flipped))
        assert records == OLD, position
        assert warnings, position


def test_trailing_bytes_and_foreign_files_are_damage(file: SnapshotFile) -> None:
    file.write(NEW, created_at=2.0)
    whole = file.path.read_bytes()
    deep = b"[" * 3000 + b"\n"
    odd_headers = [b'{"format": "test", "version": true, "created_at": 1}\n', b"[]\n", b"5\n", deep]
    for data in [whole + b"x", whole + b"\n", whole * 2, b"\n", b"\0" * 10_000, *odd_headers]:
        records, warnings = damaged(file, data)
        assert records == OLD
        assert "is damaged" in warnings[0]
    other = SnapshotFile(file.path, format="other", version=3)
    other.write(NEW, created_at=1.0)
    assert "format 'other' instead of 'test'" in file.read().warnings[0]


def test_damage_without_a_previous_edition_starts_empty_and_keeps_a_bounded_number(
    file: SnapshotFile,
) -> None:
    for number in range(1, 6):
        file.path.write_bytes(b"garbage %d" % number)
        content = file.read()
        assert content.records == []
        assert content.warnings[-1] == f"snapshot {file.path}: starting without it"
    assert names(file) == ["state.damaged-3", "state.damaged-4", "state.damaged-5"]


@pytest.mark.parametrize("extra", [{}, {"compressed": True}])
def test_a_newer_version_is_left_alone_when_read_and_kept_when_written_over(
    file: SnapshotFile, extra: dict[str, object]
) -> None:
    header = {"format": "test", "version": 4, "created_at": 5.0, **extra}
    data = json.dumps(header).encode() + b"\nwhatever version 4 writes"
    file.path.write_bytes(data)
    content = file.read()
    assert content.records == []
    assert content.warnings[0] == (f"snapshot {file.path}: has version 4, this server knows up to 3; left as it is")
    assert file.path.read_bytes() == data
    file.write(NEW, created_at=6.0)
    assert names(file) == ["state", "state.version-4"]
    assert file.path.with_name("state.version-4").read_bytes() == data


def test_a_write_that_fails_leaves_what_was_there(file: SnapshotFile) -> None:
    file.write(OLD, created_at=1.0)

    def failing() -> list[bytes]:
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        file.write((record for _ in range(1) for record in failing()), created_at=2.0)
    assert file.read().records == OLD
    missing = SnapshotFile(file.path.parent / "missing" / "state", format="test", version=3)
    with pytest.raises(SnapshotError, match=r"cannot be written: No such file or directory$"):
        missing.write(OLD, created_at=1.0)


def test_an_unreadable_file_is_a_warning(file: SnapshotFile) -> None:
    file.path.mkdir()
    assert file.read().warnings[0] == f"snapshot {file.path}: cannot be read: Is a directory; left as it is"
