"""What the benchmark of predictions measures where the truth is known: against the moving average, by hand."""

from pathlib import Path

import pytest

from scheduler_server.predictor.settings import PredictorSettings
from tests.performance import made_up, trace_files
from tests.performance.bench import predict


def test_the_moving_average_recovers_as_its_formula_says() -> None:
    # Up: 10 - 9 * 0.7^n >= 7.5 from n = 4. Down: 1 + 9 * 0.7^n <= 1.25 from n = 11.
    found = made_up.recovery("ema", PredictorSettings())
    assert (found["up"], found["down"]) == (4, 11)


def test_a_predictor_that_only_remembers_the_last_recovers_at_once() -> None:
    found = made_up.recovery("ema", PredictorSettings(ema_alpha=1.0))
    assert (found["up"], found["down"]) == (1, 1)


def test_one_that_hardly_learns_is_given_up() -> None:
    assert made_up.recovery("ema", PredictorSettings(ema_alpha=1e-6))["up"] == 1_000


def test_the_ceiling_is_that_of_the_closed_form() -> None:
    assert made_up.CEILING == 86.7


def test_nothing_beats_the_ceiling_on_a_stationary_workload() -> None:
    assert 70.0 < made_up.stationary("ema", PredictorSettings())["hit25"] < made_up.CEILING


def test_traces_are_files_and_those_of_folders(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("folder/b.csv.gz", "folder/a.jsonl", "folder/README.md", "c.csv"):
        (tmp_path / name).touch()
    found, missing = trace_files.files(f"{tmp_path / 'folder'}:{tmp_path / 'c.csv'}:{tmp_path / 'nothing'}")
    assert missing == [str(tmp_path / "nothing")]
    assert [trace_files.name_of(path) for path in found] == ["a", "b", "c"]


def test_without_traces_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACES", str(tmp_path / "nothing"))
    traces, skipped = trace_files.replayed(PredictorSettings())
    assert traces == {}
    assert skipped.startswith(f"no trace at {tmp_path / 'nothing'}")


def test_a_trace_is_replayed_through_every_predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("submit_time_s,task_type,duration_ms\n0,a,5000\n9,a,4000\n")
    monkeypatch.setenv("TRACES", str(path))
    traces, skipped = trace_files.replayed(PredictorSettings())
    assert (skipped, list(traces)) == ("", ["mine"])
    assert traces["mine"]["ema"]["hit25"] == 100.0
    assert {"hindsight", "us_predict", "us_update", "p90_coverage"} <= traces["mine"]["ema"].keys()


@pytest.mark.parametrize(("hits", "gain"), [([(80.0, 40.0), (40.0, 80.0)], 1.0), ([(90.0, 60.0)], 1.5)])
def test_the_gain_is_a_geometric_mean_of_ratios(hits: list[tuple[float, float]], gain: float) -> None:
    traces = {str(number): {"best": {"hit25": best}, "ema": {"hit25": ema}} for number, (best, ema) in enumerate(hits)}
    assert predict._geomean_gain(traces, "best") == gain
    assert predict._geomean_gain({}, "best") is None
