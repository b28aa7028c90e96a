"""The drawings of a simulation's report: SVG to stand in a page, whose colours are the page's own.

Every element has a class and no colour of its own, so that the same drawing is right in light and in dark.
"""

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

from scheduler_server.simulation.intervals import Interval
from scheduler_server.simulation.measures import CURVE
from scheduler_server.simulation.study import Study

COLOURS = 8
"""Policies with a colour of their own; further ones are grey in the curves."""

_WIDTH = 760
_LABEL = 190  # room for names at the left
_VALUE = 150  # room for figures at the right
_ROW = 26
_BAR = 12
_WIDE = 20.0
"""Greatest over smallest value from which on bars have a logarithmic scale: otherwise all smaller ones look alike."""

_HEIGHT = 300
_TOP, _BOTTOM = 14, 44
_CURVE_LEFT, _CURVE_RIGHT = 56, 150

# Waits that people can read, about a power of ten apart.
_ROUND_S = (
    (1e-6, "1 us"), (1e-5, "10 us"), (1e-4, "0.1 ms"), (1e-3, "1 ms"), (1e-2, "10 ms"), (0.1, "0.1 s"), (1.0, "1 s"),
    (10.0, "10 s"), (60.0, "1 min"), (600.0, "10 min"), (3_600.0, "1 h"), (36_000.0, "10 h"), (345_600.0, "4 d"),
    (3_456_000.0, "40 d"), (31_536_000.0, "1 y"), (315_360_000.0, "10 y"),
)  # fmt: skip


class Bar(NamedTuple):
    """One policy's bar."""

    name: str
    value: Interval
    text: str


def colours(found: Study) -> dict[str, str]:
    """The class of each policy: c0, c1 ... and c-other."""
    return {name: f"c{at}" if at < COLOURS else "c-other" for at, name in enumerate(found.runs)}


def excess_bars(found: Study) -> list[Bar]:
    """Mean excess by policy."""
    bars = []
    for name, runs in found.runs.items():
        value = runs.over_seeds()["excess"]
        if value is not None:
            bars.append(Bar(name, value, f"{value.value:.3g}"))
    return bars


def spread_bars(found: Study) -> list[Bar]:
    """Coefficient of variation of how busy workers were, by policy, in percent."""
    bars = []
    for name, runs in found.runs.items():
        value = runs.over_seeds()["busy_cov"]
        if value is not None:
            scaled = Interval(*(None if each is None else 100.0 * each for each in value))  # type: ignore[arg-type]
            bars.append(Bar(name, scaled, f"{scaled.value:.1f} %"))
    return bars


def bars(given: Sequence[Bar], classes: dict[str, str], label: str) -> str:
    """Horizontal bars with their intervals, on one scale from 0, or a logarithmic one where they are far apart."""
    if not given:
        return ""
    values = [bar.value.value for bar in given]
    most = max(max(bar.value.hi or 0.0, bar.value.value) for bar in given)
    above = [value for value in values if value > 0.0]
    wide = bool(above) and max(above) / min(above) > _WIDE
    scale = _log_scale(min(above), most) if wide else _linear_scale(most)
    height = _TOP + _ROW * len(given) + _BOTTOM
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    base = _TOP + _ROW * len(given)
    for value, text in scale.ticks:
        x = _x(scale.place(value))
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{base}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{base + 16}" text-anchor="middle">{text}</text>')
    suffix = " (logarithmic scale)" if wide else ""
    parts.append(f'<text class="axis" x="{_LABEL}" y="{base + 36}">{escape(label)}{suffix}</text>')
    for at, bar in enumerate(given):
        parts += _bar(bar, classes[bar.name], scale, _TOP + _ROW * at)
    return "\n".join([*parts, "</svg>"])


