"""The rules as text for people: what docs/alerts.md is written from."""

from scheduler_server.alerts.rule import About, Rule
from scheduler_server.alerts.rules import RULES


def render_markdown() -> str:
    """Every rule as a row of a Markdown table. Ends with a newline."""
    lines = ["| rule | severity | looks at | raised | cleared | what to do |", "|---|---|---|---|---|---|"]
    return "\n".join(lines + [_row(rule) for rule in RULES]) + "\n"


def _row(rule: Rule) -> str:
    worse, better = ("at most", "from") if rule.less_is_worse else ("from", "down to")
    lasting = f" for {_span(rule.for_s)}" if rule.for_s else ""
    about = f" ({rule.about.value})" if rule.about is not About.WHOLE else ""
    cells = (
        f"`{rule.name}`",
        rule.severity.name.lower(),
        rule.meaning + about,
        f"{worse} {_figure(rule.threshold, rule.unit)}{lasting}",
        f"{better} {_figure(rule.clear_threshold, rule.unit)}",
        rule.advice,
    )
    return "| " + " | ".join(cells) + " |"


def _figure(value: float, unit: str) -> str:
    if unit == "ratio":
        return f"{value:g}"
    return _span(value) if unit == "seconds" else f"{value:g} {unit}"


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60.0 else f"{seconds:g} s"  # noqa: PLR2004 -- a minute
