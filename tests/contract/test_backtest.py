"""`scheduler-server backtest` as a person or a script meets it."""

import gzip
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scheduler_server.__main__ import main as program
from scheduler_server.cli import backtest as command
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.predictor.strategies import PREDICTORS

PROGRAM = "scheduler-server backtest: "
HEADER = "submit_time_s,task_type,duration_ms,status"
ROWS = ["0,resize,5000,ok", "10,resize,4000,ok", "20,resize,4000,failed", "30,render,9000,", "40,resize,4600,unknown"]
FIGURES = {
    "rows", "hit25", "hit2x", "median_rel_error", "mean_rel_error", "p50_coverage", "p90_coverage", "pinball_p50",
    "pinball_p90", "us_predict", "us_update", "failures",
}  # fmt: skip


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text("\n".join([HEADER, *ROWS]))
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    try:
        code = program(["backtest", *map(str, words)])
    except SystemExit as left:
        code = int(left.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def figures(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    code, out, err = run(capsys, *words, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def without_times(described: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in described.items() if key not in ("file", "predictors")}
    return kept | {
        name: {key: value for key, value in each.items() if not key.startswith("us_")}
        for name, each in described["predictors"].items()
    }


# ------------------------------------------------------------------------------------------------- what it says


def test_the_object_has_the_keys_that_are_promised(capsys: pytest.CaptureFixture[str], trace: Path) -> None:
    found = figures(capsys, trace)
    assert set(found) == {"traces", "unusable", "default"}
    assert found["default"] == PredictorSettings().strategy
    described = found["traces"]["trace"]
    assert set(described) == {
        "file", "rows", "types", "first_submit_s", "last_submit_s", "left_out", "hindsight_hit25", "predictors",
        "by_type", "bad_rows", "bad_rows_listed",
    }  # fmt: skip
    assert list(described["predictors"]) == list(PREDICTORS)
    for each in described["predictors"].values():
        assert set(each) == FIGURES
    assert (described["rows"], described["types"], described["left_out"]) == (4, 2, {"failed": 1})
    assert set(described["by_type"][0]) == {"task_type", "rows", "hit25", "hindsight_hit25"}


def test_the_figures_of_the_moving_average_are_those_by_hand(capsys: pytest.CaptureFixture[str], trace: Path) -> None:
    # 5000 for 5000; 5000 for 4000; 5000 for 9000 (another type); 0.3*4000 + 0.7*5000 = 4700 for 4600.
    found = figures(capsys, trace, "--predictor", "ema")["traces"]["trace"]["predictors"]["ema"]
    assert (found["rows"], found["hit25"], found["hit2x"], found["failures"]) == (4, 75.0, 100.0, 0)
    assert found["mean_rel_error"] == pytest.approx((0 + 0.25 + 4 / 9 + 1 / 46) / 4, rel=1e-3)
    assert found["median_rel_error"] == pytest.approx((0.25 + 1 / 46) / 2, rel=1e-2)


def test_the_table_is_plain_text_of_eighty_columns_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    code, out, err = run(capsys, trace)
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert max(len(line) for line in out.splitlines()) <= 80
    for word in (*PREDICTORS, "hindsight", "resize", "left out by status: 1 failed", "trace", "4 tasks of 2 types"):
        assert word in out
    (line,) = [each for each in out.splitlines() if each.split()[:1] == ["ema"]]
    assert line.split()[1:3] == ["75.0", "100.0"]


@pytest.mark.parametrize("width", [24, 50, 79, 80, 200])
def test_the_table_fits_whatever_width_there_is(
    capsys: pytest.CaptureFixture[str], trace: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    _, out, _ = run(capsys, trace, "--by-type", 0, "--predictor", "ema")
    table = out.splitlines()[1:8]
    assert max(len(line) for line in table) <= width
    assert any(line.split()[:2] == ["ema", "75.0"] for line in table)


def test_several_traces_are_compared_with_the_moving_average(
    capsys: pytest.CaptureFixture[str], trace: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text(f"{HEADER}\n0,a,1000,ok\n9,a,1000,ok\n")
    _, out, _ = run(capsys, trace, other)
    together = out[out.index(" x ema") :]
    (line,) = [each for each in together.splitlines() if each.split()[:1] == ["ema"]]
    assert line.split()[1:] == ["75.0", "50.0", "1.000"]
    _, out, _ = run(capsys, trace, other, "--predictor", "median")
    assert " x ema" not in out


def test_only_the_predictors_that_were_asked_for_are_replayed(capsys: pytest.CaptureFixture[str], trace: Path) -> None:
    assert list(figures(capsys, trace, "--predictor", "ema")["traces"]["trace"]["predictors"]) == ["ema"]
    both = figures(capsys, trace, "--predictor", "last_two,ema", "--predictor", "ema")
    assert list(both["traces"]["trace"]["predictors"]) == ["last_two", "ema"]


def test_settings_are_those_of_the_server(
    capsys: pytest.CaptureFixture[str], trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def error(*words: object) -> float:
        found = figures(capsys, trace, "--predictor", "ema", *words)
        return float(found["traces"]["trace"]["predictors"]["ema"]["mean_rel_error"])

    usual = error()
    by_flag = error("--predictor-default-ms", "9000")
    assert by_flag != usual
    file = tmp_path / "server.toml"
    file.write_text('[predictor]\ndefault_ms = 9000\n[log]\nlevel = "debug"\n')
    assert error("--config", file) == by_flag
    monkeypatch.setenv("SCHEDULER_PREDICTOR_DEFAULT_MS", "9000")
    assert error() == by_flag


def test_types_and_bad_rows_are_told_as_many_as_was_asked_for(capsys: pytest.CaptureFixture[str], trace: Path) -> None:
    with trace.open("a") as file:
        file.write("\n50,a,0,ok\n60,b,nan,ok\n70,,1,ok\n")
    code, out, _ = run(capsys, trace, "--bad-rows", "2", "--by-type", "1")
    assert code == 0
    assert "bad rows: 3\n" in out
    assert "  line 7: duration_ms is 0: must be above 0\n" in out
    assert "  line 8: duration_ms 'nan' is not a finite number\n" in out
    assert "line 9" not in out
    assert "and 1 more (--bad-rows 3 lists all)" in out
    assert "resize" in out
    assert "render" not in out
    described = figures(capsys, trace, "--bad-rows", "1", "--by-type", "0")["traces"]["trace"]
    assert (described["bad_rows"], described["by_type"]) == (3, [])
    assert described["bad_rows_listed"] == [{"line": 7, "reason": "duration_ms is 0: must be above 0"}]


def test_statuses_that_teach_and_count_are_chosen(capsys: pytest.CaptureFixture[str], trace: Path) -> None:
    described = figures(capsys, trace, "--statuses", "OK,failed")["traces"]["trace"]
    assert (described["rows"], described["left_out"]) == (3, {"unknown": 2})


# ------------------------------------------------------------------------------------------------ kinds of files


def test_plain_gzip_json_lines_and_standard_input_give_the_same_figures(
    capsys: pytest.CaptureFixture[str], trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = trace.read_bytes()
    packed, lines = tmp_path / "a.csv.gz", tmp_path / "b.ndjson.gz"
    packed.write_bytes(gzip.compress(text))
    objects = [dict(zip(HEADER.split(","), row.split(","), strict=True)) for row in ROWS]
    lines.write_bytes(gzip.compress("\n".join(json.dumps(each) for each in objects).encode()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(text))))
    found = figures(capsys, trace, packed, lines, "-")["traces"]
    assert list(found) == ["trace", "a", "b", "stdin"]
    first, *others = [without_times(each) for each in found.values()]
    assert others == [first] * 3


def test_columns_are_mapped_and_further_ones_made_features(
    capsys: pytest.CaptureFixture[str], trace: Path, tmp_path: Path
) -> None:
    mapped = tmp_path / "mapped.csv"
    mapped.write_text("\n".join(["when,job,took,status", *ROWS]))
    words = ["--column", "submit_time_s=when", "--column", "task_type=job", "--column", "duration_ms=took"]
    found = figures(capsys, mapped, *words, "--feature", "job")["traces"]["mapped"]
    assert found["rows"] == 4
    assert without_times(figures(capsys, mapped, *words)["traces"]["mapped"]) == without_times(
        figures(capsys, trace)["traces"]["trace"]
    )


def test_two_files_of_one_name_keep_their_paths(
    capsys: pytest.CaptureFixture[str], trace: Path, tmp_path: Path
) -> None:
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / "trace.csv"
    other.write_bytes(trace.read_bytes())
    assert list(figures(capsys, trace, other)["traces"]) == [str(trace), str(other)]


# ---------------------------------------------------------------------------------------------- what cannot work


def test_an_unusable_file_is_one_line_and_the_others_are_replayed(
    capsys: pytest.CaptureFixture[str], trace: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "no\nfile"
    code, out, err = run(capsys, missing, trace, tmp_path)
    assert code == 2
    assert err == (
        f"{PROGRAM}{tmp_path}/no\\u000afile: no such file or directory\n{PROGRAM}{tmp_path}: is a directory\n"
    )
    assert "4 tasks of 2 types" in out
    code, out, err = run(capsys, tmp_path, trace, "--json")
    assert code == 2
    assert json.loads(out)["unusable"] == {str(tmp_path): "is a directory"}


def test_a_file_without_any_status_that_counts_says_which_it_has(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{HEADER}\n1,a,5,COMPLETED\n2,a,5,COMPLETED\n3,a,5,failed\n")
    code, out, err = run(capsys, path)
    assert (code, out) == (2, "")
    assert (
        err == f"{PROGRAM}{path}: has no row of status ok, unknown; it has 2 completed, 1 failed (--statuses chooses)\n"
    )
    assert run(capsys, path, "--statuses", "COMPLETED")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: FILE"),
        (["x", "--predictor", "last_tow"], "--predictor: unknown 'last_tow'; did you mean last_two?"),
        (["x", "--column", "task_typ=a"], "--column: unknown field 'task_typ'; did you mean task_type?"),
        (["x", "--feature", "label_a"], "--column: 'label_a' cannot be a feature"),
        (["x", "--by-type=-1"], "argument --by-type: must be a whole number from 0 (got -1)"),
        (["x", "--bad-rows", "many"], "argument --bad-rows: must be a whole number from 0 (got many)"),
        (["x", "--predictor-ema-alpha", "2"], "predictor.ema_alpha: must be at most 1 (got 2, from flag"),
        (["x", "--config", "/nothing"], "config: cannot read /nothing: No such file or directory"),
        (["x", "--jsno"], "unrecognized arguments: --jsno"),
        (["-", "x", "--plot", "a.jpg"], "--plot: a.jpg: must end in .html, .svg, .png, .pdf"),
        (["x", "--plot", "/nothing/a.svg"], "--plot: /nothing/a.svg: cannot be written"),
    ],
)
def test_a_request_without_sense_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith(PROGRAM + said), err
    assert err.count("\n") == 1


def test_help_names_every_option_and_field(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for word in ("--json", "--plot", "--column", "--predictor-default-ms", "start_time_s", "label_"):
        assert word in out


# ------------------------------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize(
    ("ending", "begins"), [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF"), (".html", b"<!doctype html>")]
)
def test_the_picture_is_one_file_that_needs_no_other(
    capsys: pytest.CaptureFixture[str], trace: Path, tmp_path: Path, ending: str, begins: bytes
) -> None:
    path = tmp_path / f"picture{ending}"
    code, _, err = run(capsys, trace, "--plot", path)
    assert (code, err) == (0, "")
    drawn = path.read_bytes()
    assert drawn.startswith(begins)
    if ending in (".svg", ".html"):
        assert b'href="http' not in drawn
        assert b"<script" not in drawn
    assert not list(tmp_path.glob("picture*.*.*"))


def test_without_matplotlib_the_picture_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "scheduler_server.cli.backtest_plot", raising=False)
    monkeypatch.delattr(sys.modules["scheduler_server.cli"], "backtest_plot", raising=False)
    code, out, err = run(capsys, trace, "--plot", "a.svg")
    assert (code, out) == (2, "")
    assert err.startswith(f"{PROGRAM}--plot: needs matplotlib")
    assert err.endswith('pip install "scheduler-server[plot]"\n')
    assert run(capsys, trace)[0] == 0


# ------------------------------------------------------------------------------------------------------ progress


def test_progress_is_drawn_on_a_terminal_and_nowhere_else(trace: Path) -> None:
    line = [sys.executable, "-m", "scheduler_server", "backtest", str(trace)]
    environment = {**os.environ, "TERM": "xterm"}
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        environment.pop(name, None)
    piped = subprocess.run(line, capture_output=True, env=environment, timeout=60, check=False)
    assert (piped.returncode, piped.stderr) == (0, b"")
    ours, theirs = pty.openpty()
    shown = subprocess.run(line, stdout=subprocess.PIPE, stderr=theirs, env=environment, timeout=60, check=False)
    os.close(theirs)
    drawn = os.read(ours, 65_536)
    os.close(ours)
    assert shown.returncode == 0
    assert b"trace" in drawn
    assert b"\x1b" in drawn
    assert b"\x1b" not in shown.stdout


def test_a_reader_that_has_gone_is_no_traceback(trace: Path) -> None:
    line = f"{sys.executable} -m scheduler_server backtest {trace} {trace} --by-type 100 | true"
    found = subprocess.run(["bash", "-c", line], capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in found.stderr


def test_the_program_lists_the_command() -> None:
    from scheduler_server.__main__ import USAGE

    assert "  backtest " in USAGE
    assert command.main is not None
