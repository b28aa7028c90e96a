"""The picture of a backtest, drawn by matplotlib: an extra (`plot`), imported only where a picture is asked for.

One block per trace: predicted against actual for each predictor, what share of tasks lay below each predicted quantile,
the share within 25 % over time, and the same for the largest types.
"""

import io
import logging
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from scheduler_server.simulation.backtest import Report
from scheduler_server.simulation.calibration import LEVELS, PER_DECADE, Calibration, Window
from scheduler_server.simulation.hindsight import NEAR

ENDINGS = (".html", ".svg", ".png", ".pdf")

# Okabe and Ito, "Color Universal Design" (2008): told apart by colour-blind readers and in print.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_INK, _FAINT, _GRID = "#222222", "#8a8a8a", "#e4e4e4"
_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "text.color": _INK,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "svg.hashsalt": "backtest",  # the same picture from the same figures
}
# Inches. Places are given rather than found: matplotlib's own layout takes a minute for sixteen axes.
_WIDTH_IN = 14.0
_BLOCK_IN = 8.0
_UPPER_IN = (4.55, 7.35)  # above the lower edge of a block
_LOWER_IN = (0.65, 3.45)
_TITLE_IN = 7.75
_LEFT_IN, _RIGHT_IN = 0.75, 13.75
_DPI = 110
_MOST_CLOUDS = 6  # predictors that get a picture of their own; all are in the lines
_DAY_S = 86_400.0
_POINTS = 60  # of a line over time: enough to see a drift, few enough that a hundred tasks stand behind each
_TYPES = 10
_TICKS_MS = {
    1.0: "1 ms", 1e1: "10 ms", 1e2: "0.1 s", 1e3: "1 s", 1e4: "10 s", 6e4: "1 min", 6e5: "10 min", 3.6e6: "1 h",
    3.6e7: "10 h", 3.6e8: "4 d", 3.6e9: "6 wk", 3.1536e10: "1 y",
}  # fmt: skip


def draw(reports: Mapping[str, Report], path: Path) -> None:
    """Write the picture in the format that the path's ending names. Raises OSError."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of its caches where there is no home
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_IN, _BLOCK_IN * len(reports)))
        for at, (name, report) in enumerate(reversed(list(reports.items()))):
            _block(figure, at * _BLOCK_IN, name, report)
        path.write_bytes(_encoded(figure, path.suffix.lower(), ", ".join(reports)))


def _encoded(figure: Figure, ending: str, title: str) -> bytes:
    into = io.BytesIO()
    if ending == ".png":
        figure.savefig(into, format="png", dpi=_DPI)
        return into.getvalue()
    if ending == ".pdf":
        figure.savefig(into, format="pdf", metadata={"CreationDate": None})
        return into.getvalue()
    figure.savefig(into, format="svg", metadata={"Date": None})
    if ending == ".svg":
        return into.getvalue()
    drawing = into.getvalue().decode()
    drawing = drawing[drawing.index("<svg") :]  # HTML wants no XML declaration
    return _PAGE.format(title=escape(f"backtest: {title}"), drawing=drawing).encode()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ margin: 1rem auto; max-width: 90rem; background: #fff }} svg {{ width: 100%; height: auto }}</style>
</head><body>
{drawing}
</body></html>
"""


def _block(figure: Figure, at_in: float, name: str, report: Report) -> None:
    """One trace, its lower edge at this height."""
    title = f"{_literal(name)}: {report.rows:,} tasks of {len(report.types):,} types"
    height_in = figure.get_figheight()
    x, y = _LEFT_IN / _WIDTH_IN, (at_in + _TITLE_IN) / height_in
    figure.text(x, y, title, fontsize=13, fontweight="bold", va="center")
    colours = {each: _COLOURS[place % len(_COLOURS)] for place, each in enumerate(report.scores)}
    kept = {each: score.calibration for each, score in report.scores.items() if score.calibration is not None}
    clouds = list(kept)[:_MOST_CLOUDS]
    upper = _row(figure, at_in, _UPPER_IN, [1.0] * max(len(clouds), 4), 0.35)
    _clouds(upper[: len(clouds)], report, {each: kept[each] for each in clouds}, colours)
    for axes in upper[len(clouds) :]:
        axes.remove()
    calibration, over_time, names, by_type = _row(figure, at_in, _LOWER_IN, [4.0, 4.0, 1.6, 3.2], 0.5)
    names.remove()
    _levels(calibration, kept, colours)
    _over_time(over_time, kept, colours, report)
    _types(by_type, report, colours)


