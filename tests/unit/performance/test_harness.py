"""What a benchmark is told and what it answers."""

import json
from pathlib import Path

import pytest

from tests.performance.__main__ import main, names
from tests.performance.harness import Plan, plan_from, ratio_fields, ratio_target, report, rounded, target, write
from tests.performance.pairs import BASELINE, Compared


def test_a_plan_leaves_to_the_benchmark_what_nobody_asked_for() -> None:
    plan = plan_from({})
    assert (plan.window_s(1.5), plan.pair_count(24)) == (1.5, 24)


def test_a_plan_takes_what_the_environment_says() -> None:
    plan = plan_from({"BENCH_SECONDS": "0.25", "BENCH_PAIRS": "40"})
    assert (plan.window_s(1.5), plan.pair_count(24)) == (0.25, 40)


@pytest.mark.parametrize(
    "environment",
    [
        {"BENCH_SECONDS": "0"},
        {"BENCH_SECONDS": "nan"},
        {"BENCH_SECONDS": "x"},
        {"BENCH_PAIRS": "0"},
        {"BENCH_PAIRS": "1.5"},
    ],
)
def test_a_plan_without_sense_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- of float, of int, or our own
        plan_from(environment)


@pytest.mark.parametrize(
    ("sign", "value", "lo", "hi", "met"),
    [
        (">=", 0.84, 0.80, 0.85, True),  # the interval just reaches it
        (">=", 0.84, 0.80, 0.849, False),
        (">=", 0.90, 0.86, 0.95, True),
        ("<=", 1.4, 1.3, 1.6, True),
        ("<=", 1.4, 1.301, 1.6, False),
        (">=", 0.85, None, None, True),
        (">=", 0.8499, None, None, False),
        ("<=", 15.0, None, None, True),
        ("<", 10.0, None, None, False),
        ("<", 9.99, None, None, True),
    ],
)
def test_a_target_is_met_when_the_interval_reaches_it(
    sign: str, value: float, lo: float | None, hi: float | None, met: bool
) -> None:
    bound = {">=": 0.85, "<=": 15.0 if lo is None else 1.3, "<": 10.0}[sign]
    assert target("x", sign, bound, value, lo, hi)["met"] is met  # type: ignore[arg-type]


def test_a_ratio_stands_beside_the_noise() -> None:
    compared = Compared({}, {"v": [0.8, 0.8, 0.8], BASELINE: [1.0, 1.0]})
    fields = ratio_fields(compared, "v")
    assert fields == {
        "ratio": 0.8, "ratio_lo": 0.8, "ratio_hi": 0.8,
        "aa_ratio": 1.0, "aa_lo": 1.0, "aa_hi": 1.0, "aa_pairs": 2,
    }  # fmt: skip


def test_a_run_too_short_for_a_pair_of_the_baseline_says_so() -> None:
    assert ratio_fields(Compared({}, {"v": [0.8], BASELINE: []}), "v")["aa_ratio"] is None


def test_a_report_tells_what_it_ran_on_and_whether_all_is_met() -> None:
    fields = {"ratio": 0.9, "ratio_lo": 0.88, "ratio_hi": 0.92}
    met = ratio_target(">=", 0.85, fields)
    missed = target("bytes", "<=", 45_000, 45_001)
    assert report("x", fields, [met], 20, 1.0)["met"] is True
    both = report("x", fields, [met, missed], 19, 1.0)
    assert both["met"] is False
    assert both["enough_pairs"] is False
    assert both["target"] == "ratio >= 0.85; bytes <= 45000"
    assert set(both["versions"]) == {"python", "grpcio", "protobuf", "uvloop", "numpy"}
    assert both["cpus"] >= 1


def test_the_object_is_one_line_and_is_kept(tmp_path: Path) -> None:
    line = write("x", {"bench": "x", "ratio": 0.5}, tmp_path / "bench")
    assert "\n" not in line
    assert json.loads((tmp_path / "bench" / "x.json").read_text()) == json.loads(line) == {"bench": "x", "ratio": 0.5}


def test_figures_are_rounded_to_four_digits() -> None:
    assert (rounded(1234.567), rounded(0.000123456), rounded(0.0)) == (1235.0, 0.0001235, 0.0)


def test_every_benchmark_has_a_run() -> None:
    assert {"assign", "assign100k", "batch", "decide", "heartbeats", "latency"} <= set(names())


def test_an_unknown_name_is_told_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["asign"]) == 2
    told = capsys.readouterr()
    assert "asign" in told.err
    assert "assign100k" in told.err
    assert told.out == ""


def test_a_plan_of_its_own_is_the_default() -> None:
    assert Plan().seconds is None
