"""What the server's shadow report says of the first phase: other policies beside the live one, as it ran."""

from scheduler_api.v1.admin_service_pb2 import Estimate, GetShadowReportResponse, ShadowComparison

POLICIES = ("round_robin", "random", "least_loaded")
"""Tried beside the live one: what queue services usually do."""

SETTINGS = ("--shadow-policies", ",".join(POLICIES), "--shadow-loop-share", "0.2")
"""What the server is told for it. There is time: the demo's tasks come some ten a second."""


def shadowed(report: GetShadowReportResponse) -> str:
    """The paragraph, of at most 80 columns; "" where nothing was compared."""
    compared = [each for each in report.comparisons if each.decisions and not each.task_type]
    if not compared:
        return ""
    lines = [f"Other policies beside the live one (GetShadowReport){'':4}{'tasks would end later by':>24}"]
    lines.append(f"{'':16}{'decisions':>9}{'same':>6}{'judged':>8}{'on average':>16}{'95 % between':>25}")
    lines += [_row(each) for each in compared]
    lines += [
        "  (each decision by itself: this task on the worker that the policy would have",
        "  chosen, all else as it was; judged by how the task went where it really ran)",
    ]
    return "\n".join(lines)


def _row(each: ShadowComparison) -> str:
    share = f"{each.agreement:.0%}" if each.HasField("agreement") else "-"
    row = f"  {each.policy:14}{each.decisions:>9}{share:>6}{each.judged_decisions:>8}"
    if not each.HasField("finish_difference"):
        return f"{row}{'-':>16}"
    found = each.finish_difference
    return f"{row}{_seconds(found.value_ms):>16}{_between(found):>25}"


def _between(found: Estimate) -> str:
    return f"{_seconds(found.low_ms)} and {_seconds(found.high_ms)}"


def _seconds(span_ms: float) -> str:
    return f"{span_ms / 1e3:+.3f} s"
