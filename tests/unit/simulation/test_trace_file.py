"""Files of traces: plain, gzip, standard input; and everything else that a path may lead to, in one line."""

import gzip
import io
import os
import threading
from pathlib import Path

import pytest

from scheduler_server.simulation.trace_file import LONGEST_LINE_BYTES, TraceFile, UnusableTrace

TEXT = b"a,b\r\n1,2\n\n3,4"
LINES = [(1, b"a,b"), (2, b"1,2"), (3, b""), (4, b"3,4")]


def lines_of(path: Path | str, standard_input: bytes = b"") -> list[tuple[int, bytes | None]]:
    with TraceFile(str(path), io.BufferedReader(io.BytesIO(standard_input))) as file:
        return list(file.lines())


def refusal(path: Path | str) -> str:
    with pytest.raises(UnusableTrace) as refused:
        lines_of(path)
    return str(refused.value)


def test_plain_gzip_and_standard_input_have_the_same_lines(tmp_path: Path) -> None:
    plain, packed, misnamed = tmp_path / "a.csv", tmp_path / "a.csv.gz", tmp_path / "b.csv"
    plain.write_bytes(TEXT)
    packed.write_bytes(gzip.compress(TEXT))
    misnamed.write_bytes(gzip.compress(TEXT))
    assert lines_of(plain) == lines_of(packed) == lines_of(misnamed) == LINES
    assert lines_of("-", TEXT) == lines_of("-", gzip.compress(TEXT)) == LINES


def test_standard_input_is_left_open() -> None:
    stream = io.BufferedReader(io.BytesIO(TEXT))
    with TraceFile("-", stream) as file:
        assert next(file.lines()) == (1, b"a,b")
    assert not stream.closed


def test_a_named_pipe_is_read_as_a_file_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[TEXT])
    writer.start()
    assert lines_of(pipe) == LINES
    writer.join()


def test_the_position_goes_from_nothing_to_the_size(tmp_path: Path) -> None:
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(os.urandom(300_000).hex().encode()))
    with TraceFile(str(packed), io.BytesIO()) as file:
        assert file.position == 0
        assert file.size == packed.stat().st_size
        assert len(list(file.lines())) == 1
        assert file.position == file.size


@pytest.mark.parametrize(("length", "kept"), [(-1, True), (0, False), (1, False), (LONGEST_LINE_BYTES, False)])
def test_a_line_without_end_is_not_held(tmp_path: Path, length: int, kept: bool) -> None:
    path = tmp_path / "a"
    long = b"x" * (LONGEST_LINE_BYTES + length)
    path.write_bytes(b"a\n" + long + b"\nb\n")
    assert lines_of(path) == [(1, b"a"), (2, long if kept else None), (3, b"b")]


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nothing") == "no such file or directory"
    assert refusal(tmp_path) == "is a directory"
    assert refusal("a\0b") == "embedded null byte"
    if os.geteuid():
        locked = tmp_path / "locked"
        locked.touch(mode=0o000)
        assert refusal(locked) == "permission denied"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv.gz", b"a,b\n", "is named .gz, but is not gzip"),
        ("a.zip", b"PK\x03\x04rest", "is a zip archive: only plain text and gzip are read"),
        ("a.bz2", b"BZh9", "is bzip2: only plain text and gzip are read"),
        ("a.xz", b"\xfd7zXZ\x00", "is xz: only plain text and gzip are read"),
        ("a.zst", b"\x28\xb5\x2f\xfd\x00", "is zstd: only plain text and gzip are read"),
        ("a.parquet", b"PAR1\x15", "is Parquet: only plain text and gzip are read"),
        ("a.csv", "a,b".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("a.gz", b"\x1f\x8bnonsense", "cannot be read after line 0: unknown compression method"),
    ],
)
def test_what_is_no_text_says_what_it_is(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name) == said


def test_gzip_data_that_breaks_off_says_after_which_line(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"%d,%s\n" % (number, os.urandom(20).hex().encode()) for number in range(5_000)))
    (tmp_path / "cut").write_bytes(whole[:-20_000])
    assert refusal(tmp_path / "cut").startswith("its gzip data ends early, after line ")
    middle = len(whole) // 2
    (tmp_path / "flipped").write_bytes(whole[:middle] + bytes([whole[middle] ^ 0xFF] * 64) + whole[middle + 64 :])
    said = refusal(tmp_path / "flipped")
    assert said.startswith(("its gzip data is damaged after line ", "cannot be read after line "))


def test_a_file_of_nothing_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert lines_of(tmp_path / "a") == []
    assert lines_of("/dev/null") == []
