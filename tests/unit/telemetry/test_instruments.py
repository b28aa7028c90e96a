"""The table of instruments is what it promises to be, and the manual says the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler_server.assignment.causes import SOURCES
from scheduler_server.model.decision import Cause
from scheduler_server.telemetry.calls import METHODS, STATUSES
from scheduler_server.telemetry.exposition import MOST_SERIES, parts_of
from scheduler_server.telemetry.histogram_readings import HISTOGRAMS
from scheduler_server.telemetry.instrument import HISTOGRAM_SAMPLES, Instrument, Kind, Label
from scheduler_server.telemetry.instruments import INSTRUMENTS
from scheduler_server.telemetry.manual import render_markdown
from scheduler_server.telemetry.readings import READERS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "metrics.md").read_text()

each = pytest.mark.parametrize("row", INSTRUMENTS, ids=lambda row: row.name)


@each
def test_a_name_is_opentelemetrys_and_its_unit_stands_apart(row: Instrument) -> None:
    assert re.fullmatch(r"(scheduler|grpc)(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)+", row.name)
    assert re.fullmatch(r"s|By|1|\{[a-z]+(_[a-z]+)*\}", row.unit)
    assert not row.name.endswith(("_total", "_seconds", "_bytes", "_count", ".count", ".total"))


@each
def test_a_meaning_stands_alone_on_one_line(row: Instrument) -> None:
    assert len(row.meaning) > 10
    assert row.meaning.isprintable()
    assert "\\" not in row.meaning  # it is written into the text as it is
    assert not row.meaning.endswith(".")


@each
def test_label_values_are_words_from_a_closed_set(row: Instrument) -> None:
    assert len({label.name for label in row.labels}) == len(row.labels)
    for label in row.labels:
        assert re.fullmatch(r"[a-z]+(\.[a-z]+)*", label.name)
        assert label.name not in {"le", "quantile", "job", "instance"}, "Prometheus' own"
        assert 1 < len(label.values) == len(set(label.values)) <= 64
        word = r"[A-Za-z0-9_./]+" if label.name.startswith("grpc.") else r"[a-z][a-z0-9_]*"  # gRPC's names are its own
        assert all(re.fullmatch(word, value) for value in label.values)


def test_no_instrument_is_there_twice_in_either_spelling() -> None:
    assert len({row.name for row in INSTRUMENTS}) == len(INSTRUMENTS)
    assert len({row.prometheus for row in INSTRUMENTS}) == len(INSTRUMENTS)


def test_every_instrument_has_a_reader_and_every_reader_an_instrument() -> None:
    assert set(READERS) == {row.name for row in INSTRUMENTS if row.kind is not Kind.HISTOGRAM}
    assert set(HISTOGRAMS) == {row.name for row in INSTRUMENTS if row.kind is Kind.HISTOGRAM}


def test_the_whole_table_has_a_bounded_number_of_series() -> None:
    ours = [row for row in INSTRUMENTS if row.name.startswith("scheduler.")]
    assert sum(row.most_series for row in ours) < 500
    # Of gRPC's, a status of a method is there once a call has ended so; few methods have more than three.
    assert max(row.most_series for row in INSTRUMENTS) == len(METHODS) * len(STATUSES)


def test_every_cause_has_one_source() -> None:
    assert set(SOURCES) == set(Cause)


@pytest.mark.parametrize(
    ("kind", "unit", "name"),
    [
        (Kind.COUNTER, "{decision}", "scheduler_a_b_total"),
        (Kind.COUNTER, "s", "scheduler_a_b_seconds_total"),
        (Kind.GAUGE, "1", "scheduler_a_b"),
        (Kind.GAUGE, "s", "scheduler_a_b_seconds"),
        (Kind.UP_DOWN_COUNTER, "By", "scheduler_a_b_bytes"),
        (Kind.HISTOGRAM, "s", "scheduler_a_b_seconds"),
    ],
)
def test_prometheus_names_follow_kind_and_unit(kind: Kind, unit: str, name: str) -> None:
    assert Instrument("scheduler.a.b", kind, unit, "").prometheus == name


def test_parts_keep_the_order_and_stay_small() -> None:
    def row(number: int, series: int) -> Instrument:
        values = tuple(f"v{at}" for at in range(series))
        return Instrument(f"scheduler.x{number}", Kind.GAUGE, "1", "", (Label("kind", values),))

    sizes = [MOST_SERIES - 1, 1, 1, MOST_SERIES, MOST_SERIES + 1, 1, 1]
    rows = [row(number, series) for number, series in enumerate(sizes)]
    parts = list(parts_of(rows))
    assert [len(part) for part in parts] == [2, 1, 1, 1, 2]
    assert [each for part in parts for each in part] == rows
    assert list(parts_of([])) == []


def test_the_page_has_the_table_as_it_is() -> None:
    assert render_markdown() in PAGE
    command = [sys.executable, str(ROOT / ".ci" / "tables.py"), "metrics", "--check"]
    check = subprocess.run(command, capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr


def test_the_page_asks_only_for_metrics_and_labels_that_exist() -> None:
    known = {row.prometheus: {label.prometheus: label.values for label in row.labels} for row in INSTRUMENTS}
    for row in INSTRUMENTS:
        if row.kind is Kind.HISTOGRAM:
            known |= {row.prometheus + sample: known[row.prometheus] | {"le": ()} for sample in HISTOGRAM_SAMPLES}
    prose = PAGE.partition("## Instruments")[0]
    asked = re.findall(r"\b((?:scheduler|grpc_server)_\w+)(?:\{([^}]*)\})?", prose)
    assert len(asked) > 8
    for name, selector in asked:
        assert name in known, name
        for label, values in re.findall(r'(\w+)!?=~?"([^"]*)"', selector):
            assert set(re.split(r"\\?\|", values)) <= set(known[name][label]), selector