def _row(figure: Figure, at_in: float, edges_in: tuple[float, float], widths: list[float], gap_in: float) -> list[Axes]:
    """Axes side by side, their widths in proportion."""
    low_in, high_in = edges_in
    room_in = _RIGHT_IN - _LEFT_IN - gap_in * (len(widths) - 1)
    made, left_in = [], _LEFT_IN
    for width in widths:
        width_in = room_in * width / sum(widths)
        height_in = figure.get_figheight()
        place = (
            left_in / _WIDTH_IN,
            (at_in + low_in) / height_in,
            width_in / _WIDTH_IN,
            (high_in - low_in) / height_in,
        )
        made.append(figure.add_axes(place))
        left_in += width_in + gap_in
    return made


# ---------------------------------------------------------------------------------- predicted against actual


def _clouds(row: Sequence[Axes], report: Report, kept: Mapping[str, Calibration], colours: Mapping[str, str]) -> None:
    joints = [calibration.joint for calibration in kept.values()]
    cells = [cell for joint in joints for cell in joint]
    if not cells:
        return
    low, high = min(min(cell) for cell in cells) - 1, max(max(cell) for cell in cells) + 2
    most = max(max(joint.values(), default=1) for joint in joints)
    edges = 10.0 ** (np.arange(low, high + 1) / PER_DECADE)
    for at, (axes, (name, calibration)) in enumerate(zip(row, kept.items(), strict=True)):
        counts = np.zeros((high - low, high - low))
        for (actual, predicted), count in calibration.joint.items():
            counts[predicted - low, actual - low] = count
        masked = np.ma.masked_equal(counts, 0)
        axes.pcolormesh(
            edges, edges, masked, norm=LogNorm(1, max(most, 2)), cmap=_shades(colours[name]), rasterized=True
        )
        axes.fill_between(edges, edges * (1 - NEAR), edges * (1 + NEAR), color=_FAINT, alpha=0.18, linewidth=0)
        axes.plot(edges, edges, color=_FAINT, linewidth=0.8)
        axes.set(xscale="log", yscale="log", xlim=(edges[0], edges[-1]), ylim=(edges[0], edges[-1]), aspect="equal")
        ticks = _duration_ticks(edges[0], edges[-1])
        axes.set_xticks(ticks, [_TICKS_MS[tick] for tick in ticks], rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, [_TICKS_MS[tick] for tick in ticks] if at == 0 else [""] * len(ticks))
        axes.minorticks_off()
        axes.set_xlabel("actual")
        if at == 0:
            axes.set_ylabel("predicted")
        score = report.scores[name]
        share = 100.0 * score.near / score.rows if score.rows else 0.0
        axes.set_title(f"{_literal(name)}: {share:.1f} % within 25 %", color=colours[name], fontweight="bold")


def _shades(colour: str) -> LinearSegmentedColormap:
    """From few to many: pale, the predictor's own colour, nearly black."""
    plain, white = np.array(to_rgb(colour)), np.ones(3)
    return LinearSegmentedColormap.from_list(colour, [0.3 * plain + 0.7 * white, plain, 0.25 * plain])


def _duration_ticks(low: float, high: float) -> list[float]:
    """Round durations in sight, every second one where there are many."""
    found = [tick for tick in _TICKS_MS if low <= tick <= high]
    return found if len(found) <= 7 else found[::2]  # noqa: PLR2004 -- what fits below one another


# ------------------------------------------------------------------------------------------------ calibration


