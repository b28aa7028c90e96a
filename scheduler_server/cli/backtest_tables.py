"""The tables of a backtest: 80 columns are enough for all figures."""

from collections.abc import Callable, Mapping
from math import prod
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scheduler_server.config.text import printable
from scheduler_server.simulation.backtest import Report
from scheduler_server.simulation.traces import BadRows

_DAY_S = 86_400.0
_HOUR_S = 3_600.0
_EDGES = 2  # spaces at both ends of a line
_FIGURE = 6  # columns that a figure may take: 12,345 tasks
_LEAST_TYPE = 16


def show(console: Console, name: str, report: Report, bad: BadRows, by_type: int) -> None:
    """One trace: what it is, how each predictor did, where, and what was left out."""
    console.print(Text(printable(name), style="bold"), Text(_about(report)), soft_wrap=True)
    console.print(_predictors(report, console.width))
    if by_type:
        console.print(_types(report, by_type, console.width))
    for score_name, score in report.scores.items():
        if score.failures:
            failed = f"{score_name} failed {score.failures:,} times; first at {printable(score.first_failure)}"
            console.print(Text(failed, style="red"), soft_wrap=True)
    for line in _left_out(report, bad):
        console.print(Text(line), soft_wrap=True)
    console.print()


def show_together(console: Console, reports: Mapping[str, Report], baseline: str) -> None:
    """Several traces: the share within 25 % on each, and how much that is of the baseline's, as a geometric mean."""
    table = _table()
    table.add_column("within 25 %", no_wrap=True)
    headers = [_cut(printable(name), _LEAST_TYPE) for name in reports]
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True, min_width=_FIGURE)
    figures = [{name: score.figures()["hit25"] for name, score in report.scores.items()} for report in reports.values()]
    compared = all(each.get(baseline) for each in figures)
    if compared:
        table.add_column(f"x {baseline}", justify="right", no_wrap=True, min_width=_FIGURE)
    for name in figures[0]:
        shares = [each[name] for each in figures]
        gain = prod(each[name] / each[baseline] for each in figures) ** (1 / len(figures)) if compared else 0.0
        table.add_row(name, *map(_share, shares), *([_number(gain)] if compared else []))
    console.print(table)


def _about(report: Report) -> str:
    span_s = report.last_s - (report.first_s or 0.0)
    span = f"{span_s / _DAY_S:,.0f} days" if span_s >= 2 * _DAY_S else f"{span_s / _HOUR_S:,.1f} hours"
    return f" {report.rows:,} tasks of {len(report.types):,} types in {span}"


class _Figure(NamedTuple):
    """A column of the table: its two lines of heading, its width, and in which order columns go where room lacks."""

    heading: str
    key: str
    width: int
    written: Callable[[float | None], str]
    goes: int


def _predictors(report: Report, width: int) -> Table:
    name_width = max(len("hindsight"), *(len(name) for name in report.scores))
    figures = _fitting(width - name_width)
    table = _table()
    table.add_column("predictor", no_wrap=True)
    for each in figures:
        table.add_column(each.heading, justify="right", no_wrap=True, min_width=each.width)
    found = {name: score.figures() for name, score in report.scores.items()}
    best = max(each["hit25"] for each in found.values())
    for name, values in found.items():
        style = "bold" if len(found) > 1 and values["hit25"] == best else ""
        table.add_row(name, *(each.written(values[each.key]) for each in figures), style=style)
    hindsight = {"hit25": report.hindsight_hit25()}
    table.add_row("hindsight", *(_share(hindsight[each.key]) if each.key in hindsight else "" for each in figures))
    return table


def _fitting(width: int) -> list[_Figure]:
    figures = list(_FIGURES)
    while sum(each.width + 1 for each in figures) + _EDGES > width and len(figures) > 1:
        figures.remove(max(figures, key=lambda each: each.goes))
    return figures


def _types(report: Report, most: int, width: int) -> Table:
    figures = ("tasks", *report.scores, "hindsight")
    room = width - sum(max(len(name), _FIGURE) + 1 for name in figures) - _EDGES
    table = _table()
    table.add_column("within 25 %\nby type", no_wrap=True)
    for header in figures:
        table.add_column(header, justify="right", no_wrap=True, min_width=_FIGURE)
    for found in report.by_type(most):
        table.add_row(
            Text(_cut(printable(found["task_type"]), max(room, _LEAST_TYPE))),
            f"{found['rows']:,}",
            *(_share(found["hit25"][name]) for name in report.scores),
            _share(found["hindsight_hit25"]),
        )
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)


def _cut(text: str, room: int) -> str:
    """Both ends of a long name: the tail tells as much as the head."""
    if len(text) <= room:
        return text
    tail = room // 3
    return f"{text[: room - tail - 2]}..{text[-tail:]}"


def _left_out(report: Report, bad: BadRows) -> list[str]:
    lines = []
    if report.left_out:
        counts = ", ".join(f"{count:,} {printable(status)}" for status, count in report.left_out.most_common())
        lines.append(f"left out by status: {counts}")
    if bad.count:
        lines.append(f"bad rows: {bad.count:,}")
        lines += [f"  line {each.line}: {each.reason}" for each in bad.listed]
        more = bad.count - len(bad.listed)
        if more and bad.listed:
            lines.append(f"  and {more:,} more (--bad-rows {bad.count} lists all)")
    return lines


def _share(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.1f}"


def _error(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.1f}" if ratio < 10 else f"{100 * ratio:,.0f}"  # noqa: PLR2004 -- 1,000 %


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _micros(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


_FIGURES = (
    _Figure("within\n25 %", "hit25", 6, _share, 0),
    _Figure("within\n2x", "hit2x", 6, _share, 3),
    _Figure("median\nerror", "median_rel_error", 6, _error, 2),
    _Figure("mean\nerror", "mean_rel_error", 5, _error, 6),
    _Figure("below\nP50", "p50_coverage", 5, _share, 4),
    _Figure("below\nP90", "p90_coverage", 5, _share, 1),
    _Figure("loss\nP50", "pinball_p50", 5, _number, 8),
    _Figure("loss\nP90", "pinball_p90", 5, _number, 7),
    _Figure("us to\npredict", "us_predict", 7, _micros, 9),
    _Figure("us to\nlearn", "us_update", 5, _micros, 10),
)
