"""A report in a few lines, for people."""

from collections.abc import Iterable

from scheduler_server.assignment.telling import shown
from scheduler_server.shadow.comparing import LEVEL, Comparison, Difference

_SECOND_MS = 1_000.0


def report_text(live: str, comparisons: Iterable[Comparison], dropped: int) -> str:
    """A line for each policy, all types together. `live` names the policy in force."""
    lines = [_line(live, each) for each in comparisons if not each.task_type]
    if not lines:
        return "no policy decides beside the live one; shadow.policies names those to try"
    if dropped:
        lines.append(f"{dropped:,} decisions came too fast to be compared, and are in no figure")
    return "\n".join(lines)


def _line(live: str, each: Comparison) -> str:
    if not each.decisions:
        failed = f", and failed on {each.failures:,}" if each.failures else ""
        return f"{each.policy}: nothing compared yet{failed}"
    said = (
        f"{each.policy}: the same worker as {shown(live)} in {each.agreement or 0:.0%} of {each.decisions:,} decisions"
    )
    if each.failures:
        said += f" ({each.failures:,} failed)"
    if each.finish_later is None:
        return f"{said}; too few have ended to judge it"
    return f"{said}; {_judgement(each.finish_later)}, judged by {each.judged:,} that have ended"


def _judgement(found: Difference) -> str:
    low, high = sorted((abs(found.low_ms), abs(found.high_ms)))
    if found.low_ms > 0.0:
        return f"tasks would end later by {_span(found.value_ms)} (between {_span(low)} and {_span(high)}, {LEVEL:.0%})"
    if found.high_ms < 0.0:
        return (
            f"tasks would end sooner by {_span(-found.value_ms)} (between {_span(low)} and {_span(high)}, {LEVEL:.0%})"
        )
    return (
        f"no difference that is certain: {_signed(found.value_ms)}"
        f" (between {_signed(found.low_ms)} and {_signed(found.high_ms)}, {LEVEL:.0%})"
    )


def _span(span_ms: float) -> str:
    return f"{span_ms / _SECOND_MS:.2f} s" if span_ms >= _SECOND_MS else f"{span_ms:.3g} ms"


def _signed(span_ms: float) -> str:
    return ("-" if span_ms < 0.0 else "+") + _span(abs(span_ms))
