"""The tables of a simulation: 80 columns are enough for what matters most, a wider terminal shows more."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scheduler_server.config.text import printable
from scheduler_server.simulation.intervals import Interval
from scheduler_server.simulation.study import Study
from scheduler_server.simulation.traces import BadRows

_EDGES = 2  # spaces at both ends of a line
_NAME = 24
_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3_600.0, 86_400.0


class _Figure(NamedTuple):
    """A column: its two lines of heading, width, how it is found, and in which order columns go where room lacks."""

    heading: str
    width: int
    found: Callable[[Study, str], str]
    goes: int


def show(console: Console, found: Study, bad: BadRows | None) -> None:
    """One study: what it was, how each policy did, and what should be known of it."""
    setting = found.setting
    console.print(Text(printable(setting.workload.name), style="bold"), Text(_about(found)), soft_wrap=True)
    console.print(_table(found, console.width))
    for line in notes(found, bad):
        console.print(Text(line), soft_wrap=True)
    console.print()


def _about(found: Study) -> str:
    setting, facts, plan = found.setting, found.facts, found.setting.plan
    arrivals = {"own": "own times, scaled", "poisson": "Poisson arrivals", "bursty": "bursty arrivals"}
    speeds = ", ".join(f"{speed:g}" for speed in plan.speeds)
    return (
        f" {counted(facts.tasks, 'task')} of {counted(facts.types, 'type')}, {span(facts.mean_s)} on average,"
        f" {arrivals[setting.arrivals]} at {100 * setting.load:g} % load;"
        f" {plan.machines:,} workers x {plan.slots} slots, speeds {speeds};"
        f" {counted(setting.seeds, 'seed')}"
    )


def _table(found: Study, width: int) -> Table:
    names = list(found.runs)
    room = max(len(name) for name in (*names, "policy"))
    name_width = min(room, max(_NAME, width - 56))
    figures = list(_FIGURES)
    while sum(each.width + 1 for each in figures) + name_width + _EDGES > width and len(figures) > 1:
        figures.remove(max(figures, key=lambda each: each.goes))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("policy", no_wrap=True, max_width=name_width)
    for each in figures:
        table.add_column(each.heading, justify="right", no_wrap=True, min_width=each.width)
    best = min(names, key=lambda name: sum(found.runs[name].each("excess")))
    for name in names:
        style = "bold" if name == best and len(names) > 1 else ""
        table.add_row(name, *(each.found(found, name) for each in figures), style=style)
    return table


def notes(found: Study, bad: BadRows | None) -> Iterator[str]:
    """What should be known of the figures."""
    facts, setting = found.facts, found.setting
    for name in found.runs:
        share = found.oracle_share(name)
        if share is not None:
            yield (
                f"{name} keeps {100 * share.value:.0f} %{between(share, 100.0, '.0f')} of what true durations"
                " would gain over one central queue in order of arrival"
            )
    for name, runs in found.runs.items():
        if runs.overflowed:
            many = runs.figures[0]["tasks"]
            yield f"{name} does not keep up: stopped with too many tasks waiting, after {many:,} had ended"
    if facts.gaps:
        yield f"{facts.gaps:,} long gaps without a task were cut, {span(facts.gaps_s)} in all"
    impossible = max(runs.figures[0]["impossible"] for runs in found.runs.values())
    if impossible:
        yield f"{impossible:,} tasks were left out: they need what no worker has"
    if setting.seeds == 1:
        yield "one seed: nothing says how much of a difference is chance (--seeds 10)"
    if bad is not None and bad.count:
        yield f"bad rows: {bad.count:,}"
        yield from (f"  line {each.line}: {each.reason}" for each in bad.listed)
        more = bad.count - len(bad.listed)
        if more and bad.listed:
            yield f"  and {more:,} more (--bad-rows {bad.count} lists all)"


def span(seconds: float | None) -> str:
    """Seconds as people say them, in at most six letters."""
    if seconds is None:
        return "-"
    if seconds < 0.1:  # noqa: PLR2004 -- shown in ms
        return f"{1e3 * seconds:.3g} ms" if seconds else "0 s"
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.3g} s"
    for unit_s, unit, most in ((_MINUTE_S, "min", 2 * _HOUR_S), (_HOUR_S, "h", 4 * _DAY_S)):
        if seconds < most:
            return f"{seconds / unit_s:.3g} {unit}"
    return f"{seconds / _DAY_S:,.3g} d" if seconds < 1e3 * _DAY_S else f"{seconds / _DAY_S:,.0f} d"


def counted(many: int, what: str) -> str:
    """A number of things, and its plural."""
    return f"{many:,} {what}" if many == 1 else f"{many:,} {what}s"


def between(interval: Interval, factor: float, form: str) -> str:
    """The interval as text to follow its value; empty where there is none."""
    if interval.lo is None or interval.hi is None:
        return ""
    return f" [{factor * interval.lo:{form}}, {factor * interval.hi:{form}}]"


def _mean(figure: str) -> Callable[[Study, str], float | None]:
    def found(study: Study, name: str) -> float | None:
        interval = study.runs[name].over_seeds()[figure]
        return None if interval is None else interval.value

    return found


def _span(figure: str) -> Callable[[Study, str], str]:
    of = _mean(figure)
    return lambda study, name: span(of(study, name))


def _plain(figure: str, form: str, factor: float = 1.0) -> Callable[[Study, str], str]:
    of = _mean(figure)

    def text(study: Study, name: str) -> str:
        value = of(study, name)
        return "-" if value is None else format(factor * value, form)

    return text


def _ratio(figure: str, baseline: str, *, interval: bool) -> Callable[[Study, str], str]:
    def text(study: Study, name: str) -> str:
        ratio = study.ratio(figure, name, baseline)
        if ratio is None:
            return "-"
        return f"{ratio.value:.3f}{between(ratio, 1.0, '.2f') if interval and name != baseline else ''}"

    return text


def _rate(study: Study, name: str) -> str:
    per_s = study.runs[name].per_s
    return "-" if per_s is None else f"{per_s:,.0f}"


_FIGURES = (
    _Figure("mean\nwait", 8, _span("mean_wait_s"), 0),
    _Figure("P50\nwait", 8, _span("p50_wait_s"), 6),
    _Figure("P95\nwait", 8, _span("p95_wait_s"), 9),
    _Figure("P99\nwait", 8, _span("p99_wait_s"), 1),
    _Figure("\nexcess", 7, _plain("excess", ".3g"), 2),
    _Figure("excess against\ncentral_fifo", 19, _ratio("excess", "central_fifo", interval=True), 3),
    _Figure("against\np2c", 8, _ratio("excess", "p2c", interval=False), 8),
    _Figure("slow-\ndown", 7, _plain("slowdown", ".3g"), 7),
    _Figure("busy\nCoV %", 6, _plain("busy_cov", ".1f", 100.0), 5),
    _Figure("busy\n%", 5, _plain("utilization", ".1f", 100.0), 10),
    _Figure("\nmakespan", 8, _span("makespan_s"), 12),
    _Figure("fair-\nness", 6, _plain("fairness", ".2f"), 13),
    _Figure("start\nP90 %", 6, _plain("start_p90_held", ".0f", 100.0), 11),
    _Figure("simulated\ntasks/s", 9, _rate, 4),
)