def _levels(axes: Axes, kept: Mapping[str, Calibration], colours: Mapping[str, str]) -> None:
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle=(0, (4, 3)))
    for name, calibration in kept.items():
        total = sum(calibration.levels)
        if not total:
            continue
        shares = np.cumsum(calibration.levels) / total
        nominal = np.arange(1, LEVELS + 1) / LEVELS
        axes.plot([0, *nominal], [0, *shares], color=colours[name], linewidth=1.6, label=_literal(name))
    for said in (0.5, 0.9):
        axes.axvline(said, color=_FAINT, linewidth=0.8)
        axes.text(said, 1.005, f"P{100 * said:.0f}", ha="center", va="bottom", fontsize=8, color=_FAINT)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted quantile", ylabel="tasks that took less")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    axes.set_title("calibration: on the dashed line it keeps its word", pad=14)
    axes.legend(loc="upper left", fontsize=8.5)


# ------------------------------------------------------------------------------------------------- over time


def _over_time(axes: Axes, kept: Mapping[str, Calibration], colours: Mapping[str, str], report: Report) -> None:
    """Over the tasks in their order, with the days below: on an axis of days, a burst would be a single stroke."""
    first_s = report.first_s or 0.0
    rows, days = [0.0], [0.0]
    size = 0
    for name, calibration in kept.items():
        points = _joined(calibration.windows)
        ends = np.cumsum([point.rows for point in points])
        middles = ends - np.array([point.rows for point in points]) / 2
        axes.plot(middles, [point.near / point.rows for point in points], color=colours[name], linewidth=1.4)
        rows, days = [0.0, *ends], [0.0, *((point.until_s - first_s) / _DAY_S for point in points)]
        size = max(point.rows for point in points)
    ticks = np.linspace(0, report.rows, 5)
    passed = np.interp(ticks, rows, days)
    form = "day {:,.0f}" if passed[-1] >= 10 else "day {:.1f}"  # noqa: PLR2004 -- two digits are enough
    axes.set_xticks(ticks, [f"{tick:,.0f}\n{form.format(day)}" for tick, day in zip(ticks, passed, strict=True)])
    axes.set(ylim=(0, 1), xlim=(0, report.rows), xlabel="tasks in order of submit")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_title(f"within 25 % over time, {size:,} tasks a point", pad=14)


def _joined(windows: Sequence[Window]) -> list[Window]:
    each = max(1, -(-len(windows) // _POINTS))
    groups = [windows[at : at + each] for at in range(0, len(windows), each)]
    if len(groups) > 1 and sum(w.rows for w in groups[-1]) * 2 < sum(w.rows for w in groups[0]):
        groups[-2:] = [[*groups[-2], *groups[-1]]]  # a few last tasks are no point of their own
    return [Window(sum(w.rows for w in group), sum(w.near for w in group), group[-1].until_s) for group in groups]


# -------------------------------------------------------------------------------------------------- by type


def _types(axes: Axes, report: Report, colours: Mapping[str, str]) -> None:
    found = report.by_type(_TYPES)
    places = range(len(found))
    axes.scatter([each["hindsight_hit25"] for each in found], places, marker="|", s=110, color=_FAINT)
    for name in report.scores:
        axes.scatter([each["hit25"][name] for each in found], places, s=26, color=colours[name], alpha=0.9, zorder=3)
    names = [f"{_literal(_short(each['task_type']))}  ({each['rows']:,})" for each in found]
    axes.set_yticks(places, names, fontsize=8)
    axes.set(xlim=(-2, 102), ylim=(len(found) - 0.5, -0.5))
    axes.xaxis.set_major_formatter(PercentFormatter(100.0))
    axes.grid(visible=False, axis="x")
    axes.set_title("within 25 % by type (its tasks); bar: best constant", pad=14, x=-0.78)


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:17]}..{name[-9:]}"  # noqa: PLR2004 -- a third of the width


def _literal(text: str) -> str:
    """Dollars would begin a formula."""
    return "".join(each if each.isprintable() else "?" for each in text).replace("$", r"\$")
