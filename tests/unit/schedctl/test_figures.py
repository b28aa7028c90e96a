"""Figures as people read them."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import figures


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0s"),
        (0.004, "0.00s"),
        (9.994, "9.99s"),
        (9.995, "10s"),
        (59.4, "59s"),
        (59.5, "1m00s"),
        (3_599.4, "59m59s"),
        (3_600, "1h00m"),
        (86_399, "23h59m"),
        (86_400, "1d00h"),
        (-5, "-5.00s"),
    ],
)
def test_a_span_has_its_two_units_that_matter(seconds: float, said: str) -> None:
    assert figures.span(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0%"),
        (0.0049, "<1%"),
        (0.005, "<1%"),
        (0.994, "99%"),
        (0.995, ">99%"),
        (0.9999, ">99%"),
        (1, "100%"),
        (1.2, "120%"),
    ],
)
def test_a_share_is_all_only_when_it_is_all_and_nothing_only_when_it_is_nothing(value: float, said: str) -> None:
    assert figures.share(value) == said
    assert (figures.share(value) == "100%") == (value == 1)
    assert (figures.share(value) == "0%") == (value == 0)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0 B"),
        (1_023, "1023 B"),
        (1_024, "1.0 KiB"),
        (1_024**2, "1.0 MiB"),
        (1_024**3, "1.0 GiB"),
        (1_024**4, "1.0 TiB"),
    ],
)
def test_bytes_have_their_unit(value: int, said: str) -> None:
    assert figures.size(value) == said


def test_an_instant_beyond_the_calendar_is_a_dash() -> None:
    assert figures.instant(Timestamp(seconds=0)) == "1970-01-01 00:00:00.000Z"
    assert figures.instant(Timestamp(seconds=10**15)) == "-"


def test_a_value_that_a_newer_server_has_added_is_its_number() -> None:
    assert figures.word(api.WorkerHealth, api.WORKER_HEALTH_DEGRADED) == "degraded"
    assert figures.word(api.WorkerHealth, 99) == "worker health 99"
    assert figures.word(api.WorkerHealth, 0) == ""


def test_names_are_read_as_they_are_listed() -> None:
    for each in figures.names(api.EventKind):
        assert figures.name(api.EventKind, figures.value_of(api.EventKind, each)).lower() == each


def test_counts_have_commas_and_their_noun() -> None:
    assert [figures.counted(each, "worker") for each in (0, 1, 5_000)] == ["0 workers", "1 worker", "5,000 workers"]


@pytest.mark.parametrize(("value", "said"), [(0, "0 entries"), (1, "1 entry"), (2_000, "2,000 entries")])
def test_some_nouns_have_a_plural_of_their_own(value: int, said: str) -> None:
    assert figures.counted(value, "entry", "entries") == said