class _Scale(NamedTuple):
    low: float
    high: float
    logarithmic: bool
    ticks: list[tuple[float, str]]

    def place(self, value: float) -> float:
        """0 to 1."""
        if self.logarithmic:
            value = max(value, self.low)
            return (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return min(1.0, max(0.0, value / self.high))


def _linear_scale(most: float) -> _Scale:
    if most <= 0.0:
        return _Scale(0.0, 1.0, False, [(0.0, "0")])
    step = 10.0 ** floor(log10(most))
    step = next(each for each in (step / 5, step / 2, step, 2 * step) if most / each <= 5)  # noqa: PLR2004 -- lines at most
    high = step * ceil(most / step)
    return _Scale(0.0, high, False, [(step * n, f"{step * n:g}") for n in range(round(high / step) + 1)])


def _log_scale(least: float, most: float) -> _Scale:
    low, high = floor(log10(least)), ceil(log10(most) + 1e-9)
    high = max(high, low + 1)
    every = max(1, (high - low) // 6)
    ticks = [(10.0**n, f"{10.0**n:g}") for n in range(low, high + 1, every)]
    return _Scale(10.0**low, 10.0**high, True, ticks)


def _x(place: float) -> float:
    return _LABEL + place * (_WIDTH - _LABEL - _VALUE)


def _bar(bar: Bar, colour: str, scale: _Scale, top: float) -> Iterator[str]:
    middle = top + _ROW / 2
    end = _x(scale.place(bar.value.value))
    yield "<g>"
    yield f"<title>{escape(bar.name)}: {escape(bar.text)}{_interval_text(bar.value)}</title>"
    y = f"{middle + 4:.1f}"
    yield f'<text class="name" x="{_LABEL - 10}" y="{y}" text-anchor="end">{escape(_short(bar.name))}</text>'
    size = f'width="{max(1.0, end - _LABEL):.1f}" height="{_BAR}"'
    yield f'<rect class="fill {colour}" x="{_LABEL}" y="{middle - _BAR / 2:.1f}" {size} rx="2"/>'
    label_at = end
    if bar.value.lo is not None and bar.value.hi is not None:
        lo, hi = _x(scale.place(max(bar.value.lo, 0.0))), _x(scale.place(bar.value.hi))
        label_at = max(label_at, hi)
        yield (
            f'<path class="whisker" d="M{lo:.1f} {middle:.1f}H{hi:.1f}'
            f'M{lo:.1f} {middle - 4:.1f}v8M{hi:.1f} {middle - 4:.1f}v8"/>'
        )
    yield f'<text class="value" x="{label_at + 8:.1f}" y="{middle + 4:.1f}">{escape(bar.text)}</text>'
    yield "</g>"


def _interval_text(interval: Interval) -> str:
    return "" if interval.lo is None else f", 95 %: {interval.lo:.3g} to {interval.hi:.3g}"


def _short(name: str) -> str:
    return name if len(name) <= 26 else f"{name[:16]}..{name[-8:]}"  # noqa: PLR2004 -- what the room takes


# ---------------------------------------------------------------------------------------------- waits


def wait_curves(found: Study, classes: dict[str, str]) -> str:
    """What share of the tasks waited longer than how long: both axes logarithmic, one line for each policy."""
    curves = {name: runs.curve() for name, runs in found.runs.items()}
    above = [wait for curve in curves.values() for wait in curve if wait > 0.0]
    if not above:
        return "<p>No task waited.</p>"
    most = max(above)
    low = max(min(above), most * 1e-5)
    scale = _log_scale(low, most)
    left, right = _CURVE_LEFT, _WIDTH - _CURVE_RIGHT
    bottom = _HEIGHT - _BOTTOM
    least_share = 1.0 - CURVE[-1]

    def x(wait: float) -> float:
        return left + scale.place(wait) * (right - left)

    def y(share: float) -> float:
        return _TOP + log10(1.0 / share) / log10(1.0 / least_share) * (bottom - _TOP)

    label = "share of tasks that waited longer"
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">']
    for share, text in ((1.0, "100 %"), (0.1, "10 %"), (0.01, "1 %"), (0.001, "0.1 %")):
        parts.append(f'<line class="grid" x1="{left}" y1="{y(share):.1f}" x2="{right}" y2="{y(share):.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{text}</text>')
    for value, text in _ROUND_S:
        if not scale.low <= value <= scale.high:
            continue
        parts.append(f'<line class="grid" x1="{x(value):.1f}" y1="{_TOP}" x2="{x(value):.1f}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>')
    said = "wait; the line is the share of tasks that waited longer"
    parts.append(f'<text class="axis" x="{left}" y="{bottom + 36}">{said}</text>')
    for name, curve in curves.items():
        points = [(x(wait), y(1.0 - share)) for share, wait in zip(CURVE, curve, strict=True) if wait >= scale.low]
        if not points:
            continue
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline class="line {classes[name]}" points="{line}"><title>{escape(name)}</title></polyline>')
    parts += _legend(list(curves), classes, right + 14)
    return "\n".join([*parts, "</svg>"])


def _legend(names: Sequence[str], classes: dict[str, str], x: float) -> Iterator[str]:
    for at, name in enumerate(names[:COLOURS]):
        y = _TOP + 10 + 18 * at
        yield f'<rect class="fill {classes[name]}" x="{x}" y="{y - 8}" width="10" height="10" rx="2"/>'
        yield f'<text class="tick left" x="{x + 16}" y="{y + 1}">{escape(_short(name)[:18])}</text>'
    if len(names) > COLOURS:
        yield f'<text class="tick left" x="{x}" y="{_TOP + 11 + 18 * COLOURS}">others in grey</text>'
