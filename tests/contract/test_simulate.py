"""`scheduler-server simulate` as its users meet it: tables, JSON, report, and one line for every mistake."""

import gc
import gzip
import json
import os
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from io import BufferedReader, BytesIO, TextIOWrapper
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest

from scheduler_server.cli import simulate as command
from scheduler_server.simulation.pieces import KEPT
from scheduler_server.storage.decision_log import SqliteLog
from tests.decision_rows import START, batch, decided, finished

HEADER = "submit_time_s,task_type,duration_ms"
FAST = ("--seeds", "2", "--workers", "4", "--slots", "2")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("SCHEDULER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "160")
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    chance = Random(1)
    lines = [f"{at * 2},{'ab'[at % 2]},{int(1_000 * chance.lognormvariate(2, 1))}" for at in range(200)]
    path = tmp_path / "steady.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def answered(capsys: pytest.CaptureFixture[str], *asked: str) -> dict[str, Any]:
    assert command.main([*asked, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *asked: str) -> str:
    """The one line about a request that makes no sense."""
    try:
        code = command.main(asked)
    except SystemExit as exit_:
        code = int(str(exit_.code))
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("scheduler-server simulate: ")
    return line.removeprefix("scheduler-server simulate: ")


def test_one_trace_through_every_usual_policy(capsys: pytest.CaptureFixture[str], trace: Path) -> None:
    (found,) = answered(capsys, str(trace), *FAST)["studies"]
    assert (found["workload"], found["arrivals"], found["tasks"], found["seeds"]) == ("steady", "poisson", 200, 2)
    policies = found["policies"]
    usual = ["round_robin", "random", "p2c", "least_loaded", "central_fifo", "default", "default+oracle"]
    assert list(policies) == usual
    for figures in policies.values():
        assert figures["tasks"] == 200
        assert figures["placed"] == 1.0
        assert 0.0 < figures["utilization"] <= 1.0
        lo, hi = figures["intervals"]["mean_wait_s"]
        assert lo <= figures["mean_wait_s"] <= hi
    assert policies["default"]["compared"]["excess_vs_central_fifo"][0] == pytest.approx(
        policies["default"]["excess"] / policies["central_fifo"]["excess"]
    )
    gained = (policies["central_fifo"]["excess"] - policies["default"]["excess"]) / (
        policies["central_fifo"]["excess"] - policies["default+oracle"]["excess"]
    )
    assert policies["default"]["oracle_share"][0] == pytest.approx(gained)
    assert policies["default+oracle"]["within_25"] == 1.0


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(
    capsys: pytest.CaptureFixture[str], trace: Path
) -> None:
    asked = [str(trace), *FAST, "--json", "--mtbf-s", "500", "--background", "0.25", "--arrivals", "poisson,own,bursty"]
    said = []
    for seed in ("1", "1", "2"):
        assert command.main([*asked, "--seed", seed]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert said[0] != said[2]


def test_how_fast_it_simulated_is_told_only_where_asked_for(capsys: pytest.CaptureFixture[str], trace: Path) -> None:
    (without,) = answered(capsys, str(trace), *FAST, "--policy", "p2c")["studies"]
    (with_timing,) = answered(capsys, str(trace), *FAST, "--policy", "p2c", "--timing")["studies"]
    assert with_timing.pop("simulated_per_s")["p2c"] > 0
    assert with_timing == without


def test_the_table_names_every_policy_and_fits_its_terminal(
    capsys: pytest.CaptureFixture[str], trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for width in (80, 160):
        monkeypatch.setenv("COLUMNS", str(width))
        assert command.main([str(trace), *FAST]) == 0
        lines = capsys.readouterr().out.splitlines()
        table = [
            line for line in lines if line.strip().startswith(("round_robin", "central_fifo", "default", "policy"))
        ]
        assert len(table) >= 5
        assert all(len(line) <= width for line in table if "keeps" not in line)
        assert any("of what true durations would gain" in line for line in lines)


def test_the_settings_are_the_servers(capsys: pytest.CaptureFixture[str], trace: Path) -> None:
    asked = (str(trace), *FAST, "--policy", "default,default+fifo")
    (plain,) = answered(capsys, *asked)["studies"]
    (ordered,) = answered(capsys, *asked, "--queue-order", "fifo")["studies"]
    assert plain["policies"]["default"] != plain["policies"]["default+fifo"]
    assert ordered["policies"]["default"] == plain["policies"]["default+fifo"]


def test_generated_tasks_need_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    asked = (
        "--generate",
        "exponential,pareto",
        "--tasks",
        "300",
        "--arrivals",
        "poisson,bursty,own",
        "--policy",
        "p2c",
    )
    found = answered(capsys, *asked, *FAST)["studies"]
    assert [(each["workload"], each["arrivals"]) for each in found] == [
        (shape, arrivals) for shape in ("exponential", "pareto") for arrivals in ("poisson", "bursty")
    ]


def test_a_trace_on_standard_input(
    capsys: pytest.CaptureFixture[str], trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = TextIOWrapper(BufferedReader(BytesIO(gzip.compress(trace.read_bytes()))))
    monkeypatch.setattr(sys, "stdin", stdin)
    (found,) = answered(capsys, "-", *FAST, "--policy", "p2c")["studies"]
    assert (found["workload"], found["tasks"]) == ("stdin", 200)
    assert KEPT > 200


def test_the_decision_log_of_a_server(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Three tasks that succeeded, one of them after it had waited for 50 s, one that failed, one that is not over."""
    log = log_with(
        tmp_path,
        decided(1),
        finished(1, 4_000.0),
        decided(60, about={"enqueued_at": START + 10.0}),
        finished(60, 2_000.0),
        decided(20),
        finished(20, 8_000.0),
        decided(30),
        finished(30, 1_000.0, about={"status": 2}),
        decided(40),
    )
    for where in (log, log.parent):
        (found,) = answered(capsys, "--decisions", str(where), *FAST, "--arrivals", "own")["studies"]
        assert (found["tasks"], found["median_duration_s"], found["mean_duration_s"]) == (3, 4.0, pytest.approx(14 / 3))


def log_with(folder: Path, *entries: Any) -> Path:
    path = folder / "decisions.sqlite"
    log = SqliteLog(path)
    log.prepare()
    log.write(batch(entries))
    log.close()
    return path


# ---------------------------------------------------------------------------------------------------- report


_MANY = "random,p2c,least_loaded,round_robin,central_fifo,default,default+oracle,even,default+fifo,default+immediate"
"""More than have a colour of their own."""


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_report_is_one_file_that_needs_nothing_else(
    capsys: pytest.CaptureFixture[str], trace: Path, tmp_path: Path
) -> None:
    into = tmp_path / "report.html"
    named = tmp_path / "<b>&amp;.csv"
    named.write_text(trace.read_text())
    assert command.main([str(trace), str(named), *FAST, "--policy", _MANY, "--html", str(into)]) == 0
    capsys.readouterr()
    text = into.read_text()
    page = _Page()
    page.feed(text)
    names = [tag for tag, _ in page.tags]
    assert names.count("section") == 2
    assert names.count("svg") == 6
    assert not {"script", "link", "img", "iframe", "object"} & set(names)
    assert "http" not in text
    assert "url(" not in text
    assert "prefers-color-scheme:dark" in text
    assert "<b>&amp;.csv" not in text
    for attributes in (attributes for tag, attributes in page.tags if tag == "a"):
        assert str(attributes["href"]).startswith("#s")
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(drawing)  # noqa: S314 -- our own, and it has to be well-formed by itself
        assert "nan" not in drawing
        assert "inf" not in re.sub(r"<text.*?</text>|<title>.*?</title>", "", drawing)


def test_the_report_of_next_to_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, into = tmp_path / "one.csv", tmp_path / "one.html"
    path.write_text(f"{HEADER}\n0,a,100\n")
    assert command.main([str(path), "--seeds", "1", "--html", str(into)]) == 0
    assert "No task waited." in into.read_text()
    assert "1 task of 1 type" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,b\n1,2\n", "lacks submit_time_s, task_type, duration_ms"),
        (f"{HEADER}\n", "has no rows"),
        ("", "is empty"),
        (f"{HEADER}\n-5,a,10\n", "submit_time_s is -5: must not be negative"),
        (f"{HEADER},status\n1,a,10,killed\n", "has no row of status ok, unknown"),
    ],
)
def test_a_trace_that_cannot_be_used_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, why: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    line = refused(capsys, str(path), *FAST)
    assert line.startswith("bad: ")
    assert why in line


def test_the_others_are_simulated_beside_a_trace_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], trace: Path
) -> None:
    assert command.main([str(trace), "/nowhere.csv", *FAST, "--policy", "p2c", "--json"]) == 2
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [each["workload"] for each in found["studies"]] == ["steady"]
    assert list(found["unusable"]) == ["nowhere"]
    assert len(said.err.splitlines()) == 1


def test_gaps_of_years_are_cut_and_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "gaps.csv"
    lines = [f"{at + 1e8 * (at // 50)},a,{20_000 + at}" for at in range(200)]
    path.write_text("\n".join([HEADER, *lines]))
    asked = [str(path), *FAST, "--arrivals", "own", "--policy", "central_fifo,default"]
    assert command.main(asked) == 0
    assert "3 long gaps without a task were cut, " in capsys.readouterr().out
    (found,) = answered(capsys, *asked)["studies"]
    assert found["gaps_cut"] == 3
    assert found["policies"]["default"]["tasks"] == 200


def test_one_task_has_no_times_of_its_own_to_scale(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text(f"{HEADER}\n5,a,100\n")
    assert "has one task: no times of its own" in refused(capsys, str(path), *FAST, "--arrivals", "own")


def test_rows_that_cannot_be_used_are_counted_and_listed(capsys: pytest.CaptureFixture[str], trace: Path) -> None:
    trace.write_text(trace.read_text() + "900,a,0\n901,,5\n")
    assert command.main([str(trace), *FAST, "--policy", "p2c", "--bad-rows", "1"]) == 0
    out = capsys.readouterr().out
    assert "bad rows: 2" in out
    assert "line 202: duration_ms is 0: must be above 0" in out
    assert "and 1 more (--bad-rows 2 lists all)" in out


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ([], "nothing to simulate"),
        (["--generate", "exponentail"], "unknown 'exponentail'; did you mean exponential?"),
        (["-", "--policy", "defualt"], "nobody knows 'defualt'; did you mean default?"),
        (["-", "--policy", "p2c+oracle"], "p2c is a policy by itself"),
        (["-", "--arrivals", "sometimes"], "unknown 'sometimes'"),
        (["--generate", "pareto", "--arrivals", "own"], "has no times of its own"),
        (["-", "--load", "0"], "--load: must be a number from 0.001 to 10 (got 0)"),
        (["-", "--load", "10.1"], "--load: must be a number from 0.001 to 10 (got 10.1)"),
        (["-", "--workers", "0"], "--workers: must be a whole number from 1 to 100,000 (got 0)"),
        (["-", "--seeds", "1001"], "--seeds: must be a whole number from 1 to 1,000 (got 1001)"),
        (["-", "--speeds", "1,0"], "--speeds: must be a number from 0.001 to 1000 (got 0)"),
        (["-", "--mtbf-s", "nan"], "--mtbf-s: must be a number from 0 to 1e+09 (got nan)"),
        (["-", "--capability", "gpu"], "--capability: 'gpu': must be a number from 0 to 1 (got )"),
        (["-", "--capability", "=1:1"], "--capability: '=1:1': must be NAME=X:Y"),
        (["-", "--capability", "a=1:0.6", "--capability", "b=1:0.5"], "more than 1 together"),
        (["-", "--background", "1", "--background-slots", "1"], "work of others takes every slot"),
        (["-", "--hours", "8-9"], "--hours: must be like 08:00-18:00 (got 8-9)"),
        (["-", "--hours", "24:00-25:00"], "--hours: must be like 08:00-18:00"),
        (["-", "--hours", "08:00-18:00", "--days", "5-1"], "--days: must be 1-7, or one of 1 to 7 (got 5-1)"),
        (["-", "-"], "standard input can be read only once"),
        (["-", "--html", "/nowhere/at/all.html"], "--html: /nowhere/at/all.html: cannot be written"),
        (["-", "--predictor-ema-alpha", "7"], "predictor.ema_alpha: must be at most 1 (got 7"),
        (["-", "--column", "nonsense=x"], "--column: "),
        (["--decisions", "/nowhere"], "there is no file /nowhere"),
        (["--decisions", "clickhouse://h:x"], "decisions of clickhouse"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_line(
    capsys: pytest.CaptureFixture[str], asked: list[str], why: str
) -> None:
    assert why in refused(capsys, *asked)


def test_a_file_that_is_no_decision_log(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "decisions.sqlite"
    path.write_text("nothing of the kind" * 100)
    assert "decisions of" in refused(capsys, "--decisions", str(path))
    path.unlink()
    assert "has no task that succeeded" in refused(capsys, "--decisions", str(log_with(tmp_path, decided(1))))
