"""The report of a simulation: one HTML file that needs nothing else, in light and in dark."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from scheduler_server.cli import simulate_drawings as drawings
from scheduler_server.cli.simulate_tables import between, notes, span
from scheduler_server.config.text import printable
from scheduler_server.simulation.study import Study

_SPANS = ("mean_wait_s", "p50_wait_s", "p95_wait_s", "p99_wait_s", "makespan_s")
_COLUMNS = (
    ("mean wait", "mean_wait_s"),
    ("P50", "p50_wait_s"),
    ("P95", "p95_wait_s"),
    ("P99", "p99_wait_s"),
    ("excess", "excess"),
    ("of short tasks", "excess_short"),
    ("of long ones", "excess_long"),
    ("slowdown", "slowdown"),
    ("makespan", "makespan_s"),
    ("busy", "utilization"),
    ("CoV", "busy_cov"),
    ("max / mean", "busy_max_over_mean"),
    ("Jain", "busy_jain"),
    ("fairness", "fairness"),
    ("predicted within 25 %", "within_25"),
    ("start P50 held", "start_p50_held"),
    ("start P90 held", "start_p90_held"),
    ("start error", "start_error"),
    ("by fallback", "fallback_share"),
)
_SHARES = frozenset(
    {"utilization", "busy_cov", "within_25", "start_p50_held", "start_p90_held", "fallback_share", "start_error"}
)

_TERMS = (
    ("excess", "a task's wait over its own duration, or over the median one where it is shorter; the mean over all"),
    ("slowdown", "wait and run over the run alone, runs below 10 s counted as 10 s"),
    ("busy, CoV, max / mean, Jain", "share of slot time in use while tasks came; how much it differs between workers"),
    ("fairness", "Jain's index over the mean slowdown of each user: 1 where all fare alike"),
    ("start P50, P90 held", "share of waiting tasks that had started by the instant that they were told; start error: "
     "how far the P50 was off, relative to the wait, in the median"),
    ("intervals", "95 %, over seeds; ratios are paired: a seed gives all policies the same tasks, fleet and failures"),
)  # fmt: skip


def write_page(path: Path, studies: Sequence[Study]) -> None:
    """Write the report. Raises OSError."""
    path.write_text(page(studies), encoding="utf-8")


def page(studies: Sequence[Study]) -> str:
    """All of it as HTML."""
    title = ", ".join(dict.fromkeys(printable(each.setting.workload.name) for each in studies))
    sections = "\n".join(_section(at, each) for at, each in enumerate(studies))
    contents = "".join(
        f'<a href="#s{at}">{escape(printable(each.setting.name))}</a>' for at, each in enumerate(studies)
    )
    terms = "".join(f"<dt>{escape(term)}</dt><dd>{escape(said)}</dd>" for term, said in _TERMS)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>simulation: {escape(title)}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n'
        f"<header><h1>How each policy would have done</h1>{_summary(studies)}"
        f"{f'<nav>{contents}</nav>' if len(studies) > 1 else ''}</header>\n"
        f"{sections}\n<footer><h2>How to read it</h2><dl>{terms}</dl></footer>\n</main>\n</body>\n</html>\n"
    )


def _summary(studies: Sequence[Study]) -> str:
    """One sentence for each study about the policy that matters most: the default, or else the best."""
    lines = []
    for each in studies:
        name = "default" if "default" in each.runs else _best(each)
        parts = []
        for baseline, said in (
            ("central_fifo", "one central queue"),
            ("p2c", "best of two"),
            ("round_robin", "round robin"),
        ):
            ratio = each.ratio("excess", name, baseline) if name != baseline else None
            if ratio is not None:
                parts.append(f"{ratio.value:.2f}{between(ratio, 1.0, '.2f')} of that of {said}")
        share = each.oracle_share(name)
        if share is not None:
            parts.append(f"and keeps {100 * share.value:.0f} % of what knowing all durations would gain")
        if parts:
            where = f"<b>{escape(printable(each.setting.name))}</b>"
            lines.append(f"<li>{where}: {escape(name)} makes tasks wait {escape(', '.join(parts))}.</li>")
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def _best(found: Study) -> str:
    return min(found.runs, key=lambda name: sum(found.runs[name].each("excess")))


def _section(at: int, found: Study) -> str:
    classes = drawings.colours(found)
    remarks = "".join(f"<li>{escape(line)}</li>" for line in notes(found, None))
    return "\n".join(
        (
            f'<section id="s{at}"><h2>{escape(printable(found.setting.name))}</h2>{_setup(found)}',
            "<figure><figcaption>Mean excess: how long tasks wait, measured in tasks</figcaption>",
            drawings.bars(drawings.excess_bars(found), classes, "mean excess, with its 95 % interval"),
            "</figure><figure><figcaption>Who waits for how long</figcaption>",
            drawings.wait_curves(found, classes),
            "</figure><figure><figcaption>How unevenly workers are busy</figcaption>",
            drawings.bars(drawings.spread_bars(found), classes, "coefficient of variation over workers, %"),
            "</figure>",
            _figures(found, classes),
            f"<ul class='notes'>{remarks}</ul></section>" if remarks else "</section>",
        )
    )


def _setup(found: Study) -> str:
    setting, facts, plan = found.setting, found.facts, found.setting.plan
    speeds = ", ".join(f"{speed:g}" for speed in plan.speeds)
    said = [
        ("tasks", f"{facts.tasks:,} of {facts.types:,} types"),
        ("duration", f"mean {span(facts.mean_s)}, median {span(facts.median_s)}, longest {span(facts.longest_s)}"),
        ("arrivals", f"{setting.arrivals}, {100 * setting.load:g} % load"),
        ("fleet", f"{plan.machines:,} workers x {plan.slots} slots, speeds {speeds}"),
        ("heartbeats", f"every {span(plan.heartbeat_s)}{_late(plan.heartbeat_delay_s)}"),
        ("seeds", f"{setting.seeds}, from {setting.first_seed}"),
    ]
    if plan.mtbf_s:
        said.append(("failures", f"every {span(plan.mtbf_s)} per worker, repaired in {span(plan.repair_s)}"))
    if plan.background_share:
        period = f" for stretches of {span(plan.background_period_s)}" if plan.background_period_s else ""
        share, slots = 100 * plan.background_share, 100 * plan.background_slots
        said.append(("work of others", f"in {slots:g} % of the slots of {share:g} % of the workers{period}"))
    if plan.capabilities:
        of = (f"{c.name}: {100 * c.machines:g} % of workers, {100 * c.tasks:g} % of tasks" for c in plan.capabilities)
        said.append(("capabilities", "; ".join(of)))
    return "<dl class='setup'>" + "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in said) + "</dl>"


def _late(seconds: float) -> str:
    return f", {span(seconds)} late" if seconds else ""


def _figures(found: Study, classes: dict[str, str]) -> str:
    over = {name: runs.over_seeds() for name, runs in found.runs.items()}
    columns = [each for each in _COLUMNS if any(figures[each[1]] is not None for figures in over.values())]
    head = "".join(f"<th scope='col'>{escape(heading)}</th>" for heading, _ in columns)
    best = _best(found)
    rows = []
    for name, figures in over.items():
        cells = []
        for _, key in columns:
            interval = figures[key]
            shown = "-" if interval is None else _cell(key, interval.value)
            hint = (
                ""
                if interval is None or interval.lo is None
                else f' title="95 %: {interval.lo:.4g} to {interval.hi:.4g}"'
            )
            cells.append(f"<td{hint}>{shown}</td>")
        mark = " class='best'" if name == best and len(over) > 1 else ""
        key = f"<i class='key {classes[name]}'></i>"
        rows.append(f"<tr{mark}><th scope='row'>{key}{escape(name)}</th>{''.join(cells)}</tr>")
    body = "".join(rows)
    head = f"<thead><tr><th scope='col'>policy</th>{head}</tr></thead>"
    return f"<div class='wide'><table>{head}<tbody>{body}</tbody></table></div>"


def _cell(key: str, value: float) -> str:
    if key in _SPANS:
        return span(value)
    return f"{100 * value:.1f} %" if key in _SHARES else f"{value:.3g}"


def _colour_rules() -> Iterator[str]:
    for at in range(drawings.COLOURS):
        yield f".fill.c{at}{{fill:var(--c{at})}}.line.c{at}{{stroke:var(--c{at})}}.key.c{at}{{background:var(--c{at})}}"


# Okabe and Ito, "Color Universal Design" (2008), lightened for dark grounds.
_STYLE = """
:root{--ground:#fff;--ink:#1d2329;--soft:#5c6670;--line:#dfe4e8;--raised:#f5f7f8;--other:#aab3ba;
--c0:#0072b2;--c1:#e69f00;--c2:#009e73;--c3:#cc79a7;--c4:#56b4e9;--c5:#d55e00;--c6:#7d6bb0;--c7:#8a8a00}
@media (prefers-color-scheme:dark){:root{--ground:#14181c;--ink:#e3e8ec;--soft:#98a3ad;--line:#2c343b;--raised:#1c2227;
--other:#59636c;--c0:#4ea8de;--c1:#f0b63f;--c2:#3fc79e;--c3:#e3a1c6;--c4:#8fd0f5;--c5:#f28a4b;--c6:#a99be0;--c7:#c4c44a}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .8rem}
h2{font-size:1.2rem;margin:0 0 .8rem}
header ul{padding-left:1.1rem;margin:.5rem 0}
nav{display:flex;flex-wrap:wrap;gap:.4rem .9rem;margin-top:1rem}
a{color:var(--c0)}
section{border-top:1px solid var(--line);margin-top:2.2rem;padding-top:1.6rem}
.setup{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:.2rem 1.5rem;margin:0 0 1.2rem}
.setup div{display:flex;gap:.6rem}
.setup dt{color:var(--soft);min-width:6.2rem}
dd{margin:0}
figure{margin:1.6rem 0 0}
figcaption{font-weight:600;margin-bottom:.3rem}
svg{width:100%;height:auto;display:block;font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
svg text{fill:var(--ink)}
svg .tick,svg .axis{fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:1}
.whisker{stroke:var(--ink);stroke-width:1.3;fill:none;opacity:.75}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.line.c-other{stroke:var(--other);stroke-width:1.2}.fill.c-other{fill:var(--other)}
.wide{overflow-x:auto;margin-top:1.8rem}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;white-space:nowrap}
th,td{padding:.35rem .65rem;text-align:right;border-bottom:1px solid var(--line)}
thead th{color:var(--soft);font-weight:600;vertical-align:bottom}
th:first-child{text-align:left;position:sticky;left:0;background:var(--ground)}
tbody th{font-weight:400}
.best th,.best td{font-weight:650;background:var(--raised)}
.key{display:inline-block;width:.65rem;height:.65rem;border-radius:2px;margin-right:.5rem;background:var(--other)}
.notes{color:var(--soft);font-size:.92rem;padding-left:1.1rem}
footer{border-top:1px solid var(--line);margin-top:2.5rem;padding-top:1.4rem;font-size:.92rem}
footer dl{display:grid;grid-template-columns:minmax(8rem,14rem) 1fr;gap:.4rem 1.2rem}
footer dt{font-weight:600}
footer dd{color:var(--soft)}
@media (max-width:40rem){footer dl{grid-template-columns:1fr;gap:.1rem}footer dd{margin-bottom:.6rem}}
@media print{body{font-size:11px}section{break-inside:avoid-page}}
""" + "".join(_colour_rules())
