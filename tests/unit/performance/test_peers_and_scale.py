"""What BENCH=peers counts and compares, and the table of BENCH=scale."""

import pytest

from tests.performance.bench import peers, scale
from tests.performance.harness import Plan
from tests.performance.pairs import BASELINE, Compared
from tests.performance.peers.counting import Window


def test_a_window_counts_what_ends_inside_it_whenever_it_was_submitted() -> None:
    now = 100.0
    window = Window(ramp_s=1.0, seconds=2.0, clock=lambda: now)
    for at in (100.999, 101.0, 102.999, 103.0):
        now = at
        window.ended(submitted=100.5)
    told = window.told()
    assert told["per_s"] == 1.0
    assert told["took_us"] == [500_000, 2_499_000]
    assert told["all"] == 4, "processor time is shared by what ended before and after, too"


def test_a_window_is_open_for_submissions_until_its_end() -> None:
    now = 0.0
    window = Window(ramp_s=1.0, seconds=2.0, clock=lambda: now)
    assert window.open
    now = 2.999
    assert window.open
    now = 3.0
    assert not window.open


def test_ours_over_a_peer_is_told_where_the_peer_over_ours_was_measured() -> None:
    compared = Compared(
        {BASELINE: [300.0, 300.0], "dask": [100.0, 100.0], "celery": [600.0, 600.0]},
        {BASELINE: [1.0], "dask": [1 / 3, 1 / 3, 1 / 4], "celery": [2.0, 2.0, 4.0]},
    )
    found = peers._compared(compared)
    assert (found["ours_per_s"], found["dask_per_s"], found["celery_per_s"]) == (300.0, 100.0, 600.0)
    assert found["vs_dask"] == pytest.approx(3.0)
    assert (found["vs_dask_lo"], found["vs_dask_hi"]) == (pytest.approx(3.0), pytest.approx(4.0))
    assert found["vs_celery"] == pytest.approx(0.5)
    assert (found["vs_celery_lo"], found["vs_celery_hi"]) == (pytest.approx(0.25), pytest.approx(0.5))


@pytest.mark.parametrize("most", ["100", "999"])
def test_scale_needs_two_sizes(most: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALE_MOST", most)
    with pytest.raises(ValueError, match="SCALE_MOST must be at least 1,000"):
        scale.run(Plan())


def test_the_table_of_scale_has_a_row_per_size() -> None:
    found = {
        "p50_us": {"assign": 17.28, "outcome": 20.74, "heartbeat": 8.268},
        "sweep_us": 1_239.0,
        "whole_fleet_ages_ms": 0.317,
        "bytes_per_worker": 2_035.0,
        "rss_mb": 2_066.0,
    }
    head, rule, row = scale._table({"1000000": found}).splitlines()
    assert row == "| 1,000,000 | 17.3 us | 20.7 us | 8.3 us | 1,239 us | 0.3 ms | 2,035 bytes | 2,066 MiB |"
    assert head.count("|") == rule.count("|") == row.count("|")
