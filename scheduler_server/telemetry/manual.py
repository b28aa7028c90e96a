"""The table of instruments as text for people: what docs/metrics.md is written from."""

from scheduler_server.telemetry.instrument import Instrument, Label
from scheduler_server.telemetry.instruments import SECTIONS


def render_markdown() -> str:
    """Every instrument as a Markdown table by section. Ends with a newline."""
    parts = []
    for section, rows in SECTIONS.items():
        lines = [
            f"### {section}",
            "",
            "| instrument | in Prometheus | kind | labels | meaning |",
            "|---|---|---|---|---|",
        ]
        parts.append("\n".join(lines + [_row(row) for row in rows]) + "\n")
    return "\n".join(parts)


def _row(row: Instrument) -> str:
    unit = "" if row.unit == "1" else f", {row.unit.strip('{}').replace('_', ' ')}"
    labels = "; ".join(f"`{label.name}`: {', '.join(label.values)}{_named(label)}" for label in row.labels)
    meaning = row.meaning + (f". Not there while {row.absent}" if row.absent else "")
    cells = (f"`{row.name}`", f"`{row.prometheus}`", row.kind.value + unit, labels, meaning)
    return "| " + " | ".join(cells) + " |"


def _named(label: Label) -> str:
    return f", and those that `{label.named_by}` names" if label.named_by else ""
