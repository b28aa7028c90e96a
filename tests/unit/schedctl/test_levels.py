"""Thresholds of `check`."""

import argparse

import pytest

from scheduler_server.schedctl.levels import Level, Limits, limits, performance

READ = limits()
READ_LESS = limits(less_is_worse=True)


@pytest.mark.parametrize(
    ("value", "level"),
    [(0.79, Level.OK), (0.8, Level.OK), (0.81, Level.WARNING), (0.95, Level.WARNING), (0.96, Level.CRITICAL)],
)
def test_a_limit_itself_is_still_well_and_what_is_above_is_not(value: float, level: Level) -> None:
    assert READ("0.8:0.95").level(value) is level


@pytest.mark.parametrize(
    ("value", "level"), [(3, Level.OK), (2.9, Level.WARNING), (1, Level.WARNING), (0, Level.CRITICAL)]
)
def test_where_less_is_worse_it_is_what_is_below(value: float, level: Level) -> None:
    assert READ_LESS("3:1").level(value) is level


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("5", Limits(warning=5)),
        (":5", Limits(critical=5)),
        ("5:", Limits(warning=5)),
        ("1:5", Limits(warning=1, critical=5)),
        ("5:5", Limits(warning=5, critical=5)),
        ("off", Limits()),
    ],
)
def test_either_may_be_missing(said: str, read: Limits) -> None:
    assert READ(said) == read
    assert READ(read.said()) == read


@pytest.mark.parametrize("said", ["", ":", "a", "1:2:3", "1.2.3", "6:5", "-1"])
def test_what_is_no_limit_is_refused(said: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        READ(said)


def test_which_of_the_two_comes_first_depends_on_what_is_worse() -> None:
    assert READ_LESS("5:1") == Limits(warning=5, critical=1, less_is_worse=True)
    with pytest.raises(argparse.ArgumentTypeError, match="CRITICAL is reached before WARNING"):
        READ_LESS("1:5")


def test_figures_are_written_as_monitoring_reads_them() -> None:
    assert performance("load", 0.5, READ("0.8:0.95")) == "load=0.5;0.8;0.95"
    assert performance("workers", 3, READ_LESS(":1")) == "workers=3;;1:"
    assert performance("wait", 2, READ("off"), "s") == "wait=2s;;"
    assert performance("broken", float("nan"), READ("off")) == "broken=U;;"
