"""Logs that never wait, and lines that nobody can forge."""

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from scheduler_server.telemetry import JsonLines, Logs, TextLines, configure, every

Start = Callable[..., tuple[Logs, io.StringIO]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Configure the root logger, and give back what it was before."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    opened: list[Logs] = []

    def start(
        format: Literal["text", "json"] = "json",  # noqa: A002 -- as configure names it
        level: str = "info",
        stream: io.StringIO | None = None,
        max_queued: int = 1000,
    ) -> tuple[Logs, io.StringIO]:
        stream = stream if stream is not None else io.StringIO()
        logs = configure(level, format, stream, max_queued=max_queued)
        opened.append(logs)
        return logs, stream

    yield start
    for logs in opened:
        logs.close()
    root.handlers[:] = before
    root.setLevel(level)


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("a.b", logging.WARNING, "file", 1, message, arguments, None)
    made.created = 1795305600.25
    vars(made).update(extra)
    return made


def as_json(made: logging.LogRecord) -> dict[str, object]:
    line = JsonLines().format(made)
    assert line.isascii()
    assert line.isprintable()
    parsed = json.loads(line, parse_constant=pytest.fail)
    assert isinstance(parsed, dict)
    return parsed


def test_a_json_line_has_time_level_logger_message_and_extra_fields() -> None:
    assert as_json(record("hello %s", "world", worker="w1", count=3)) == {
        "time": "2026-11-22T00:00:00.250Z",
        "level": "warning",
        "logger": "a.b",
        "message": "hello world",
        "worker": "w1",
        "count": 3,
    }


def test_a_text_line_has_the_same() -> None:
    line = TextLines().format(record("hello", worker="w 1", note='a="b"', count=3, empty=""))
    expected = r'2026-11-22T00:00:00.250Z WARNING a.b: hello worker="w 1" note="a=\"b\"" count=3 empty=""'
    assert line == expected


@pytest.mark.parametrize("bad", ["\n", "\r", "\t", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u202e", "\ud800"])
def test_no_control_character_reaches_a_line_from_message_name_or_extra(bad: str) -> None:
    made = record("a%sb", bad, field=f"c{bad}d")
    made.name = f"x{bad}y"
    text = TextLines().format(made)
    assert text.isprintable()
    assert "\\u" in text or "\\n" in text or "\\r" in text or "\\t" in text
    assert as_json(made)["field"] == f"c{bad}d"


def test_a_traceback_is_one_field_in_json_and_indented_in_text() -> None:
    try:
        raise ValueError("first\n2026-11-22T00:00:00.250Z ERROR forged: line")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (ValueError, error, error.__traceback__)
    trace = as_json(made)["exception"]
    assert isinstance(trace, str)
    assert "ValueError: first" in trace
    first, *rest = TextLines().format(made).split("\n")
    assert first.endswith("a.b: failed")
    assert rest
    assert all(line.startswith("    | ") for line in rest)


def test_values_that_json_does_not_know_become_text() -> None:
    circle: list[object] = []
    circle.append(circle)
    made = record("x", nan=float("nan"), inner={"inf": float("inf")}, thing={1, 2}, circle=circle, fine=[1, "a"])
    parsed = as_json(made)
    assert parsed["nan"] == "nan"
    assert parsed["fine"] == [1, "a"]
    assert all(isinstance(parsed[name], str) for name in ("inner", "thing", "circle"))


def test_an_extra_field_cannot_replace_one_of_ours() -> None:
    parsed = as_json(record("x", time="never", level="none"))
    assert (parsed["time_"], parsed["level_"], parsed["level"]) == ("never", "none", "warning")


@pytest.mark.parametrize(("length", "more"), [(16_384, ""), (16_385, "... (1 more characters)")])
def test_a_message_of_any_length_gives_a_bounded_line(length: int, more: str) -> None:
    assert as_json(record("x" * length))["message"] == "x" * 16_384 + more


def test_arguments_that_do_not_fit_still_give_a_line(start: Start) -> None:
    logs, stream = start()
    logging.getLogger("t").warning("%d workers", "some")
    assert logs.close()
    assert json.loads(stream.getvalue())["message"] == "%d workers (TypeError in its arguments)"


def test_close_writes_everything_that_was_queued_in_order(start: Start) -> None:
    logs, stream = start()
    for number in range(500):
        logging.getLogger("t").info("%d", number)
    logging.getLogger("t").debug("below the level")
    assert logs.close()
    assert logs.close()
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
        str(number) for number in range(500)
    ]


def test_an_argument_is_merged_when_logged_not_when_written(start: Start) -> None:
    logs, stream = start()
    value = ["before"]
    logging.getLogger("t").info("%s", value)
    value[0] = "after"
    assert logs.close()
    assert "before" in stream.getvalue()


class Stuck(io.StringIO):
    """Does not take its first line until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.gate = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.gate.wait(10)
        return super().write(text)


def test_a_stream_that_hangs_costs_records_which_are_counted_and_reported(start: Start) -> None:
    stream = Stuck()
    logs, _ = start(stream=stream, max_queued=10)
    log = logging.getLogger("t")
    log.info("first")
    assert stream.reached.wait(10)
    for number in range(13):
        log.info("%d", number)
    assert logs.dropped == 3
    stream.gate.set()
    assert logs.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in lines[:11]] == ["first", *(str(number) for number in range(10))]
    assert (lines[11]["level"], lines[11]["dropped"], lines[11]["dropped_in_all"]) == ("warning", 3, 3)
    assert len(lines) == 12


def test_close_keeps_its_deadline_when_the_stream_hangs(start: Start) -> None:
    stream = Stuck()
    logs, _ = start(stream=stream, max_queued=1)
    for _ in range(3):
        logging.getLogger("t").info("x")
    assert not logs.close(timeout_s=0.01)
    stream.gate.set()


def test_a_stream_that_was_closed_is_counted_and_hurts_nobody(start: Start) -> None:
    stream = io.StringIO()
    logs, _ = start(stream=stream)
    stream.close()
    logging.getLogger("t").error("x")
    assert logs.close()
    assert logs.unwritten >= 1


def test_an_unknown_level_is_refused(start: Start) -> None:
    with pytest.raises(ValueError, match="unknown log level 'loud'"):
        start(level="loud")


@pytest.mark.parametrize(("passed_s", "answer"), [(9.999, None), (10.0, 2), (10.001, 2)])
def test_a_repeated_warning_is_due_again_after_its_period(passed_s: float, answer: int | None) -> None:
    now = 0.0
    limiter = every(10.0, clock=lambda: now)
    assert [limiter.due(), limiter.due(), limiter.due(), limiter.due("other")] == [0, None, None, 0]
    now = passed_s
    assert limiter.due() == answer


def test_the_limiter_forgets_old_keys_rather_than_growing() -> None:
    limiter = every(10.0, clock=lambda: 0.0)
    assert all(limiter.due(str(number)) == 0 for number in range(1025))
    assert limiter.due("0") == 0
    assert limiter.due("1024") is None
